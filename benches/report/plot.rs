//! Figures to look at, as SVG: bars for who did what, curves for what grows with a size.

use std::fmt::Write as _;

use crate::markdown::number;
use crate::row::{Row, Spread};

const WIDTH: f64 = 860.0;
/// Where bars begin, behind the names of their cases.
const LEFT: f64 = 400.0;
const RIGHT: f64 = 90.0;
const LINE: f64 = 20.0;
const COLOURS: [&str; 6] = [
    "#1f6f8b", "#d98032", "#7a9e3f", "#8a5a9e", "#b5484b", "#6d6d6d",
];

/// The plots of one bench: for each unit one of bars, and one of curves where there are sizes. A name and the SVG of each.
pub(crate) fn all(bench: &str, rows: &[&Row]) -> Vec<(String, String)> {
    let mut plots = Vec::new();
    for (at, unit) in units(rows).into_iter().enumerate() {
        let of_unit = |has_size: bool| -> Vec<&Row> {
            let is_it = |row: &&&Row| row.unit == unit && row.size.is_some() == has_size;
            rows.iter().filter(is_it).copied().collect()
        };
        let (plain, sized) = (of_unit(false), of_unit(true));
        if !plain.is_empty() {
            plots.push((
                format!("{bench}-{at}.svg"),
                bars(&format!("{bench}, {unit}"), &plain),
            ));
        }
        if !sized.is_empty() {
            plots.push((
                format!("{bench}-{at}-growth.svg"),
                curves(&format!("{bench}, {unit}"), &sized),
            ));
        }
    }
    plots
}

fn units<'a>(rows: &[&'a Row]) -> Vec<&'a str> {
    let mut units: Vec<&str> = Vec::new();
    for row in rows {
        if !units.contains(&row.unit.as_str()) {
            units.push(&row.unit);
        }
    }
    units
}

/// The same colour for the same name in every plot of a bench.
fn colour<'a>(names: &mut Vec<&'a str>, name: &'a str) -> &'static str {
    let at = names.iter().position(|known| *known == name);
    let at = at.unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });
    COLOURS[at % COLOURS.len()]
}

/// A bar for each row up to its median, with a whisker from the least to the most.
fn bars(title: &str, rows: &[&Row]) -> String {
    let rows: Vec<(&Row, Spread)> = rows
        .iter()
        .filter_map(|row| Some((*row, row.spread()?)))
        .collect();
    let most = rows
        .iter()
        .map(|(_, spread)| spread.most)
        .fold(f64::MIN_POSITIVE, f64::max);
    let height = 44.0 + rows.len() as f64 * LINE;
    let scale = |value: f64| LEFT + value.max(0.0) / most * (WIDTH - LEFT - RIGHT);
    let (mut svg, mut names) = (opened(title, height), Vec::new());
    for (at, (row, spread)) in rows.iter().enumerate() {
        let y = 36.0 + at as f64 * LINE;
        let middle = y + LINE / 2.0 - 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"/>\n\
             <path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#222\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 6.0,
            y + 12.0,
            escaped(&format!("{}: {}", row.case, row.who)),
            scale(spread.median) - LEFT,
            LINE - 4.0,
            colour(&mut names, &row.who),
            scale(spread.least),
            scale(spread.most),
            scale(spread.most) + 5.0,
            y + 12.0,
            number(spread.median),
        );
    }
    svg + "</svg>\n"
}

/// Where the curves lie.
const TOP: f64 = 40.0;
const FLOOR: f64 = 330.0;
const SIDES: (f64, f64) = (70.0, 480.0);

/// A curve for each case and who, both axes in powers.
fn curves(title: &str, rows: &[&Row]) -> String {
    let points = |row: &&Row| Some((row.size?, row.spread()?.median));
    let all: Vec<(f64, f64)> = rows.iter().filter_map(points).collect();
    let x = axis(all.iter().map(|point| point.0), SIDES.0, SIDES.1);
    let y = axis(all.iter().map(|point| point.1), FLOOR, TOP);
    let mut series: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows {
        let name = format!("{}: {}", row.case, row.who);
        match series.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rows)) => rows.push(row),
            None => series.push((name, vec![row])),
        }
    }
    let mut svg = opened(title, FLOOR + 40.0);
    ticks(&mut svg, &all, &x, &y);
    let of = rows
        .iter()
        .find_map(|row| row.of.as_deref())
        .unwrap_or("size");
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{:.0}\">{}</text>",
        SIDES.1 + 14.0,
        FLOOR + 18.0,
        escaped(of)
    );
    for (at, (name, rows)) in series.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let places: Vec<String> = rows
            .iter()
            .filter_map(points)
            .map(|(size, value)| format!("{:.1},{:.1}", x(size), y(value)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{:.0}\" y=\"{:.0}\" fill=\"{colour}\">{}</text>",
            places.join(" "),
            SIDES.1 + 14.0,
            TOP + 10.0 + at as f64 * 16.0,
            escaped(name),
        );
    }
    svg + "</svg>\n"
}

/// Where a value lies between two ends, by its logarithm.
fn axis(values: impl Iterator<Item = f64>, from: f64, to: f64) -> impl Fn(f64) -> f64 {
    let log = |value: f64| value.max(1e-9).log10();
    let (least, most) = values.fold((f64::MAX, f64::MIN), |(least, most), value| {
        (least.min(log(value)), most.max(log(value)))
    });
    // A curve that is flat shall look flat.
    let room = (1.0 - (most - least)).max(0.0) / 2.0;
    let (least, most) = (least - room, most + room);
    move |value| from + (log(value) - least) / (most - least) * (to - from)
}

fn ticks(
    svg: &mut String,
    points: &[(f64, f64)],
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let (mut sizes, mut values): (Vec<f64>, Vec<f64>) = points.iter().copied().unzip();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    values.sort_by(f64::total_cmp);
    for size in sizes {
        let _ = writeln!(
            svg,
            "<path d=\"M{0:.1} {TOP}V{FLOOR}\" stroke=\"#ddd\"/>\n\
             <text x=\"{0:.1}\" y=\"{1}\" text-anchor=\"middle\">{2}</text>",
            x(size),
            FLOOR + 18.0,
            number(size)
        );
    }
    for value in values.first().into_iter().chain(values.last()) {
        let _ = writeln!(
            svg,
            "<path d=\"M{0} {2:.1}H{1}\" stroke=\"#ddd\"/>\n<text x=\"{3}\" y=\"{2:.1}\" text-anchor=\"end\">{4}</text>",
            SIDES.0,
            SIDES.1,
            y(*value),
            SIDES.0 - 6.0,
            number(*value)
        );
    }
}

fn opened(title: &str, height: f64) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
