//! Completion curves as SVG: how many getters have everything, over time; a line for each seed.

use std::fmt::Write;
use std::path::Path;

use crate::gate::Run;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
/// Of the field in which the curves are.
const LEFT: f64 = 60.0;
const TOP: f64 = 40.0;
const RIGHT: f64 = WIDTH - 150.0;
const BOTTOM: f64 = HEIGHT - 50.0;
const COLORS: [&str; 6] = [
    "#1f77b4", "#d95f02", "#1b9e77", "#7570b3", "#e7298a", "#666666",
];

/// Draws the runs of one scenario into the file at `path`.
pub(crate) fn draw(path: &Path, name: &str, runs: &[Run]) {
    std::fs::write(path, svg(name, runs)).expect("target/sim can be written");
}

/// When each getter had everything, as shares of the bound, ascending.
fn curve(run: &Run) -> Vec<f64> {
    let bound = run.scenario.bound().as_secs_f64();
    let getters = &run.outcome.completed_at[run.scenario.first_getter()..];
    let times = getters.iter().flatten();
    let mut times: Vec<f64> = times.map(|at| at.as_secs_f64() / bound).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The span of time that is drawn, and the distance of its marks.
struct Span {
    start: f64,
    end: f64,
    step: f64,
}

impl Span {
    fn of(curves: &[Vec<f64>]) -> Self {
        let times = || curves.iter().flatten().copied().chain([1.0]);
        let (first, last) = (times().fold(1.0, f64::min), times().fold(1.0, f64::max));
        let width = (last - first).max(0.02);
        let steps = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0];
        let step = steps.into_iter().find(|step| width / step <= 8.0);
        let step = step.unwrap_or(10.0);
        Self {
            start: (first / step).floor() * step,
            end: (last / step).ceil().max((first / step).floor() + 1.0) * step,
            step,
        }
    }

    fn x(&self, time: f64) -> f64 {
        LEFT + (time - self.start) / (self.end - self.start) * (RIGHT - LEFT)
    }

    fn marks(&self) -> impl Iterator<Item = f64> + '_ {
        let count = ((self.end - self.start) / self.step).round() as usize;
        (0..=count).map(|mark| self.start + mark as f64 * self.step)
    }
}

fn y(share: f64) -> f64 {
    BOTTOM - share * (BOTTOM - TOP)
}

fn svg(name: &str, runs: &[Run]) -> String {
    let curves: Vec<Vec<f64>> = runs.iter().map(curve).collect();
    let span = Span::of(&curves);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    draw_axes(&mut svg, name, runs, &span);
    for (at, (run, curve)) in runs.iter().zip(&curves).enumerate() {
        let color = COLORS[at % COLORS.len()];
        draw_curve(&mut svg, curve, &span, (run.scenario.getter_count, color));
        let (x, y) = (RIGHT + 12.0, TOP + 12.0 + 18.0 * at as f64);
        let _ = writeln!(
            svg,
            "<path d=\"M{x} {:.1}h16\" stroke=\"{color}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{y}\">seed {}: {:.3}</text>",
            y - 4.0,
            x + 22.0,
            run.scenario.seed,
            run.figures.last,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn draw_axes(svg: &mut String, name: &str, runs: &[Run], span: &Span) {
    let getters = runs.first().map_or(0, |run| run.scenario.getter_count);
    let mut text = |x: f64, y: f64, anchor: &str, text: &str| {
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    };
    let middle = (LEFT + RIGHT) / 2.0;
    text(
        middle,
        22.0,
        "middle",
        &format!("{name}: those of {getters} getters that have everything"),
    );
    text(middle, HEIGHT - 12.0, "middle", "time / bound");
    for time in span.marks() {
        let digits = if span.step < 0.01 { 3 } else { 2 };
        text(
            span.x(time),
            BOTTOM + 18.0,
            "middle",
            &format!("{time:.digits$}"),
        );
    }
    for quarter in 0..=4 {
        let share = f64::from(quarter) / 4.0;
        let percent = format!("{} %", quarter * 25);
        text(LEFT - 8.0, y(share) + 4.0, "end", &percent);
    }
    text(span.x(1.0) + 4.0, TOP - 4.0, "start", "bound");
    let mut grid = String::new();
    for time in span.marks() {
        let _ = write!(grid, "M{:.1} {BOTTOM}V{TOP}", span.x(time));
    }
    for quarter in 0..=4 {
        let _ = write!(grid, "M{LEFT} {:.1}H{RIGHT}", y(f64::from(quarter) / 4.0));
    }
    let _ = writeln!(
        svg,
        "<path d=\"{grid}\" stroke=\"#dddddd\"/>\n\
         <path d=\"M{LEFT} {TOP}V{BOTTOM}H{RIGHT}\" stroke=\"black\" fill=\"none\"/>\n\
         <path d=\"M{:.1} {TOP}V{BOTTOM}\" stroke=\"black\" stroke-dasharray=\"5 4\"/>",
        span.x(1.0),
    );
}

fn draw_curve(svg: &mut String, curve: &[f64], span: &Span, (getters, color): (usize, &str)) {
    let mut path = format!("M{LEFT} {BOTTOM}");
    for (at, &time) in curve.iter().enumerate() {
        let share = (at + 1) as f64 / getters as f64;
        let _ = write!(path, "H{:.1}V{:.1}", span.x(time), y(share));
    }
    let _ = writeln!(
        svg,
        "<path d=\"{path}H{RIGHT}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"1.5\"/>"
    );
}
