//! A tracker of ours that knows one content, and a swarm of programs around it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::complaints::complaints;
use crate::content::{Tree, assert_same_trees, tree};
use crate::net::{Host, Net};
use crate::process::{Ended, Running};
use crate::programs::{Program, Task, runs};

/// Nothing here takes so long, even where many builds share the machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long to wait until it is asked again whether something came to be.
const PAUSE: Duration = Duration::from_millis(50);

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Client {
    Ours,
    Other(Program),
}

pub(crate) const ARIA2: Client = Client::Other(Program::Aria2);
pub(crate) const LIBTORRENT: Client = Client::Other(Program::Libtorrent);
pub(crate) const TRANSMISSION: Client = Client::Other(Program::Transmission);
pub(crate) const DAEMON: Client = Client::Other(Program::Daemon);

impl Client {
    pub(crate) fn is_here(self) -> bool {
        match self {
            Self::Ours => true,
            Self::Other(program) => program.is_here(),
        }
    }
}

/// The tracker on machine 0, one content, and the programs that were started on the other machines.
pub(crate) struct Scene {
    members: Vec<Member>,
    _tracker: Running,
    tracker_addr: SocketAddr,
    net: Net,
    dir: TempDir,
    /// The file or folder, in the folder `source`.
    name: &'static str,
    /// What whoever shared it was told to hand on.
    shared_link: String,
    begun: Instant,
}

/// A program in the swarm.
struct Member {
    client: Client,
    running: Running,
    /// Where its copy is.
    folder: PathBuf,
    listen: SocketAddr,
    /// Whether the tracker hears of it.
    is_known: bool,
    /// Whether it fetches what a link or a .torrent file says.
    was_given: bool,
}

impl Scene {
    /// A tracker that knows the file or folder `name`, which `make` makes.
    pub(crate) fn new(net: Net, scheme: &str, name: &'static str, make: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a scratch folder");
        let source = dir.path().join("source");
        std::fs::create_dir(&source).expect("a folder");
        make(&source.join(name));
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-tracker"));
        let host = net.host(0);
        let listen = SocketAddr::new(host.ip, 0).to_string();
        command.args(["-v", "--listen", &listen, "--state"]);
        command.arg(dir.path().join("state"));
        let tracker = Running::start("shoal-tracker", &mut host.command(command));
        let line = tracker.line("start line", |line| line.starts_with("shoal-tracker "));
        let addr = line.split(' ').nth(3).expect("its address");
        let mut scene = Self {
            tracker_addr: addr.parse().expect("an address"),
            members: Vec::new(),
            _tracker: tracker,
            net,
            dir,
            name,
            shared_link: String::new(),
            begun: Instant::now(),
        };
        let share = scene.peer(scene.net.host(0), &["share", text(&source.join(name))]);
        let shared = share.event("shared");
        scene.shared_link = shared["magnet"].as_str().expect("a link").to_owned();
        share.stop().exits(0);
        scene.write_torrent(scheme);
        scene
    }

    /// Writes the description that the tracker keeps into a .torrent file for clients that announce to it.
    fn write_torrent(&self, scheme: &str) {
        let mut kept = std::fs::read_dir(self.dir.path().join("state")).expect("a folder");
        let kept = kept.find_map(|entry| {
            let path = entry.expect("an entry").path();
            (path.extension()? == "torrent").then_some(path)
        });
        let kept = std::fs::read(kept.expect("it was shared")).expect("a file");
        let url = format!("{scheme}://{}/announce", self.tracker_addr);
        let mut torrent = format!("d8:announce{}:{url}", url.len()).into_bytes();
        let info = kept.windows(6).position(|bytes| bytes == b"4:info");
        torrent.extend_from_slice(&kept[info.expect("an info dictionary")..]);
        std::fs::write(self.torrent(), torrent).expect("written");
    }

    /// The .torrent file that names the tracker by one URL.
    pub(crate) fn torrent(&self) -> PathBuf {
        self.dir.path().join("it.torrent")
    }

    /// The magnet link of that file, as we print it.
    pub(crate) fn link(&self) -> String {
        let torrent = self.torrent();
        let shown = self.peer(self.net.host(0), &["torrent", "show", text(&torrent)]);
        let row = &shown.end().exits(0).events("torrent")[0];
        row["magnet"].as_str().expect("a link").to_owned()
    }

    /// The magnet link that was printed when it was shared.
    pub(crate) fn shared_link(&self) -> String {
        self.shared_link.clone()
    }

