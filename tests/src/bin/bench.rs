//! The program that `cargo dev bench` runs.

use std::process::ExitCode;

/// The allocator of the server, since some rows run its code in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    roster_tests::bench::main().await
}
