//! How evenly placement spreads, and how much of it moves when a circle changes.

use std::collections::BTreeMap;

use cairn_block::{DeviceId, PlacementKey};
use cairn_net::code::Numbers;
use cairn_net::{Anchors, Code, place};

use super::tables::{head, line};

const GROUPS: u64 = 10_000;

/// Capacity and zone of each node.
type Nodes = Vec<(u8, u64, u8)>;

/// Twelve nodes in as many zones, of sizes 1, 1, 2, 2, 4, 4 … or all 1.
fn nodes(sizes: &[u64]) -> Nodes {
    (0..12).map(|n| (n, sizes[usize::from(n) * sizes.len() / 12], n)).collect()
}

fn anchors(nodes: &Nodes) -> Anchors {
    let zones: Vec<String> = nodes.iter().map(|(.., zone)| format!("{zone:02}")).collect();
    let named = nodes.iter().zip(&zones);
    Anchors::new(named.map(|((n, size, _), zone)| (DeviceId::from_bytes([*n; 32]), zone.as_str(), *size)))
}

fn code(k: u8, m: u8) -> Code {
    cairn_net::code::of(k, m).expect("a code")
}

/// The holder of every shard of every group.
fn placements(code: Code, nodes: &Nodes) -> Vec<Option<DeviceId>> {
    let (key, anchors) = (PlacementKey::from_bytes([7; 32]), anchors(nodes));
    (0..GROUPS).flat_map(|group| place(&key, group, code, &anchors).holders).collect()
}

fn loads(placed: &[Option<DeviceId>]) -> BTreeMap<u8, u64> {
    let mut loads = BTreeMap::new();
    for holder in placed.iter().flatten() {
        *loads.entry(holder.as_bytes()[0]).or_insert(0) += 1;
    }
    loads
}

/// The share of each node that is in proportion to its capacity, but at most one shard of each group.
fn ideal(code: Code, nodes: &Nodes) -> BTreeMap<u8, f64> {
    let mut full: Vec<u8> = Vec::new();
    loop {
        let open: Vec<_> = nodes.iter().filter(|(n, ..)| !full.contains(n)).collect();
        let sum: u64 = open.iter().map(|(_, size, _)| size).sum();
        let left = (code.total() - full.len()) as f64 * GROUPS as f64;
        let share = |size: u64| left * size as f64 / sum as f64;
        let too_much: Vec<u8> =
            open.iter().filter(|(_, size, _)| share(*size) > GROUPS as f64).map(|(n, ..)| *n).collect();
        if too_much.is_empty() {
            let of = |(n, size, _): &(u8, u64, u8)| (*n, if full.contains(n) { GROUPS as f64 } else { share(*size) });
            return nodes.iter().map(of).collect();
        }
        full.extend(too_much);
    }
}

/// For each kind of node how many shards of 10,000 groups it gets, in parts of its proportional share.
pub(crate) fn shares() -> String {
    let titles = ["circle of 12", "policy", "smallest nodes", "largest nodes", "spread among equals"];
    let mut out = head(titles.map(str::to_owned));
    for (name, sizes) in [("all equal", &[1][..]), ("1 : 2", &[1, 2]), ("1 : 2 : 4", &[1, 2, 4])] {
        let nodes = nodes(sizes);
        for code in [code(1, 2), code(4, 2), code(8, 2)] {
            let (loads, ideal) = (loads(&placements(code, &nodes)), ideal(code, &nodes));
            let parts = |size: u64| -> Vec<f64> {
                let of_size = nodes.iter().filter(|(_, of, _)| *of == size);
                of_size.map(|(n, ..)| loads.get(n).copied().unwrap_or(0) as f64 / ideal[n]).collect()
            };
            let mean = |parts: &[f64]| parts.iter().sum::<f64>() / parts.len() as f64;
            let range = |parts: &[f64]| {
                let (low, high) =
                    parts.iter().fold((f64::MAX, 0.0_f64), |(low, high), it| (low.min(*it), high.max(*it)));
                (high - low) / mean(parts)
            };
            let (small, large) = (parts(sizes[0]), parts(sizes[sizes.len() - 1]));
            let percent = |part: f64| format!("{:.1} %", 100.0 * part);
            let cells = [mean(&small), mean(&large), range(&small).max(range(&large))].map(percent);
            line(&mut out, name, std::iter::once(code.to_string()).chain(cells));
        }
    }
    out
}

/// How many shards move, and how many have to, when a circle changes.
pub(crate) fn moves() -> String {
    let titles = ["change of 12 equal nodes", "policy", "least", "new holders", "shards at other nodes", "of least"];
    let mut out = head(titles.map(str::to_owned));
    let before = nodes(&[1]);
    let mut joined = before.clone();
    joined.push((12, 1, 12));
    let left = before[..11].to_vec();
    let grown = |times: u64| {
        let mut nodes: Nodes = before.iter().map(|(n, size, zone)| (*n, size * 4, *zone)).collect();
        nodes[3].1 = times;
        nodes
    };
    let quarters = grown(4);
    let changes = [
        ("a node joins", &before, &joined),
        ("a node leaves", &before, &left),
        ("one doubles its capacity", &quarters, &grown(8)),
        ("one halves its capacity", &quarters, &grown(2)),
    ];
    for (name, from, to) in changes {
        for code in [code(1, 2), code(4, 2), code(8, 2)] {
            let (old, new) = (placements(code, from), placements(code, to));
            let moved = old.iter().zip(&new).filter(|(old, new)| old != new).count() as u64;
            let groups = old.chunks(code.total()).zip(new.chunks(code.total()));
            let entered: usize = groups.map(|(old, new)| new.iter().filter(|node| !old.contains(node)).count()).sum();
            let (had, has) = (loads(&old), loads(&new));
            let least: u64 = has.iter().map(|(n, load)| load.saturating_sub(had.get(n).copied().unwrap_or(0))).sum();
            let parts = format!("× {:.2}", moved as f64 / least as f64);
            let cells = [code.to_string(), least.to_string(), entered.to_string(), moved.to_string(), parts];
            line(&mut out, name, cells);
        }
    }
    out
}
