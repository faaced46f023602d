//! The simulator over many seeds, and the proof that its checks can fail.

use cairn_net::sim::{Guards, Options, Outcome, Violation, run};

/// The first seed of this run, and how many.
fn seeds(short: u64) -> std::ops::Range<u64> {
    let full = std::env::var("CAIRN_SCALE").is_ok_and(|scale| scale == "full");
    match std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None if full => 0..short * 30,
        None => 0..short,
    }
}

#[test]
fn nothing_acknowledged_is_lost_nothing_needed_is_dropped_and_redundancy_comes_back() {
    let mut total = Outcome::default();
    let seeds = seeds(200);
    for seed in seeds.clone() {
        // Six days of circles of five to ten nodes.
        let options = Options { nodes: 5 + (seed % 6) as usize, hours: 144, ..Options::of_seed(seed) };
        let outcome = run(options);
        assert!(
            outcome.violations.is_empty(),
            "{:?}\nCAIRN_SEED={seed}, or: cargo run --release -p cairn-net --example simulate -- --seed {seed} --nodes {} --hours 144",
            outcome.violations,
            options.nodes,
        );
        total.steps += outcome.steps;
        total.acknowledged += outcome.acknowledged;
        total.adopted += outcome.adopted;
        total.made += outcome.made;
        total.dropped += outcome.dropped;
        total.crashes += outcome.crashes;
        total.wiped += outcome.wiped;
        total.blocked += outcome.blocked;
    }
    println!("{} seeds of six days: {total:?}", seeds.end - seeds.start);
    // A run in which nothing happens shows nothing.
    let runs = (seeds.end - seeds.start) as usize;
    assert!(total.acknowledged > 20 * runs && total.adopted > runs && total.made > 5 * runs);
    assert!(total.dropped > 20 * runs && total.wiped > runs && total.blocked > runs);
}

#[test]
fn a_seed_plays_the_same_twice() {
    let options = Options { log: true, ..Options::of_seed(7) };
    assert_eq!(run(options), run(options));
}

/// Plays seeds without a measure until a check notices what `wanted` names.
fn is_noticed(guards: Guards, wanted: impl Fn(&Violation) -> bool) -> bool {
    let options = |seed: u64| Options { guards, nodes: 5 + (seed % 8) as usize, ..Options::of_seed(seed) };
    // Begins with a seed that is known to notice the rarest.
    (225..400).chain(0..225).any(|seed| run(options(seed)).violations.iter().any(&wanted))
}

#[test]
fn an_acknowledgement_before_the_sync_is_noticed() {
    let guards = Guards { sync_before_ack: false, ..Guards::default() };
    assert!(is_noticed(guards, |it| matches!(it, Violation::Forgotten { .. })));
}

#[test]
fn a_circle_that_does_not_repair_is_noticed() {
    let guards = Guards { repair: false, ..Guards::default() };
    assert!(is_noticed(guards, |it| matches!(it, Violation::NotWhole { .. })));
    assert!(is_noticed(guards, |it| matches!(it, Violation::Lost { .. })));
}

#[test]
fn a_holder_that_returns_and_was_told_of_no_hold_is_noticed() {
    let guards = Guards { share_holds: false, ..Guards::default() };
    assert!(is_noticed(guards, |it| matches!(it, Violation::DroppedLive { .. })));
}

#[test]
fn dropping_after_one_manifest_is_noticed() {
    let guards = Guards { two_generations: false, ..Guards::default() };
    assert!(is_noticed(guards, |it| matches!(it, Violation::DroppedLive { .. })));
}
