//! Bits of an open store flipped one at a time: no read gives other bytes, and a scrub finds every one of them.
//!
//! The short form takes a sample. `CAIRN_SCALE=full` flips every bit of a store of 1 MiB, and 100,000 at random in one of
//! 1 GiB. `CAIRN_SEED` repeats a random run.

use std::fs::File;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use cairn_block::{Block, BlockId};

use super::rig::{DiskRig, Luck, is_full, options};
use crate::disk::inner::Inner;
use crate::disk::record::{Header, Location, Subject};
use crate::disk::scan::{Found, Scan};
use crate::disk::scrub::look_at;
use crate::disk::segment::SEGMENT_HEADER_BYTES;
use crate::disk::{DiskOptions, DiskStore};
use crate::testing::{ask, block, device, volume};
use crate::{BlockStore, Collector, HeadStore, Scrubber, StoreError, SweepOptions};

/// Bits between two flips of the short form: prime, so that they meet every byte of a header in some record.
const STRIDE: u64 = 4099;

/// All bits of this many bytes at a segment's start are flipped in the short form too.
const HEAD_BYTES: u64 = 300;

/// A full scrub after one flip in this many; the others look at the record alone.
const SCRUB_EVERY: u64 = 5000;

/// A stretch of a segment that is one thing: its header, or a record.
struct Piece {
    segment: u32,
    from: u64,
    to: u64,
    /// None for the segment's header.
    header: Option<Header>,
    /// The block of a record died: nothing that is kept lies there.
    is_dead: bool,
}

/// An open store, and what is where in it.
struct Sample {
    rig: DiskRig,
    pieces: Vec<Piece>,
}

impl Sample {
    /// `bytes` of blocks of all sizes up to `largest`, with a journal, heads and whatever else a log can hold.
    fn new(options: DiskOptions, bytes: u64, largest: usize) -> Self {
        let rig = DiskRig::with(options);
        let store = rig.disk();
        let dead = block(u64::MAX, 500);
        store.put(&dead).expect("put");
        for (n, size) in sizes(bytes, largest).into_iter().enumerate() {
            let n = n as u64;
            store.put(&block(n, size)).expect("put");
            if n % 16 == 3 {
                store.append_delta(&volume(1), n, &block(n << 32, 700)).expect("append_delta");
                let head = Bytes::from(vec![n as u8; 300]);
                store.put_head(&volume(n as u8), &device(1), n, &head).expect("put_head");
            }
        }
        store.drop_heads(&volume(3), &[(device(1), 3)]).expect("drop_heads");
        store.append_delta(&volume(2), 1, &block(77 << 32, 90)).expect("append_delta");
        store.trim_deltas(&volume(2), 1).expect("trim_deltas");
        store.checkpoint().expect("checkpoint");
        let mut collection = store.begin_collection().expect("begin");
        store.inner.each(|id| collection.mark(id), &dead.id());
        collection.sweep(SweepOptions::default(), &mut |_| {}).expect("sweep");
        store.checkpoint().expect("checkpoint");
        let pieces = pieces(&store.inner);
        Self { rig, pieces }
    }

    fn store(&self) -> &DiskStore {
        self.rig.disk()
    }

    fn bits(&self) -> u64 {
        self.pieces.iter().map(|piece| (piece.to - piece.from) * 8).sum()
    }

    /// Flips every bit of which `is_wanted`, one at a time. Returns how many, and how many of them were in dead blocks.
    fn flip_all(&self, is_wanted: impl Fn(&Piece, u64) -> bool) -> Tally {
        let mut tally = Tally::default();
        for piece in &self.pieces {
            let path = self.store().inner.log.segments.path(piece.segment);
            let file = File::options().read(true).write(true).open(path).expect("open");
            for bit in piece.from * 8..piece.to * 8 {
                if is_wanted(piece, bit) {
                    self.flip(piece, &file, bit, &mut tally);
                }
            }
        }
        tally
    }

