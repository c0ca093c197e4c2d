//! On what was measured: without it no figure says anything.

use std::fmt;
use std::fs;

use serde::Serialize;

/// The machine, as it was when the report was made.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    /// Processes that wanted a core, on average over the last quarter of an hour: the benches and what else ran.
    load: String,
}

impl Machine {
    pub(crate) fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
        let value = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or(String::new(), |(_, value)| value.trim().to_owned())
        };
        let kib = value(&memory, "MemTotal");
        let kib: f64 = kib.trim_end_matches(" kB").parse().unwrap_or(0.0);
        Self {
            processor: value(&processors, "model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kib / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg")
                .split(' ')
                .nth(2)
                .unwrap_or("?")
                .to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, {:.0} GiB, Linux {}; load over 15 minutes {}. Medians of all runs, with the least and the most; \
             a ratio is the median of the ratios of runs that were made in turn.",
            self.processor, self.cores, self.memory_gib, self.kernel, self.load
        )
    }
}
