//! Codes: how a pack becomes shards.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use thiserror::Error;

use crate::limits::{COPIES_MAX, DATA_SHARDS_MAX, PARITY_SHARDS_MAX};
use crate::pack::SizeClass;

/// The kinds of codes, numbered as in a descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CodeKind {
    /// Each shard is the body.
    Copies = 0,
    /// k data and m parity shards, any k of which give the body.
    ReedSolomon = 1,
}

/// How a pack becomes shards. Written as `copies=3` or `4+2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code {
    kind: CodeKind,
    k: u8,
    m: u8,
}

impl Code {
    /// `n` copies, 1 to 16.
    pub const fn copies(n: u8) -> Result<Self, CodeError> {
        if n == 0 || n > COPIES_MAX {
            return Err(CodeError::Copies { n });
        }
        Ok(Code { kind: CodeKind::Copies, k: 1, m: n - 1 })
    }

    /// `k` data shards, 1, 2, 4 or 8, and `m` parity shards, 1 to 16.
    pub const fn reed_solomon(k: u8, m: u8) -> Result<Self, CodeError> {
        if !k.is_power_of_two() || k > DATA_SHARDS_MAX {
            return Err(CodeError::DataShards { k });
        }
        if m == 0 || m > PARITY_SHARDS_MAX {
            return Err(CodeError::ParityShards { m });
        }
        Ok(Code { kind: CodeKind::ReedSolomon, k, m })
    }

    /// Copies, or Reed-Solomon.
    pub const fn kind(self) -> CodeKind {
        self.kind
    }

    /// How many shards give the body back; 1 for copies.
    pub const fn k(self) -> u8 {
        self.k
    }

    /// How many shards may be lost.
    pub const fn m(self) -> u8 {
        self.m
    }

    /// How many shards there are.
    pub const fn shards(self) -> u8 {
        self.k + self.m
    }

    /// Bytes of each shard of a pack of this class. It must have a slot at least for each data shard.
    pub fn shard_bytes(self, class: SizeClass) -> Result<u32, CodeError> {
        if !class.slots().is_multiple_of(self.k.into()) {
            return Err(CodeError::Slots { code: self, class });
        }
        Ok(class.bytes() / u32::from(self.k))
    }

    /// Which data shard holds `range` of the body of a pack of this class, and where in it. None if none holds all of it:
    /// no block is such a range.
    pub fn locate(self, class: SizeClass, range: &Range<u32>) -> Option<(u8, Range<u32>)> {
        let bytes = self.shard_bytes(class).ok()?;
        let shard = range.start / bytes;
        let first = shard * bytes;
        let end = range.end.checked_sub(first)?;
        let holds = range.start <= range.end && range.end <= class.bytes() && end <= bytes;
        holds.then_some((shard as u8, range.start - first..end))
    }

    /// The code that a descriptor says it is.
    pub(super) fn from_numbers(kind: u8, k: u8, m: u8) -> Result<Self, CodeError> {
        match kind {
            0 if k == 1 => Code::copies(m.saturating_add(1)),
            0 => Err(CodeError::DataShards { k }),
            1 => Code::reed_solomon(k, m),
            _ => Err(CodeError::Kind { kind }),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            CodeKind::Copies => f.pad(&format!("copies={}", self.shards())),
            CodeKind::ReedSolomon => f.pad(&format!("{}+{}", self.k, self.m)),
        }
    }
}

impl FromStr for Code {
    type Err = CodeError;

    fn from_str(text: &str) -> Result<Self, CodeError> {
        let unknown = || CodeError::Text { text: text.chars().take(40).collect() };
        let number = |text: &str| text.parse::<u8>().map_err(|_| unknown());
        let code = match text.strip_prefix("copies=") {
            Some(n) => Code::copies(number(n)?)?,
            None => {
                let (k, m) = text.split_once('+').ok_or_else(unknown)?;
                Code::reed_solomon(number(k)?, number(m)?)?
            }
        };
        // One text is one code: no zeros or signs in front.
        if code.to_string() == text { Ok(code) } else { Err(unknown()) }
    }
}

/// A code that there isn't, or not for this pack.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CodeError {
    /// A number of copies out of bounds.
    #[error("{n} copies: it can be 1 to {COPIES_MAX}")]
    Copies {
        /// The number given.
        n: u8,
    },
    /// A number of data shards that slots can't be shared out to.
    #[error("{k} data shards: it can be 1, 2, 4 or {DATA_SHARDS_MAX} of a code, and 1 of copies")]
    DataShards {
        /// The number given.
        k: u8,
    },
    /// A number of parity shards out of bounds.
    #[error("{m} parity shards: it can be 1 to {PARITY_SHARDS_MAX}")]
    ParityShards {
        /// The number given.
        m: u8,
    },
    /// A pack with too few slots for the code.
    #[error("a pack of {class} has fewer slots than {code} has data shards")]
    Slots {
        /// The code.
        code: Code,
        /// The pack's class.
        class: SizeClass,
    },
    /// A code that this reader doesn't know.
    #[error("code {kind} is not known")]
    Kind {
        /// The number found.
        kind: u8,
    },
    /// Text that is no code.
    #[error("{text:?} is no code: it is written as copies=3 or 4+2")]
    Text {
        /// The start of the text.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_prints_and_parses_in_one_way() {
        for text in ["copies=1", "copies=16", "1+1", "4+2", "8+16"] {
            assert_eq!(text.parse::<Code>().unwrap().to_string(), text);
        }
        let bad = [
            "",
            "+",
            "4+",
            "+2",
            "3+2",
            "16+2",
            "0+1",
            "4+0",
            "4+17",
            "4+2 ",
            "04+2",
            "4++2",
            "copies",
            "copies=",
            "copies=0",
            "copies=17",
            "copies=+3",
            "copies=03",
            "Copies=3",
            "4+256",
            "-4+2",
        ];
        for text in bad {
            assert!(text.parse::<Code>().is_err(), "{text}");
        }
    }

    #[test]
    fn slots_are_shared_out_evenly_or_not_at_all() {
        let bytes = |text: &str, class| text.parse::<Code>().unwrap().shard_bytes(class).ok();
        assert_eq!(bytes("8+4", SizeClass::M16), Some(2 << 20));
        assert_eq!(bytes("4+2", SizeClass::M4), Some(1 << 20));
        assert_eq!(bytes("8+4", SizeClass::M4), None);
        assert_eq!(bytes("2+1", SizeClass::M1), None);
        assert_eq!(bytes("1+1", SizeClass::K256), Some(256 << 10));
        assert_eq!(bytes("copies=3", SizeClass::M16), Some(16 << 20));
    }

    #[test]
    fn a_range_of_the_body_is_found_in_one_shard() {
        let code = Code::reed_solomon(4, 2).unwrap();
        let at = |range: Range<u32>| code.locate(SizeClass::M4, &range);
        assert_eq!(at(0..10), Some((0, 0..10)));
        assert_eq!(at((3 << 20) + 5..4 << 20), Some((3, 5..1 << 20)));
        assert_eq!(at((1 << 20) - 1..(1 << 20) + 1), None);
        assert_eq!(at(4 << 20..(4 << 20) + 1), None);
        assert_eq!(at(u32::MAX - 1..u32::MAX), None);
        #[expect(clippy::reversed_empty_ranges, reason = "what a caller may get wrong")]
        let reversed = at(9..3);
        assert_eq!(reversed, None);
    }
}
