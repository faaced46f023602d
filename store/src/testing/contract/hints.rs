//! Claims about hints: they may be forgotten, but not wrong.

use bytes::Bytes;

use super::{Claim, claims};
use crate::{HINT_BYTES_MAX, Store};

pub(super) const CLAIMS: &[Claim<dyn Store>] =
    claims![a_hint_is_what_was_put_last_or_forgotten, some_hints_are_remembered, an_oversized_hint_is_not_kept,];

fn hint(fill: u8, bytes: usize) -> Bytes {
    Bytes::from(vec![fill; bytes])
}

fn a_hint_is_what_was_put_last_or_forgotten(store: Box<dyn Store>) {
    assert_eq!(store.hint(&[1; 32]), None);
    store.put_hint([1; 32], hint(1, 140));
    store.put_hint([1; 32], hint(2, 140));
    let found = store.hint(&[1; 32]);
    assert!(found.is_none() || found == Some(hint(2, 140)));
}

fn some_hints_are_remembered(store: Box<dyn Store>) {
    let keys: Vec<[u8; 32]> = (0..100).map(|n| [n; 32]).collect();
    for key in &keys {
        store.put_hint(*key, hint(key[0], HINT_BYTES_MAX));
    }
    let found = keys.iter().filter(|key| store.hint(key) == Some(hint(key[0], HINT_BYTES_MAX)));
    assert!(found.count() >= keys.len() / 2);
}

fn an_oversized_hint_is_not_kept(store: Box<dyn Store>) {
    store.put_hint([1; 32], hint(1, HINT_BYTES_MAX + 1));
    assert_eq!(store.hint(&[1; 32]), None);
}
