//! Claims about journals.

use bytes::Bytes;
use cairn_block::DeviceId;
use cairn_block::limits::SEQ_LIMIT;

use super::{Claim, claims};
use crate::testing::{ask, block, volume};
use crate::{Put, Store, StoreError};

pub(super) const CLAIMS: &[Claim<dyn Store>] = claims![
    deltas_come_back_ascending_from_where_asked,
    a_delta_is_readable_by_id,
    a_delta_may_be_a_block_that_is_known,
    numbers_may_skip_but_not_go_back,
    trimmed_deltas_are_gone_and_their_numbers_stay_used,
    journals_of_volumes_are_apart,
    a_number_without_a_next_one_is_refused,
];

fn a_number_without_a_next_one_is_refused(store: Box<dyn Store>) {
    for number in [SEQ_LIMIT, u64::MAX] {
        let device = DeviceId::from_bytes([1; 32]);
        let head = store.put_head(&volume(1), &device, number, &Bytes::from_static(b"head"));
        let answers = [append(store.as_ref(), 1, number), head, store.trim_deltas(&volume(1), number)];
        assert!(answers.iter().all(|answer| matches!(answer, Err(StoreError::NumberTooHigh { .. }))), "{answers:?}");
    }
    append(store.as_ref(), 1, SEQ_LIMIT - 1).expect("the highest");
}

fn append(store: &dyn Store, of: u8, seq: u64) -> Result<(), StoreError> {
    store.append_delta(&volume(of), seq, &block(seq, 200))
}

fn numbers(store: &dyn Store, of: u8, after: u64) -> Vec<u64> {
    let deltas = store.deltas(&volume(of), after).expect("deltas");
    deltas.into_iter().map(|(seq, _)| seq).collect()
}

fn deltas_come_back_ascending_from_where_asked(store: Box<dyn Store>) {
    for seq in 1..=300 {
        append(store.as_ref(), 1, seq).expect("append_delta");
    }
    assert_eq!(numbers(store.as_ref(), 1, 0), Vec::from_iter(1..=300));
    assert_eq!(numbers(store.as_ref(), 1, 255), Vec::from_iter(256..=300));
    assert_eq!(numbers(store.as_ref(), 1, 300), []);
    assert_eq!(numbers(store.as_ref(), 1, u64::MAX), []);
}

fn a_delta_is_readable_by_id(store: Box<dyn Store>) {
    append(store.as_ref(), 1, 1).expect("append_delta");
    let deltas = store.deltas(&volume(1), 0).expect("deltas");
    let wanted = block(1, 200);
    assert_eq!(deltas, [(1, wanted.id())]);
    assert!(store.has(&wanted.id()).expect("has"));
    assert_eq!(store.put(&wanted).expect("put"), Put::Known);
    assert_eq!(store.get(&wanted.id(), ask()).expect("get"), Some(wanted));
}

fn a_delta_may_be_a_block_that_is_known(store: Box<dyn Store>) {
    let known = block(1, 200);
    store.put(&known).expect("put");
    store.append_delta(&volume(1), 1, &known).expect("append_delta");
    store.append_delta(&volume(1), 2, &known).expect("append_delta");
    let deltas = store.deltas(&volume(1), 0).expect("deltas");
    assert_eq!(deltas, [(1, known.id()), (2, known.id())]);
}

fn numbers_may_skip_but_not_go_back(store: Box<dyn Store>) {
    for seq in [2, 5] {
        append(store.as_ref(), 1, seq).expect("append_delta");
    }
    for seq in [0, 1, 4, 5] {
        let refused = append(store.as_ref(), 1, seq);
        assert!(matches!(refused, Err(StoreError::DeltaOutOfOrder { last: 5, .. })));
    }
    assert_eq!(numbers(store.as_ref(), 1, 0), [2, 5]);
}

fn trimmed_deltas_are_gone_and_their_numbers_stay_used(store: Box<dyn Store>) {
    for seq in 1..=5 {
        append(store.as_ref(), 1, seq).expect("append_delta");
    }
    store.trim_deltas(&volume(1), 3).expect("trim_deltas");
    assert_eq!(numbers(store.as_ref(), 1, 0), [4, 5]);
    store.trim_deltas(&volume(1), 9).expect("trim_deltas");
    assert_eq!(numbers(store.as_ref(), 1, 0), []);
    store.trim_deltas(&volume(1), 2).expect("trim_deltas");
    let refused = append(store.as_ref(), 1, 9);
    assert!(matches!(refused, Err(StoreError::DeltaOutOfOrder { last: 9, .. })));
    append(store.as_ref(), 1, 10).expect("append_delta");
    assert_eq!(numbers(store.as_ref(), 1, 0), [10]);
}

fn journals_of_volumes_are_apart(store: Box<dyn Store>) {
    append(store.as_ref(), 1, 5).expect("append_delta");
    append(store.as_ref(), 2, 1).expect("append_delta");
    store.trim_deltas(&volume(1), 5).expect("trim_deltas");
    assert_eq!(numbers(store.as_ref(), 2, 0), [1]);
    assert_eq!(numbers(store.as_ref(), 3, 0), []);
}
