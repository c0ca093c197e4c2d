//! What the reactor hands to its workers: everything that may wait for a disk, a name server or many bytes to hash.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::place::{Place, Prepared, file_specs, prepare};
use crate::base::{Bitfield, Digest20, PieceBuf, Verdict};
use crate::cli::Failure;
use crate::storage::{
    BitsFile, Content, ContentHasher, ContentHashes, PartFiles, PieceHasher, Scan, SharedFiles,
    Task, block_digests, block_digests_on_disk, check_and_write, is_taken, read_back, read_list,
    read_whole, scan, write_new,
};
use crate::swarm::{Digests, Run};
use crate::wire::metainfo::{Metainfo, MetainfoError};
use crate::wire::peer::BLOCK_LEN;
use crate::wire::torrent::{TORRENT_BYTES_MAX, Torrent};

/// One errand; `job` says whose it is.
#[derive(Debug)]
pub(super) struct Errand {
    pub job: usize,
    pub work: Work,
}

/// What is to be done.
#[derive(Debug)]
pub(super) enum Work {
    /// Read or write some of the content.
    Piece(PieceWork),
    /// Put data on disk, then the record that vouches for it.
    Save {
        bits: BitsFile,
        have: Bitfield,
        meta: Arc<Metainfo>,
        files: Arc<PartFiles>,
    },
    /// Look at what is to be shared.
    Scan { path: PathBuf },
    /// Help to hash a content.
    Hash(Hashing),
    /// Make a place for a download, or find the one that was begun.
    Prepare { place: Place, meta: Arc<Metainfo> },
    /// Give a finished download its name.
    Finish {
        bits: BitsFile,
        files: Arc<PartFiles>,
        overwrite: bool,
    },
    /// Open what lies on disk, to be checked.
    Open { path: PathBuf, meta: Arc<Metainfo> },
    /// See whether what is shared is still what it was.
    Look { files: Arc<SharedFiles> },
    /// Read a list of hosts.
    ReadHosts { path: PathBuf },
    /// Read a `.torrent` file.
    ReadTorrent { path: PathBuf },
    /// Write a `.torrent` file where none is; one that says the same may be there, if `same_is_fine`.
    WriteTorrent {
        path: PathBuf,
        bytes: Vec<u8>,
        same_is_fine: bool,
    },
    /// See that nothing lies there.
    FindVacant { path: PathBuf },
    /// Open what of a content lies on disk, to be checked and served.
    OpenPresent { path: PathBuf, meta: Arc<Metainfo> },
    /// Turn a host name into addresses; the number comes back with them.
    Resolve {
        host: String,
        port: u16,
        number: u64,
    },
}

/// What is to be done with a piece or a run.
#[derive(Debug)]
pub(super) enum PieceWork {
    /// Hash a piece; write it if it matches.
    Check {
        piece: u32,
        buffer: PieceBuf,
        expected: Digest20,
        digests: Digests,
        offset: u64,
        files: Arc<PartFiles>,
    },
    /// Write a run of a large piece, whatever it is.
    Write {
        run: Run,
        buffer: PieceBuf,
        offset: u64,
        files: Arc<PartFiles>,
    },
    /// Read a large piece back and hash it.
    Verify {
        piece: u32,
        len: u32,
        expected: Digest20,
        digests: Digests,
        offset: u64,
        files: Arc<PartFiles>,
    },
    /// Read a run for uploading.
    Load {
        run: Run,
        buffer: PieceBuf,
        offset: u64,
        files: Files,
    },
}

/// What became of an errand.
#[derive(Debug)]
pub(super) struct Done {
    pub job: usize,
    pub result: Outcome,
}

