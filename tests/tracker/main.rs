//! The real tracker, spoken to over plain sockets.

mod durability;
mod harness;
mod limits;
mod service;
