//! The page that is published, and the same for programs.

use std::fmt::Write;

use cairn_fuse_tests::Scale;
use cairn_fuse_tests::peers::samples::Row;
use cairn_fuse_tests::peers::{Samples, machine};
use serde_json::{Value, json};

use crate::size::Size;

/// What a ratio to somebody should be at least.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    pub(crate) row: &'static str,
    pub(crate) peer: &'static str,
    pub(crate) factor: f64,
}

/// One table.
pub(crate) struct Part {
    pub(crate) title: &'static str,
    pub(crate) text: String,
    pub(crate) samples: Samples,
    pub(crate) aims: Vec<Aim>,
    pub(crate) remarks: Vec<String>,
    pub(crate) versions: Vec<String>,
}

/// See the module.
pub(crate) struct Page {
    rounds: usize,
    scale: Scale,
    facts: Vec<(&'static str, String)>,
    parts: Vec<Part>,
    remarks: Vec<String>,
}

const INTRODUCTION: &str = "\
Written by `make bench-peers`, which anybody can run: it installs the peers, gives everybody the same work in turn, round by
round, and takes the middle of the rounds. ± is half of what lies between the best round and the worst. A ratio says how many
times as good Cairn is: above 1 it is ahead, below it loses. `target/bench-peers.json` has every single figure.";

impl Page {
    pub(crate) fn begin(size: &Size) -> Page {
        let facts = machine::facts(&std::env::temp_dir());
        Page { rounds: size.rounds, scale: size.scale, facts, parts: Vec::new(), remarks: Vec::new() }
    }

    pub(crate) fn add(&mut self, part: Part) {
        self.parts.push(part);
    }

    pub(crate) fn remark(&mut self, remark: &str) {
        self.remarks.push(remark.to_owned());
    }

    /// Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("# Benchmarks\n\n{INTRODUCTION}\n\n");
        if self.scale == Scale::Short {
            text.push_str("**A short run, to try the bench: its figures say nothing.**\n\n");
        }
        for (name, fact) in self.facts.iter().map(|(name, fact)| (*name, fact.clone())).chain(self.about()) {
            let _ = writeln!(text, "- {name}: {fact}");
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "\n{remark}");
        }
        self.parts.iter().for_each(|part| part.write(&mut text));
        text.push_str("\n## Where Cairn loses\n\n");
        let losses = self.losses();
        if losses.is_empty() {
            text.push_str("Nowhere in this run.\n");
        }
        for (line, _) in &losses {
            let _ = writeln!(text, "- {line}");
        }
        text
    }

    fn about(&self) -> Vec<(&'static str, String)> {
        let mut versions: Vec<String> = vec![format!("Cairn {}", env!("CARGO_PKG_VERSION"))];
        versions.extend(self.parts.iter().flat_map(|part| part.versions.clone()));
        vec![("versions", versions.join(", ")), ("date", machine::date()), ("rounds", self.rounds.to_string())]
    }

    /// Rows in which somebody is ahead, the worst first.
    fn losses(&self) -> Vec<(String, f64)> {
        let mut losses = Vec::new();
        for part in &self.parts {
            for row in &part.samples.rows {
                for (index, peer) in part.samples.contenders.iter().enumerate().take(part.samples.subject()) {
                    let Some(ratio) = part.samples.ratio(row, index).filter(|ratio| *ratio < 1.0) else { continue };
                    losses.push((format!("{}: {ratio:.2} × {peer} ({})", row.name, part.title), ratio));
                }
            }
        }
        losses.sort_by(|(_, one), (_, other)| one.total_cmp(other));
        losses
    }

    /// Everything, for programs.
    pub(crate) fn json(&self) -> String {
        let parts = self.parts.iter().map(|part| {
            json!({ "title": part.title, "rows": part.samples.to_json(), "aims": part.aims_json(), "remarks": part.remarks })
        });
        let facts: serde_json::Map<String, Value> =
            self.facts.iter().map(|(name, fact)| ((*name).to_owned(), Value::from(fact.clone()))).collect();
        let about: serde_json::Map<String, Value> =
            self.about().into_iter().map(|(name, fact)| (name.to_owned(), Value::from(fact))).collect();
        let short = self.scale == Scale::Short;
        let page = json!({ "machine": facts, "run": about, "short": short, "parts": parts.collect::<Vec<_>>() });
        format!("{page:#}\n")
    }
}

impl Part {
    fn write(&self, text: &mut String) {
        let _ = writeln!(text, "\n## {}\n\n{}\n", self.title, self.text);
        let peers = &self.samples.contenders[..self.samples.subject()];
        let ratios: String = peers.iter().map(|peer| format!(" ÷ {peer} |")).collect();
        let _ = writeln!(text, "| | | {} |{ratios} aim |", self.samples.contenders.join(" | "));
        let _ = writeln!(text, "|---|---|{}---|", "---:|".repeat(self.samples.contenders.len() + peers.len()));
        for row in &self.samples.rows {
            let cells: String =
                (0..self.samples.contenders.len()).map(|index| format!(" {} |", cell(row, index))).collect();
            let ratios: String = (0..peers.len())
                .map(|index| {
                    self.samples.ratio(row, index).map_or(" – |".to_owned(), |ratio| format!(" {ratio:.2} |"))
                })
                .collect();
            let _ =
                writeln!(text, "| {} | {} |{cells}{ratios} {} |", row.name, row.unit, self.verdicts(row).join(", "));
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "\n{remark}.");
        }
    }

    fn verdicts(&self, row: &Row) -> Vec<String> {
        let aims = self.aims.iter().filter(|aim| aim.row == row.name);
        aims.map(|aim| format!("{} × {}: {}", aim.factor, aim.peer, self.verdict(row, aim))).collect()
    }

    fn verdict(&self, row: &Row, aim: &Aim) -> &'static str {
        let peer = self.samples.contenders.iter().position(|name| name == aim.peer);
        match peer.and_then(|peer| self.samples.ratio(row, peer)) {
            None => "not measured",
            Some(ratio) if ratio >= aim.factor => "met",
            Some(_) => "**missed**",
        }
    }

    fn aims_json(&self) -> Value {
        let rows = self.samples.rows.iter().flat_map(|row| {
            let aims = self.aims.iter().filter(move |aim| aim.row == row.name);
            aims.map(move |aim| {
                json!({ "row": aim.row, "peer": aim.peer, "factor": aim.factor, "verdict": self.verdict(row, aim).trim_matches('*') })
            })
        });
        Value::Array(rows.collect())
    }
}

/// A median with its spread, in as many digits as mean something.
fn cell(row: &Row, contender: usize) -> String {
    let (Some(median), Some(spread)) = (row.median(contender), row.spread(contender)) else { return "–".to_owned() };
    let digits = if median >= 100.0 {
        0
    } else if median >= 10.0 {
        1
    } else {
        2
    };
    format!("{median:.digits$} ±{:.0} %", spread * 100.0)
}
