//! Claims about heads.

use bytes::Bytes;
use cairn_block::limits::HEAD_BYTES_MAX;

use super::{Claim, claims};
use crate::testing::{block, device, volume};
use crate::{Store, StoreError, StoredHead};

pub(super) const CLAIMS: &[Claim<dyn Store>] = claims![
    heads_come_back_by_device_and_number,
    heads_of_volumes_are_apart,
    the_same_head_twice_is_one,
    another_head_under_a_taken_number_is_refused,
    the_largest_head_fits_and_a_larger_one_is_refused,
    dropped_heads_are_gone_and_absent_ones_passed_over,
    a_dropped_number_is_free_again,
    volumes_are_those_with_heads_or_deltas,
];

fn head(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn numbers(store: &dyn Store, of: u8) -> Vec<u64> {
    let heads = store.heads(&volume(of)).expect("heads");
    heads.into_iter().map(|head| head.seq).collect()
}

fn heads_come_back_by_device_and_number(store: Box<dyn Store>) {
    for (of, seq) in [(2, 7), (1, 300), (2, 1), (1, 2)] {
        store.put_head(&volume(1), &device(of), seq, &head("bytes")).expect("put_head");
    }
    let wanted = [(1, 2), (1, 300), (2, 1), (2, 7)].map(|(of, seq)| StoredHead {
        device: device(of),
        seq,
        bytes: head("bytes"),
    });
    assert_eq!(store.heads(&volume(1)).expect("heads"), wanted);
}

fn heads_of_volumes_are_apart(store: Box<dyn Store>) {
    store.put_head(&volume(1), &device(1), 1, &head("one")).expect("put_head");
    store.put_head(&volume(2), &device(1), 1, &head("two")).expect("put_head");
    store.drop_heads(&volume(1), &[(device(1), 1)]).expect("drop_heads");
    assert_eq!(numbers(store.as_ref(), 1), []);
    assert_eq!(store.heads(&volume(2)).expect("heads")[0].bytes, head("two"));
    assert_eq!(numbers(store.as_ref(), 3), []);
}

fn the_same_head_twice_is_one(store: Box<dyn Store>) {
    for _ in 0..2 {
        store.put_head(&volume(1), &device(1), 1, &head("same")).expect("put_head");
    }
    assert_eq!(numbers(store.as_ref(), 1), [1]);
}

fn another_head_under_a_taken_number_is_refused(store: Box<dyn Store>) {
    store.put_head(&volume(1), &device(1), 1, &head("first")).expect("put_head");
    let refused = store.put_head(&volume(1), &device(1), 1, &head("fork"));
    assert!(matches!(refused, Err(StoreError::HeadConflict { seq: 1, .. })));
    assert_eq!(store.heads(&volume(1)).expect("heads")[0].bytes, head("first"));
}

fn the_largest_head_fits_and_a_larger_one_is_refused(store: Box<dyn Store>) {
    let largest = Bytes::from(vec![7; HEAD_BYTES_MAX]);
    store.put_head(&volume(1), &device(1), 1, &largest).expect("put_head");
    assert_eq!(store.heads(&volume(1)).expect("heads")[0].bytes, largest);
    let larger = Bytes::from(vec![7; HEAD_BYTES_MAX + 1]);
    let refused = store.put_head(&volume(1), &device(1), 2, &larger);
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    assert_eq!(numbers(store.as_ref(), 1), [1]);
}

fn dropped_heads_are_gone_and_absent_ones_passed_over(store: Box<dyn Store>) {
    for seq in 1..=4 {
        store.put_head(&volume(1), &device(1), seq, &head("bytes")).expect("put_head");
    }
    let dropped = [(device(1), 1), (device(1), 3), (device(1), 99), (device(9), 2)];
    store.drop_heads(&volume(1), &dropped).expect("drop_heads");
    assert_eq!(numbers(store.as_ref(), 1), [2, 4]);
}

fn a_dropped_number_is_free_again(store: Box<dyn Store>) {
    store.put_head(&volume(1), &device(1), 1, &head("first")).expect("put_head");
    store.drop_heads(&volume(1), &[(device(1), 1)]).expect("drop_heads");
    store.put_head(&volume(1), &device(1), 1, &head("second")).expect("put_head");
    assert_eq!(store.heads(&volume(1)).expect("heads")[0].bytes, head("second"));
}

fn volumes_are_those_with_heads_or_deltas(store: Box<dyn Store>) {
    assert_eq!(store.volumes().expect("volumes"), []);
    store.append_delta(&volume(2), 1, &block(1, 100)).expect("append_delta");
    store.put_head(&volume(3), &device(1), 1, &head("bytes")).expect("put_head");
    store.put_head(&volume(1), &device(1), 1, &head("bytes")).expect("put_head");
    assert_eq!(store.volumes().expect("volumes"), [1, 2, 3].map(volume));
    store.drop_heads(&volume(3), &[(device(1), 1)]).expect("drop_heads");
    store.trim_deltas(&volume(2), 1).expect("trim_deltas");
    assert_eq!(store.volumes().expect("volumes"), [volume(1)]);
}