    /// Flips one bit, looks at everything it could have touched, and flips it back.
    fn flip(&self, piece: &Piece, file: &File, bit: u64, tally: &mut Tally) {
        let (offset, case) = (bit / 8, || format!("segment {} bit {bit}", piece.segment));
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).expect("read");
        file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], offset).expect("write");
        tally.flips += 1;
        tally.refused += u64::from(!self.is_served(piece, &case));
        let found = look_at(&self.store().inner, piece.segment, piece.from, piece.to).expect("scrub");
        if piece.is_dead && found.damaged.is_empty() {
            tally.dead += 1;
        } else {
            assert!(!found.damaged.is_empty(), "{}: a scrub of the record finds nothing", case());
        }
        if tally.flips % SCRUB_EVERY == 1 && !piece.is_dead && !is_end(piece, offset) {
            let found = self.store().scrub(&mut |_| {}).expect("scrub");
            assert!(!found.damaged.is_empty(), "{}: a scrub finds nothing", case());
        }
        file.write_all_at(&byte, offset).expect("write");
        self.forget(piece);
    }

    /// Reads what lies in a piece: the bytes that were stored, or an error. Says which.
    fn is_served(&self, piece: &Piece, case: &dyn Fn() -> String) -> bool {
        let Some(header) = &piece.header else { return true };
        match header.subject {
            Subject::Block | Subject::Delta { .. } if !piece.is_dead => match self.store().get(&header.id, ask()) {
                Ok(Some(block)) => {
                    assert!(is_original(&block, &header.id), "{}: wrong bytes", case());
                    true
                }
                Ok(None) => panic!("{}: the index knows it, and it is said to be unknown", case()),
                Err(StoreError::Damaged { .. }) => false,
                Err(error) => panic!("{}: {error}", case()),
            },
            Subject::Head { volume, seq, .. } => {
                let heads = self.store().heads(&volume).expect("heads");
                let right = |head: &crate::StoredHead| head.bytes.iter().all(|byte| *byte == head.seq as u8);
                assert!(heads.iter().all(right), "{}: a wrong head", case());
                heads.iter().any(|head| head.seq == seq)
            }
            _ => true,
        }
    }

    /// The bytes are right again: so is what was noted of them.
    fn forget(&self, piece: &Piece) {
        let inner = &self.store().inner;
        if let Some(header) = &piece.header {
            inner.heal(&header.id);
        }
        inner.quarantine.forget_segments(&[piece.segment]);
    }

    fn assert_whole(&self) {
        assert_eq!(self.store().scrub(&mut |_| {}).expect("scrub").damaged, []);
        for piece in &self.pieces {
            assert!(self.is_served(piece, &|| "in the end".to_owned()) || is_dropped(piece));
        }
    }
}

#[derive(Debug, Default)]
struct Tally {
    flips: u64,
    /// Answered by an error; the rest by the right bytes.
    refused: u64,
    /// In what was deleted: nobody can ask for it, and a scrub passes over it.
    dead: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.flips += other.flips;
        self.refused += other.refused;
        self.dead += other.dead;
    }
}

/// Sizes that add up to `bytes`: many small ones, each kilobyte as likely to lie in a large one.
fn sizes(bytes: u64, largest: usize) -> Vec<usize> {
    let classes = [40, 333, 1000, 4096, 9001, 33_000, 60_007, 200_000, 1 << 20];
    let classes: Vec<_> = classes.into_iter().filter(|size| *size <= largest).collect();
    let (mut sizes, mut sum) = (Vec::new(), 0);
    for size in classes.into_iter().cycle() {
        if sum >= bytes {
            return sizes;
        }
        sizes.push(size);
        sum += size as u64;
    }
    unreachable!("a cycle has no end")
}

/// Every block of the samples says its number in its first bytes, so that it can be made again.
fn is_original(found: &Block, id: &BlockId) -> bool {
    let n = found.bytes().first_chunk::<8>().map(|first| u64::from_le_bytes(*first));
    n.is_some_and(|n| block(n, found.len()).bytes() == found.bytes()) && BlockId::of(found.bytes()) == *id
}

/// In a block's trailer or padding a full scrub would write the record again elsewhere, and the pieces would be stale.
fn is_end(piece: &Piece, offset: u64) -> bool {
    let payload_end = |header: &Header| u64::from(header.location().offset + header.len);
    piece
        .header
        .as_ref()
        .is_some_and(|header| offset < header.location().offset.into() || offset >= payload_end(header))
}

fn is_dropped(piece: &Piece) -> bool {
    matches!(piece.header.map(|header| header.subject), Some(Subject::Head { volume: v, .. }) if v == volume(3))
}

