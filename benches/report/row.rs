//! A figure that a bench found, and its middle and extremes.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The values of one figure, one of each run.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
pub(crate) struct Row {
    pub(crate) bench: String,
    pub(crate) case: String,
    pub(crate) who: String,
    pub(crate) unit: String,
    pub(crate) values: Vec<f64>,
    /// What there is `size` of, if the case was measured at several sizes.
    #[serde(default)]
    pub(crate) of: Option<String>,
    #[serde(default)]
    pub(crate) size: Option<f64>,
}

/// A middle with its extremes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Row {
    /// Its middle; `None` without a value.
    pub(crate) fn spread(&self) -> Option<Spread> {
        Spread::of(&self.values)
    }

    /// Whether two rows are of the same thing, done by others.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        (&self.bench, &self.case, &self.unit, self.size)
            == (&other.bench, &other.case, &other.unit, other.size)
            && self.who != other.who
    }

    /// How it compares with `other`: run by run if both have as many, for those were measured in turn.
    pub(crate) fn compared(&self, other: &Self, with: impl Fn(f64, f64) -> f64) -> Option<Spread> {
        if self.values.len() == other.values.len() {
            let pairs = self.values.iter().zip(&other.values);
            let values: Vec<f64> = pairs.map(|(&ours, &theirs)| with(ours, theirs)).collect();
            return Spread::of(&values);
        }
        let one = with(self.spread()?.median, other.spread()?.median);
        Spread::of(&[one])
    }
}

impl Spread {
    fn of(values: &[f64]) -> Option<Self> {
        let mut values: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (&least, &most) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self {
            median,
            least,
            most,
        })
    }
}

/// The rows in every file of a folder, in the order of the files' names; lines that are none are named and left out.
pub(crate) fn read_all(folder: &Path) -> Vec<Row> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "jsonl"))
        .collect();
    paths.sort();
    paths
        .iter()
        .flat_map(|path| rows_of(&fs::read_to_string(path).unwrap_or_default()))
        .collect()
}

/// The rows in some lines.
pub(crate) fn rows_of(text: &str) -> Vec<Row> {
    let row = |line: &str| match serde_json::from_str(line) {
        Ok(row) => Some(row),
        Err(error) => {
            eprintln!("report: {error} in {line}");
            None
        }
    };
    text.lines().filter_map(row).collect()
}
