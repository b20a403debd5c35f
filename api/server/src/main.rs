//! The binary `roster`.

use std::process::ExitCode;

/// Returns memory after a large import, which the system's allocator keeps.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    roster_server::cli::main()
}