/// The outcome of each kind of work.
#[derive(Debug)]
pub(super) enum Outcome {
    Checked {
        piece: u32,
        buffer: PieceBuf,
        verdict: Verdict,
        digests: Vec<Digest20>,
    },
    Written {
        run: Run,
        buffer: PieceBuf,
        result: io::Result<()>,
    },
    Verified {
        piece: u32,
        verdict: Verdict,
        digests: Vec<Digest20>,
    },
    Loaded {
        run: Run,
        buffer: PieceBuf,
        result: io::Result<()>,
    },
    Saved {
        bits: BitsFile,
        result: io::Result<()>,
    },
    Scanned(io::Result<(Scan, Arc<SharedFiles>)>),
    /// One worker is done hashing; the last one brings the hashes.
    Hashed(Option<io::Result<Hashes>>),
    Prepared(Result<Prepared, Failure>),
    Finished(io::Result<PathBuf>),
    Opened(io::Result<Arc<SharedFiles>>),
    Looked(io::Result<()>),
    Hosts(io::Result<Vec<String>>),
    Torrent(Result<Box<Torrent>, TorrentError>),
    TorrentWritten(io::Result<()>),
    Vacant(io::Result<()>),
    /// The files, and which of them are not there.
    OpenedPresent(io::Result<(Arc<SharedFiles>, Vec<usize>)>),
    Resolved {
        number: u64,
        result: io::Result<Vec<SocketAddr>>,
    },
    /// A piece was judged, and its buffer is home in the swarm.
    Judged {
        good: bool,
    },
    /// A run was written or failed, which the swarm knows.
    Stored,
    /// A run was read, and its buffer is home in the swarm.
    Read(io::Result<()>),
}

/// A hashing that several workers share.
#[derive(Clone)]
pub(super) enum Hashing {
    /// Every file, and every piece if that was asked for.
    Content(Arc<ContentHasher>),
    /// Chosen pieces.
    Pieces(Arc<PieceHasher>),
}

/// What a hashing found.
#[derive(Debug)]
pub(super) enum Hashes {
    Content(ContentHashes),
    Pieces(Vec<u8>),
}

impl Hashing {
    fn run(&self) -> Option<io::Result<Hashes>> {
        match self {
            Self::Content(hasher) => Some(hasher.run()?.map(Hashes::Content)),
            Self::Pieces(hasher) => Some(hasher.run()?.map(Hashes::Pieces)),
        }
    }

    /// Makes every worker stop soon.
    pub(super) fn cancel(&self) {
        match self {
            Self::Content(hasher) => hasher.cancel(),
            Self::Pieces(hasher) => hasher.cancel(),
        }
    }

    /// Bytes hashed, and bytes in all.
    pub(super) fn bytes(&self) -> (u64, u64) {
        match self {
            Self::Content(hasher) => (hasher.bytes_done(), hasher.bytes_total()),
            Self::Pieces(hasher) => (hasher.bytes_done(), hasher.bytes_total()),
        }
    }
}

impl fmt::Debug for Hashing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hashing").field(&self.bytes()).finish()
    }
}

/// The files of a content: being downloaded, or shared where they lie.
#[derive(Clone, Debug)]
pub(super) enum Files {
    Part(Arc<PartFiles>),
    Shared(Arc<SharedFiles>),
}

impl Files {
    /// The bytes, for hashing.
    pub(super) fn content(&self) -> Arc<dyn Content> {
        match self {
            Self::Part(files) => files.clone(),
            Self::Shared(files) => files.clone(),
        }
    }

    /// Fills `into` from `offset` on; an error if a shared file is no longer what it was.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Part(files) => files.read_at(offset, into),
            Self::Shared(files) => {
                files.check_range_unchanged(offset, into.len() as u64)?;
                files.read_at(offset, into)
            }
        }
    }
}

/// Why a `.torrent` file is not to be had.
#[derive(Debug)]
pub(super) enum TorrentError {
    /// It could not be read.
    Io(io::Error),
    /// It is none, or one that must not be used.
    Refused(MetainfoError),
}

fn read_torrent(path: &Path) -> Result<Box<Torrent>, TorrentError> {
    let bytes = read_whole(path, TORRENT_BYTES_MAX as u64).map_err(TorrentError::Io)?;
    let torrent = Torrent::from_bytes(&bytes).map_err(TorrentError::Refused)?;
    Ok(Box::new(torrent))
}

fn write_torrent(path: &Path, bytes: &[u8], same_is_fine: bool) -> io::Result<()> {
    let written = write_new(path, bytes);
    let exists = |error: &io::Error| error.kind() == io::ErrorKind::AlreadyExists;
    if same_is_fine
        && written.as_ref().is_err_and(exists)
        && let (Ok(there), Ok(ours)) = (read_torrent(path), Torrent::from_bytes(bytes))
        && there.meta.info_hash() == ours.meta.info_hash()
        && there.tiers == ours.tiers
    {
        return Ok(());
    }
    written
}

