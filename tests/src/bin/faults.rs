//! The program that `cargo dev faults` runs.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    roster_tests::faults::main().await
}
