//! The program that `cargo dev faults` runs.

use std::process::ExitCode;

use roster_tests::until::uninterrupted;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    uninterrupted(Box::pin(roster_tests::faults::main())).await
}
