//! What the tracker keeps on disk, and what the one helper thread does.
//!
//! Owns the form of the state folder: `<info-hash>.torrent` per content, a metainfo file that any client reads, with our
//! own keys beside `info`; and `completions`, one JSON object per line: a member that completed, or how often foreign ones
//! did. Never decides what is registered.
//!
//! A file that is torn, corrupt or none of ours is reported with its path and left alone.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::{Escaped, InfoHash, PeerId, hex};
use crate::reactor::ConnId;
use crate::registry::{Completion, Facts};
use crate::storage::{KeptFolder, Task};
use crate::wire::bencode::{self, Limits, put_bytes, put_dictionary, put_list};
use crate::wire::metainfo::{INFO_BYTES_MAX, Metainfo, MetainfoError};

const TORRENT_SUFFIX: &str = ".torrent";
const COMPLETIONS_NAME: &str = "completions";
/// Bytes of a `.torrent` file around its info dictionary.
const AROUND_INFO_BYTES_MAX: usize = 64 << 10;
/// 100,000 completions of the longest host names that are not hostile.
const COMPLETIONS_BYTES_MAX: u64 = 256 << 20;

/// Which request a task is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asker {
    pub(super) conn: ConnId,
    pub(super) request_id: u32,
    /// Where the request came from.
    pub(super) from: IpAddr,
}

/// Where the info dictionary of a kept content lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct InfoPlace {
    pub(super) offset: u64,
}

/// What is kept of those who completed a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Completed {
    /// A native member.
    Native(Completion),
    /// So many foreign ones.
    Foreign(u32),
}

/// What the helper does.
#[derive(Debug)]
pub(super) enum Job {
    /// Read and hash an info dictionary.
    Examine { asker: Asker, info: Vec<u8> },
    /// Keep a content.
    Save {
        asker: Asker,
        content: Box<NewContent>,
    },
    /// Forget a content.
    Remove { asker: Asker, hash: InfoHash },
    /// Read a part of an info dictionary.
    Read {
        asker: Asker,
        hash: InfoHash,
        total: u32,
        /// Where the part lies in the file, and how long it is.
        offset: u64,
        len: usize,
    },
    /// Keep the completions.
    SaveCompletions(Vec<(InfoHash, Completed)>),
}

/// A content that is about to be registered.
#[derive(Clone, Debug)]
pub(super) struct NewContent {
    pub(super) facts: Facts,
    pub(super) info: Arc<[u8]>,
    /// Seconds since 1970.
    pub(super) registered_at: u64,
    pub(super) owners: Vec<IpAddr>,
}

/// What came of a job.
#[derive(Debug)]
pub(super) enum Done {
    Examined {
        asker: Asker,
        /// Bytes that were examined.
        bytes: usize,
        outcome: Result<(Facts, Arc<[u8]>), MetainfoError>,
    },
    Saved {
        asker: Asker,
        content: Box<NewContent>,
        outcome: io::Result<InfoPlace>,
    },
    Removed {
        asker: Asker,
        hash: InfoHash,
        outcome: io::Result<()>,
    },
    Read {
        asker: Asker,
        total: u32,
        outcome: io::Result<Vec<u8>>,
    },
    SavedCompletions(io::Result<()>),
}

/// A job with the folder that it is done in, if there is one.
#[derive(Debug)]
pub(super) struct StoreTask {
    pub(super) folder: Option<Arc<KeptFolder>>,
    pub(super) job: Job,
}

impl Task for StoreTask {
    type Done = Done;

