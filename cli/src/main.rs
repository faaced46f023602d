//! The `cairn` program. What it does is in the library beside it, which the fuzz targets link as well.

use std::process::ExitCode;

/// Gives memory back soon, as `.cargo/config.toml` tells it to: streaming 2 GB in takes 100 MiB at most and 30 MiB two
/// seconds later, where others keep 150 to 350 MiB for as long as nothing is allocated.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cairn_cli::main(std::env::args_os().collect())
}
