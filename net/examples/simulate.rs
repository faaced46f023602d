//! Replays one seed of the simulator and prints what happened:
//! `cargo run --release -p cairn-net --example simulate -- --seed N [--nodes N] [--hours H]`.

use std::process::ExitCode;

use cairn_net::sim::{Options, run};

const USAGE: &str = "usage: simulate --seed N [--nodes N] [--hours H]";

fn main() -> ExitCode {
    match options() {
        Ok(options) => show(options),
        Err(reason) => {
            eprintln!("{reason}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options { log: true, ..Options::of_seed(0) };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().and_then(|value| value.parse::<u64>().ok());
        let value = value.ok_or_else(|| format!("{name}: a number is missing"))?;
        match name.as_str() {
            "--seed" => options.seed = value,
            "--nodes" if (5..=64).contains(&value) => options.nodes = value as usize,
            "--nodes" => return Err("--nodes: 5 to 64".to_owned()),
            "--hours" if value <= 100_000 => options.hours = value,
            "--hours" => return Err("--hours: at most 100000".to_owned()),
            other => return Err(format!("{other}: not known")),
        }
    }
    Ok(options)
}

fn show(options: Options) -> ExitCode {
    let outcome = run(options);
    outcome.log.iter().for_each(|line| println!("{line}"));
    println!(
        "seed {}: {} steps, {} packs acknowledged, {} adopted, {} shards made again, {} dropped, {} crashes, {} of them with \
         the disk lost, {} directions blocked",
        options.seed,
        outcome.steps,
        outcome.acknowledged,
        outcome.adopted,
        outcome.made,
        outcome.dropped,
        outcome.crashes,
        outcome.wiped,
        outcome.blocked
    );
    outcome.violations.iter().for_each(|violation| println!("VIOLATION {violation}"));
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
