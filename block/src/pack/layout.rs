//! Where in a body blocks go: arithmetic on lengths alone.

use crate::limits::{PACK_BLOCKS_MAX, SEALED_BLOCK_BYTES_MAX};
use crate::pack::SizeClass;
use crate::pack::directory::BLOCK_BYTES_MIN;
use crate::pack::end;

/// How full the slots of a body are.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    class: SizeClass,
    /// Bytes in use from the start of each slot.
    used: Vec<u32>,
    count: usize,
}

impl Layout {
    pub(super) fn new(class: SizeClass) -> Self {
        Layout { class, used: vec![0; class.slots() as usize], count: 0 }
    }

    pub(super) const fn class(&self) -> SizeClass {
        self.class
    }

    /// Whether a block of `len` bytes has room.
    pub(super) fn room_for(&self, len: usize) -> bool {
        self.slot_for(len).is_some()
    }

    /// Takes room for a block of `len` bytes and says where in the body it is.
    pub(super) fn place(&mut self, len: usize) -> Option<u32> {
        let slot = self.slot_for(len)?;
        let offset = slot as u32 * self.class.slot_bytes() + self.used[slot];
        self.used[slot] += len as u32;
        self.count += 1;
        Some(offset)
    }

    /// Where the directory of the blocks placed so far begins.
    pub(super) fn directory_at(&self) -> u32 {
        self.class.bytes() - end::bytes(self.count)
    }

    /// The slot that is left with the least room. The last one only where no other has any: its room is the directory's.
    fn slot_for(&self, len: usize) -> Option<usize> {
        if !(BLOCK_BYTES_MIN..=SEALED_BLOCK_BYTES_MAX).contains(&len) || self.count == PACK_BLOCKS_MAX {
            return None;
        }
        let len = len as u32;
        let (last_used, others) = self.used.split_last()?;
        let last_room = self.class.slot_bytes().checked_sub(last_used + end::bytes(self.count + 1))?;
        let room = |used: u32| self.class.slot_bytes() - used;
        let fits = others.iter().enumerate().filter(|(_, used)| room(**used) >= len);
        let best = fits.min_by_key(|(_, used)| room(**used)).map(|(slot, _)| slot);
        best.or((last_room >= len).then_some(others.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_goes_where_it_leaves_the_least_room() {
        let mut layout = Layout::new(SizeClass::M4);
        let slot = SizeClass::M4.slot_bytes();
        assert_eq!(layout.place(700 << 10), Some(0));
        assert_eq!(layout.place(900 << 10), Some(slot));
        assert_eq!(layout.place(100 << 10), Some(slot + (900 << 10)));
        assert_eq!(layout.place(300 << 10), Some(700 << 10));
    }

    #[test]
    fn the_last_slot_is_the_last_choice() {
        let mut layout = Layout::new(SizeClass::M4);
        let offsets: Vec<_> = (0..4).map(|_| layout.place(800 << 10).unwrap()).collect();
        assert_eq!(offsets, [0, 1 << 20, 2 << 20, 3 << 20]);
        assert_eq!(layout.place(1 << 10).map(|at| at < 3 << 20), Some(true));
    }

    #[test]
    fn the_directory_always_has_its_room() {
        for class in SizeClass::ALL {
            let mut layout = Layout::new(class);
            while layout.place(BLOCK_BYTES_MIN).is_some() {}
            let last_slot = class.bytes() - class.slot_bytes();
            assert!(layout.directory_at() >= last_slot + layout.used.last().unwrap());
            assert!(layout.count <= PACK_BLOCKS_MAX);
        }
    }

    #[test]
    fn lengths_that_no_block_has_find_no_room() {
        let layout = Layout::new(SizeClass::M16);
        for len in [0, BLOCK_BYTES_MIN - 1, SEALED_BLOCK_BYTES_MAX + 1, usize::MAX] {
            assert!(!layout.room_for(len));
        }
        assert!(layout.room_for(BLOCK_BYTES_MIN) && layout.room_for(SEALED_BLOCK_BYTES_MAX));
    }

    /// Lengths of sealed blocks as a volume has them: chunks that content cut, compressed to something between 30 and 100 %,
    /// and a tree node of up to 16 KiB for every four.
    fn realistic_lens(count: usize) -> Vec<usize> {
        let mut data = vec![0; 64 << 20];
        blake3::Hasher::new().finalize_xof().fill(&mut data);
        let cuts: Vec<_> = crate::chunker::cut(&data).map(|chunk| chunk.len()).collect();
        let mut random = blake3::Hasher::new().update(b"lens").finalize_xof();
        let mut below = |limit: usize| {
            let mut bytes = [0; 8];
            random.fill(&mut bytes);
            (u64::from_le_bytes(bytes) % limit as u64) as usize
        };
        let mut len = |n: usize| match n % 5 {
            4 => 1_000 + below(15_000),
            _ => (cuts[below(cuts.len())] * (30 + below(71)) / 100).max(BLOCK_BYTES_MIN),
        };
        (0..count).map(&mut len).collect()
    }

    /// The part of full packs that holds no blocks, in per cent.
    fn waste(class: SizeClass, packs: &[usize]) -> f64 {
        let room = packs.len() as f64 * f64::from(class.bytes());
        100.0 * (1.0 - packs.iter().sum::<usize>() as f64 / room)
    }

    /// Packs in the order of the blocks, each closed at the first block that finds no room. Bytes of blocks in each.
    fn in_order(class: SizeClass, lens: &[usize]) -> Vec<usize> {
        let (mut layout, mut full, mut packs) = (Layout::new(class), 0, Vec::new());
        for len in lens {
            if layout.place(*len).is_none() {
                packs.push(std::mem::take(&mut full));
                layout = Layout::new(class);
                layout.place(*len).unwrap();
            }
            full += len;
        }
        packs
    }

    /// Packs of batches of 64 MiB or so, longest first. The last pack of a batch is no full one.
    fn longest_first(class: SizeClass, lens: &[usize]) -> Vec<usize> {
        let mut packs = Vec::new();
        for batch in lens.chunks(400) {
            let mut batch = batch.to_vec();
            batch.sort_by_key(|len| std::cmp::Reverse(*len));
            let mut made = Vec::new();
            while !batch.is_empty() {
                let mut layout = Layout::new(class);
                let mut full = 0;
                batch.retain(|len| match layout.place(*len) {
                    Some(_) => {
                        full += len;
                        false
                    }
                    None => true,
                });
                made.push(full);
            }
            made.pop();
            packs.extend(made);
        }
        packs
    }

    #[test]
    fn little_is_wasted_on_a_realistic_mix() {
        let lens = realistic_lens(20_000);
        let mean = lens.iter().sum::<usize>() / lens.len();
        println!("waste: blocks of {mean} bytes on average");
        let measured = [SizeClass::M4, SizeClass::M16].map(|class| {
            let wasted = [in_order(class, &lens), longest_first(class, &lens)].map(|packs| waste(class, &packs));
            println!("waste: {class}: {:.1} % in order, {:.1} % longest first", wasted[0], wasted[1]);
            wasted
        });
        let [_, [in_order, longest_first]] = measured;
        assert!(in_order < 10.0 && longest_first < 2.0);
    }
}
