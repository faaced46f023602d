//! The disk as a cut left it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;

use super::cuts::PowerCut;
use super::write_log::WriteLog;

/// Goes through a log once, from the image that it began on.
#[derive(Debug)]
pub struct Replay<'a> {
    log: &'a WriteLog,
    durable: PathBuf,
    upto: usize,
}

impl<'a> Replay<'a> {
    /// Works on `scratch`, which becomes a copy of `base`.
    pub fn new(log: &'a WriteLog, base: &Path, scratch: PathBuf) -> io::Result<Replay<'a>> {
        copy_sparse(base, &scratch)?;
        Ok(Replay { log, durable: scratch, upto: 0 })
    }

    /// Makes the image that a cut leaves. Cuts come in the log's order.
    pub fn crash_image(&mut self, cut: &PowerCut, image: &Path) -> io::Result<()> {
        assert!(cut.durable >= self.upto, "cuts are replayed in order");
        let durable = OpenOptions::new().write(true).open(&self.durable)?;
        for entry in self.upto..cut.durable {
            self.log.apply(entry, u64::MAX, &durable)?;
        }
        self.upto = cut.durable;
        copy_sparse(&self.durable, image)?;
        let image = OpenOptions::new().write(true).open(image)?;
        cut.loose.iter().try_for_each(|(entry, len)| self.log.apply(*entry, *len, &image))
    }
}

/// Copies a file without what was never written.
pub fn copy_sparse(from: &Path, to: &Path) -> io::Result<()> {
    let _ = std::fs::remove_file(to);
    let (from, to) = (File::open(from)?, File::create(to)?);
    let len = from.metadata()?.len();
    to.set_len(len)?;
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while let Ok(start) = rustix::fs::seek(&from, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&from, SeekFrom::Hole(start))?;
        for offset in (start..at).step_by(buffer.len()) {
            let piece = &mut buffer[..(at - offset).min(1 << 20) as usize];
            from.read_exact_at(piece, offset)?;
            to.write_all_at(piece, offset)?;
        }
    }
    Ok(())
}