fn pieces(inner: &Inner) -> Vec<Piece> {
    let log = &*inner.log;
    let mut pieces = Vec::new();
    for (segment, len) in log.segments.list() {
        pieces.push(Piece { segment, from: 0, to: SEGMENT_HEADER_BYTES, header: None, is_dead: false });
        let file = log.segments.file(segment).expect("open").expect("there");
        let mut scan = Scan::new(&log.device, &file, &log.store, segment, SEGMENT_HEADER_BYTES, len);
        while let Some(found) = scan.next() {
            let Found::Record { header, is_sound: true, .. } = found else { panic!("damage before any flip") };
            let lies_here = |at: Location| inner.index.block(&header.id).expect("index") == Some(at);
            let is_dead = header.subject.is_block() && !lies_here(header.location());
            let (from, to) = (u64::from(header.offset), header.end());
            pieces.push(Piece { segment, from, to, header: Some(header), is_dead });
        }
    }
    pieces
}

impl Inner {
    /// Every indexed block but one.
    fn each(&self, mut visit: impl FnMut(&BlockId), but: &BlockId) {
        let page = self.index.page(None, 1 << 20).expect("index");
        page.iter().filter(|(id, _)| id != but).for_each(|(id, _)| visit(id));
    }
}

fn mib(bytes: u64, largest: usize) -> Sample {
    // The segment that loses a block must not be rewritten: its dead bytes are part of the sample.
    Sample::new(DiskOptions { segment_bytes: 300 << 10, dead_percent_min: 100, ..options() }, bytes, largest)
}

#[test]
fn no_flipped_bit_gives_a_wrong_byte_and_a_scrub_finds_each() {
    // Two threads, each with a store of its own that has the same blocks in the same places.
    let halves = std::thread::scope(|scope| {
        let half = |lane: u64| {
            move || {
                let sample = mib(1 << 20, 9001);
                assert!(sample.pieces.iter().any(|piece| piece.is_dead), "no dead block in the sample");
                let is_wanted = |piece: &Piece, bit: u64| {
                    let is_sampled = bit % STRIDE == lane || (bit < HEAD_BYTES * 8 && piece.segment == 1);
                    bit / 8 % 2 == lane && (is_full() || is_sampled)
                };
                let tally = sample.flip_all(is_wanted);
                sample.assert_whole();
                (tally, sample.bits())
            }
        };
        let halves = [0, 1].map(|lane| scope.spawn(half(lane)));
        halves.map(|half| half.join().expect("no wrong byte"))
    });
    let (mut tally, bits) = (Tally::default(), halves[0].1);
    halves.iter().for_each(|(half, _)| tally.add(half));
    assert!(!is_full() || tally.flips == bits && bits > 8 << 20, "{} of {bits} bits", tally.flips);
    assert!(tally.refused > tally.flips / 4 && tally.refused < tally.flips, "{tally:?}");
    println!(
        "{} of {bits} bits flipped: {} refused, the others served rightly; a scrub found all but {} in deleted blocks",
        tally.flips, tally.refused, tally.dead
    );
}

#[test]
fn no_random_flip_in_a_large_store_gives_a_wrong_byte() {
    let (bytes, flips) = if is_full() { (1 << 30, 100_000) } else { (8 << 20, 500) };
    let sample =
        Sample::new(DiskOptions { segment_bytes: 64 << 20, dead_percent_min: 100, ..options() }, bytes, 1 << 20);
    let mut luck = Luck::of_this_run("random flips in a large store");
    let mut tally = Tally::default();
    let ends: Vec<u64> = sample
        .pieces
        .iter()
        .scan(0, |sum, piece| {
            *sum += piece.to - piece.from;
            Some(*sum)
        })
        .collect();
    for _ in 0..flips {
        let at = luck.below(ends[ends.len() - 1]);
        let n = ends.partition_point(|end| *end <= at);
        let piece = &sample.pieces[n];
        let offset = piece.to - (ends[n] - at);
        let path = sample.store().inner.log.segments.path(piece.segment);
        let file = File::options().read(true).write(true).open(path).expect("open");
        sample.flip(piece, &file, offset * 8 + luck.below(8), &mut tally);
    }
    sample.assert_whole();
    println!("{flips} random flips in {} MiB: {tally:?}, no wrong byte; seed {}", bytes >> 20, luck.seed());
}
