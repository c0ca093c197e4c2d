//! libtorrent beside ours, through a folder of measuring tools that is not part of this repository.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::{Job, Row};

/// The tools, known to run here.
pub(crate) struct Libtorrent {
    tools: PathBuf,
}

impl Libtorrent {
    /// The tools in `SHOAL_TRANSFER_TOOLS`, or beside the checkout; says what is missing.
    pub(crate) fn find() -> Option<Self> {
        let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/tools/transfer");
        let tools = std::env::var_os("SHOAL_TRANSFER_TOOLS").unwrap_or_else(|| beside.into());
        let tools = PathBuf::from(tools);
        let missing = if !tools.join("run.sh").exists() {
            "no tools for it (SHOAL_TRANSFER_TOOLS names their folder)"
        } else if !nix::unistd::geteuid().is_root() {
            "its tools need root"
        } else if !has_library() {
            "python3-libtorrent is not installed"
        } else {
            return Some(Self { tools });
        };
        println!("without libtorrent beside: {missing}");
        None
    }

    /// How nice its tools are, and so ours in a fair comparison.
    pub(crate) fn nice(&self) -> i32 {
        -15
    }

    /// One run of the same job; `None` and a message if it fails.
    pub(crate) fn run(&self, job: &Job, piece_len: u64) -> Option<Row> {
        let output = Command::new(self.tools.join("run.sh"))
            .args([
                "--seeder",
                "lt",
                "--leecher",
                "lt",
                "--runs",
                "1",
                "--json",
                "/dev/null",
            ])
            .args(["--distinct", if job.getters > 1 { "0" } else { "1" }])
            .args([
                "--n",
                &job.getters.to_string(),
                "--size",
                &job.mib.to_string(),
            ])
            .args(["--piece", &(piece_len >> 10).to_string()])
            .stderr(Stdio::inherit())
            .output()
            .ok()?;
        let line = String::from_utf8_lossy(&output.stdout);
        let result: Value = serde_json::from_str(line.trim()).unwrap_or_default();
        if result["ok"] != true || result["bad_files"] != 0 {
            println!("libtorrent failed: {line}");
            return None;
        }
        let sum = |field: &str| {
            let parts = result[field].as_array().map_or(&[][..], Vec::as_slice);
            parts.iter().filter_map(Value::as_f64).sum()
        };
        let number = |field: &str| result[field].as_f64().unwrap_or(f64::NAN);
        Some(Row {
            e2e_mib_per_s: number("mibs_e2e"),
            xfer_mib_per_s: number("mibs_xfer"),
            first_piece_ms: number("startup") * 1000.0,
            seeder_cpu_secs: sum("seed_cpu"),
            getters_cpu_secs: sum("leech_cpu"),
            seeder_peak_mib: number("seed_hwm"),
            getter_peak_mib: number("leech_hwm"),
            seeder_copies: f64::NAN,
            others: number("other_cpu") / number("e2e"),
        })
    }
}

/// The tools run it with the system's own Python.
fn has_library() -> bool {
    let found = Command::new("/usr/bin/python3")
        .args(["-c", "import libtorrent"])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}
