//! UDP: connect, announce and scrape in datagrams (BEP 15).
//!
//! Owns the connection ids. Whoever has none that is good is told nothing but one, in a datagram no longer than its own:
//! so nobody can have us flood an address that is not his. Whatever is wrong is met with silence.

use std::io;
use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher24;

use super::TrackerService;
use crate::base::Time;
use crate::registry::{Families, Refusal};
use crate::wire::announce::Announce;
use crate::wire::udp::{AnnounceAnswer, Reply, ReplyBody, Request, RequestBody, peers_max};

/// How long the ids of one kind are given out; they are good for that long again (BEP 15).
const PERIOD_S: u64 = 60;

/// Connection ids, which only we can make: a keyed hash of an address and a minute. The last bit says whether the minute is
/// an odd one, so that only one of the two that may be meant is hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionIds {
    key: [u64; 2],
}

impl ConnectionIds {
    /// Ids of a secret that nobody knows.
    pub(super) fn new() -> io::Result<Self> {
        let random = || getrandom::u64().map_err(io::Error::other);
        Ok(Self {
            key: [random()?, random()?],
        })
    }

    /// The id for who is at `ip` now.
    fn of(self, ip: IpAddr, now: Time) -> u64 {
        self.of_period(ip, period(now))
    }

    /// Whether `id` was given to who is at `ip` in this minute or the one before.
    fn is_good(self, id: u64, ip: IpAddr, now: Time) -> bool {
        let current = period(now);
        let age = (current ^ id) & 1;
        let given_in = current.checked_sub(age);
        given_in.is_some_and(|period| id == self.of_period(ip, period))
    }

    fn of_period(self, ip: IpAddr, period: u64) -> u64 {
        let hasher = SipHasher24::new_with_keys(self.key[0], self.key[1]);
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&period.to_be_bytes());
        let hash = match ip {
            IpAddr::V4(ip) => {
                bytes[8..12].copy_from_slice(&ip.octets());
                hasher.hash(&bytes[..12])
            }
            IpAddr::V6(ip) => {
                bytes[8..].copy_from_slice(&ip.octets());
                hasher.hash(&bytes)
            }
        };
        hash & !1 | period & 1
    }
}

fn period(now: Time) -> u64 {
    now.since(Time::ZERO).as_secs() / PERIOD_S
}

impl TrackerService {
    /// Answers a datagram, or does not.
    pub(super) fn take_datagram(
        &mut self,
        now: Time,
        from: SocketAddr,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Ok(Request { transaction, body }) = Request::decode(bytes) else {
            return;
        };
        let ip = from.ip();
        let is_good = |id| self.connection_ids.is_good(id, ip, now);
        let body = match body {
            RequestBody::Connect => ReplyBody::Connect {
                connection_id: self.connection_ids.of(ip, now),
            },
            RequestBody::Announce {
                connection_id,
                announce,
                ..
            } if is_good(connection_id) => {
                match self.announce_by_udp(now, transaction, announce, ip, out) {
                    Ok(()) => return,
                    Err(refusal) => ReplyBody::Error(refusal.to_string()),
                }
            }
            RequestBody::Scrape {
                connection_id,
                hashes,
            } if is_good(connection_id) => {
                let figures = |hash| self.registry.figures(hash).unwrap_or_default();
                ReplyBody::Scrape(hashes.into_iter().map(figures).collect())
            }
            _ => return,
        };
        Reply { transaction, body }.put(out);
    }

    /// Takes an announce, and writes the answer straight to its place.
    fn announce_by_udp(
        &mut self,
        now: Time,
        transaction: u32,
        mut announce: Announce,
        ip: IpAddr,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let fits = peers_max(ip.is_ipv6()) as u32;
        announce.want = Some(announce.want.map_or(fits, |want| want.min(fits)));
        let announced = self.announce(now, &announce, ip, Families::Same)?;
        let answer = AnnounceAnswer {
            transaction,
            interval_s: announced.interval_s,
            swarm: announced.swarm,
            // Those of the other family are of somebody on this machine who said to be elsewhere.
            records: match ip {
                IpAddr::V4(_) => &self.peers.v4,
                IpAddr::V6(_) => &self.peers.v6,
            },
        };
        answer.put(out);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(secs: u64) -> Time {
        Time::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn an_id_is_good_for_its_address_and_two_minutes_at_most() {
        let ids = ConnectionIds { key: [1, 2] };
        let [me, other]: [IpAddr; 2] = [[10, 0, 0, 1].into(), [10, 0, 0, 2].into()];
        let id = ids.of(me, at(119));
        for (secs, is_good) in [
            (60, true),
            (119, true),
            (179, true),
            (180, false),
            (59, false),
        ] {
            assert_eq!(ids.is_good(id, me, at(secs)), is_good, "{secs}");
        }
        assert!(!ids.is_good(id, other, at(119)));
        for bit in 0..64 {
            assert!(!ids.is_good(id ^ 1 << bit, me, at(119)), "{bit}");
        }
        let others = ConnectionIds { key: [1, 3] };
        assert!(!others.is_good(id, me, at(119)));
        assert!(ids.is_good(ids.of(me, at(0)), me, at(0)));
    }
}
