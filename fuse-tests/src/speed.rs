//! What a filesystem does per second, measured the same way wherever the directory lies.
//!
//! Every figure ends with its data on the disk (the last fsync is part of the time), reads are cold where this run may
//! drop the kernel's caches, and every byte written is new: nothing is won by having seen it before.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::Random;

/// How much is done for each figure.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Of the file that is streamed and overwritten.
    pub stream_mib: u64,
    /// Small files, folders, renames and so on.
    pub files: u32,
    /// Where the randomness starts; the same seed writes the same bytes.
    pub seed: u64,
}

/// One measured figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figure {
    /// What was done.
    pub name: &'static str,
    /// `MiB/s` or `/s`.
    pub unit: &'static str,
    /// How many of them.
    pub value: f64,
}

const PAGE: usize = 4096;
/// Random accesses per small file of the load: enough to be steady, little enough to end.
const ACCESSES_PER_FILE: u32 = 4;
/// An fsync costs a hundred creates.
const FILES_PER_FSYNC: u32 = 6;

/// Measures everything in a fresh folder below `dir`, and removes it again. Each seed has a name of its own: ext4 places folders
/// by their names.
pub fn measure(dir: &Path, load: Load) -> io::Result<Vec<Figure>> {
    let folder = dir.join(format!("fsbench-{}-{}", std::process::id(), load.seed));
    std::fs::create_dir(&folder)?;
    let mut bench = Bench { folder: folder.clone(), load, random: Random::new(load.seed), figures: Vec::new() };
    let outcome = bench.run();
    std::fs::remove_dir_all(&folder)?;
    outcome.map(|()| bench.figures)
}

