//! `fsbench DIR [MIB] [FILES] [SEED]`: what the filesystem of a directory does per second, as JSON.

use std::path::Path;
use std::process::ExitCode;

use cairn_fuse_tests::speed::{self, Load};

/// The sizes of the published figures.
const DEFAULT_LOAD: Load = Load { stream_mib: 256, files: 3_000, seed: 1 };

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((dir, load)) = parse(&arguments) else {
        eprintln!("usage: fsbench DIR [MIB] [FILES] [SEED]");
        return ExitCode::from(64);
    };
    match speed::measure(Path::new(dir), load) {
        Ok(figures) => {
            let rows = figures.iter().map(|f| serde_json::json!({ "name": f.name, "unit": f.unit, "value": f.value }));
            println!("{}", serde_json::Value::Array(rows.collect()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fsbench: {dir}: {error}");
            ExitCode::from(74)
        }
    }
}

fn parse(arguments: &[String]) -> Option<(&str, Load)> {
    let (dir, numbers) = arguments.split_first()?;
    let numbers: Vec<u64> = numbers.iter().map(|text| text.parse().ok()).collect::<Option<_>>()?;
    let number = |at: usize, default: u64| numbers.get(at).copied().unwrap_or(default);
    let load = Load {
        stream_mib: number(0, DEFAULT_LOAD.stream_mib),
        files: u32::try_from(number(1, u64::from(DEFAULT_LOAD.files))).ok()?,
        seed: number(2, DEFAULT_LOAD.seed),
    };
    (numbers.len() <= 3 && load.stream_mib > 0 && load.files >= 12).then_some((dir, load))
}
