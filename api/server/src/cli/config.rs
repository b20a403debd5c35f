//! `roster config`: the settings in effect, as a file that could be one.

use std::process::ExitCode;

use crate::config::Configuration;
use crate::output;

pub(super) fn run(configuration: &Configuration) -> anyhow::Result<ExitCode> {
    for line in configuration.lines() {
        output::line(line)?;
    }
    Ok(ExitCode::SUCCESS)
}
