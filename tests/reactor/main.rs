//! The loop on real sockets of the loopback, driven by scripted services.

mod bytes;
mod script;
