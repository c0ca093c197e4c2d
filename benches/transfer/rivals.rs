//! Programs of others that seed and fetch what a `.torrent` file describes.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::programs::{Program, free_port, runs, text};

/// What libtorrent runs on: Debian's binding is for the system's own Python.
const PYTHON: &str = "/usr/bin/python3";
const LIBTORRENT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/benches/transfer/libtorrent_peer.py"
);

/// Somebody else's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rival {
    /// libtorrent, with the settings that its authors give for speed.
    Libtorrent,
    /// libtorrent as it comes.
    LibtorrentDefaults,
    Aria2,
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Libtorrent => "libtorrent",
            Self::LibtorrentDefaults => "libtorrent as it comes",
            Self::Aria2 => "aria2",
        })
    }
}

impl Rival {
    /// Those that are installed; says who is not.
    pub(crate) fn find() -> Vec<Self> {
        let mut found = Vec::new();
        if runs(Command::new(PYTHON).args(["-c", "import libtorrent"])) {
            found.extend([Self::Libtorrent, Self::LibtorrentDefaults]);
        } else {
            println!("without libtorrent: apt-get install python3-libtorrent");
        }
        if runs(Command::new("aria2c").arg("--version")) {
            found.push(Self::Aria2);
        } else {
            println!("without aria2: apt-get install aria2");
        }
        found
    }

    /// Starts one that seeds or fetches what the torrent describes in `folder`, sends at most `up` bytes a second if that
    /// is not 0, says DONE when it has everything, and stays.
    pub(crate) fn start(self, torrent: &Path, folder: &Path, up: u64) -> Program {
        let (torrent, port) = (text(torrent), free_port().to_string());
        let up = up.to_string();
        fs::create_dir_all(folder).expect("a folder");
        match self {
            Self::Libtorrent | Self::LibtorrentDefaults => {
                let preset = if self == Self::Libtorrent {
                    "tuned"
                } else {
                    "defaults"
                };
                let args = [LIBTORRENT, torrent, text(folder), &port, &up, preset];
                Program::start(PYTHON, &args)
            }
            Self::Aria2 => {
                let hook = folder.join("done.sh");
                fs::write(&hook, "#!/bin/sh\necho DONE\n").expect("a script");
                fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("ours");
                let named = |name: &str, value: &str| format!("--{name}={value}");
                let mut args: Vec<String> = ARIA2.iter().map(|arg| (*arg).to_owned()).collect();
                args.push(named("listen-port", &port));
                args.push(named("dir", text(folder)));
                args.push(named("max-overall-upload-limit", &up));
                args.push(named("on-bt-download-complete", text(&hook)));
                args.push(torrent.to_owned());
                Program::start("aria2c", &args)
            }
        }
    }
}

const ARIA2: [&str; 14] = [
    "--no-conf=true",
    "--enable-dht=false",
    "--enable-dht6=false",
    "--bt-enable-lpd=false",
    "--async-dns=false",
    "--disable-ipv6=true",
    "--bt-max-peers=0",
    "--bt-seed-unverified=true",
    "--disk-cache=64M",
    "--file-allocation=none",
    "--follow-torrent=mem",
    "--seed-ratio=0.0",
    "--quiet=true",
    "--interface=127.0.0.1",
];
