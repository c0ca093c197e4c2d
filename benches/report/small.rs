//! The small form: a report of fixed rows, of which a hash is printed.

use sha1::{Digest as _, Sha1};

use crate::row::{Row, rows_of};
use crate::{plot, targets};

const ROWS: &str = r#"{"bench":"tracker","case":"UDP announce, 1 M peers","who":"shoal","unit":"CPU µs","values":[4.0,4.4,4.2]}
{"bench":"tracker","case":"UDP announce, 1 M peers","who":"bare","unit":"CPU µs","values":[3.0,3.9,3.4]}
{"bench":"tracker","case":"announce","who":"shoal","unit":"CPU µs","values":[4],"of":"peers","size":10000}
{"bench":"tracker","case":"announce","who":"shoal","unit":"CPU µs","values":[8],"of":"peers","size":1000000}"#;

/// Renders what a bench could have left.
pub(crate) fn run() {
    let rows = rows_of(ROWS);
    let judged = targets::judged(&rows);
    assert_eq!(judged.len(), 1, "a median of 0.8 more than bare is judged");
    assert!(judged[0].is_met && judged[0].measured.most > 0.9);
    let machine = crate::machine::Machine::look();
    let text = crate::markdown::render(&machine, &judged, &rows, &[]);
    let (_, tables) = text.split_once("| target").expect("a table of targets");
    let of_bench: Vec<&Row> = rows.iter().collect();
    let plots = plot::all("tracker", &of_bench);
    assert_eq!(plots.len(), 2, "bars and a curve");
    let mut hash = Sha1::new();
    hash.update(tables);
    plots.iter().for_each(|(_, svg)| hash.update(svg));
    let digest: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!(
        "report: {} rows, SHA-1 of tables and plots {digest}",
        rows.len()
    );
}
