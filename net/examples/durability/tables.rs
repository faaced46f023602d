//! Tables in Markdown. A test compares them with what the document says.

use std::fmt::Write;
use std::time::Duration;

use cairn_block::DeviceId;
use cairn_net::code::Numbers;
use cairn_net::durability::{Rates, unavailability, yearly_loss, yearly_loss_of_any};
use cairn_net::policy::TARGET;
use cairn_net::{Anchors, Circle, Code, Policy};

use super::spread;

const CODES: [(u8, u8); 9] = [(1, 1), (1, 2), (2, 2), (4, 1), (4, 2), (4, 4), (8, 2), (8, 4), (8, 8)];
const UPTIMES: [f64; 5] = [0.8, 0.9, 0.95, 0.99, 0.999];
/// A TiB in packs of 16 MiB, 64 to a group.
const GROUPS_OF_A_TIB: u64 = 1024;

/// Each table under the name that marks its place in the document.
pub(crate) fn named() -> Vec<(&'static str, String)> {
    vec![
        ("unavailability", unavailabilities()),
        ("auto", automatic()),
        ("loss", losses()),
        ("spread", spread::shares()),
        ("moves", spread::moves()),
    ]
}

#[allow(dead_code, reason = "the test that includes this file takes the tables one by one")]
pub(crate) fn all() -> String {
    named().into_iter().fold(String::new(), |text, (name, table)| format!("{text}{name}\n\n{table}\n"))
}

fn code((k, m): (u8, u8)) -> Code {
    cairn_net::code::of(k, m).expect("a code")
}

fn row(out: &mut String, cells: impl IntoIterator<Item = String>) {
    let cells: Vec<String> = cells.into_iter().collect();
    writeln!(out, "| {} |", cells.join(" | ")).expect("a string takes text");
}

/// Head and rule of a table; the first column is words, the others are numbers.
pub(crate) fn head(titles: impl IntoIterator<Item = String>) -> String {
    let titles: Vec<String> = titles.into_iter().collect();
    let mut out = String::new();
    let rule = "|---|".to_owned() + &"---:|".repeat(titles.len() - 1);
    row(&mut out, titles);
    out + &rule + "\n"
}

pub(crate) fn line(out: &mut String, name: &str, cells: impl IntoIterator<Item = String>) {
    row(out, std::iter::once(name.to_owned()).chain(cells));
}

fn chance(p: f64) -> String {
    if p < 1e-18 { "< 1e-18".to_owned() } else { format!("{p:.1e}") }
}

fn unavailabilities() -> String {
    let titles = ["policy", "stored"].map(str::to_owned).into_iter();
    let mut out = head(titles.chain(UPTIMES.map(|uptime| format!("up {uptime}"))));
    for code in CODES.map(code) {
        let chances = UPTIMES.map(|uptime| chance(unavailability(code.data(), &vec![uptime; code.total()])));
        line(&mut out, &code.to_string(), std::iter::once(format!("× {}", code.overhead())).chain(chances));
    }
    out
}

fn automatic() -> String {
    let counts = [3_u8, 4, 5, 6, 8, 10, 12, 16, 30];
    let titles = std::iter::once("uptime".to_owned());
    let mut out = head(titles.chain(counts.map(|count| format!("{count} anchors"))));
    for uptime in UPTIMES {
        let cells = counts.map(|count| {
            let zones: Vec<String> = (0..count).map(|zone| zone.to_string()).collect();
            let nodes = (0..count).map(|n| (DeviceId::from_bytes([n; 32]), zones[usize::from(n)].as_str(), 1));
            let anchors = Anchors::new(nodes);
            let circle = Circle { anchors: &anchors, uptimes: &vec![uptime; count.into()], target: TARGET };
            match Policy::Auto.meets(circle) {
                Ok(chosen) => chosen.code.to_string(),
                Err(unmet) => format!("({})", unmet.best.map_or("–".to_owned(), |best| best.code.to_string())),
            }
        });
        line(&mut out, &uptime.to_string(), cells);
    }
    out
}

fn losses() -> String {
    let days = |n: u64| Duration::from_secs(n * 24 * 3600);
    let columns = [(365, 2), (3 * 365, 2), (3 * 365, 8)];
    let titles = columns.map(|(life, repair)| format!("life {} y, repair {repair} d: a group", life / 365));
    let any = columns.map(|(life, repair)| format!("life {} y, repair {repair} d: 1 TiB", life / 365));
    let pairs = titles.into_iter().zip(any).flat_map(|(one, all)| [one, all]);
    let mut out = head(std::iter::once("policy".to_owned()).chain(pairs));
    for code in CODES.map(code) {
        let cells = columns.into_iter().flat_map(|(life, repair)| {
            let rates = Rates { node_lifetime: days(life), repair: days(repair) };
            [yearly_loss(code, rates), yearly_loss_of_any(code, rates, GROUPS_OF_A_TIB)].map(chance)
        });
        line(&mut out, &code.to_string(), cells);
    }
    out
}