    fn run(self) -> Done {
        let folder = self.folder;
        match self.job {
            Job::Examine { asker, info } => Done::Examined {
                asker,
                bytes: info.len(),
                outcome: Metainfo::from_info(&info)
                    .map(|metainfo| (Facts::from(&metainfo), Arc::clone(metainfo.info()))),
            },
            Job::Save { asker, content } => {
                let (bytes, place) = content.to_file();
                let name = torrent_name(content.facts.hash);
                let outcome = of(folder).and_then(|folder| folder.write(&name, &bytes));
                Done::Saved {
                    asker,
                    content,
                    outcome: outcome.map(|()| place),
                }
            }
            Job::Remove { asker, hash } => Done::Removed {
                asker,
                hash,
                outcome: of(folder).and_then(|folder| folder.remove(&torrent_name(hash))),
            },
            Job::Read {
                asker,
                hash,
                total,
                offset,
                len,
            } => Done::Read {
                asker,
                total,
                outcome: of(folder)
                    .and_then(|folder| folder.read_range(&torrent_name(hash), offset, len)),
            },
            Job::SaveCompletions(completions) => Done::SavedCompletions(
                of(folder).and_then(|folder| save_completions(&folder, completions)),
            ),
        }
    }
}

/// The folder, which every job but `Examine` is given.
fn of(folder: Option<Arc<KeptFolder>>) -> io::Result<Arc<KeptFolder>> {
    folder.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

impl NewContent {
    /// The bytes of the file, and where `info` lies in them.
    fn to_file(&self) -> (Vec<u8>, InfoPlace) {
        let mut bytes = Vec::with_capacity(self.info.len() + AROUND_INFO_BYTES_MAX.min(1024));
        let mut offset = 0;
        put_dictionary(&mut bytes, |entries| {
            let registered_at = i64::try_from(self.registered_at).unwrap_or(i64::MAX);
            entries.int(b"creation date", registered_at);
            let value = entries.value(b"info");
            offset = value.len() as u64;
            value.extend_from_slice(&self.info);
            put_list(entries.value(b"registered by"), |list| {
                for owner in &self.owners {
                    put_bytes(list, owner.to_string().as_bytes());
                }
            });
        });
        (bytes, InfoPlace { offset })
    }

    /// What the file of `hash` says. A plain metainfo file will do, if its name is right.
    fn from_file(hash: InfoHash, bytes: &[u8]) -> Result<(Self, InfoPlace), String> {
        let unreadable = |error: bencode::BencodeError| error.to_string();
        let value = bencode::decode(bytes, Limits::METAINFO).map_err(unreadable)?;
        let outer = value.as_dictionary().ok_or("not a dictionary")?;
        let info = outer.get(b"info").ok_or("no info dictionary")?.raw();
        let metainfo = Metainfo::from_info(info).map_err(|error| error.to_string())?;
        if metainfo.info_hash() != hash {
            return Err(format!("it is the content {}", metainfo.info_hash()));
        }
        let registered_at = outer.get(b"creation date").and_then(bencode::Value::as_int);
        let owners = outer
            .get(b"registered by")
            .and_then(bencode::Value::as_list);
        let owners = owners.into_iter().flatten().filter_map(|owner| {
            let text = std::str::from_utf8(owner.as_bytes()?).ok()?;
            text.parse().ok()
        });
        let content = Self {
            facts: Facts::from(&metainfo),
            info: Arc::clone(metainfo.info()),
            registered_at: registered_at.and_then(|at| at.try_into().ok()).unwrap_or(0),
            owners: owners.collect(),
        };
        // Both slices are of the same bytes, so that the difference of their starts is where `info` lies.
        let offset = (info.as_ptr().addr() - bytes.as_ptr().addr()) as u64;
        Ok((content, InfoPlace { offset }))
    }
}

fn torrent_name(hash: InfoHash) -> String {
    format!("{hash}{TORRENT_SUFFIX}")
}

/// A content that was kept.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) facts: Facts,
    /// Seconds since 1970.
    pub(super) registered_at: u64,
    pub(super) owners: Vec<IpAddr>,
    pub(super) place: InfoPlace,
    /// Its info dictionary, as long as all of them fit into the memory for them.
    pub(super) info: Option<Arc<[u8]>>,
}

