//! `roster serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use crate::config::Configuration;
use crate::serve;

#[derive(Debug, Parser)]
pub(super) struct Args {
    /// host:port of HTTP; port 0 takes a free one.
    #[arg(long)]
    listen: Option<String>,
    /// Keep a demo project with a credential (true, false or auto).
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    demo: Option<String>,
    /// Where to write URLs and credential once HTTP answers.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Args {
    /// The flags as settings: name, value and flag.
    pub(super) fn settings(&self) -> impl Iterator<Item = (String, String, String)> + use<> {
        let ready_file = self
            .ready_file
            .as_ref()
            .map(|path| path.display().to_string());
        [
            ("listen", self.listen.clone(), "--listen"),
            ("demo", self.demo.clone(), "--demo"),
            ("ready_file", ready_file, "--ready-file"),
        ]
        .into_iter()
        .filter_map(|(key, value, flag)| Some((key.to_owned(), value?, flag.to_owned())))
    }
}

pub(super) async fn run(configuration: Configuration) -> anyhow::Result<ExitCode> {
    Box::pin(serve::run(configuration.settings)).await?;
    Ok(ExitCode::SUCCESS)
}
