//! Machines for a swarm: network namespaces with an address each, joined by a bridge; or the addresses of loopback.
//!
//! A namespace lives as long as a process in it, which ends when its stdin does: at the latest when the test ends,
//! however it ends. Nothing has a name that is seen from outside, so tests do not meet.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::programs::{may_lack, runs};

/// Machines that reach one another.
pub(crate) struct Net {
    hosts: Vec<Host>,
    /// Holds the bridge.
    switch: Option<Space>,
}

/// One machine.
pub(crate) struct Host {
    pub(crate) ip: IpAddr,
    space: Option<Space>,
}

/// A network namespace.
struct Space {
    holder: Child,
}

/// Whether network namespaces can be made: as root, or where anybody may be root in a user namespace. Where CI=true
/// they must be.
pub(crate) fn has_spaces() -> bool {
    let made = runs(unshare().arg("true")) && runs(Command::new("ip").arg("-V"));
    made || may_lack("network namespaces (util-linux, iproute2, and root or user namespaces)")
}

impl Net {
    /// Machines with namespaces of their own.
    pub(crate) fn spaces(count: u8) -> Self {
        let switch = Space::new(unshare());
        let script = "link add bridge type bridge\nlink set bridge up\nlink set lo up\n";
        switch.configure(script);
        let host = |number| Host {
            ip: Ipv4Addr::new(10, 77, 0, number).into(),
            space: Some(switch.attach(number)),
        };
        let hosts = (1..=count).map(host).collect();
        Self {
            hosts,
            switch: Some(switch),
        }
    }

    /// Machines that are addresses of loopback.
    pub(crate) fn loopback(addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let host = |ip| Host { ip, space: None };
        Self {
            hosts: addresses.into_iter().map(host).collect(),
            switch: None,
        }
    }

    /// Runs lines of `tc` on the switch, where `portN` leads to machine N, counted from 1; whether all were understood.
    #[allow(dead_code, reason = "the benches shape links")]
    pub(crate) fn shape(&self, script: &str) -> bool {
        let run = |space: &Space| space.run("tc", script);
        self.switch.as_ref().is_some_and(run)
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }
}

impl Host {
    /// The same command on this machine.
    pub(crate) fn command(&self, command: Command) -> Command {
        match &self.space {
            Some(space) => space.command(command),
            None => command,
        }
    }

    /// Whether it has an address that no other machine has and that leads everywhere.
    pub(crate) fn is_apart(&self) -> bool {
        self.space.is_some()
    }

    /// Runs lines of `tc` on this machine; whether all of them were understood.
    #[allow(dead_code, reason = "the benches shape links")]
    pub(crate) fn shape(&self, script: &str) -> bool {
        let run = |space: &Space| space.run("tc", script);
        self.space.as_ref().is_some_and(run)
    }

    /// Where a program that cannot choose a port itself may listen.
    pub(crate) fn listen(&self) -> SocketAddr {
        if self.is_apart() {
            return SocketAddr::new(self.ip, 6881);
        }
        let listener = TcpListener::bind((self.ip, 0)).expect("a port");
        listener.local_addr().expect("bound")
    }
}

/// Who is not root becomes so in a user namespace first.
fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--net");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command
}

impl Space {
    /// Makes one by a command that enters it before it runs another.
    fn new(mut command: Command) -> Self {
        command.args(["sh", "-c", "echo; exec cat"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = command.spawn().expect("unshare is there");
        let out = holder.stdout.take().expect("piped");
        let mut line = String::new();
        let read = BufReader::new(out).read_line(&mut line);
        assert_eq!((read.expect("a line"), line.as_str()), (1, "\n"));
        Self { holder }
    }

    /// A namespace with an address, which the bridge of this one leads to.
    fn attach(&self, number: u8) -> Self {
        let mut unshare = Command::new("unshare");
        unshare.arg("--net");
        let space = Self::new(self.command(unshare));
        let pid = space.holder.id();
        self.configure(&format!(
            "link add port{number} type veth peer name eth0 netns {pid}\n\
             link set port{number} master bridge up\n",
        ));
        space.configure(&format!(
            "link set lo up\naddr add 10.77.0.{number}/24 dev eth0\nlink set eth0 up\n",
        ));
        space
    }

    /// The same command in this namespace, killed when the test is gone.
    fn command(&self, command: Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside.args(["--target", &self.holder.id().to_string(), "--net"]);
        if !nix::unistd::geteuid().is_root() {
            inside.args(["--user", "--preserve-credentials"]);
        }
        inside.args(["setpriv", "--pdeathsig", "KILL"]);
        inside.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        inside
    }

    /// Runs lines of `ip`.
    fn configure(&self, script: &str) {
        assert!(self.run("ip", script), "{script}");
    }

    /// Runs lines of a tool of iproute2; whether it ended well.
    fn run(&self, tool: &str, script: &str) -> bool {
        let mut command = Command::new(tool);
        command.args(["-batch", "-"]);
        let mut command = self.command(command);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        let child = child.as_mut().expect("nsenter is there");
        let mut stdin = child.stdin.take().expect("piped");
        let written = stdin.write_all(script.as_bytes());
        drop(stdin);
        child.wait().expect("our child").success() && written.is_ok()
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
