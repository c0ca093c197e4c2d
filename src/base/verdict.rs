//! What became of a piece that had arrived.

use std::io;

/// The outcome of checking a piece against its SHA-1, and of writing it. Only a piece that is both right and written
/// counts.
#[derive(Debug)]
pub enum Verdict {
    /// It is what it should be, and written.
    Good,
    /// It is something else, and does not count: nothing was written, or what was written may be written over.
    Wrong,
    /// The disk failed it: it could not be written, or not be read back.
    Unwritten(io::Error),
}
