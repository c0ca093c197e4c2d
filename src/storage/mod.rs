//! Files and threads: the only importer of `std::fs` and `std::thread`.
//!
//! Knows pieces as offsets and lengths, files as lists of names, and nothing of peers or of the wire.
//! Whatever blocks in here is called on a worker, never on the reactor.

mod disk;
mod handles;
mod hash;
mod keep;
mod layout;
mod look;
mod paths;
mod pieces;
mod resume;
mod scan;
mod shared;
mod tree;
mod workers;
mod writer;

pub use disk::{PART_SUFFIX, PartFiles, check_target};
pub use hash::{ContentHasher, ContentHashes};
pub use keep::{BEGUN_SUFFIX, KeptFolder};
pub use layout::{FileMap, FileSpec, Layout, Span};
pub use look::{LIST_BYTES_MAX, is_folder, is_taken, read_list, read_whole, write_new};
pub use paths::{Folder, Identity, NAME_BYTES_MAX, check_name, errno_of, is_disk_full};
pub use pieces::{
    PieceHasher, block_digests, block_digests_on_disk, check_and_write, matching_pieces, read_back,
};
pub use resume::{BITS_SUFFIX, BitsFile};
pub use scan::{Scan, scan};
pub use shared::SharedFiles;
pub use tree::Content;
pub use workers::{Remains, Shutdown, Task, Wake, Workers, cores};
pub use writer::{LineWriter, Stream};
