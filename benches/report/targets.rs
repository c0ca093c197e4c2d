//! What is aimed at: each line of `targets.txt` is a bound on a figure that a bench finds.

use crate::OURS;
use crate::markdown::number;
use crate::row::{Row, Spread};

const TARGETS: &str = include_str!("targets.txt");

/// A bound on one figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) what: &'static str,
    bench: &'static str,
    /// The case's name, or its beginning up to a comma.
    case: &'static str,
    unit: &'static str,
    /// At which of several sizes.
    size: Option<f64>,
    compared: Compared,
    bound: Bound,
}

/// How ours is looked at.
#[derive(Clone, Copy, Debug)]
enum Compared {
    Alone,
    Times(&'static str),
    Less(&'static str),
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A target and what was found.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) target: Target,
    pub(crate) measured: Spread,
    pub(crate) is_met: bool,
}

/// Every target that the rows say something about.
pub(crate) fn judged(rows: &[Row]) -> Vec<Judged> {
    let lines = TARGETS.lines().skip(1);
    let targets =
        lines.map(|line| Target::parse(line).unwrap_or_else(|| panic!("no target: {line}")));
    let judge = |target: Target| {
        let measured = target.measured(rows)?;
        let is_met = match target.bound {
            Bound::AtLeast(bound) => measured.median >= bound,
            Bound::AtMost(bound) => measured.median <= bound,
        };
        Some(Judged {
            target,
            measured,
            is_met,
        })
    };
    targets.filter_map(judge).collect()
}

impl Target {
    fn parse(line: &'static str) -> Option<Self> {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [what, bench, case, unit, size, compared, bound] = fields[..] else {
            return None;
        };
        let size = match size {
            "" => None,
            size => Some(size.parse().ok()?),
        };
        let compared = match compared.split_once(' ') {
            None => Compared::Alone,
            Some(("times", who)) => Compared::Times(who),
            Some(("less", who)) => Compared::Less(who),
            Some(_) => return None,
        };
        let bound = match bound.split_once(' ')? {
            (">=", bound) => Bound::AtLeast(bound.parse().ok()?),
            ("<=", bound) => Bound::AtMost(bound.parse().ok()?),
            _ => return None,
        };
        Some(Self {
            what,
            bench,
            case,
            unit,
            size,
            compared,
            bound,
        })
    }

    /// The bound in words.
    pub(crate) fn wanted(&self) -> String {
        let (word, bound) = match self.bound {
            Bound::AtLeast(bound) => ("at least", bound),
            Bound::AtMost(bound) => ("at most", bound),
        };
        let unit = match self.compared {
            Compared::Times(who) => format!("× {who}"),
            Compared::Less(who) => format!("{} above {who}", self.unit),
            Compared::Alone => self.unit.to_owned(),
        };
        format!("{word} {} {unit}", number(bound))
    }

    fn measured(&self, rows: &[Row]) -> Option<Spread> {
        let is_it = |row: &&Row| {
            let rest = row.case.strip_prefix(self.case);
            let is_named = rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(", "));
            row.bench == self.bench && row.unit == self.unit && row.size == self.size && is_named
        };
        let find = |who: &str| rows.iter().filter(is_it).find(|row| row.who == who);
        let ours = find(OURS)?;
        match self.compared {
            Compared::Alone => ours.spread(),
            Compared::Times(who) => ours.compared(find(who)?, |ours, theirs| ours / theirs),
            Compared::Less(who) => ours.compared(find(who)?, |ours, theirs| ours - theirs),
        }
    }
}
