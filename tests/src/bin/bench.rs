//! The program that `cargo dev bench` runs.

use std::process::ExitCode;

use roster_tests::until::uninterrupted;

/// The allocator of the server, since some rows run its code in this process.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    uninterrupted(Box::pin(roster_tests::bench::main())).await
}
