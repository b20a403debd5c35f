//! `roster keys rotate-kek`: another key-encryption key takes the place of the present one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use roster_store::Vault;
use roster_store::rotation::{self, Pace};

use crate::config::Settings;
use crate::{output, session};

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// A file with the new key, 64 hexadecimal digits; without it the configured key with the highest number is taken.
    #[arg(long, value_name = "FILE")]
    new_key_file: Option<PathBuf>,
    /// Keys that are wrapped in one step, during which nothing is appended.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    batch: i64,
    /// Milliseconds between steps.
    #[arg(long, default_value_t = 10)]
    pause_ms: u64,
}

pub(super) async fn run(args: &Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let owner = session::owner_url(settings)?;
    let configured = session::vault(settings)?;
    let new = args.new_key_file.as_ref().map(|path| {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Vault::parse(&text).with_context(|| path.display().to_string())
    });
    let new = new.transpose()?;
    let (vault, key_no) = rotation::plan(&owner, &configured, new.as_ref()).await?;
    output::note(format_args!(
        "wrapping every data key with key-encryption key {key_no}; each server needs it beside the old one by now"
    ));
    let pace = Pace {
        batch: args.batch,
        pause: Duration::from_millis(args.pause_ms),
    };
    let bar = output::count_bar(Some(0), "data keys");
    let rotated = rotation::rotate(&owner, &vault, key_no, pace, |_, done, all| {
        bar.set_length(all);
        bar.set_position(done);
    })
    .await?;
    bar.finish_and_clear();
    output::line(format_args!(
        "key-encryption key {key_no} wraps everything: {} data keys and {} peppers in this run",
        rotated.streams, rotated.projects
    ))?;
    output::line(format_args!(
        "leave only its line `{key_no}:<64 digits>` in the key file and restart the servers; once the old key is destroyed, \
         so are the backups from before"
    ))?;
    Ok(ExitCode::SUCCESS)
}
