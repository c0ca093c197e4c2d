//! The command line from outside: the two programs as a user starts them, on loopback.

mod fetching;
#[path = "../common/free.rs"]
mod free;
mod json;
mod listing;
mod program;
mod refusal;
mod screen;
mod sharing;
mod signals;
mod terminal;
mod torrents;
mod tracker;
mod usage;
