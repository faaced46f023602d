//! Threads in every order: a scenario is played again and again, each time with another schedule.
//!
//! Half of the schedules pick any thread at each step, half give threads priorities and change them now and then, which finds
//! what takes few but certain switches. A schedule that fails is printed; `CAIRN_SCHEDULE=…` plays it again.

use std::sync::Arc;

use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

use super::Extent;

/// Room for whatever a store calls; most of it is never touched.
const STACK_BYTES: usize = 512 << 10;
/// Changes of priority in a schedule.
const SWITCHES: usize = 3;

/// Plays a scenario in 10⁴ schedules, or in 10⁶ if `CAIRN_SCALE` is `full`.
pub fn schedules(name: &str, scenario: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    if let Ok(schedule) = std::env::var("CAIRN_SCHEDULE") {
        return shuttle::replay(scenario, &schedule);
    }
    let short = Extent { runs: 10_000, steps: 1 };
    let runs = Extent::pick(short, Extent { runs: 1_000_000, ..short }).runs as usize;
    let seed = std::env::var("CAIRN_SEED")
        .map_or_else(|_| super::explore::seed_of_the_clock(), |seed| seed.parse().expect("a number"));
    println!("{name}: {runs} schedules, CAIRN_SEED={seed}");
    let begun = std::time::Instant::now();
    let scenario = Arc::new(scenario);
    for scheduler in ["random", "priorities"] {
        let scenario = scenario.clone();
        let scenario = move || scenario();
        match scheduler {
            "random" => Runner::new(RandomScheduler::new_from_seed(seed, runs / 2), config.clone()).run(scenario),
            _ => Runner::new(PctScheduler::new_from_seed(seed, SWITCHES, runs / 2), config.clone()).run(scenario),
        };
    }
    println!("{name}: nothing found in {:.1} s", begun.elapsed().as_secs_f64());
}
