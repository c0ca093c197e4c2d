//! Our programs in swarms with aria2, libtorrent and Transmission: each fetches from each, alone and all together.
//!
//! Whatever arrives is compared byte by byte, and no log of theirs may complain of us.

mod complaints;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../common/content.rs"]
mod content;
#[path = "../common/free.rs"]
mod free;
mod links;
mod loopback;
mod meeting;
mod mixed;
mod net;
mod opentracker;
mod pairs;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../common/process.rs"]
mod process;
#[path = "../common/programs.rs"]
mod programs;
mod scene;
