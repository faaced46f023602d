//! What a file of the reference holds: pages that are shared between the states of a history. A page that is not there is
//! zeros.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_store::testing::Random;

const PAGE: u64 = 8 << 10;
const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];

#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    pub(super) size: u64,
    pages: BTreeMap<u64, Arc<Vec<u8>>>,
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.write(0, bytes);
        content
    }

    fn page(&self, number: u64) -> &[u8] {
        self.pages.get(&number).map_or(&ZEROS, |page| page)
    }

    /// Every page that a range touches, with the part of the page that is in it and where that is in the range.
    fn parts(at: u64, len: u64) -> impl Iterator<Item = (u64, std::ops::Range<usize>, usize)> {
        let end = at + len;
        (at / PAGE..end.div_ceil(PAGE)).map(move |number| {
            let start = number * PAGE;
            let (from, to) = (at.max(start), end.min(start + PAGE));
            (number, (from - start) as usize..(to - start) as usize, (from - at) as usize)
        })
    }

    pub(super) fn write(&mut self, at: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        for (number, part, from) in Self::parts(at, bytes.len() as u64) {
            let page = self.pages.entry(number).or_insert_with(|| Arc::new(ZEROS.to_vec()));
            let len = part.len();
            Arc::make_mut(page)[part].copy_from_slice(&bytes[from..from + len]);
        }
        self.size = self.size.max(at + bytes.len() as u64);
    }

    /// Zeros up to the end of the file.
    pub(super) fn zero(&mut self, at: u64, len: u64) {
        let len = len.min(self.size.saturating_sub(at));
        if len == 0 {
            return;
        }
        for (number, part, _) in Self::parts(at, len) {
            if part.len() == PAGE as usize {
                self.pages.remove(&number);
            } else if let Some(page) = self.pages.get_mut(&number) {
                Arc::make_mut(page)[part].fill(0);
            }
        }
    }

    pub(super) fn resize(&mut self, size: u64) {
        self.zero(size, self.size.saturating_sub(size));
        self.size = size;
    }

    /// Shorter than asked at the end of the file.
    pub(super) fn read(&self, at: u64, len: u64) -> Vec<u8> {
        let len = len.min(self.size.saturating_sub(at));
        let mut out = vec![0; len as usize];
        if len > 0 {
            for (number, part, from) in Self::parts(at, len) {
                out[from..from + part.len()].copy_from_slice(&self.page(number)[part]);
            }
        }
        out
    }

    pub(super) fn is_zero(&self, range: std::ops::Range<u64>) -> bool {
        range.is_empty()
            || Self::parts(range.start, range.end - range.start)
                .all(|(number, part, _)| self.page(number)[part].iter().all(|byte| *byte == 0))
    }
}

impl PartialEq for Content {
    fn eq(&self, other: &Content) -> bool {
        let same = |number: &u64| match (self.pages.get(number), other.pages.get(number)) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
            _ => self.page(*number) == other.page(*number),
        };
        self.size == other.size && self.pages.keys().chain(other.pages.keys()).all(same)
    }
}

/// Bytes to write, the same for the same seed: most don't compress, some do, some are zeros that were written.
pub(super) fn fill(len: u32, seed: u8) -> Vec<u8> {
    let len = len as usize;
    match seed % 8 {
        0 => vec![0; len],
        1 | 2 => {
            let line = format!("line of the file {seed}\n").into_bytes();
            line.iter().copied().cycle().take(len).collect()
        }
        _ => {
            let mut random = Random::new(seed.into());
            let mut bytes = Vec::with_capacity(len + 8);
            while bytes.len() < len {
                bytes.extend_from_slice(&random.bits().to_le_bytes());
            }
            bytes.truncate(len);
            bytes
        }
    }
}
