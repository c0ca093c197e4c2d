//! One report of all benches: what each found, beside whom, and which targets that meets.
//!
//! Reads the rows that the benches left (`benches/common/rows.rs`) and criterion's samples, all below
//! `SHOAL_BENCH_FOLDER` (target/bench if it is not set), and writes `report.md`, `report.json` and plots there. Prints
//! the targets. Under `cargo test` it makes the report of some fixed rows and prints a hash of it.

mod machine;
mod markdown;
mod micro;
mod plot;
mod row;
mod small;
mod targets;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use machine::Machine;
use row::Row;
use targets::Judged;

/// Of whom the figures are that are judged.
const OURS: &str = "shoal";

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        return println!("report: bench");
    }
    if !args.iter().any(|arg| arg == "--bench") {
        return small::run();
    }
    let folder = std::env::var_os("SHOAL_BENCH_FOLDER")
        .map_or_else(|| PathBuf::from("target/bench"), PathBuf::from);
    let mut rows = row::read_all(&folder.join("rows"));
    rows.extend(micro::read_all(&folder.join("criterion")));
    if rows.is_empty() {
        return println!(
            "report: no rows in {}: `make bench` leaves them",
            folder.display()
        );
    }
    if let Err(error) = write(&folder, &rows) {
        eprintln!("report: {}: {error}", folder.display());
        std::process::exit(1);
    }
}

/// Makes the report, and shows the part of it that is looked at first.
fn write(folder: &Path, rows: &[Row]) -> io::Result<()> {
    let (machine, judged) = (Machine::look(), targets::judged(rows));
    let mut plots = Vec::new();
    for bench in markdown::names(rows) {
        let of_bench: Vec<&Row> = rows.iter().filter(|row| row.bench == bench).collect();
        for (name, svg) in plot::all(bench, &of_bench) {
            fs::write(folder.join(&name), svg)?;
            plots.push((bench.to_owned(), name));
        }
    }
    let text = markdown::render(&machine, &judged, rows, &plots);
    fs::write(folder.join("report.md"), &text)?;
    fs::write(folder.join("report.json"), json(&machine, &judged, rows))?;
    print!("\n{text}");
    println!("written: {}", folder.join("report.md").display());
    Ok(())
}

fn json(machine: &Machine, judged: &[Judged], rows: &[Row]) -> String {
    let targets: Vec<_> = judged
        .iter()
        .map(|one| {
            serde_json::json!({
                "target": one.target.what, "wanted": one.target.wanted(), "measured": one.measured.median,
                "least": one.measured.least, "most": one.measured.most, "is_met": one.is_met
            })
        })
        .collect();
    let report = serde_json::json!({ "machine": machine, "targets": targets, "rows": rows });
    format!("{report:#}\n")
}
