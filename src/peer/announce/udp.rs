//! One announce over UDP: name, connect, announce, each sent again while nothing comes back (BEP 15, 41).
//!
//! A connect goes to every address of the name at once, and the first that answers is announced to: no datagram tells
//! that nobody is there.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Ask, Ended, Means, Output, Trouble, usable};
use crate::base::Time;
use crate::wire::announce::{Announce, ScrapeEntry};
use crate::wire::http::reply::AnnounceReply;
use crate::wire::udp::{Options, Reply, ReplyBody, Request, RequestBody};
use crate::wire::url::Place;

/// How long the first datagram waits for its answer; each further one waits twice as long (BEP 15).
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// Doublings of that (BEP 15).
const DOUBLINGS_MAX: u32 = 8;
/// Unanswered datagrams after which another tracker is asked, if there is one.
const UNANSWERED_MAX: u32 = 2;
/// How long the name may take.
const RESOLVE_TIME_MAX: Duration = Duration::from_secs(15);
/// How long a client may use a connection id (BEP 15).
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(60);

/// What a tracker gave us to announce with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub addr: SocketAddr,
    id: u64,
    until: Time,
}

impl Connection {
    /// Whether the tracker still honours it.
    pub(super) fn is_good(&self, now: Time) -> bool {
        self.until > now
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct UdpAttempt {
    target: String,
    pub announce: Announce,
    /// What the name was asked for with.
    pub ask: Ask,
    stage: Stage,
    /// Datagrams since the tracker was last heard.
    unanswered: u32,
    /// An announce has left.
    pub is_sent: bool,
    pub due_at: Time,
}

#[derive(Debug)]
enum Stage {
    Resolving,
    /// A connect has gone to each of these, with this transaction id.
    Connecting(Vec<(SocketAddr, u32)>),
    Announcing(Connection, u32),
}

impl UdpAttempt {
    /// Begins; what is `known` from before saves a part of the way: a connection, or an address.
    pub(super) fn new(
        means: &mut Means<'_>,
        place: &Place,
        announce: Announce,
        known: Option<Connection>,
    ) -> Self {
        let mut attempt = Self {
            target: place.target.clone(),
            announce,
            ask: means.next_ask(),
            stage: Stage::Resolving,
            unanswered: 0,
            is_sent: false,
            due_at: means.now + RESOLVE_TIME_MAX,
        };
        match known {
            Some(known) if known.is_good(means.now) => attempt.announce(means, known),
            Some(known) => attempt.connect(means, vec![known.addr]),
            None => attempt.ask = means.resolve(&place.host, place.port),
        }
        attempt
    }

    /// The connection that may be used again.
    pub(super) const fn connection(&self) -> Option<Connection> {
        match self.stage {
            Stage::Announcing(connection, _) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn resolved(
        &mut self,
        means: &mut Means<'_>,
        result: io::Result<Vec<SocketAddr>>,
    ) -> Option<Ended> {
        if !matches!(self.stage, Stage::Resolving) {
            return None;
        }
        match result.map(usable) {
            Ok(addrs) if addrs.is_empty() => Some(Err(Trouble::new("its name has no address"))),
            Ok(addrs) => {
                self.connect(means, addrs);
                None
            }
            Err(error) => Some(Err(Trouble::new(error))),
        }
    }

    fn connect(&mut self, means: &mut Means<'_>, addrs: Vec<SocketAddr>) {
        let transaction = |addr| (addr, means.rng.next_u64() as u32);
        self.stage = Stage::Connecting(addrs.into_iter().map(transaction).collect());
        self.send(means);
    }

    fn announce(&mut self, means: &mut Means<'_>, connection: Connection) {
        let transaction = means.rng.next_u64() as u32;
        self.stage = Stage::Announcing(connection, transaction);
        self.send(means);
    }

    /// Sends, for the first time or again, what is to be answered next.
    fn send(&mut self, means: &mut Means<'_>) {
        self.due_at = means.now + ANSWER_TIME * (1 << self.unanswered.min(DOUBLINGS_MAX));
        match &self.stage {
            Stage::Resolving => {}
            Stage::Connecting(places) => {
                for &(to, transaction) in places {
                    let body = RequestBody::Connect;
                    let mut bytes = Vec::new();
                    Request { transaction, body }.put(&mut bytes);
                    means.say(Output::Datagram { to, bytes });
                }
            }
            &Stage::Announcing(connection, transaction) => {
                let (mut options, mut bytes) = (Vec::new(), Vec::new());
                Options::put_url_data(&self.target, &mut options);
                let body = RequestBody::Announce {
                    connection_id: connection.id,
                    announce: self.announce,
                    options: Options::of(&options),
                };
                Request { transaction, body }.put(&mut bytes);
                let to = connection.addr;
                means.say(Output::Datagram { to, bytes });
                self.is_sent = true;
            }
        }
    }

    /// A datagram came. What is no answer of the tracker to what was sent is ignored, and may be an answer to another.
    pub(super) fn datagram(
        &mut self,
        means: &mut Means<'_>,
        from: SocketAddr,
        bytes: &[u8],
    ) -> Option<Ended> {
        let reply = Reply::decode(bytes, from.is_ipv6()).ok()?;
        match &self.stage {
            Stage::Resolving => None,
            Stage::Connecting(places) => {
                if !places.contains(&(from, reply.transaction)) {
                    return None;
                }
                match reply.body {
                    ReplyBody::Connect { connection_id } => {
                        // Whoever answers this and nothing else is not asked for ever.
                        if !self.is_sent {
                            self.unanswered = 0;
                        }
                        let connection = Connection {
                            addr: from,
                            id: connection_id,
                            until: means.now + CONNECTION_TIME_MAX,
                        };
                        self.announce(means, connection);
                        None
                    }
                    ReplyBody::Error(why) => Some(Err(Trouble::new(why))),
                    _ => None,
                }
            }
            Stage::Announcing(connection, transaction) => {
                if (connection.addr, *transaction) != (from, reply.transaction) {
                    return None;
                }
                match reply.body {
                    ReplyBody::Announce(reply) => Some(Ok(AnnounceReply {
                        interval_s: reply.interval_s,
                        swarm: ScrapeEntry {
                            complete: reply.seeders,
                            incomplete: reply.leechers,
                            downloaded: 0,
                        },
                        peers: reply.peers,
                        ..AnnounceReply::default()
                    })),
                    ReplyBody::Error(why) => Some(Err(Trouble::new(why))),
                    _ => None,
                }
            }
        }
    }

    /// Nothing came in time: sends again, unless it is better to turn to another tracker.
    pub(super) fn timed_out(&mut self, means: &mut Means<'_>, has_others: bool) -> Option<Ended> {
        if matches!(self.stage, Stage::Resolving) {
            return Some(Err(Trouble::new("its name was not resolved in time")));
        }
        self.unanswered += 1;
        if self.unanswered > DOUBLINGS_MAX || (has_others && self.unanswered >= UNANSWERED_MAX) {
            return Some(Err(Trouble::new("no answer")));
        }
        match self.stage {
            Stage::Announcing(connection, _) if !connection.is_good(means.now) => {
                self.connect(means, vec![connection.addr]);
            }
            _ => self.send(means),
        }
        None
    }
}
