//! What the end-to-end tests have in common: the real programs as child processes, contents, and scripted peers.
//!
//! Waits for lines and exits, never for time to pass; every wait has a generous deadline after which it shows what the
//! programs said. Whatever is started is killed when its handle goes.

pub(crate) mod content;
pub(crate) mod liar;
#[allow(dead_code, reason = "the tests with other clients use the rest")]
pub(crate) mod process;
pub(crate) mod scripted;
pub(crate) mod world;

pub(crate) use content::{Content, assert_same, file, random_bytes, tree};
pub(crate) use process::Running;
pub(crate) use scripted::{Answer, Gate, Native, Seeder};
pub(crate) use world::{World, text};
