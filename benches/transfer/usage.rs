//! What a process has used, as /proc tells it.

use std::fs;
use std::time::{Duration, Instant};

/// /proc counts processor time in hundredths of a second on every Linux (USER_HZ).
const TICKS_PER_SEC: f64 = 100.0;

/// Processor seconds of the process `pid` so far, user and system together; also those of one that is dead but not
/// yet waited for.
pub(crate) fn cpu_secs(pid: u32) -> f64 {
    let stat = after_name(pid).unwrap_or_default();
    let fields: Vec<&str> = stat.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
    (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS_PER_SEC
}

/// Waits until the process `pid` is dead, so that its processor time is final. It must not have been waited for.
pub(crate) fn await_death(pid: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_dead(pid) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether the process `pid` is dead, waited for or not.
pub(crate) fn is_dead(pid: u32) -> bool {
    after_name(pid).is_none_or(|stat| stat.starts_with('Z'))
}

/// Most resident memory of the process `pid` so far, in MiB.
pub(crate) fn peak_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}

/// Processor seconds that the whole machine has spent since it started.
pub(crate) fn machine_cpu_secs() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields = stat.lines().next().unwrap_or_default().split_whitespace();
    let ticks: Vec<f64> = fields.filter_map(|text| text.parse().ok()).collect();
    // user nice system | idle iowait | irq softirq steal
    let busy: f64 = ticks
        .iter()
        .take(3)
        .chain(ticks.iter().skip(5).take(3))
        .sum();
    busy / TICKS_PER_SEC
}

/// The fields of /proc/PID/stat from the third, the state; the second is a name that may hold anything.
fn after_name(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.to_owned())
}