/// Every content that the folder keeps, oldest first; says on the log what cannot be read. At most `info_bytes_max` bytes
/// of info dictionaries are kept in memory.
pub(super) fn load_contents(folder: &KeptFolder, info_bytes_max: usize) -> io::Result<Vec<Loaded>> {
    let (mut loaded, mut room) = (Vec::new(), info_bytes_max);
    for name in folder.names()? {
        match load_content(folder, &name) {
            Some(Ok((content, place))) => {
                let fits = content.info.len() <= room;
                room -= if fits { content.info.len() } else { 0 };
                loaded.push(Loaded {
                    facts: content.facts,
                    registered_at: content.registered_at,
                    owners: content.owners,
                    place,
                    info: fits.then_some(content.info),
                });
            }
            Some(Err(why)) => {
                let path = folder.shown(&name).display().to_string();
                log::warn!("{} is skipped: {why}", Escaped(&path));
            }
            None => {}
        }
    }
    loaded.sort_by_key(|content| (content.registered_at, content.facts.hash));
    Ok(loaded)
}

/// The content that a file keeps; `None` for a file that does not even look like one.
fn load_content(
    folder: &KeptFolder,
    name: &str,
) -> Option<Result<(NewContent, InfoPlace), String>> {
    let stem = name.strip_suffix(TORRENT_SUFFIX)?;
    let Ok(hash) = stem.parse::<InfoHash>() else {
        return Some(Err("its name is no info-hash".into()));
    };
    let bytes_max = (INFO_BYTES_MAX + AROUND_INFO_BYTES_MAX) as u64;
    Some(match folder.read(name, bytes_max) {
        Ok(bytes) => NewContent::from_file(hash, &bytes),
        Err(error) => Err(error.to_string()),
    })
}

/// One line of the completions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Native {
        info_hash: String,
        peer_id: String,
        host: String,
        completed_at: u64,
    },
    Foreign {
        info_hash: String,
        foreign_downloads: u32,
    },
}

impl Line {
    fn new(hash: InfoHash, completed: &Completed) -> Self {
        let info_hash = hash.to_string();
        match completed {
            Completed::Native(completion) => Self::Native {
                info_hash,
                peer_id: hex(&completion.peer_id.0),
                host: completion.host.to_string(),
                completed_at: completion.completed_at,
            },
            Completed::Foreign(count) => Self::Foreign {
                info_hash,
                foreign_downloads: *count,
            },
        }
    }

    fn read(self) -> Option<(InfoHash, Completed)> {
        match self {
            Self::Native {
                info_hash,
                peer_id,
                host,
                completed_at,
            } => {
                // A peer id has as many digits as an info-hash.
                let peer_id: InfoHash = peer_id.parse().ok()?;
                let completion = Completion {
                    peer_id: PeerId(peer_id.0),
                    host: host.into(),
                    completed_at,
                };
                Some((info_hash.parse().ok()?, Completed::Native(completion)))
            }
            Self::Foreign {
                info_hash,
                foreign_downloads,
            } => Some((
                info_hash.parse().ok()?,
                Completed::Foreign(foreign_downloads),
            )),
        }
    }
}

fn save_completions(
    folder: &KeptFolder,
    completions: Vec<(InfoHash, Completed)>,
) -> io::Result<()> {
    let mut text = Vec::new();
    for (hash, completed) in completions {
        serde_json::to_writer(&mut text, &Line::new(hash, &completed))?;
        text.push(b'\n');
    }
    folder.write(COMPLETIONS_NAME, &text)
}

/// Calls `found` with every completion that the folder keeps; says on the log what cannot be read.
pub(super) fn load_completions(folder: &KeptFolder, mut found: impl FnMut(InfoHash, Completed)) {
    let bytes = match folder.read(COMPLETIONS_NAME, COMPLETIONS_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return,
        Err(error) => return log::warn!("completions are forgotten: {error}"),
    };
    let mut unread = 0;
    for line in bytes.split(|&byte| byte == b'\n') {
        match parse_line(line) {
            Some((hash, completed)) => found(hash, completed),
            None => unread += usize::from(!line.is_empty()),
        }
    }
    if unread > 0 {
        let path = folder.shown(COMPLETIONS_NAME);
        log::warn!("{}: {unread} lines cannot be read", path.display());
    }
}

