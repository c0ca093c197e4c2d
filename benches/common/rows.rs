//! What a bench found, one line of JSON for each figure, for the report that is made of all benches together.
//!
//! Nothing is written unless `SHOAL_BENCH_ROWS` names a folder; each bench then appends to a file of its own there.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

/// Of whom the figures are that are judged.
pub(crate) const OURS: &str = "shoal";

/// The values of a figure, one of each run: `who` took so much of `unit` for `case`. Pairs of the same place in the values
/// of two who did the same were measured in turn. Whatever is "a second" is better if it is more, all else if it is less.
#[allow(dead_code, reason = "not every bench has both kinds")]
pub(crate) fn put(bench: &str, case: &str, who: &str, unit: &str, values: &[f64]) {
    append(
        bench,
        &json!({ "bench": bench, "case": case, "who": who, "unit": unit, "values": values }),
    );
}

/// As `put`, for one size of several: with so much of `of`.
#[allow(dead_code, reason = "not every bench has both kinds")]
pub(crate) fn put_at(
    bench: &str,
    case: &str,
    (of, size): (&str, f64),
    who: &str,
    unit: &str,
    values: &[f64],
) {
    append(
        bench,
        &json!({
            "bench": bench, "case": case, "who": who, "unit": unit, "values": values, "of": of, "size": size
        }),
    );
}

fn append(bench: &str, row: &Value) {
    let Some(folder) = std::env::var_os("SHOAL_BENCH_ROWS") else {
        return;
    };
    let path = Path::new(&folder).join(format!("{bench}.jsonl"));
    let opened = std::fs::create_dir_all(&folder)
        .and_then(|()| OpenOptions::new().create(true).append(true).open(&path));
    let written = opened.and_then(|mut file| writeln!(file, "{row}"));
    if let Err(error) = written {
        eprintln!("{}: {error}", path.display());
    }
}
