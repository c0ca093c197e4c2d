//! What a gate is: scenarios, the runs of each, and what their figures must be.

use shoal::sim::{Figures, Outcome, Scenario};

/// What a scenario is made of, when a judge wants other sizes than ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Seed of everything random.
    pub(crate) seed: u64,
    /// Nodes that fetch.
    pub(crate) getters: usize,
    /// Pieces of the content.
    pub(crate) pieces: u32,
}

/// One scenario of a gate.
#[derive(Clone, Copy)]
pub(crate) struct Variant {
    /// What sets it apart from the gate's others.
    pub(crate) name: &'static str,
    /// Nodes that fetch, when nothing else is said.
    pub(crate) getters: usize,
    /// Pieces, when nothing else is said.
    pub(crate) pieces: u32,
    /// The scenario.
    pub(crate) scenario: fn(Size) -> Scenario,
}

/// Scenarios that are judged together.
pub(crate) struct Gate {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) says: &'static str,
    /// Its scenarios.
    pub(crate) variants: Vec<Variant>,
    /// What must come of them.
    pub(crate) judge: fn(&Results) -> Vec<Check>,
}

impl Gate {
    /// How a variant is called on the command line.
    pub(crate) fn name_of(&self, variant: &Variant) -> String {
        if variant.name.is_empty() {
            self.name.to_owned()
        } else {
            format!("{}-{}", self.name, variant.name)
        }
    }
}

/// One run.
pub(crate) struct Run {
    pub(crate) scenario: Scenario,
    pub(crate) outcome: Outcome,
    pub(crate) figures: Figures,
    /// How long it took, really.
    pub(crate) seconds: f64,
}

/// The runs of a gate's variants, in order; one for each seed.
pub(crate) struct Results(pub(crate) Vec<Vec<Run>>);

impl Results {
    fn values<'a>(
        &'a self,
        variant: usize,
        figure: impl Fn(&Run) -> f64 + 'a,
    ) -> impl Iterator<Item = f64> + 'a {
        self.0[variant].iter().map(figure)
    }

    /// The largest over all seeds.
    pub(crate) fn most(&self, variant: usize, figure: impl Fn(&Run) -> f64) -> f64 {
        self.values(variant, figure).fold(f64::MIN, f64::max)
    }

    /// The smallest over all seeds.
    pub(crate) fn least(&self, variant: usize, figure: impl Fn(&Run) -> f64) -> f64 {
        self.values(variant, figure).fold(f64::MAX, f64::min)
    }

    /// The worst time of the last getter, as a share of the bound.
    pub(crate) fn last(&self, variant: usize) -> f64 {
        self.most(variant, |run| run.figures.last)
    }

    /// The mean over all seeds.
    pub(crate) fn mean(&self, variant: usize, figure: impl Fn(&Run) -> f64) -> f64 {
        self.values(variant, figure).sum::<f64>() / self.0[variant].len() as f64
    }

    /// The size of a variant, as it was run.
    pub(crate) fn scenario(&self, variant: usize) -> &Scenario {
        &self.0[variant][0].scenario
    }
}

/// One thing that must hold.
pub(crate) struct Check {
    /// What was measured.
    pub(crate) what: String,
    /// What came out: the worst over all seeds.
    pub(crate) value: f64,
    /// What is allowed.
    pub(crate) limit: Limit,
}

/// What is allowed of a figure.
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
    Between(f64, f64),
}

impl Check {
    /// `what` must not exceed `limit`.
    pub(crate) fn at_most(what: impl Into<String>, value: f64, limit: f64) -> Self {
        let limit = Limit::AtMost(limit);
        let what = what.into();
        Self { what, value, limit }
    }

    /// `what` must not fall short of `limit`.
    pub(crate) fn at_least(what: impl Into<String>, value: f64, limit: f64) -> Self {
        let limit = Limit::AtLeast(limit);
        let what = what.into();
        Self { what, value, limit }
    }

    /// `what` must lie between two limits.
    pub(crate) fn between(what: impl Into<String>, value: f64, limits: (f64, f64)) -> Self {
        let limit = Limit::Between(limits.0, limits.1);
        let what = what.into();
        Self { what, value, limit }
    }

    /// Whether it holds; what is no number does not.
    pub(crate) fn passes(&self) -> bool {
        match self.limit {
            Limit::AtMost(limit) => self.value <= limit,
            Limit::AtLeast(limit) => self.value >= limit,
            Limit::Between(least, most) => (least..=most).contains(&self.value),
        }
    }

    /// What is allowed, in words.
    pub(crate) fn limit_text(&self) -> String {
        match self.limit {
            Limit::AtMost(limit) => format!("<= {limit:.3}"),
            Limit::AtLeast(limit) => format!(">= {limit:.3}"),
            Limit::Between(least, most) => format!("{least:.2} to {most:.2}"),
        }
    }
}

/// What must hold in every run of every gate: all finish that were not lost, and no honest node is banned.
pub(crate) fn checks_of_all(results: &Results) -> Vec<Check> {
    let waiting = |run: &Run| run.outcome.waiting().len() as f64;
    let honest_bans = |run: &Run| {
        let nodes = 0..run.scenario.node_count();
        let honest = nodes.filter(|node| !run.scenario.poisoners().contains(node));
        let bans = |node| run.outcome.ban_counts[node] + run.outcome.accusation_counts[node];
        honest.map(bans).sum::<usize>() as f64
    };
    let most = |figure: &dyn Fn(&Run) -> f64| {
        let variants = 0..results.0.len();
        variants
            .map(|v| results.most(v, figure))
            .fold(0.0, f64::max)
    };
    let checks = [
        ("getters that never finish", most(&waiting)),
        ("honest nodes banned or accused", most(&honest_bans)),
    ];
    let failed = checks.into_iter().filter(|(_, count)| *count > 0.0);
    failed
        .map(|(what, count)| Check::at_most(what, count, 0.0))
        .collect()
}
