//! The real tracker, asked over HTTP and UDP: by plain sockets, and by programs that others wrote.

mod client;
#[allow(dead_code, reason = "the interoperability tests use the rest")]
#[path = "../common/programs.rs"]
mod foreign;
#[path = "../common/free.rs"]
mod free;
#[allow(dead_code, reason = "the tests of the native protocol use the rest")]
#[path = "../tracker/harness.rs"]
mod harness;
mod hostile;
mod http;
#[path = "../common/noise.rs"]
mod noise;
mod programs;
#[path = "../common/storm.rs"]
mod storm;
mod swarm;
mod udp;
