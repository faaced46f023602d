//! The log: a segment of records whose checksums hold around anything, with any bytes between them.

use std::cell::OnceCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use cairn_store::disk::fuzzing::{self, Fields};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::input::Input;

/// A segment of the target is far below what a real one may have.
const SEGMENT_BYTES_MAX: usize = 256 << 10;

thread_local! {
    /// Written over and over: a file in memory costs no disk and no name.
    static FILE: OnceCell<File> = const { OnceCell::new() };
}

/// A segment file.
pub(crate) fn log(data: &[u8]) {
    fuzzing::values(data);
    let bytes = segment(&mut Input(data));
    FILE.with(|cell| {
        let file = cell.get_or_init(|| memfd_create("segment", MemfdFlags::CLOEXEC).expect("memory").into());
        file.set_len(0).expect("a file in memory");
        file.write_all_at(&bytes, 0).expect("a file in memory");
        fuzzing::segment(file);
    });
}

fn segment(input: &mut Input<'_>) -> Vec<u8> {
    let mut bytes = fuzzing::header(input.u64(), input.u8().into(), input.u64());
    while !input.is_empty() && bytes.len() < SEGMENT_BYTES_MAX {
        let (says, fill) = (input.u8(), input.u8());
        match says % 4 {
            0 => bytes.extend_from_slice(input.piece()),
            1 => bytes.resize(bytes.len() + 8 * usize::from(fill), 0),
            _ => record(input, says, fill, &mut bytes),
        }
    }
    bytes
}

fn record(input: &mut Input<'_>, says: u8, kind: u8, bytes: &mut Vec<u8>) {
    let fields =
        Fields { kind, seq: input.u64(), number: input.u64(), durable: input.u32(), is_true: says & 0x80 == 0 };
    // At its own place or, now and then, at another.
    let offset = bytes.len() as u32 + if says & 0x40 == 0 { 0 } else { 8 };
    let payload = input.piece();
    let start = bytes.len();
    fuzzing::record(fields, offset, payload, bytes);
    if says & 0x20 != 0 {
        let at = start + usize::from(input.u16()) % (bytes.len() - start);
        bytes[at] ^= input.u8();
    }
}
