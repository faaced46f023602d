//! `make bench-peers`: the same work done by Cairn and by those that people use instead, in turn, several rounds, medians.
//!
//! 1. backup: restic, borg and rustic beside `cairn put` and `cairn get`,
//! 2. mount: gocryptfs and the disk itself beside the mount, call by call and with real programs,
//! 3. idle: what a node that has nothing to do takes.
//!
//! `peers [--page FILE] [--json FILE]` writes a page for people and all figures for programs. `CAIRN_BENCH_ONLY=backup,mount,idle`
//! chooses parts, `CAIRN_SCALE=full` the size of the published figures. A missed aim is marked and fails nothing.

mod archives;
mod idle;
mod mounts;
mod page;
mod programs;
mod size;

use std::path::PathBuf;
use std::process::ExitCode;

use cairn_fuse_tests::Scale;
use cairn_fuse_tests::speed;
use page::Page;
use size::Size;

const PARTS: [&str; 3] = ["backup", "mount", "idle"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((page_file, json_file)) = files(&arguments) else {
        eprintln!("usage: peers [--page FILE] [--json FILE]");
        return ExitCode::from(64);
    };
    let Some(wanted) = parts() else {
        eprintln!("CAIRN_BENCH_ONLY is a list of {}", PARTS.join(", "));
        return ExitCode::from(64);
    };
    let size = Size::of(Scale::of_this_run());
    let mut page = Page::begin(&size);
    if !speed::drop_caches() {
        page.remark("Not measured as root: the kernel's caches stayed, and what is called cold is warm.");
    }
    for part in wanted {
        eprintln!("{part}");
        let parts = match part {
            "backup" => vec![archives::measure(&size)],
            "mount" => mounts::measure(&size),
            _ => vec![idle::measure(&size)],
        };
        parts.into_iter().for_each(|part| page.add(part));
    }
    println!("{}", page.text());
    let written = [(page_file, page.text()), (json_file, page.json())]
        .into_iter()
        .try_for_each(|(file, text)| file.map_or(Ok(()), |file| std::fs::write(file, text)));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: the result can't be written: {error}");
            ExitCode::from(74)
        }
    }
}

/// Where the page and the figures go.
fn files(arguments: &[String]) -> Option<(Option<PathBuf>, Option<PathBuf>)> {
    let (mut page, mut json) = (None, None);
    for pair in arguments.chunks(2) {
        match pair {
            [flag, file] if flag == "--page" => page = Some(PathBuf::from(file)),
            [flag, file] if flag == "--json" => json = Some(PathBuf::from(file)),
            _ => return None,
        }
    }
    Some((page, json))
}

/// The parts of this run; `None` if one isn't known.
fn parts() -> Option<Vec<&'static str>> {
    let Ok(only) = std::env::var("CAIRN_BENCH_ONLY") else { return Some(PARTS.to_vec()) };
    only.split(',').map(|word| PARTS.into_iter().find(|part| *part == word.trim())).collect()
}