/// Empties the kernel's caches where this run may; `false` says that reads will be warm.
pub fn drop_caches() -> bool {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

struct Bench {
    folder: PathBuf,
    load: Load,
    random: Random,
    figures: Vec<Figure>,
}

impl Bench {
    fn run(&mut self) -> io::Result<()> {
        self.streams()?;
        self.random_access()?;
        self.small_files()?;
        self.folders()?;
        self.fsyncs()
    }

    fn streams(&mut self) -> io::Result<()> {
        let (path, mib) = (self.path("stream"), self.load.stream_mib);
        // Made ahead: the time of making bytes is not the filesystem's.
        let pieces: Vec<Vec<u8>> = (0..mib).map(|_| self.random.bytes(1 << 20)).collect();
        let took = timed(|| {
            let mut file = File::create(&path)?;
            pieces.iter().try_for_each(|piece| file.write_all(piece))?;
            file.sync_all()
        })?;
        self.note("sequential write", "MiB/s", mib as f64, took);
        drop(pieces);
        drop_caches();
        let took = timed(|| read_to_end(&path, 1 << 20))?;
        self.note("sequential read, cold", "MiB/s", mib as f64, took);
        let took = timed(|| read_to_end(&path, 1 << 20))?;
        self.note("sequential read, warm", "MiB/s", mib as f64, took);
        Ok(())
    }

    fn random_access(&mut self) -> io::Result<()> {
        let (path, count) = (self.path("stream"), self.load.files * ACCESSES_PER_FILE);
        let pages = (self.load.stream_mib << 20) / PAGE as u64;
        let places: Vec<u64> = (0..count).map(|_| self.random.below(pages) * PAGE as u64).collect();
        drop_caches();
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let took = timed(|| places.iter().try_for_each(|place| file.read_exact_at(&mut [0; PAGE], *place)))?;
        self.note("random read 4 KiB, cold", "/s", f64::from(count), took);
        let page = self.random.bytes(PAGE + count as usize);
        let took = timed(|| {
            for (turn, place) in places.iter().enumerate() {
                // Another window each time: no two pages are the same.
                file.write_all_at(&page[turn..turn + PAGE], *place)?;
            }
            file.sync_all()
        })?;
        self.note("random write 4 KiB", "/s", f64::from(count), took);
        Ok(())
    }

    fn small_files(&mut self) -> io::Result<()> {
        let count = self.load.files;
        let folder = self.path("small");
        std::fs::create_dir(&folder)?;
        let names: Vec<PathBuf> = (0..count).map(|i| folder.join(format!("file-{i}"))).collect();
        let bytes = self.random.bytes(PAGE + count as usize);
        let took = timed(|| {
            for (turn, name) in names.iter().enumerate() {
                File::create(name)?.write_all(&bytes[turn..turn + PAGE])?;
            }
            // Where a folder's sync does not bring the files' bytes along, this does.
            File::open(&folder)?.sync_all()?;
            rustix::fs::sync();
            Ok(())
        })?;
        self.note("create 4 KiB", "/s", f64::from(count), took);
        drop_caches();
        let took = timed(|| names.iter().try_for_each(|name| std::fs::metadata(name).map(drop)))?;
        self.note("stat, cold", "/s", f64::from(count), took);
        let took = timed(|| names.iter().try_for_each(|name| std::fs::metadata(name).map(drop)))?;
        self.note("stat, hot", "/s", f64::from(count), took);
        drop_caches();
        let took = timed(|| list_long(&folder))?;
        self.note("ls -l, cold", "/s", f64::from(count), took);
        drop_caches();
        let took = timed(|| names.iter().try_for_each(|name| read_to_end(name, PAGE)))?;
        self.note("read 4 KiB files, cold", "/s", f64::from(count), took);
        let renamed: Vec<PathBuf> = (0..count).map(|i| folder.join(format!("renamed-{i}"))).collect();
        let took = timed(|| names.iter().zip(&renamed).try_for_each(|(from, to)| std::fs::rename(from, to)))?;
        self.note("rename", "/s", f64::from(count), took);
        let took = timed(|| renamed.iter().try_for_each(std::fs::remove_file))?;
        self.note("unlink", "/s", f64::from(count), took);
        Ok(())
    }

    fn folders(&mut self) -> io::Result<()> {
        let names: Vec<PathBuf> = (0..self.load.files).map(|i| self.path(&format!("folder-{i}"))).collect();
        let took = timed(|| names.iter().try_for_each(std::fs::create_dir))?;
        self.note("mkdir", "/s", f64::from(self.load.files), took);
        names.iter().try_for_each(std::fs::remove_dir)
    }

    fn fsyncs(&mut self) -> io::Result<()> {
        let count = self.load.files / FILES_PER_FSYNC;
        let bytes = self.random.bytes(PAGE + count as usize);
        let mut file = OpenOptions::new().append(true).create(true).open(self.path("log"))?;
        let took = timed(|| {
            (0..count as usize).try_for_each(|turn| {
                file.write_all(&bytes[turn..turn + PAGE])?;
                file.sync_data()
            })
        })?;
        self.note("append 4 KiB + fsync", "/s", f64::from(count), took);
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn note(&mut self, name: &'static str, unit: &'static str, amount: f64, took: Duration) {
        self.figures.push(Figure { name, unit, value: amount / took.as_secs_f64().max(1e-9) });
    }
}

fn timed<T>(work: impl FnOnce() -> io::Result<T>) -> io::Result<Duration> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed())
}

fn read_to_end(path: &Path, piece: usize) -> io::Result<()> {
    let (mut file, mut buffer) = (File::open(path)?, vec![0; piece]);
    while file.read(&mut buffer)? > 0 {}
    Ok(())
}

fn list_long(folder: &Path) -> io::Result<u64> {
    std::fs::read_dir(folder)?.map(|entry| Ok(entry?.metadata()?.size())).sum()
}

/// The middle of several measurements of one figure.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_is_measured_and_nothing_is_left() {
        let dir = tempfile::tempdir().expect("a directory");
        let figures = measure(dir.path(), Load { stream_mib: 2, files: 12, seed: 1 }).expect("figures");
        assert_eq!(figures.len(), 14);
        assert!(figures.iter().all(|figure| figure.value > 0.0));
        assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 0);
    }
}
