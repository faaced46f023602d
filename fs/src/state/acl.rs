//! POSIX access control lists in the kernel's xattr form: inheritance at creation and the tie
//! between an access list and the mode bits.
//!
//! The algorithms are those of POSIX 1003.1e draft 17, sections 23.1.2 and 23.1.3; the byte form is
//! `linux/posix_acl_xattr.h`.

use bytes::Bytes;

/// xattr that holds the access list.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// xattr that holds the list which new children inherit.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;

/// Bounds the entries of one list; ext4 allows about 500.
const ENTRIES_MAX: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ace {
    tag: u16,
    perm: u16,
    id: u32,
}

/// A parsed list that has its three obligatory entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl(Vec<Ace>);

impl Acl {
    /// Reads the xattr form; `None` for anything that is not a complete list.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Acl> {
        let (version, rest) = bytes.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION || rest.len() % 8 != 0 || rest.len() / 8 > ENTRIES_MAX {
            return None;
        }
        let aces: Vec<Ace> = rest
            .chunks_exact(8)
            .map(|e| Ace {
                tag: u16::from_le_bytes([e[0], e[1]]),
                perm: u16::from_le_bytes([e[2], e[3]]),
                id: u32::from_le_bytes([e[4], e[5], e[6], e[7]]),
            })
            .collect();
        let count = |tag| aces.iter().filter(|a| a.tag == tag).count();
        let known = |a: &Ace| matches!(a.tag, USER_OBJ | USER | GROUP_OBJ | GROUP | MASK | OTHER) && a.perm <= 7;
        let named = aces.iter().any(|a| matches!(a.tag, USER | GROUP));
        let whole = count(USER_OBJ) == 1 && count(GROUP_OBJ) == 1 && count(OTHER) == 1 && count(MASK) <= 1;
        (whole && aces.iter().all(known) && (!named || count(MASK) == 1)).then_some(Acl(aces))
    }

    /// The xattr form.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(4 + 8 * self.0.len());
        out.extend_from_slice(&VERSION.to_le_bytes());
        for ace in &self.0 {
            out.extend_from_slice(&ace.tag.to_le_bytes());
            out.extend_from_slice(&ace.perm.to_le_bytes());
            out.extend_from_slice(&ace.id.to_le_bytes());
        }
        Bytes::from(out)
    }

    /// The permission bits that the list stands for: the mask shows as the group's.
    pub(crate) fn mode(&self) -> u16 {
        let group = if self.has(MASK) { MASK } else { GROUP_OBJ };
        self.perm(USER_OBJ) << 6 | self.perm(group) << 3 | self.perm(OTHER)
    }

    /// The owning group's own permission, as mode bits.
    pub(crate) fn group_mode(&self) -> u16 {
        self.perm(GROUP_OBJ) << 3
    }

    /// Whether the mode says all that the list says.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.len() == 3
    }

    /// The list after a chmod to `mode`.
    pub(crate) fn with_mode(&self, mode: u16) -> Acl {
        let group = if self.has(MASK) { MASK } else { GROUP_OBJ };
        let mut acl = self.clone();
        for ace in &mut acl.0 {
            match ace.tag {
                USER_OBJ => ace.perm = mode >> 6 & 7,
                OTHER => ace.perm = mode & 7,
                tag if tag == group => ace.perm = mode >> 3 & 7,
                _ => {}
            }
        }
        acl
    }

    /// The access list of a child created with `mode` under this default list, and its mode bits.
    pub(crate) fn inherit(&self, mode: u16) -> (Acl, u16) {
        let acl = self.with_mode(self.mode() & mode);
        let bits = acl.mode();
        (acl, bits)
    }

    fn has(&self, tag: u16) -> bool {
        self.0.iter().any(|a| a.tag == tag)
    }

    fn perm(&self, tag: u16) -> u16 {
        self.0.iter().find(|a| a.tag == tag).map_or(0, |a| a.perm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Bytes {
        Acl(entries.iter().map(|&(tag, perm, id)| Ace { tag, perm, id }).collect()).encode()
    }

    #[test]
    fn a_list_without_its_obligatory_entries_is_refused() {
        assert!(Acl::parse(&list(&[(USER_OBJ, 7, 0), (GROUP_OBJ, 5, 0)])).is_none());
        assert!(Acl::parse(&list(&[(USER_OBJ, 7, 0), (USER, 7, 9), (GROUP_OBJ, 5, 0), (OTHER, 0, 0)])).is_none());
        assert!(Acl::parse(b"\x02\0\0\0\x01").is_none());
    }

    #[test]
    fn the_mask_shows_as_the_group_bits() {
        let bytes = list(&[(USER_OBJ, 7, 0), (USER, 7, 9), (GROUP_OBJ, 5, 0), (MASK, 6, 0), (OTHER, 1, 0)]);
        let acl = Acl::parse(&bytes).expect("a whole list");
        assert_eq!(acl.mode(), 0o761);
        assert_eq!(acl.with_mode(0o640).mode(), 0o640);
        assert_eq!(acl.with_mode(0o640).perm(GROUP_OBJ), 5);
        assert_eq!(acl.inherit(0o640).1, 0o640);
    }
}
