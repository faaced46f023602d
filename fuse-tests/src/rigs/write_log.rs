//! The log of all writes to a device, in the format of dm-log-writes, as qemu's `blklogwrites` writes it.
//!
//! The first sector holds magic, version, number of entries and sector size. Each entry is a sector of `sector, sectors,
//! flags, data length` and then as many sectors of data.

use std::fs::File;
use std::io::{self, Error};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The unit of the log, and the smallest piece that a disk writes whole.
pub const SECTOR: u64 = 512;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// One request to the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Where on the device, in bytes.
    pub offset: u64,
    /// How many bytes; zero for a mere flush.
    pub len: u64,
    /// Everything before it is durable when it has ended.
    pub is_flush: bool,
    /// It is durable itself when it has ended.
    pub is_durable: bool,
    pub(super) data_at: u64,
}

/// All requests to a device, in order.
#[derive(Debug)]
pub struct WriteLog {
    file: File,
    entries: Vec<Entry>,
}

impl WriteLog {
    /// Reads a log.
    pub fn read(path: &Path) -> io::Result<WriteLog> {
        let file = File::open(path)?;
        let head = words(&file, 0)?;
        if head[0] != MAGIC || head[1] != 1 || head[3] & 0xffff_ffff != SECTOR {
            return Err(Error::other(format!("no log of writes: {head:x?}")));
        }
        let mut entries = Vec::new();
        let mut at = SECTOR;
        for _ in 0..head[2] {
            let [sector, sectors, flags, _] = words(&file, at)?;
            at += SECTOR;
            let len = if flags & DISCARD == 0 { sectors * SECTOR } else { 0 };
            let (is_flush, is_durable) = (flags & FLUSH != 0, flags & FUA != 0);
            entries.push(Entry { offset: sector * SECTOR, len, is_flush, is_durable, data_at: at });
            at += len;
        }
        Ok(WriteLog { file, entries })
    }

    /// Its entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Writes the first `len` bytes of an entry to an image.
    pub fn apply(&self, entry: usize, len: u64, image: &File) -> io::Result<()> {
        let entry = self.entries[entry];
        let mut bytes = vec![0; len.min(entry.len) as usize];
        self.file.read_exact_at(&mut bytes, entry.data_at)?;
        image.write_all_at(&bytes, entry.offset)
    }
}

fn words(file: &File, at: u64) -> io::Result<[u64; 4]> {
    let mut bytes = [0; 32];
    file.read_exact_at(&mut bytes, at)?;
    Ok(std::array::from_fn(|n| u64::from_le_bytes(std::array::from_fn(|i| bytes[n * 8 + i]))))
}
