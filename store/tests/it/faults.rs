//! Faults strike as scheduled, and tell the caller what they are.

use std::time::{Duration, Instant};

use cairn_store::faulty::{Call, Fault, Rule};
use cairn_store::testing::{ask, block, volume};
use cairn_store::{
    Ask, BlockStore, Collector, FaultyStore, HeadStore, HintStore, MemoryStore, StoreError, SweepOptions,
};

fn faulty() -> FaultyStore<MemoryStore> {
    FaultyStore::new(MemoryStore::new(), 1)
}

#[test]
fn only_the_nth_call_fails() {
    let store = faulty();
    store.faults().add(Rule::nth(Call::Put, 3, Fault::Io));
    let failed: Vec<_> = (1..=5).filter(|n| store.put(&block(*n, 100)).is_err()).collect();
    assert_eq!(failed, [3]);
    assert!(!store.inner().has(&block(3, 100).id()).expect("has"));
    assert_eq!((store.faults().calls(Call::Put), store.faults().struck()), (5, 1));
}

#[test]
fn a_full_disk_stays_full_and_still_reads() {
    let store = faulty();
    store.faults().add(Rule::from(Call::Put, 2, Fault::Full));
    store.put(&block(1, 100)).expect("put");
    for n in 2..5 {
        let error = store.put(&block(n, 100)).expect_err("full");
        assert!(error.is_full() && !error.is_retryable());
    }
    assert!(store.get(&block(1, 100).id(), ask()).expect("get").is_some());
}

#[test]
fn a_call_can_fail_although_it_was_done() {
    let store = faulty();
    store.faults().add(Rule::nth(Call::Put, 1, Fault::Timeout).although_done());
    assert!(store.put(&block(1, 100)).expect_err("timeout").is_retryable());
    assert!(store.inner().has(&block(1, 100).id()).expect("has"));
}

#[test]
fn a_sync_that_failed_made_nothing_durable() {
    let store = faulty();
    store.faults().add(Rule::nth(Call::Sync, 1, Fault::Io));
    store.put(&block(1, 100)).expect("put");
    let error = store.sync().expect_err("eio");
    assert!(matches!(error, StoreError::Io { .. }) && !error.is_retryable());
    store.inner().crash();
    assert!(!store.has(&block(1, 100).id()).expect("has"));
}

#[test]
fn damaged_bytes_never_come_out() {
    let store = faulty();
    let block = block(1, 100);
    store.put(&block).expect("put");
    store.faults().add(Rule::nth(Call::Get, 1, Fault::Damage));
    assert!(store.get(&block.id(), ask()).expect_err("damaged").is_damaged());
    assert_eq!(store.get(&block.id(), ask()).expect("get"), Some(block));
}

#[test]
fn a_stuck_get_ends_at_its_deadline() {
    let store = faulty();
    store.put(&block(1, 100)).expect("put");
    store.faults().add(Rule::nth(Call::Get, 1, Fault::Stuck));
    let (begun, timeout) = (Instant::now(), Duration::from_millis(50));
    let error = store.get(&block(1, 100).id(), Ask::now(timeout)).expect_err("late");
    assert!(matches!(error, StoreError::Timeout { op: "get", .. }));
    assert!((timeout..timeout * 40).contains(&begun.elapsed()));
}

#[test]
fn a_stuck_sync_goes_on_when_released() {
    let store = faulty();
    store.put(&block(1, 100)).expect("put");
    store.faults().add(Rule::nth(Call::Sync, 1, Fault::Stuck));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.sync());
        while store.faults().calls(Call::Sync) == 0 {
            std::thread::yield_now();
        }
        assert_eq!(store.inner().unsynced(), 1);
        while !waiting.is_finished() {
            store.faults().release();
            std::thread::yield_now();
        }
        waiting.join().expect("no panic").expect("sync");
    });
    assert_eq!(store.inner().unsynced(), 0);
}

#[test]
fn a_delay_passes_or_times_out_as_the_deadline_says() {
    let store = faulty();
    let block = block(1, 100);
    store.put(&block).expect("put");
    store.faults().add(Rule::from(Call::Get, 1, Fault::Delay(Duration::from_millis(20))));
    let begun = Instant::now();
    assert_eq!(store.get(&block.id(), ask()).expect("get"), Some(block.clone()));
    assert!(begun.elapsed() >= Duration::from_millis(20));
    let late = store.get(&block.id(), Ask::now(Duration::from_millis(5)));
    assert!(matches!(late, Err(StoreError::Timeout { .. })));
}

#[test]
fn chance_is_the_same_for_the_same_seed() {
    let failed = |seed| {
        let store = FaultyStore::new(MemoryStore::new(), seed);
        store.faults().add(Rule::by_chance(Call::Has, 200, Fault::TooManyFiles));
        let id = block(1, 100).id();
        (0..200).filter(|_| store.has(&id).is_err()).collect::<Vec<_>>()
    };
    assert_eq!(failed(7), failed(7));
    assert_ne!(failed(7), failed(8));
    assert!((20..60).contains(&failed(7).len()));
}

#[test]
fn every_ordinal_of_a_workload_can_be_struck() {
    let workload = |store: &FaultyStore<MemoryStore>| -> Result<(), StoreError> {
        store.put(&block(1, 100))?;
        store.append_delta(&volume(1), 1, &block(2, 100))?;
        store.sync()?;
        store.deltas(&volume(1), 0)?;
        let collection = store.begin_collection()?;
        collection.sweep(SweepOptions::default(), &mut |_| ())?;
        Ok(())
    };
    let sound = faulty();
    workload(&sound).expect("no rules");
    for n in 1..=sound.faults().calls_of_any() {
        let store = faulty();
        store.faults().add(Rule::nth_of_any(n, Fault::Io));
        assert!(workload(&store).is_err(), "call {n}");
        workload(&store).or_else(out_of_order_is_fine).expect("and works again");
    }
}

/// The delta may have been appended the first time.
fn out_of_order_is_fine(error: StoreError) -> Result<(), StoreError> {
    match error {
        StoreError::DeltaOutOfOrder { .. } => Ok(()),
        error => Err(error),
    }
}

#[test]
fn a_faulty_hint_store_forgets() {
    let store = faulty();
    store.faults().add(Rule::nth(Call::PutHint, 1, Fault::Io));
    store.put_hint([1; 32], "lost".into());
    assert_eq!(store.hint(&[1; 32]), None);
    store.put_hint([1; 32], "kept".into());
    store.faults().add(Rule::nth(Call::Hint, 1, Fault::Io));
    assert_eq!(store.hint(&[1; 32]), None);
    assert_eq!(store.hint(&[1; 32]), Some("kept".into()));
}
