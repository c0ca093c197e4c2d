//! The loop on real sockets of the loopback, driven by scripted services.

mod bytes;
mod conns;
mod datagrams;
mod exhaustion;
mod script;
mod turns;
