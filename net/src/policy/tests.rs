//! What a policy is, and what circles of all sizes are told.

use super::*;
use cairn_block::DeviceId;

fn anchors(count: u8, zones: u8) -> Anchors {
    let names: Vec<String> = (0..zones).map(|zone| format!("zone {zone}")).collect();
    Anchors::new((0..count).map(|n| (DeviceId::from_bytes([n; 32]), names[usize::from(n % zones)].as_str(), 100)))
}

fn meets(policy: &str, uptimes: &[f64]) -> Result<Chosen, Unmet> {
    let anchors = anchors(uptimes.len() as u8, uptimes.len().max(1) as u8);
    policy.parse::<Policy>().unwrap().meets(Circle { anchors: &anchors, uptimes, target: TARGET })
}

fn auto(count: usize, uptime: f64) -> String {
    match meets("auto", &vec![uptime; count]) {
        Ok(chosen) => chosen.code.to_string(),
        Err(unmet) => unmet.to_string(),
    }
}

#[test]
fn a_policy_prints_as_it_is_written() {
    for text in ["auto", "copies=1", "copies=3", "copies=16", "1+2", "2+2", "4+2", "8+16"] {
        assert_eq!(text.parse::<Policy>().unwrap().to_string(), text);
    }
}

#[test]
fn what_is_no_policy_is_refused_in_words() {
    let long = "9".repeat(1000);
    let texts = [
        "",
        "Auto",
        "copies=",
        "copies=0",
        "copies=17",
        "copies=-1",
        "3+2",
        "4+",
        "+2",
        "4+17",
        "4+0",
        "4 + 2",
        "04+2",
        "4+2+1",
        &long,
    ];
    for text in texts {
        let error = text.parse::<Policy>().unwrap_err().to_string();
        assert!(error.contains("a policy can be auto") && error.len() < 250, "{error}");
    }
}

#[test]
fn small_circles_get_copies_and_larger_ones_codes() {
    assert_eq!(auto(4, 0.99), "copies=3");
    assert_eq!(auto(5, 0.99), "2+2");
    assert_eq!(auto(7, 0.99), "4+2");
    assert_eq!(auto(30, 0.99), "8+3");
    assert_eq!(auto(5, 0.95), "copies=4");
}

#[test]
fn a_circle_that_is_too_small_is_told_what_it_lacks_and_gets_the_best() {
    assert_eq!(auto(0, 0.99), "the circle has no anchor");
    assert_eq!(auto(3, 0.99), "no anchor is left where a lost shard could be made again; the best it can is copies=3");
    assert_eq!(auto(2, 0.995), "only one holder can be lost at a time; the best it can is copies=2");
    let away = "the anchors are away too often to be readable all but 1e-4 of the time; the best it can is ";
    assert_eq!(auto(1, 0.9), format!("{away}copies=1"));
    assert_eq!(auto(3, 0.7), format!("{away}copies=3"));
    assert_eq!(auto(30, 0.5), format!("{away}4+12"));
}

#[test]
fn a_fixed_policy_gets_what_it_asks_for_or_is_told() {
    let met = meets("4+2", &[0.99; 6]).unwrap();
    assert_eq!((met.code.to_string(), met.spares, met.survives_a_zone), ("4+2".to_owned(), 0, true));
    let told = |policy: &str, count: usize| meets(policy, &vec![0.99; count]).unwrap_err().to_string();
    assert_eq!(told("4+2", 5), "6 anchors are needed, and the circle has 5; the best it can is 4+1");
    assert_eq!(told("4+2", 4), "6 anchors are needed, and the circle has 4; the best it can is copies=3");
    assert_eq!(told("8+4", 2), "12 anchors are needed, and the circle has 2; the best it can is copies=2");
    assert_eq!(told("copies=5", 3), "5 anchors are needed, and the circle has 3; the best it can is copies=3");
}

#[test]
fn zones_that_are_too_few_are_told() {
    let anchors = anchors(8, 2);
    let circle = Circle { anchors: &anchors, uptimes: &[0.99; 8], target: TARGET };
    let chosen = "4+2".parse::<Policy>().unwrap().meets(circle).unwrap();
    assert!(!chosen.survives_a_zone);
}

#[test]
fn the_promise_holds_for_the_worst_anchors_and_unmeasured_ones_count_as_the_prior() {
    let mut uptimes = vec![0.999; 10];
    uptimes.extend([0.6, 0.6]);
    let chosen = meets("4+2", &uptimes).unwrap();
    assert!((chosen.unavailability - unavailability(4, &[0.6, 0.6, 0.999, 0.999, 0.999, 0.999])).abs() < 1e-15);
    let anchors = anchors(6, 6);
    let unknown = Circle { anchors: &anchors, uptimes: &[f64::NAN, 0.95], target: TARGET };
    let chosen = "copies=2".parse::<Policy>().unwrap().meets(unknown).unwrap();
    assert!((chosen.unavailability - 0.01).abs() < 1e-15);
}

#[test]
fn auto_meets_its_target_with_room_for_repair_wherever_it_says_so() {
    for count in 0..40 {
        for uptime in [0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999] {
            if let Ok(chosen) = meets("auto", &vec![uptime; count]) {
                assert!(chosen.unavailability <= TARGET && chosen.spares >= 1 && chosen.code.parity() >= 2);
                assert!(chosen.code.overhead() <= AUTO_OVERHEAD_MAX);
            }
        }
    }
}

#[test]
fn auto_never_means_a_single_copy_where_there_are_two_anchors() {
    for count in 2..40_u8 {
        let anchors = anchors(count, count);
        for uptimes in [vec![], vec![0.0; count.into()], vec![1e-9; count.into()], vec![1.0; count.into()]] {
            let circle = Circle { anchors: &anchors, uptimes: &uptimes, target: TARGET };
            let code = match Policy::Auto.meets(circle) {
                Ok(chosen) => chosen.code,
                Err(unmet) => unmet.best.unwrap().code,
            };
            assert!(code.m() >= 1 && (count < 3 || code.m() >= 2), "{count} anchors, {uptimes:?}: {code}");
        }
    }
}

#[test]
fn auto_weighs_only_codes_that_packs_can_have() {
    let (anchors, uptimes) = (anchors(40, 40), [0.9; 40]);
    let candidates = Candidates::of(Circle { anchors: &anchors, uptimes: &uptimes, target: TARGET });
    for chosen in candidates.codes(0, 0) {
        assert_eq!(chosen.code.to_string().parse(), Ok(chosen.code));
    }
}
