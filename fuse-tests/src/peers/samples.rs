//! Measurements of several contenders in several rounds, and what they say: medians, spreads, ratios.

use serde_json::{Value, json};

use crate::speed::median;

/// Which way a figure is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Per second.
    More,
    /// Seconds, bytes.
    Less,
}

/// One thing that was measured of everybody.
#[derive(Debug, Clone)]
pub struct Row {
    /// What.
    pub name: String,
    /// Of the figures.
    pub unit: &'static str,
    /// Which way.
    pub better: Better,
    /// By contender.
    values: Vec<Vec<f64>>,
}

/// See the module. The contender that all others are compared with is the last.
#[derive(Debug, Clone)]
pub struct Samples {
    /// Their names.
    pub contenders: Vec<String>,
    /// In the order in which they were first measured.
    pub rows: Vec<Row>,
}

impl Samples {
    /// Nothing measured yet.
    pub fn of(contenders: impl IntoIterator<Item = impl Into<String>>) -> Samples {
        Samples { contenders: contenders.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// One more measurement.
    pub fn note(&mut self, contender: usize, name: &str, unit: &'static str, better: Better, value: f64) {
        let count = self.contenders.len();
        let known = self.rows.iter().position(|row| row.name == name);
        let index = known.unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), unit, better, values: vec![Vec::new(); count] });
            self.rows.len() - 1
        });
        self.rows[index].values[contender].push(value);
    }

    /// The subject of the comparison.
    pub fn subject(&self) -> usize {
        self.contenders.len() - 1
    }

    /// How many times as good the subject is as a contender; `None` where one of them wasn't measured.
    pub fn ratio(&self, row: &Row, contender: usize) -> Option<f64> {
        let (ours, theirs) = (row.median(self.subject())?, row.median(contender)?);
        // Of two that take nothing neither is ahead.
        (ours > 0.0 || theirs > 0.0).then(|| match row.better {
            Better::More => ours / theirs,
            Better::Less => theirs / ours,
        })
    }

    /// Everything, for programs.
    pub fn to_json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            let results = self.contenders.iter().enumerate().filter(|(index, _)| !row.values[*index].is_empty());
            let results = results.map(|(index, name)| {
                let ratio = (index != self.subject()).then(|| self.ratio(row, index)).flatten();
                let result = json!({
                    "median": row.median(index), "spread": row.spread(index), "values": row.values[index], "ratio": ratio
                });
                (name.clone(), result)
            });
            let better = if row.better == Better::More { "more" } else { "less" };
            json!({ "name": row.name, "unit": row.unit, "better": better,
                    "results": results.collect::<serde_json::Map<_, _>>() })
        });
        Value::Array(rows.collect())
    }
}

impl Row {
    /// The middle of a contender's rounds.
    pub fn median(&self, contender: usize) -> Option<f64> {
        let values = &self.values[contender];
        (!values.is_empty()).then(|| median(values.clone()))
    }

    /// Half of what lies between a contender's best and worst round, as a part of the median.
    pub fn spread(&self, contender: usize) -> Option<f64> {
        let (values, middle) = (&self.values[contender], self.median(contender)?);
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
        Some(if middle > 0.0 { (high - low) / 2.0 / middle } else { 0.0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_above_one_is_good_whichever_way_the_figure_is() {
        let mut samples = Samples::of(["peer", "cairn"]);
        for (contender, rate, seconds) in [(0, 10.0, 8.0), (1, 30.0, 2.0), (1, 20.0, 4.0), (1, 90.0, 1.0)] {
            samples.note(contender, "reads", "/s", Better::More, rate);
            samples.note(contender, "untar", "s", Better::Less, seconds);
        }
        assert_eq!(samples.ratio(&samples.rows[0], 0), Some(3.0));
        assert_eq!(samples.ratio(&samples.rows[1], 0), Some(4.0));
        assert_eq!(samples.rows[0].spread(1), Some(35.0 / 30.0));
        samples.note(0, "only theirs", "s", Better::Less, 1.0);
        assert_eq!(samples.ratio(&samples.rows[2], 0), None);
        assert_eq!(samples.to_json()[0]["results"]["peer"]["ratio"], 3.0);
    }
}