fn parse_line(line: &[u8]) -> Option<(InfoHash, Completed)> {
    serde_json::from_slice::<Line>(line).ok()?.read()
}

/// Opens the state folder.
pub(super) fn open(path: &Path) -> io::Result<Arc<KeptFolder>> {
    KeptFolder::open(path).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::info_builder::{self, canonical_info};

    fn content(name: &str, registered_at: u64) -> NewContent {
        let content = info_builder::Content::Single {
            len: 100,
            sha256: Some([9; 32]),
        };
        let info = canonical_info(name, 65536, &[7; 20], content);
        let metainfo = Metainfo::from_info(&info).expect("canonical");
        NewContent {
            facts: Facts::from(&metainfo),
            info: info.into(),
            registered_at,
            owners: vec!["10.0.0.1".parse().expect("ip"), "::1".parse().expect("ip")],
        }
    }

    #[test]
    fn a_content_survives_its_file_and_other_clients_can_read_it() {
        let content = content("a file", 1_700_000_000);
        let (bytes, place) = content.to_file();
        let (read, found) = NewContent::from_file(content.facts.hash, &bytes).expect("whole");
        assert_eq!(read.facts, content.facts);
        assert_eq!(
            (read.registered_at, &read.owners),
            (1_700_000_000, &content.owners)
        );
        assert_eq!(place, found);
        let start = place.offset as usize;
        assert_eq!(bytes[start..][..content.info.len()], *content.info);
        let plain = Metainfo::from_torrent(&bytes).expect("a plain metainfo file");
        assert_eq!(plain.info_hash(), content.facts.hash);
        for cut in 0..bytes.len() {
            assert!(NewContent::from_file(content.facts.hash, &bytes[..cut]).is_err());
        }
    }

    #[test]
    fn a_folder_gives_back_what_it_keeps_and_skips_the_rest() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = open(dir.path()).expect("there");
        let contents = [content("late", 30), content("early", 10)];
        for content in &contents {
            let (bytes, _) = content.to_file();
            folder
                .write(&torrent_name(content.facts.hash), &bytes)
                .expect("written");
        }
        let (whole, _) = contents[0].to_file();
        folder.write("notes.txt", b"mine").expect("written");
        folder.write("x.torrent", &whole).expect("written");
        folder
            .write(&torrent_name(InfoHash([1; 20])), &whole)
            .expect("written");
        folder
            .write(&torrent_name(InfoHash([2; 20])), &whole[..50])
            .expect("written");
        let loaded = load_contents(&folder, contents[0].info.len()).expect("readable");
        let names: Vec<_> = loaded.iter().map(|content| &*content.facts.name).collect();
        assert_eq!(names, ["early", "late"]);
        assert_eq!(
            loaded
                .iter()
                .filter(|content| content.info.is_some())
                .count(),
            1
        );
        assert_eq!(
            folder.names().expect("names").len(),
            6,
            "nothing is deleted"
        );
    }

    #[test]
    fn completions_survive_their_file_and_a_torn_line_costs_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let folder = open(dir.path()).expect("there");
        let completion = |at| Completion {
            peer_id: PeerId([at as u8; 20]),
            host: "a \"host\"\n".into(),
            completed_at: at,
        };
        let all: Vec<_> = (1..4)
            .map(|at| match at {
                2 => (InfoHash([6; 20]), Completed::Foreign(77)),
                _ => (InfoHash([5; 20]), Completed::Native(completion(at))),
            })
            .collect();
        save_completions(&folder, all.clone()).expect("saved");
        let load = || {
            let mut found = Vec::new();
            load_completions(&folder, |hash, completed| found.push((hash, completed)));
            found
        };
        assert_eq!(load(), all);
        let bytes = folder.read(COMPLETIONS_NAME, 1 << 20).expect("there");
        folder
            .write(COMPLETIONS_NAME, &bytes[..bytes.len() - 5])
            .expect("torn");
        assert_eq!(load(), all[..2]);
    }
}
