//! The golden vectors, read by a second implementation.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

#[test]
fn another_reader_reads_the_vectors() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/read.py");
    let output = match Command::new("python3").arg(&script).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return skip("test another_reader_reads_the_vectors: python3 is missing");
        }
        output => output.unwrap(),
    };
    let (told, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{failed}");
    for line in told.lines().filter(|line| line.starts_with("skipped ")) {
        skip(&format!("block vectors: {line}"));
    }
    println!("{told}");
}

/// Says aloud that something wasn't tried: on the terminal, and where the gate collects such lines.
fn skip(reason: &str) {
    eprintln!("{reason}");
    if let Some(path) = std::env::var_os("CAIRN_SKIPS") {
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        writeln!(file, "{reason}").unwrap();
    }
}
