//! The sealing pipeline: measured by the crate that seals.

use std::path::PathBuf;
use std::process::Command;

use cairn_fuse_tests::command;

/// Runs the example that was built beside us.
pub(crate) fn run() {
    let own = std::env::current_exe().expect("the path of this program");
    let example: PathBuf = own.with_file_name("examples").join("bench_seal");
    if !example.is_file() {
        println!("  not measured: build it with `cargo build --release --package cairn-block --examples`");
        return;
    }
    let text = command::succeed(&mut Command::new(example));
    text.lines().for_each(|line| println!("  {line}"));
}
