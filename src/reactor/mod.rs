//! The poll loop: sockets, readiness, and nothing of what their bytes mean.

mod outbox;
mod service;

pub use outbox::Outbox;
pub use service::{Admission, Closed, Command, ConnId, Direction, Origin, Service, Signal};
