//! The program that `cargo dev soak` runs.

use std::process::ExitCode;

use roster_tests::until::uninterrupted;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    uninterrupted(Box::pin(roster_tests::bench::soak::main())).await
}
