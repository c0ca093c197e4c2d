//! What the tracker's client is told, and what it tells.

use std::net::SocketAddr;

use crate::base::PeerId;
use crate::wire::native::{AvailDelta, ErrorCode, HelloReply, PushedMember, Reply, Request};

/// A request that owns what it says.
pub type OwnedRequest = Request<'static>;
/// A reply that owns what it says.
pub type OwnedReply = Reply<'static>;

/// Who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloConfig {
    /// What we call ourselves.
    pub peer_id: PeerId,
    /// Where we listen; nothing, if nobody can dial us.
    pub listen_addrs: Vec<SocketAddr>,
    /// What our machine calls itself.
    pub host: String,
    /// Where our machine stands: `site/rack`.
    pub zone: String,
    /// What we may do; empty, if we have none.
    pub token: String,
}

/// What the owner of the client has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The tracker answered HELLO: join and register now.
    Ready(HelloReply),
    /// The tracker refused HELLO. Close the connection; there is a next attempt unless the owner gives up.
    Refused {
        /// Why.
        code: ErrorCode,
        /// When to come again, in milliseconds; the next attempt waits for it.
        retry_ms: u32,
        /// Why, for people.
        text: String,
    },
    /// A request succeeded.
    Reply {
        /// Which, as `request` was told.
        token: u64,
        /// The answer. That to GET_INFO holds all bytes from the asked offset to the end.
        reply: OwnedReply,
    },
    /// A request failed.
    Failed {
        /// Which, as `request` was told.
        token: u64,
        /// Why.
        why: Failure,
    },
    /// Other members of one of our swarms changed.
    PeersChanged {
        /// Our membership.
        slot: u32,
        /// Who, and how.
        members: Vec<PushedMember>,
    },
    /// It changed how many members hold pieces of one of our contents.
    CountsChanged(CountsChanged),
    /// A content was unregistered, and our membership with it.
    Removed {
        /// Which membership.
        slot: u32,
    },
    /// Nothing was heard for too long. Close the connection.
    Silent,
}

/// How the counts of one content changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountsChanged {
    /// Our membership.
    pub slot: u32,
    /// From which version of the counts.
    pub base: u32,
    /// To which.
    pub version: u32,
    /// By how much, by piece.
    pub deltas: Vec<AvailDelta>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The connection ended, or could not be made, before the answer.
    #[error("the connection to the tracker was lost")]
    ConnectionLost,
    /// More requests wait than may.
    #[error("too many requests wait for the tracker")]
    QueueFull,
    /// The tracker said no.
    #[error("{code}: {text}")]
    Refused {
        /// Why.
        code: ErrorCode,
        /// When to ask again, in milliseconds from now; 0 says nothing.
        retry_ms: u32,
        /// Why, for people. It is the tracker's text: escape it before it is shown.
        text: String,
    },
}
