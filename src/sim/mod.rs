//! The network without sockets.
