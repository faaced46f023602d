//! The `cairn` program. What it does is in the library beside it, which the fuzz targets link as well.

use std::process::ExitCode;

/// Gives memory back: with the C library's allocator a node that was busy on many threads stays at three times its size.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cairn_cli::main(std::env::args_os().collect())
}
