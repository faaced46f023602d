//! The sizes that packs have.

use std::fmt;
use std::ops::Range;

use crate::codec::DecodeError;
use crate::limits::{CELL_BYTES, SLOT_BYTES};
use crate::pack::layout::Layout;

/// How large a pack's body is. A holder sees this much of a pack and no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SizeClass {
    /// 256 KiB in one slot.
    K256 = 0,
    /// 1 MiB in one slot.
    M1 = 1,
    /// 4 MiB in four slots.
    M4 = 2,
    /// 16 MiB in sixteen slots.
    M16 = 3,
}

impl SizeClass {
    /// All, from the smallest up.
    pub const ALL: [SizeClass; 4] = [SizeClass::K256, SizeClass::M1, SizeClass::M4, SizeClass::M16];

    /// The class with this number.
    pub fn from_u8(number: u8) -> Result<Self, DecodeError> {
        let found = SizeClass::ALL.into_iter().find(|class| *class as u8 == number);
        found.ok_or(DecodeError::invalid("class", "not known"))
    }

    /// The class of a body of `len` bytes.
    pub fn of_len(len: usize) -> Option<Self> {
        SizeClass::ALL.into_iter().find(|class| class.bytes() as usize == len)
    }

    /// Bytes of a body.
    pub const fn bytes(self) -> u32 {
        match self {
            SizeClass::K256 => 256 << 10,
            SizeClass::M1 => 1 << 20,
            SizeClass::M4 => 4 << 20,
            SizeClass::M16 => 16 << 20,
        }
    }

    /// Bytes of a slot, which no block crosses.
    pub const fn slot_bytes(self) -> u32 {
        let slot = SLOT_BYTES as u32;
        if self.bytes() < slot { self.bytes() } else { slot }
    }

    /// How many slots there are.
    pub const fn slots(self) -> u32 {
        self.bytes() / self.slot_bytes()
    }

    /// The smallest class whose pack takes blocks of these lengths in bytes, added in this order; none if no pack does.
    pub fn smallest_for(lens: &[usize]) -> Option<Self> {
        let takes_all = |class: &SizeClass| {
            let mut layout = Layout::new(*class);
            lens.iter().all(|len| layout.place(*len).is_some())
        };
        SizeClass::ALL.into_iter().find(takes_all)
    }
}

impl fmt::Display for SizeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SizeClass::K256 => "256 KiB",
            SizeClass::M1 => "1 MiB",
            SizeClass::M4 => "4 MiB",
            SizeClass::M16 => "16 MiB",
        })
    }
}

/// The whole cells that `range` touches, within the first `len` bytes: what is asked for instead of it.
///
/// All are bytes of one body or shard, `len` its length. An empty range touches no cell.
pub fn cells(range: &Range<u32>, len: u32) -> Range<u32> {
    let start = range.start - range.start % CELL_BYTES;
    if range.is_empty() {
        return start.min(len)..start.min(len);
    }
    let end = range.end.checked_next_multiple_of(CELL_BYTES).unwrap_or(len);
    start.min(len)..end.min(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_known_by_its_number_and_by_its_length() {
        for class in SizeClass::ALL {
            assert_eq!(SizeClass::from_u8(class as u8), Ok(class));
            assert_eq!(SizeClass::of_len(class.bytes() as usize), Some(class));
            assert_eq!(class.slots() * class.slot_bytes(), class.bytes());
            assert_eq!(SizeClass::of_len(class.bytes() as usize - 1), None);
        }
        assert!(SizeClass::from_u8(4).is_err());
    }

    #[test]
    fn the_smallest_class_that_takes_everything_is_chosen() {
        assert_eq!(SizeClass::smallest_for(&[]), Some(SizeClass::K256));
        assert_eq!(SizeClass::smallest_for(&[200 << 10]), Some(SizeClass::K256));
        assert_eq!(SizeClass::smallest_for(&[200 << 10, 60 << 10]), Some(SizeClass::M1));
        // The directory's room is missing in a slot of its own.
        assert_eq!(SizeClass::smallest_for(&[256 << 10]), Some(SizeClass::M1));
        assert_eq!(SizeClass::smallest_for(&[1 << 20]), Some(SizeClass::M4));
        assert_eq!(SizeClass::smallest_for(&[1 << 20; 4]), Some(SizeClass::M16));
        assert_eq!(SizeClass::smallest_for(&[1 << 20; 16]), None);
        assert_eq!(SizeClass::smallest_for(&[(1 << 20) + 1]), None);
    }

    #[test]
    fn a_range_is_widened_to_whole_cells() {
        let len = 4 * CELL_BYTES;
        assert_eq!(cells(&(0..1), len), 0..CELL_BYTES);
        assert_eq!(cells(&(CELL_BYTES - 1..CELL_BYTES + 1), len), 0..2 * CELL_BYTES);
        assert_eq!(cells(&(CELL_BYTES..2 * CELL_BYTES), len), CELL_BYTES..2 * CELL_BYTES);
        assert_eq!(cells(&(len - 1..u32::MAX), len), len - CELL_BYTES..len);
        assert_eq!(cells(&(5..5), len), 0..0);
        assert_eq!(cells(&(u32::MAX - 1..u32::MAX), len), len..len);
    }
}
