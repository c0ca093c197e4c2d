//! The report as text: a table of targets, then one of each bench, with medians, spreads and ratios.

use std::fmt::Write as _;

use crate::machine::Machine;
use crate::row::{Row, Spread};
use crate::targets::Judged;

/// The whole report.
pub(crate) fn render(
    machine: &Machine,
    judged: &[Judged],
    rows: &[Row],
    plots: &[(String, String)],
) -> String {
    let mut text = format!("# Shoal, measured\n\n{machine}\n\n");
    if !judged.is_empty() {
        targets(&mut text, judged);
    }
    for bench in names(rows) {
        let of_bench: Vec<&Row> = rows.iter().filter(|row| row.bench == bench).collect();
        let _ = writeln!(text, "## {bench}\n");
        for (_, file) in plots.iter().filter(|(of, _)| of == bench) {
            let _ = writeln!(text, "![{bench}]({file})\n");
        }
        table(&mut text, &of_bench);
    }
    text
}

/// The names of the benches, in the order of their first row.
pub(crate) fn names(rows: &[Row]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in rows {
        if !names.contains(&row.bench.as_str()) {
            names.push(&row.bench);
        }
    }
    names
}

fn targets(text: &mut String, judged: &[Judged]) {
    text.push_str("| target | wanted | measured | |\n|---|---|---|---|\n");
    for one in judged {
        let verdict = if one.is_met { "met" } else { "**missed**" };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {verdict} |",
            one.target.what,
            one.target.wanted(),
            spread(&one.measured)
        );
    }
    text.push('\n');
}

fn table(text: &mut String, rows: &[&Row]) {
    text.push_str(
        "| case | who | median (least to most) | runs | ours beside it |\n|---|---|---|---|---|\n",
    );
    for row in rows {
        let Some(of_row) = row.spread() else {
            continue;
        };
        let ours = rows
            .iter()
            .find(|ours| ours.who == crate::OURS && ours.is_beside(row));
        let ratio = ours.and_then(|ours| ours.compared(row, |ours, theirs| ours / theirs));
        let _ = writeln!(
            text,
            "| {}{} | {} | {} {} | {} | {} |",
            row.case,
            size(row),
            row.who,
            spread(&of_row),
            row.unit,
            row.values.len(),
            ratio.map_or(String::new(), |ratio| format!("{} ×", spread(&ratio))),
        );
    }
    text.push('\n');
}

fn size(row: &Row) -> String {
    match (&row.of, row.size) {
        (Some(of), Some(size)) => format!(", {} {of}", number(size)),
        _ => String::new(),
    }
}

fn spread(spread: &Spread) -> String {
    let Spread {
        median,
        least,
        most,
    } = *spread;
    if least == most {
        return number(median);
    }
    format!("{} ({} to {})", number(median), number(least), number(most))
}

/// With about three digits that say something, and thousands apart.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 0.1 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let mut spaced = String::new();
    for (at, digit) in whole.char_indices() {
        let after = whole.len() - at;
        if at > 0 && after % 3 == 0 && whole.as_bytes()[at - 1] != b'-' {
            spaced.push(',');
        }
        spaced.push(digit);
    }
    spaced + rest
}
