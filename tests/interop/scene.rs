//! A tracker of ours that knows one content, and a swarm of programs around it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use shoal::wire::torrent::Torrent;
use tempfile::TempDir;

use crate::complaints::complaints;
use crate::content::{assert_same_trees, tree};
use crate::net::{Host, Net};
use crate::process::{Ended, Running};
use crate::programs::{Program, Task};

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
    begun: Instant,
}

/// A program in the swarm.
struct Member {
    client: Client,
    running: Running,
    /// Where its copy is.
    folder: PathBuf,
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
        let scene = Self {
            tracker_addr: addr.parse().expect("an address"),
            members: Vec::new(),
            _tracker: tracker,
            net,
            dir,
            name,
            begun: Instant::now(),
        };
        let share = scene.peer(scene.net.host(0), &["share", text(&source.join(name))]);
        share.event("shared");
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

    fn torrent(&self) -> PathBuf {
        self.dir.path().join("it.torrent")
    }

    /// Starts our peer program on a machine.
    fn peer(&self, host: &Host, args: &[&str]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shoal-peer"));
        let (name, rest) = args.split_first().expect("a command");
        command.args(["--json", "-v", name]);
        if !host.is_apart() && matches!(*name, "share" | "get") {
            command.args(["--listen", &SocketAddr::new(host.ip, 0).to_string()]);
        }
        command.args(rest).current_dir(self.dir.path());
        if !args.iter().any(|arg| arg.starts_with("magnet:")) {
            command.env("SHOAL_TRACKER", self.tracker_addr.to_string());
        }
        Running::start(&args.join(" "), &mut host.command(command))
    }

    /// Starts a program that has everything on a machine, and waits until the tracker knows of it.
    pub(crate) fn seed(&mut self, client: Client, host: usize) {
        let folder = self.dir.path().join("source");
        let seeds = self.figure("seeds");
        let running = match client {
            Client::Ours => {
                let path = folder.join(self.name);
                self.peer(self.net.host(host), &["share", text(&path)])
            }
            Client::Other(program) => self.start(program, host, &folder),
        };
        self.members.push(Member {
            client,
            running,
            folder,
        });
        self.until("a seed", |scene| scene.figure("seeds") > seeds);
    }

    /// Starts a program that has nothing on a machine.
    pub(crate) fn get(&mut self, client: Client, host: usize) {
        let folder = self.empty_folder(host);
        let running = match client {
            Client::Ours => self.start_get(self.name, host, &folder),
            Client::Other(program) => self.start(program, host, &folder),
        };
        self.members.push(Member {
            client,
            running,
            folder,
        });
    }

    /// Starts a program that has nothing but the magnet link, which names the tracker as the .torrent file does; waits
    /// until it has everything.
    pub(crate) fn get_by_link(&mut self, client: Client, host: usize) {
        let (folder, link) = (self.empty_folder(host), self.link());
        let running = match client {
            Client::Ours => self.start_get(&link, host, &folder),
            Client::Other(program) => self.start_with(program, &link, host, &folder),
        };
        let wanted = tree(&self.dir.path().join("source").join(self.name));
        let held = folder.join(self.name);
        self.members.push(Member {
            client,
            running,
            folder,
        });
        // A file may just be getting its name, so those that are wanted are looked at, not those that are there.
        let is_there = |(name, (len, digest)): (&PathBuf, &(u64, [u8; 32]))| {
            let bytes = std::fs::read(held.join(name)).unwrap_or_default();
            bytes.len() as u64 == *len && <[u8; 32]>::from(Sha256::digest(&bytes)) == *digest
        };
        self.until("a copy", |_| wanted.iter().all(is_there));
    }

    fn empty_folder(&self, host: usize) -> PathBuf {
        let folder = self.dir.path().join(format!("host{host}"));
        std::fs::create_dir(&folder).expect("a folder");
        folder
    }

    fn start_get(&self, what: &str, host: usize, folder: &Path) -> Running {
        let to = format!("{}/", folder.display());
        let args = ["get", what, "-o", &to, "--seed", "forever"];
        self.peer(self.net.host(host), &args)
    }

    fn start(&self, program: Program, host: usize, folder: &Path) -> Running {
        self.start_with(program, text(&self.torrent()), host, folder)
    }

    fn start_with(&self, program: Program, what: &str, host: usize, folder: &Path) -> Running {
        let host = self.net.host(host);
        let task = Task {
            torrent: what,
            folder,
            listen: host.listen(),
            settings: "",
        };
        let command = program.command(&task);
        Running::start(&format!("{program:?}"), &mut host.command(command))
    }

    fn link(&self) -> String {
        let torrent = std::fs::read(self.torrent()).expect("it was written");
        let torrent = Torrent::from_bytes(&torrent).expect("a torrent");
        torrent.magnet().to_string()
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
                assert!(!member.running.has_ended(), "{:?} ended", member.client);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Waits until everybody has everything, compares it, and reads what was said.
    pub(crate) fn ends_well(mut self) {
        let members = self.members.len() as u64;
        self.until("everybody is a seed", |scene| {
            scene.figure("seeds") == members
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
    /// Compares what it has with the source.
    fn holds(&self, source: &Path) {
        let name = source.file_name().expect("a name");
        let (mut wanted, mut held) = (tree(source), tree(&self.folder.join(name)));
        if self.client == TRANSMISSION {
            // Version 3.00 makes no file that is empty.
            wanted.retain(|_, (len, _)| *len > 0);
            held.retain(|_, (len, _)| *len > 0);
        }
        println!("comparing what {:?} holds", self.client);
        assert_same_trees(&wanted, &held);
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