fn find_vacant(path: &Path) -> io::Result<()> {
    if !is_taken(path) {
        return Ok(());
    }
    let why = format!("{}: File exists", path.display());
    Err(io::Error::new(io::ErrorKind::AlreadyExists, why))
}

fn look_at(path: &Path) -> io::Result<(Scan, Arc<SharedFiles>)> {
    let scan = scan(path)?;
    let files = SharedFiles::open(&scan.root, &scan.files, scan.single)?;
    Ok((scan, Arc::new(files)))
}

impl Task for Errand {
    type Done = Done;

    fn run(self) -> Done {
        Done {
            job: self.job,
            result: self.work.run(),
        }
    }
}

impl Work {
    fn run(self) -> Outcome {
        match self {
            Self::Piece(work) => work.run(),
            Self::Save {
                mut bits,
                have,
                meta,
                files,
            } => {
                let synced = files.sync_data();
                let saved =
                    synced.and_then(|()| bits.save(meta.info_hash(), files.identity(), &have));
                Outcome::Saved {
                    bits,
                    result: saved,
                }
            }
            Self::Scan { path } => Outcome::Scanned(look_at(&path)),
            Self::Hash(hashing) => Outcome::Hashed(hashing.run()),
            Self::Prepare { place, meta } => Outcome::Prepared(prepare(&place, &meta)),
            Self::Finish {
                bits,
                files,
                overwrite,
            } => {
                let finished = files.finish(overwrite);
                Outcome::Finished(finished.and_then(|path| bits.remove().map(|()| path)))
            }
            Self::Open { path, meta } => {
                let opened = SharedFiles::open(&path, &file_specs(&meta), meta.is_single());
                Outcome::Opened(opened.map(Arc::new))
            }
            Self::Look { files } => Outcome::Looked(files.check_unchanged()),
            Self::ReadHosts { path } => Outcome::Hosts(read_list(&path)),
            Self::ReadTorrent { path } => Outcome::Torrent(read_torrent(&path)),
            Self::WriteTorrent {
                path,
                bytes,
                same_is_fine,
            } => Outcome::TorrentWritten(write_torrent(&path, &bytes, same_is_fine)),
            Self::FindVacant { path } => Outcome::Vacant(find_vacant(&path)),
            Self::OpenPresent { path, meta } => {
                let specs = file_specs(&meta);
                let opened = SharedFiles::open_present(&path, &specs, meta.is_single());
                Outcome::OpenedPresent(opened.map(|(files, absent)| (Arc::new(files), absent)))
            }
            Self::Resolve { host, port, number } => {
                let found = (host.as_str(), port).to_socket_addrs();
                let result = found.map(Iterator::collect);
                Outcome::Resolved { number, result }
            }
        }
    }
}

impl PieceWork {
    fn run(self) -> Outcome {
        match self {
            Self::Check {
                piece,
                buffer,
                expected,
                digests,
                offset,
                files,
            } => {
                let verdict = check_and_write(&files, offset, buffer.bytes(), &expected);
                let digests = digests.if_wanted(&verdict, || {
                    block_digests(buffer.bytes(), BLOCK_LEN as usize)
                });
                Outcome::Checked {
                    piece,
                    buffer,
                    verdict,
                    digests,
                }
            }
            Self::Write {
                run,
                buffer,
                offset,
                files,
            } => {
                let result = files.write_at(offset, buffer.bytes());
                Outcome::Written {
                    run,
                    buffer,
                    result,
                }
            }
            Self::Verify {
                piece,
                len,
                expected,
                digests,
                offset,
                files,
            } => {
                let verdict = read_back(&files, offset, len, &expected);
                let digests = digests.if_wanted(&verdict, || {
                    // What cannot be read again convicts nobody.
                    block_digests_on_disk(&files, offset, len, BLOCK_LEN as usize)
                        .unwrap_or_default()
                });
                Outcome::Verified {
                    piece,
                    verdict,
                    digests,
                }
            }
            Self::Load {
                run,
                mut buffer,
                offset,
                files,
            } => {
                let result = files.read_at(offset, buffer.bytes_mut());
                Outcome::Loaded {
                    run,
                    buffer,
                    result,
                }
            }
        }
    }
}
