//! put, get, ls, cat.

use std::io::{self, Write};

use jiff::Timestamp;

use crate::args::{CatArgs, GetArgs, LsArgs, PutArgs};
use crate::control::routes::{CatQuestion, Entry, GetQuestion, ListQuestion, Nothing, PutQuestion, Route, Target};
use crate::errors::{Failure, Kind, Outcome};
use crate::output::{Output, Table};
use crate::text::{Name, duration, size};
use crate::transfer::CopyReport;

use super::session::{Session, absolute};

/// A connection that breaks this often in one file is not worth trying again.
const CAT_RETRIES: usize = 3;

/// Copies into the volume.
pub(super) fn put(session: &mut Session, args: PutArgs) -> Outcome<()> {
    let question = PutQuestion {
        sources: args.sources.iter().map(|source| absolute(source)).collect::<Outcome<_>>()?,
        target: session.target(&args.target, None),
        workers: session.settings.workers,
    };
    let report: CopyReport = session.stream("put", Route::Put, &question, |_: Nothing| Ok(()))?;
    finish(session.output, &report)
}

/// Copies out of the volume.
pub(super) fn get(session: &mut Session, args: GetArgs) -> Outcome<()> {
    let at = args.at.at.as_deref();
    let question = GetQuestion {
        sources: args.sources.iter().map(|source| session.target(source, at)).collect(),
        target: absolute(&args.target)?,
        workers: session.settings.workers,
    };
    let report: CopyReport = session.stream("get", Route::Get, &question, |_: Nothing| Ok(()))?;
    finish(session.output, &report)
}

fn finish(output: Output, report: &CopyReport) -> Outcome<()> {
    if output.json {
        output.json_line(report)?;
    } else {
        let time = std::time::Duration::from_millis(report.milliseconds);
        output.remark(format!(
            "{} files and {} directories, {} in {}",
            report.files,
            report.directories,
            size(report.bytes),
            duration(time)
        ));
    }
    match report.failed {
        0 => Ok(()),
        1 => Err(Failure::new(Kind::Partial, "one of them failed and was named above; the rest is copied")),
        failed => Err(Failure::new(
            Kind::Partial,
            format!("{failed} of them failed and were named above; the rest is copied"),
        )),
    }
}

/// Lists a directory.
pub(super) fn ls(session: &mut Session, args: LsArgs) -> Outcome<()> {
    let question =
        ListQuestion { target: session.target(&args.path, args.at.at.as_deref()), recursive: args.recursive };
    let output = session.output;
    if output.json || !args.long {
        // As they come: a million names need no memory here.
        let print = |entry: Entry| if output.json { output.json_line(&entry) } else { print_name(&entry.path) };
        let Nothing {} = session.stream("ls", Route::List, &question, print)?;
        return Ok(());
    }
    let mut entries: Vec<Entry> = Vec::new();
    let Nothing {} = session.stream("ls", Route::List, &question, |entry| {
        entries.push(entry);
        Ok(())
    })?;
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    output.text(&long_listing(&entries))
}

/// A name by itself goes out as its bytes where a program reads them, and harmless where a person does.
fn print_name(name: &Name) -> Outcome<()> {
    let mut out = io::stdout().lock();
    if io::IsTerminal::is_terminal(&out) {
        out.write_all(name.shown().as_bytes())?;
    } else {
        out.write_all(&name.0)?;
    }
    Ok(out.write_all(b"\n")?)
}

fn long_listing(entries: &[Entry]) -> String {
    let mut table = Table::bare().right(&[1, 2, 3, 4]);
    for entry in entries {
        let modified =
            Timestamp::from_second(entry.modified).map_or_else(|_| entry.modified.to_string(), |time| time.to_string());
        let arrow = entry.target.as_ref().map(|target| format!(" -> {}", target.shown())).unwrap_or_default();
        table.row([
            mode_text(entry),
            entry.links.to_string(),
            entry.uid.to_string(),
            entry.gid.to_string(),
            entry.size.to_string(),
            modified,
            format!("{}{arrow}", entry.path.shown()),
        ]);
    }
    table.render()
}

fn mode_text(entry: &Entry) -> String {
    let kind = match entry.kind.as_str() {
        "directory" => 'd',
        "symlink" => 'l',
        "fifo" => 'p',
        "socket" => 's',
        "char" => 'c',
        "block" => 'b',
        _ => '-',
    };
    let bit = |shift: u16, letter: char| if entry.mode >> shift & 1 == 1 { letter } else { '-' };
    let execute = |shift: u16, special: u16, both: char| match (entry.mode >> special & 1, bit(shift, 'x')) {
        (1, 'x') => both,
        (1, _) => both.to_ascii_uppercase(),
        (_, letter) => letter,
    };
    [
        kind,
        bit(8, 'r'),
        bit(7, 'w'),
        execute(6, 11, 's'),
        bit(5, 'r'),
        bit(4, 'w'),
        execute(3, 10, 's'),
        bit(2, 'r'),
        bit(1, 'w'),
        execute(0, 9, 't'),
    ]
    .iter()
    .collect()
}

/// Prints files.
pub(super) fn cat(session: &mut Session, args: CatArgs) -> Outcome<()> {
    for path in &args.paths {
        let target = session.target(path, args.at.at.as_deref());
        cat_one(session, target)?;
    }
    Ok(io::stdout().flush()?)
}

/// A connection that breaks in the middle is taken up again where it broke: the node then says what failed.
fn cat_one(session: &mut Session, target: Target) -> Outcome<()> {
    let mut offset = 0;
    for _ in 0..CAT_RETRIES {
        let question = CatQuestion { target: target.clone(), offset };
        let whole = session.node()?.bytes(Route::Cat, &question, |bytes| -> Outcome<()> {
            offset += bytes.len() as u64;
            Ok(io::stdout().lock().write_all(bytes)?)
        })?;
        if whole {
            return Ok(());
        }
        session.reconnect();
    }
    Err(Failure::new(Kind::NotRunning, format!("the node broke off {} after {}", target.path.shown(), size(offset))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: &str, mode: u16) -> Entry {
        Entry {
            path: Name(b"a".to_vec()),
            kind: kind.into(),
            mode,
            links: 1,
            uid: 0,
            gid: 0,
            size: 0,
            modified: 0,
            modified_nanos: 0,
            inode: 1,
            target: None,
        }
    }

    #[test]
    fn modes_read_as_ls_prints_them() {
        assert_eq!(mode_text(&entry("directory", 0o1777)), "drwxrwxrwt");
        assert_eq!(mode_text(&entry("file", 0o4755)), "-rwsr-xr-x");
        assert_eq!(mode_text(&entry("file", 0o6644)), "-rwSr-Sr--");
    }
}
