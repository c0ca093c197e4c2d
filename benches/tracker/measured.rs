//! One measurement, and how several of them are summed up.

use std::time::{Duration, Instant};

use crate::server::Server;
use crate::usage::{self, Cpu};

/// With more of its time spent waiting for the core than this, the server was disturbed.
const WAITED_CALM_MAX: f64 = 0.04;

/// A span of time in which a server is watched.
pub(crate) struct Watch {
    begun: Instant,
    server: Cpu,
    load: Cpu,
}

impl Watch {
    pub(crate) fn begin(server: &Server) -> Self {
        Self {
            server: server.cpu(),
            load: usage::cpu(std::process::id()),
            begun: Instant::now(),
        }
    }

    /// What `count` answers cost, which named `peers` members in all.
    pub(crate) fn end(self, server: &Server, count: u64, peers: u64) -> Measured {
        let secs = self.begun.elapsed().as_secs_f64();
        let (now, load) = (server.cpu(), usage::cpu(std::process::id()));
        let per = |total: f64| total / count.max(1) as f64;
        Measured {
            rate: count as f64 / secs,
            cpu_us: per((now.ran - self.server.ran) * 1e6),
            busy: (now.ran - self.server.ran) / secs,
            waited: (now.waited - self.server.waited) / secs,
            load_busy: (load.ran - self.load.ran) / secs,
            peers: per(peers as f64),
        }
    }
}

/// What came of one run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    /// Answers a second.
    pub(crate) rate: f64,
    /// Microseconds of processor time per answer.
    pub(crate) cpu_us: f64,
    /// The part of its core that the server used.
    pub(crate) busy: f64,
    /// The part of the time that it waited for its core.
    waited: f64,
    /// The part of its core that the load used: with less than nearly all of it the server had to wait for work.
    pub(crate) load_busy: f64,
    /// Members named per answer.
    pub(crate) peers: f64,
}

impl Measured {
    /// Whether nothing else took the server's core.
    pub(crate) fn is_calm(&self) -> bool {
        self.waited <= WAITED_CALM_MAX
    }
}

/// A middle with its extremes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    /// Of the runs that were not disturbed, or of all if every one was.
    pub(crate) fn of(runs: &[Measured], value: impl Fn(&Measured) -> f64) -> Self {
        let is_any_calm = runs.iter().any(Measured::is_calm);
        let of = runs.iter().filter(|run| !is_any_calm || run.is_calm());
        let mut values: Vec<f64> = of.map(value).collect();
        values.sort_by(f64::total_cmp);
        Self {
            median: values[values.len() / 2],
            least: values[0],
            most: values[values.len() - 1],
        }
    }
}

/// For how long a load runs: first unmeasured, then measured.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) warm: Duration,
    pub(crate) measured: Duration,
}
