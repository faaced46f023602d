//! The `cairn` program. What it does is in the library beside it, which the fuzz targets link as well.

use std::process::ExitCode;

/// Gives memory back soon and without being called, as `.cargo/config.toml` tells it to: what a stream took is the system's
/// again right after it (the test of bursts in `fuse-tests`).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cairn_cli::main(std::env::args_os().collect())
}
