//! A member of a circle: one node, and what it is there for.

use crate::codec::{DecodeError, Reader, TooLong, Writer, check_bound};
use crate::id::DeviceId;
use crate::limits::{CAPACITY_MAX, MEMBER_TEXT_BYTES_MAX};

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Role {
    /// Signs epochs: invites, changes, revokes.
    Owner = 0,
    /// Stores, and has volumes.
    Member = 1,
    /// Keeps shards of others and has no volumes.
    StorageOnly = 2,
}

impl Role {
    /// The role with this number.
    pub const fn from_u8(number: u8) -> Option<Role> {
        match number {
            0 => Some(Role::Owner),
            1 => Some(Role::Member),
            2 => Some(Role::StorageOnly),
            _ => None,
        }
    }
}

/// Whether a node is mostly on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// Mostly on: carries redundancy.
    Anchor = 0,
    /// Comes and goes: holds caches, and what it wrote itself.
    Roaming = 1,
}

/// One node of a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The node: its device key's public half.
    pub node: DeviceId,
    /// What people call it; no other member's name.
    pub name: String,
    /// What it fails together with: a house, a provider, a power line.
    pub zone: String,
    /// Bytes that it stores for others.
    pub capacity: u64,
    /// What it may do.
    pub role: Role,
    /// Whether it is mostly on.
    pub class: Class,
    /// The number of the epoch that it came with. Signing an epoch sets it.
    pub joined: u64,
}

impl Member {
    /// The shortest encoded form: one letter each for name and zone.
    pub(crate) const BYTES_MIN: usize = 32 + 2 + 2 + 8 + 1 + 1 + 8;
    /// The longest.
    pub(crate) const BYTES_MAX: usize = Self::BYTES_MIN + 2 * (MEMBER_TEXT_BYTES_MAX - 1);

    pub(crate) fn encode(&self, out: &mut Writer) -> Result<(), TooLong> {
        out.raw(self.node.as_bytes());
        out.bytes8("member name", MEMBER_TEXT_BYTES_MAX, self.name.as_bytes())?;
        out.bytes8("member zone", MEMBER_TEXT_BYTES_MAX, self.zone.as_bytes())?;
        out.u64(self.capacity).u8(self.role as u8).u8(self.class as u8).u64(self.joined);
        Ok(())
    }

    pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Member {
            node: DeviceId::from_bytes(input.array("member node")?),
            name: text("member name", input.bytes8("member name", MEMBER_TEXT_BYTES_MAX)?)?,
            zone: text("member zone", input.bytes8("member zone", MEMBER_TEXT_BYTES_MAX)?)?,
            capacity: input.u64_max("member capacity", CAPACITY_MAX)?,
            role: Role::from_u8(input.u8("member role")?).ok_or(DecodeError::invalid("member role", "not known"))?,
            class: match input.u8("member class")? {
                0 => Class::Anchor,
                1 => Class::Roaming,
                _ => return Err(DecodeError::invalid("member class", "not known")),
            },
            joined: input.u64("member joined")?,
        })
    }

    /// What holds for every member, made here or elsewhere.
    pub(crate) fn check(&self, number: u64) -> Result<(), DecodeError> {
        for (what, given) in [("member name", &self.name), ("member zone", &self.zone)] {
            check_bound(what, given.len() as u64, MEMBER_TEXT_BYTES_MAX as u64)?;
            text(what, given.as_bytes())?;
        }
        check_bound("member capacity", self.capacity, CAPACITY_MAX)?;
        if self.joined == 0 {
            return Err(DecodeError::invalid("member joined", "it is zero"));
        }
        check_bound("member joined", self.joined, number)
    }
}

/// A name is shown in listings, typed, and compared by eye: nothing in it is invisible or turns the line around.
fn text(what: &'static str, bytes: &[u8]) -> Result<String, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::invalid(what, "it is not UTF-8"))?;
    if text.is_empty() || text.starts_with(' ') || text.ends_with(' ') {
        return Err(DecodeError::invalid(what, "it is empty, or begins or ends with a space"));
    }
    if text.chars().any(is_unseen) {
        return Err(DecodeError::invalid(what, "it holds a character that is not seen"));
    }
    Ok(text.to_owned())
}

const fn is_unseen(c: char) -> bool {
    matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_give_are_texts() {
        for name in ["a", "Großmutters Keller", "nas-2", "客厅", "x y"] {
            assert_eq!(text("name", name.as_bytes()).unwrap(), name);
        }
    }

    #[test]
    fn names_that_deceive_are_refused() {
        for name in ["", " a", "a ", "a\nb", "a\x1b[2J", "a\u{202e}b", "a\u{200b}", "\u{feff}a", "a\u{85}b"] {
            assert!(text("name", name.as_bytes()).is_err(), "{name:?}");
        }
        assert!(text("name", b"\xff").is_err());
    }
}
