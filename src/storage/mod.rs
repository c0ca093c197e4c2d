//! Files and threads: the only importer of `std::fs` and `std::thread`.
//!
//! Knows pieces as offsets and lengths, files as lists of names, and nothing of peers or of the wire.
//! Whatever blocks in here is called on a worker, never on the reactor.

mod workers;

pub use workers::{Remains, Shutdown, Task, Wake, Workers};
