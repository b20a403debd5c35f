//! The program that `cargo dev faults` runs.

use std::process::ExitCode;

use roster_tests::until::uninterrupted;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    uninterrupted(roster_tests::faults::main()).await
}
