//! Shoal puts a large file on many machines: one sender, many receivers, one tracker.
//!
//! # Words (one word per thing)
//! - *content*: the file or folder that is shared
//! - *piece*: the unit that has a SHA-1
//! - *block*: what one request asks for (16 KiB on the BitTorrent wire)
//! - *swarm*: our view of one content's peers
//! - *peer*: a remote participant
//! - *contact*: an address that we know but are not connected to
//! - *conn*: a socket
//! - *link*: the protocol state on a conn
//! - *registry*: the tracker's store
//! - *native*: what only Shoal programs speak
//!
//! # Layers (a line imports only from lines below it; `tests/tidy.rs` fails on any other import)
//! ```text
//! bin              → cli, peer, tracker
//! peer             → cli, reactor, storage, swarm, wire, base
//! tracker          → cli, reactor, storage, registry, wire, base
//! cli              → wire, base
//! sim              → swarm, registry, wire, base
//! reactor, storage → base
//! swarm, registry  → wire, base
//! wire             → base
//! base             → nothing
//! ```
//! `base`, `wire`, `swarm`, `registry` and `sim` are pure: no sockets, files, threads or clocks.
//! `reactor` does not know what a torrent is, `swarm` does not know what a socket is; they meet in `peer`.
//!
//! # Invariants of the whole
//! 1. A piece is announced, counted or uploaded only after its SHA-1 matched and it was written.
//! 2. Payload is lent or named, never queued: bytes of a block never travel inside an input or an output.
//! 3. Whatever others choose has a limit, and is refused before it is allocated.
//! 4. The reactor never blocks: hashing, disk and name resolution are tasks of a fixed worker pool.

pub mod base;
pub mod cli;
pub mod peer;
pub mod reactor;
pub mod registry;
pub mod sim;
pub mod storage;
pub mod swarm;
pub mod tracker;
pub mod wire;
