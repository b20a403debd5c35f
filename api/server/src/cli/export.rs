//! `roster export`: customers of a running server as CSV, streamed to a file or to standard output.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use futures::StreamExt;
use serde_json::json;

use crate::client::{self, Target, TargetArgs};
use crate::config::Settings;
use crate::output;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// The file; standard output without it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    target: TargetArgs,
    /// Only customers with this text in their id or profile.
    #[arg(long)]
    search: Option<String>,
    /// Prefix cells that a spreadsheet would run as a formula; such a file does not import as it was.
    #[arg(long)]
    spreadsheet_safe: bool,
}

pub(super) async fn run(args: Args, settings: &Settings) -> anyhow::Result<ExitCode> {
    let target = Target::of(args.target, settings)?;
    let mut members = json!({});
    if let Some(search) = args.search {
        members["search"] = json!(search);
    }
    if args.spreadsheet_safe {
        members["spreadsheet_safe"] = json!(true);
    }
    let request = target
        .post_json("users/export-csv", members)
        .header("accept", "text/csv");
    let response = client::accepted(request.send().await?).await?;
    let mut pieces = response.bytes_stream();
    let bar = output::byte_bar(None, "export");
    let mut file = args.output.as_deref().map(Draft::create).transpose()?;
    while let Some(piece) = pieces.next().await {
        let piece = piece.context("the server ended the export before its end")?;
        bar.inc(piece.len() as u64);
        match &mut file {
            Some(draft) => draft
                .file
                .write_all(&piece)
                .with_context(|| draft.target.display().to_string())?,
            None => output::bytes(&piece)?,
        }
    }
    bar.finish_and_clear();
    if let Some(draft) = file {
        let (bytes, path) = (bar.position(), draft.target.clone());
        draft.keep()?;
        output::line(format_args!("{bytes} bytes in {}", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A file that appears under its name only once it is whole.
struct Draft {
    file: std::fs::File,
    path: PathBuf,
    target: PathBuf,
    is_kept: bool,
}

impl Draft {
    fn create(target: &Path) -> anyhow::Result<Self> {
        let mut name = target.as_os_str().to_owned();
        name.push(".part");
        let path = PathBuf::from(name);
        let file = std::fs::File::create(&path).with_context(|| path.display().to_string())?;
        Ok(Self {
            file,
            path,
            target: target.to_owned(),
            is_kept: false,
        })
    }

    fn keep(mut self) -> anyhow::Result<()> {
        self.file
            .sync_all()
            .and_then(|()| std::fs::rename(&self.path, &self.target))?;
        self.is_kept = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.is_kept {
            // What can't be removed is visibly a part.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