    /// A magnet link that names no tracker, but the program on a machine.
    pub(crate) fn link_to(&self, host: usize) -> String {
        let ip = self.net.host(host).ip;
        let is_it = |member: &&Member| member.listen.ip() == ip;
        let member = self.members.iter().rfind(is_it);
        let link = self.link();
        let hash = link.split('&').next().expect("a first part");
        format!("{hash}&x.pe={}", member.expect("it runs").listen)
    }

    /// Starts our peer program on a machine.
    fn peer(&self, host: &Host, args: &[&str]) -> Running {
        let mut command = self.peer_command(args);
        if !host.is_apart() && matches!(args[0], "share" | "get") {
            command.args(["--listen", &SocketAddr::new(host.ip, 0).to_string()]);
        }
        command.env("SHOAL_TRACKER", self.tracker_addr.to_string());
        Running::start(&args.join(" "), &mut host.command(command))
    }

    fn peer_command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
        command.args(["--json", "-v"]).args(args);
        command.current_dir(self.dir.path());
        command
    }

    /// Starts our peer program on a machine, at an address, without a native tracker.
    fn peer_alone(&self, host: &Host, listen: SocketAddr, args: &[&str]) -> Running {
        let mut command = self.peer_command(args);
        command.args(["--listen", &listen.to_string()]);
        command.env_remove("SHOAL_TRACKER");
        Running::start(&args.join(" "), &mut host.command(command))
    }

    /// Starts a program that has everything on a machine, and waits until the tracker knows of it.
    pub(crate) fn seed(&mut self, client: Client, host: usize) {
        self.seed_by(client, host, |scene, listen, path| match client {
            Client::Ours => scene.peer(scene.net.host(host), &["share", text(path)]),
            Client::Other(program) => {
                let (torrent, folder) = (scene.torrent(), path.parent().expect("in a folder"));
                scene.start(program, host, listen, text(&torrent), folder)
            }
        });
    }

    /// Starts our program with the .torrent file on what it describes, without a native tracker.
    pub(crate) fn seed_torrent(&mut self, host: usize) {
        self.seed_by(Client::Ours, host, |scene, listen, path| {
            let torrent = scene.torrent();
            let args = ["seed", text(&torrent), text(path)];
            scene.peer_alone(scene.net.host(host), listen, &args)
        });
    }

    fn seed_by(
        &mut self,
        client: Client,
        host: usize,
        start: impl FnOnce(&Self, SocketAddr, &Path) -> Running,
    ) {
        let seeds = self.figure("seeds");
        let folder = self.dir.path().join("source");
        let listen = self.net.host(host).listen();
        let running = start(self, listen, &folder.join(self.name));
        self.members
            .push(Member::new(client, running, folder, listen));
        self.until("a seed", |scene| scene.figure("seeds") > seeds);
    }

    /// Starts a program that has nothing on a machine.
    pub(crate) fn get(&mut self, client: Client, host: usize) {
        let (folder, listen) = self.empty(host);
        let running = match client {
            Client::Ours => {
                let to = format!("{}/", folder.display());
                let args = ["get", self.name, "-o", &to, "--seed", "forever"];
                self.peer(self.net.host(host), &args)
            }
            Client::Other(program) => {
                let torrent = self.torrent();
                self.start(program, host, listen, text(&torrent), &folder)
            }
        };
        self.members
            .push(Member::new(client, running, folder, listen));
    }

    /// The same with a .torrent file or a magnet link, and without a native tracker.
    pub(crate) fn get_by(&mut self, client: Client, host: usize, what: &str) {
        let (folder, listen) = self.empty(host);
        let running = match client {
            Client::Ours => {
                let to = format!("{}/", folder.display());
                let args = ["get", what, "-o", &to, "--seed", "forever"];
                self.peer_alone(self.net.host(host), listen, &args)
            }
            Client::Other(program) => self.start(program, host, listen, what, &folder),
        };
        self.members.push(Member {
            is_known: !what.contains("&x.pe="),
            was_given: true,
            ..Member::new(client, running, folder, listen)
        });
    }

    /// Where a program on a machine listens and puts what it fetches.
    fn empty(&self, host: usize) -> (PathBuf, SocketAddr) {
        let folder = self.dir.path().join(format!("host{host}"));
        std::fs::create_dir(&folder).expect("a folder");
        (folder, self.net.host(host).listen())
    }

    fn start(
        &self,
        program: Program,
        host: usize,
        listen: SocketAddr,
        torrent: &str,
        folder: &Path,
    ) -> Running {
        let host = self.net.host(host);
        let task = Task {
            torrent,
            folder,
            listen,
            settings: "",
        };
        let command = program.command(&task);
        let running = Running::start(&format!("{program:?}"), &mut host.command(command));
        let begun = Instant::now();
        while let Some(order) = program.order(&task)
            && !runs(&mut host.command(order))
        {
            let is_late = begun.elapsed() > PATIENCE || running.has_ended();
            assert!(!is_late, "{program:?} takes no orders");
            std::thread::sleep(PAUSE);
        }
        running
    }

    /// A number that the tracker knows of the content.
    fn figure(&self, name: &str) -> u64 {
        let listed = self.peer(self.net.host(0), &["ls"]).end().exits(0);
        listed.events("file")[0][name].as_u64().expect("a number")
    }

    fn until(&self, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            assert!(begun.elapsed() < PATIENCE, "it never came to be: {what}");
            for member in &self.members {
                let last = || {
                    member
                        .running
                        .lines()
                        .into_iter()
                        .rev()
                        .take(5)
                        .collect::<Vec<_>>()
                };
                assert!(
                    !member.running.has_ended(),
                    "{:?} ended: {:?}",
                    member.client,
                    last()
                );
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until everybody has everything, compares it, and reads what was said.
    pub(crate) fn ends_well(mut self) {
        let known = self.members.iter().filter(|member| member.is_known).count() as u64;
        self.until("everybody is a seed", |scene| {
            scene.figure("seeds") == known
        });
        // Some are seeds for the tracker before they are: aria2 that has nothing but a link tells it that it lacks
        // nothing, and ours say so before the file has its name.
        self.until("everybody who was given something has a copy", |scene| {
            let source = scene.dir.path().join("source").join(scene.name);
            let wanted = tree(&source);
            let mut given = scene.members.iter().filter(|member| member.was_given);
            given.all(|member| member.has_all(scene.name, &wanted))
        });
        let clients: Vec<Client> = self.members.iter().map(|member| member.client).collect();
        println!("{clients:?} are complete after {:?}", self.begun.elapsed());
        let source = self.dir.path().join("source").join(self.name);
        for member in std::mem::take(&mut self.members) {
            member.keep_log();
            member.holds(&source);
            match member.client {
                Client::Ours => ours_is_content(&member.running.stop()),
                Client::Other(program) => {
                    let lines = member.running.lines();
                    assert_eq!(complaints(program, &lines), [""; 0], "of {program:?}");
                }
            }
        }
    }
}

/// Where the logs of all programs are to be kept.
const LOGS: &str = "SHOAL_TEST_LOGS";

impl Member {
    /// One of whom the tracker hears, and which found the content by its name.
    fn new(client: Client, running: Running, folder: PathBuf, listen: SocketAddr) -> Self {
        Self {
            client,
            running,
            folder,
            listen,
            is_known: true,
            was_given: false,
        }
    }

    /// Compares what it has with the source.
    fn holds(&self, source: &Path) {
        let name = source.file_name().expect("a name");
        let (mut wanted, mut held) = (tree(source), tree(&self.folder.join(name)));
        if matches!(self.client, TRANSMISSION | DAEMON) {
            // Version 3.00 makes no file that is empty.
            wanted.retain(|_, (len, _)| *len > 0);
            held.retain(|_, (len, _)| *len > 0);
        }
        println!("comparing what {:?} holds", self.client);
        assert_same_trees(&wanted, &held);
    }

    /// Whether what is wanted of a folder is there. A file may just be getting its name, so what is there is not listed.
    fn has_all(&self, name: &str, wanted: &Tree) -> bool {
        let held = self.folder.join(name);
        wanted.iter().all(|(name, (len, digest))| {
            let bytes = std::fs::read(held.join(name)).unwrap_or_default();
            bytes.len() as u64 == *len && <[u8; 32]>::from(Sha256::digest(&bytes)) == *digest
        })
    }

    fn keep_log(&self) {
        if let Some(folder) = std::env::var_os(LOGS) {
            let name = format!("{:?}.{}.log", self.client, self.running.pid());
            let log = self.running.lines().join("\n");
            std::fs::write(Path::new(&folder).join(name), log).expect("a log is kept");
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.members.iter().for_each(Member::keep_log);
    }
}

fn ours_is_content(ended: &Ended) {
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let fails = &ended.summary()["hash_fail"];
    assert!(fails.is_null() || fails == 0, "{ended:#?}");
}

/// The words of a path for a command line.
fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
