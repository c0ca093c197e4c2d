//! What a process has used, as /proc tells it in nanoseconds: the ticks of /proc/PID/stat are too coarse here.

use std::fs;

/// Processor time of a process.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cpu {
    /// Seconds that its threads ran.
    pub(crate) ran: f64,
    /// Seconds that they could have run and waited for the core.
    pub(crate) waited: f64,
}

/// What the threads of `pid` used so far, those that have ended left out.
pub(crate) fn cpu(pid: u32) -> Cpu {
    let mut cpu = Cpu::default();
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return cpu;
    };
    for task in tasks.flatten() {
        let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else {
            continue;
        };
        let mut fields = text
            .split_whitespace()
            .filter_map(|field| field.parse::<f64>().ok());
        cpu.ran += fields.next().unwrap_or(0.0) / 1e9;
        cpu.waited += fields.next().unwrap_or(0.0) / 1e9;
    }
    cpu
}

/// Bytes of `pid` that are resident.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
