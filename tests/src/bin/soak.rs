//! The program that `cargo dev soak` runs.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    roster_tests::bench::soak::main().await
}
