//! Version vectors: how far each device's history is included in a head. They order heads; clocks don't.

use std::cmp::Ordering;

use crate::codec::{DecodeError, Reader, Writer};
use crate::id::DeviceId;
use crate::limits::{DEVICES_MAX, SEQ_LIMIT};

/// The newest sequence number included of each device, sorted by device. A device that is absent counts as zero.
pub type Vector = Vec<(DeviceId, u64)>;

const ENTRY_BYTES: usize = 32 + 8;

/// How two histories stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// They include the same.
    Equal,
    /// The second includes the first and more.
    Before,
    /// The first includes the second and more.
    After,
    /// Each includes something that the other one doesn't.
    Concurrent,
}

/// How the history of `a` stands to that of `b`. Both are sorted by device.
pub fn relate(a: &[(DeviceId, u64)], b: &[(DeviceId, u64)]) -> Relation {
    let (mut a_has_more, mut b_has_more) = (false, false);
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    loop {
        let side = match (a.peek(), b.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((in_a, _)), Some((in_b, _))) => in_a.cmp(in_b),
        };
        let a_seq = a.next_if(|_| side.is_le()).map_or(0, |(_, seq)| *seq);
        let b_seq = b.next_if(|_| side.is_ge()).map_or(0, |(_, seq)| *seq);
        a_has_more |= a_seq > b_seq;
        b_has_more |= b_seq > a_seq;
    }
    match (a_has_more, b_has_more) {
        (false, false) => Relation::Equal,
        (false, true) => Relation::Before,
        (true, false) => Relation::After,
        (true, true) => Relation::Concurrent,
    }
}

/// Whether the history of `a` holds all of that of `b`.
pub fn includes(a: &[(DeviceId, u64)], b: &[(DeviceId, u64)]) -> bool {
    matches!(relate(a, b), Relation::Equal | Relation::After)
}

/// What includes both histories and nothing else. Both are sorted by device.
pub fn join(a: &[(DeviceId, u64)], b: &[(DeviceId, u64)]) -> Vector {
    let mut joined: std::collections::BTreeMap<DeviceId, u64> = a.iter().copied().collect();
    for (device, seq) in b {
        let mine = joined.entry(*device).or_default();
        *mine = (*mine).max(*seq);
    }
    joined.into_iter().collect()
}

/// The sequence number of one device.
pub fn seq_of(vector: &[(DeviceId, u64)], device: &DeviceId) -> u64 {
    match vector.binary_search_by_key(device, |(device, _)| *device) {
        Ok(at) => vector[at].1,
        Err(_) => 0,
    }
}

/// Appends the encoded form: count as `u16`, then device and sequence number of each.
pub(crate) fn encode(vector: &[(DeviceId, u64)], out: &mut Writer) {
    out.u16(vector.len() as u16);
    for (device, seq) in vector {
        out.raw(device.as_bytes()).u64(*seq);
    }
}

pub(crate) fn decode(input: &mut Reader<'_>) -> Result<Vector, DecodeError> {
    let count = input.count16("vector", DEVICES_MAX, ENTRY_BYTES)?;
    let mut vector = Vec::with_capacity(count);
    for _ in 0..count {
        let device = DeviceId::from_bytes(input.array("vector device")?);
        vector.push((device, input.u64("vector sequence")?));
    }
    check(&vector)?;
    Ok(vector)
}

/// Whether a vector is one that a head may carry.
pub(crate) fn check(vector: &[(DeviceId, u64)]) -> Result<(), DecodeError> {
    crate::codec::check_bound("vector", vector.len() as u64, DEVICES_MAX as u64)?;
    if !vector.is_sorted_by(|(a, _), (b, _)| a < b) {
        return Err(DecodeError::invalid("vector", "the devices are not sorted, or not unique"));
    }
    if vector.iter().any(|(_, seq)| *seq == 0 || *seq >= SEQ_LIMIT) {
        return Err(DecodeError::invalid("vector", "a sequence number is zero or above the limit"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Relation::{After, Before, Concurrent, Equal};
    use proptest::prelude::*;

    fn vector(entries: &[(u8, u64)]) -> Vector {
        entries.iter().map(|(device, seq)| (DeviceId::from_bytes([*device; 32]), *seq)).collect()
    }

    #[test]
    fn histories_relate_by_what_they_include() {
        let related = |a, b| relate(&vector(a), &vector(b));
        assert_eq!(related(&[], &[]), Equal);
        assert_eq!(related(&[(1, 1)], &[(1, 1)]), Equal);
        assert_eq!(related(&[], &[(1, 1)]), Before);
        assert_eq!(related(&[(2, 5)], &[(1, 1), (2, 5)]), Before);
        assert_eq!(related(&[(1, 2), (3, 1)], &[(1, 1)]), After);
        assert_eq!(related(&[(1, 2)], &[(1, 1), (2, 1)]), Concurrent);
        assert_eq!(related(&[(1, 1)], &[(2, 1)]), Concurrent);
    }

    #[test]
    fn unsorted_repeated_zero_and_huge_entries_are_refused() {
        assert!(check(&vector(&[(1, 1), (2, 1)])).is_ok());
        for bad in [&[(2, 1), (1, 1)][..], &[(1, 1), (1, 2)], &[(1, 0)], &[(1, SEQ_LIMIT)]] {
            assert!(check(&vector(bad)).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn relating_agrees_with_the_definition(
            a in prop::collection::btree_map(0_u8..6, 1_u64..4, 0..6),
            b in prop::collection::btree_map(0_u8..6, 1_u64..4, 0..6),
        ) {
            let includes = |a: &std::collections::BTreeMap<u8, u64>, b: &std::collections::BTreeMap<u8, u64>| {
                b.iter().all(|(device, seq)| a.get(device).is_some_and(|mine| mine >= seq))
            };
            let wanted = match (includes(&a, &b), includes(&b, &a)) {
                (true, true) => Equal,
                (true, false) => After,
                (false, true) => Before,
                (false, false) => Concurrent,
            };
            let entries = |map: &std::collections::BTreeMap<u8, u64>| {
                vector(&map.iter().map(|(device, seq)| (*device, *seq)).collect::<Vec<_>>())
            };
            prop_assert_eq!(relate(&entries(&a), &entries(&b)), wanted);
            let joined = join(&entries(&a), &entries(&b));
            prop_assert!(super::includes(&joined, &entries(&a)));
            prop_assert!(super::includes(&joined, &entries(&b)));
            prop_assert!(joined.iter().all(|entry| entries(&a).contains(entry) || entries(&b).contains(entry)));
        }
    }
}
