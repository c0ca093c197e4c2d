//! The programs that are measured, each pinned to the first core: started, watched, stopped.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::{Pid, geteuid};
use tempfile::TempDir;

use crate::free::free_addr;
use crate::population::Population;
use crate::usage::{self, Cpu};

/// The core of what is measured, and that of who measures.
pub(crate) const SERVER_CORE: usize = 0;
pub(crate) const LOAD_CORE: usize = 1;

/// Patience with a program that starts.
const START_SECS_MAX: u64 = 60;

/// A program that answers announces.
pub(crate) struct Server {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// Bytes resident when it was ready.
    empty_bytes: u64,
    _folder: Option<TempDir>,
}

/// Runs this process, and what it starts, on one core from now on.
pub(crate) fn pin(core: usize) {
    let mut set = CpuSet::new();
    let pinned = set
        .set(core)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    if let Err(error) = pinned {
        eprintln!("tracker: core {core} cannot be had alone: {error}");
    }
}

impl Server {
    /// Ours, which tracks any hash.
    pub(crate) fn ours(listen: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
        command.args(["--listen", listen, "--open"]);
        command.env_remove("STATE_DIRECTORY");
        let (child, line) = started(command);
        let addr = line
            .split(' ')
            .nth(3)
            .and_then(|word| word.trim().parse().ok());
        let mut addr: SocketAddr = addr.unwrap_or_else(|| panic!("no address in {line:?}"));
        if addr.ip().is_unspecified() {
            addr.set_ip(Ipv4Addr::LOCALHOST.into());
        }
        Self::watched(child, addr, None)
    }

    /// One that answers everything alike: this program once more.
    pub(crate) fn bare(mode: &str) -> Self {
        let addr = free_addr(Ipv4Addr::LOCALHOST.into());
        let own = std::env::current_exe().expect("this program");
        let mut command = Command::new(own);
        command.args(["--bare", mode, &addr.to_string()]);
        let (child, line) = started(command);
        assert_eq!(line.trim(), "ready");
        Self::watched(child, addr, None)
    }

    /// Debian's opentracker, or why it cannot be had.
    pub(crate) fn opentracker(population: &Population) -> Result<Self, String> {
        if !Path::new("/usr/bin/opentracker").exists() {
            return Err("opentracker is not installed (apt-get install opentracker)".to_owned());
        }
        if !geteuid().is_root() {
            return Err(
                "opentracker is left out: it changes its root folder, which only root may"
                    .to_owned(),
            );
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let addr = free_addr(Ipv4Addr::LOCALHOST.into());
        write_whitelist(folder.path(), population, addr).map_err(|error| error.to_string())?;
        let mut command = Command::new("/usr/bin/opentracker");
        command.arg("-f").arg(folder.path().join("conf"));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        pin(SERVER_CORE);
        let child = command.spawn();
        pin(LOAD_CORE);
        let child = child.map_err(|error| format!("opentracker: {error}"))?;
        await_listener(addr)?;
        Ok(Self::watched(child, addr, Some(folder)))
    }

    fn watched(child: Child, addr: SocketAddr, folder: Option<TempDir>) -> Self {
        Self {
            empty_bytes: usage::resident_bytes(child.id()),
            child,
            addr,
            _folder: folder,
        }
    }

    /// Processor time so far.
    pub(crate) fn cpu(&self) -> Cpu {
        usage::cpu(self.child.id())
    }

    /// Bytes that became resident since it started.
    pub(crate) fn grown_bytes(&self) -> f64 {
        usage::resident_bytes(self.child.id()) as f64 - self.empty_bytes as f64
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing to do if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program on its core, and waits for its first line.
fn started(mut command: Command) -> (Child, String) {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    pin(SERVER_CORE);
    let child = command.spawn();
    pin(LOAD_CORE);
    let mut child = child.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut line = String::new();
    let stdout = child.stdout.take().expect("it is piped");
    let read = BufReader::new(stdout).read_line(&mut line);
    read.expect("a line of text");
    (child, line)
}

/// It knows only listed hashes.
fn write_whitelist(
    folder: &Path,
    population: &Population,
    addr: SocketAddr,
) -> std::io::Result<()> {
    let mut list = String::new();
    for hash in population.hashes() {
        list.extend(hash.iter().map(|byte| format!("{byte:02x}")));
        list.push('\n');
    }
    let conf = format!(
        "listen.udp.workers 1\nlisten.tcp_udp {addr}\naccess.whitelist /list\ntracker.rootdir {}\ntracker.user nobody\n",
        folder.display()
    );
    fs::write(folder.join("list"), list)?;
    fs::write(folder.join("conf"), conf)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

fn await_listener(addr: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + Duration::from_secs(START_SECS_MAX);
    while std::net::TcpStream::connect(addr).is_err() {
        if Instant::now() > deadline {
            return Err(format!("opentracker does not listen on {addr}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
    // The list is read by then, and what connecting cost is over.
    thread::sleep(Duration::from_millis(300));
    Ok(())
}
