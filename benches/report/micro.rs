//! What the micro benches found, as criterion leaves it: one folder for each, with the times of its samples.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::row::Row;

/// Samples that go into a report; criterion takes more.
const SAMPLES_MAX: usize = 25;

/// The rows below criterion's folder, in the order of their names.
pub(crate) fn read_all(folder: &Path) -> Vec<Row> {
    let mut rows = Vec::new();
    collect(folder, &mut rows);
    rows.sort_by(|a, b| {
        (&a.case, a.size)
            .partial_cmp(&(&b.case, b.size))
            .expect("sizes are numbers")
    });
    rows
}

fn collect(folder: &Path, rows: &mut Vec<Row>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_name() == "new" {
            rows.extend(row_of(&path));
        } else if path.is_dir() {
            collect(&path, rows);
        }
    }
}

fn row_of(folder: &Path) -> Option<Row> {
    let parsed = |name: &str| -> Option<Value> {
        serde_json::from_str(&fs::read_to_string(folder.join(name)).ok()?).ok()
    };
    let (about, sample) = (parsed("benchmark.json")?, parsed("sample.json")?);
    let numbers = |field: &str| -> Option<Vec<f64>> {
        let field = sample[field].as_array()?;
        field.iter().map(Value::as_f64).collect()
    };
    let (times, counts) = (numbers("times")?, numbers("iters")?);
    let step = times.len().div_ceil(SAMPLES_MAX).max(1);
    let each = times.iter().zip(&counts).map(|(ns, count)| ns / count);
    let (unit, value) = measure_of(&about["throughput"]);
    let (group, function) = (about["group_id"].as_str()?, about["function_id"].as_str());
    let size = about["value_str"].as_str().and_then(size_of);
    Some(Row {
        bench: "micro".to_owned(),
        case: function.map_or_else(
            || group.to_owned(),
            |function| format!("{group}: {function}"),
        ),
        who: "shoal".to_owned(),
        unit: unit.to_owned(),
        values: each.step_by(step).map(value).collect(),
        of: size.map(|(_, of)| of.to_owned()),
        size: size.map(|(size, _)| size),
    })
}

/// In what a bench is told, and how that comes from the nanoseconds of one iteration.
fn measure_of(throughput: &Value) -> (&'static str, impl Fn(f64) -> f64) {
    let (bytes, elements) = (
        throughput["Bytes"].as_f64(),
        throughput["Elements"].as_f64(),
    );
    let unit = match (bytes, elements) {
        (Some(_), _) => "MiB/s",
        (_, Some(_)) => "ns each",
        _ => "ns",
    };
    let value = move |ns: f64| match bytes {
        Some(bytes) => bytes / ns * 1e9 / f64::from(1 << 20),
        None => ns / elements.unwrap_or(1.0),
    };
    (unit, value)
}

/// `65536 pieces` is one size of several.
fn size_of(value: &str) -> Option<(f64, &str)> {
    let (size, of) = value.split_once(' ')?;
    Some((size.parse().ok()?, of))
}
