//! Peer exchange (BEP 11): the peers that came and went since the sender last told us, by their addresses.
//!
//! Owns the six lists of the message. What is decoded is another's word: whom to believe is for the swarm to say.

use std::net::{IpAddr, SocketAddr};

use super::bencode::{Dictionary, Limits, Value, decode_prefix, put_dictionary};
use super::{Put, Reader, WireError};

/// Peers that one message adds, and as many that it drops (BEP 11).
pub const EXCHANGED_MAX: usize = 50;
/// Addresses that are taken of each list of a message; clients send more than they should, the rest is skipped.
pub const TAKEN_MAX: usize = 200;

/// The peer downloads nothing (BEP 11; BEP 21 calls it upload only).
pub const FLAG_SEED: u8 = 0x02;
/// The sender has dialled the peer, so that it can be reached.
pub const FLAG_REACHABLE: u8 = 0x10;

/// A peer that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangedPeer {
    /// Where it listens.
    pub addr: SocketAddr,
    /// [`FLAG_SEED`], [`FLAG_REACHABLE`] and others that we do not know.
    pub flags: u8,
}

/// One message. IPv4 and IPv6 are lists of their own on the wire: what is decoded has IPv4 first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerExchange {
    /// Who came.
    pub added: Vec<ExchangedPeer>,
    /// Who went.
    pub dropped: Vec<SocketAddr>,
}

impl PeerExchange {
    /// Appends the payload of the extended message. There must be at most [`EXCHANGED_MAX`] of each kind.
    pub fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.added.len() <= EXCHANGED_MAX && self.dropped.len() <= EXCHANGED_MAX);
        let added = || self.added.iter().copied();
        let dropped = || {
            self.dropped
                .iter()
                .map(|&addr| ExchangedPeer { addr, flags: 0 })
        };
        put_dictionary(out, |entries| {
            for (addrs, flags, is_v6) in [("added", "added.f", false), ("added6", "added6.f", true)]
            {
                entries.bytes(addrs.as_bytes(), &compact(added(), is_v6));
                let flag_bytes = added().filter(|peer| peer.addr.is_ipv6() == is_v6);
                let flag_bytes: Vec<u8> = flag_bytes.map(|peer| peer.flags).collect();
                entries.bytes(flags.as_bytes(), &flag_bytes);
            }
            entries.bytes(b"dropped", &compact(dropped(), false));
            entries.bytes(b"dropped6", &compact(dropped(), true));
        });
    }

    /// Reads the payload of the extended message, at most [`TAKEN_MAX`] addresses of each of its four lists. A list that
    /// is not there, or is no text, is empty; flags that are missing are 0.
    ///
    /// # Errors
    /// It is no dictionary, or a list ends inside an address.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let dictionary = decode_prefix(payload, Limits::MESSAGE)?
            .as_dictionary()
            .ok_or(WireError::BadValue)?;
        let mut exchange = Self::default();
        for (addrs, flags, is_v6) in [("added", "added.f", false), ("added6", "added6.f", true)] {
            let flags = text(dictionary, flags);
            let addrs = addresses(text(dictionary, addrs), is_v6)?;
            let flagged = addrs.enumerate().map(|(at, addr)| ExchangedPeer {
                addr,
                flags: flags.get(at).copied().unwrap_or(0),
            });
            exchange.added.extend(flagged);
        }
        for (addrs, is_v6) in [("dropped", false), ("dropped6", true)] {
            let addrs = addresses(text(dictionary, addrs), is_v6)?;
            exchange.dropped.extend(addrs);
        }
        Ok(exchange)
    }
}

fn text<'a>(dictionary: Dictionary<'a>, key: &str) -> &'a [u8] {
    let value = dictionary.get(key.as_bytes());
    value.and_then(Value::as_bytes).unwrap_or_default()
}

/// Addresses of one family, each behind the other.
fn compact(peers: impl Iterator<Item = ExchangedPeer>, is_v6: bool) -> Vec<u8> {
    let mut out = Vec::new();
    for addr in peers.map(|peer| peer.addr) {
        match addr.ip() {
            IpAddr::V4(ip) if !is_v6 => out.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) if is_v6 => out.extend_from_slice(&ip.octets()),
            _ => continue,
        }
        out.put_u16(addr.port());
    }
    out
}

fn addresses(bytes: &[u8], is_v6: bool) -> Result<impl Iterator<Item = SocketAddr>, WireError> {
    let addr_len = if is_v6 { 18 } else { 6 };
    if !bytes.len().is_multiple_of(addr_len) {
        return Err(WireError::Truncated);
    }
    let taken = bytes.chunks_exact(addr_len).take(TAKEN_MAX);
    Ok(taken.map_while(move |bytes| address(bytes, is_v6).ok()))
}

fn address(bytes: &[u8], is_v6: bool) -> Result<SocketAddr, WireError> {
    let mut reader = Reader::new(bytes);
    let ip = if is_v6 {
        IpAddr::from(reader.array::<16>()?)
    } else {
        IpAddr::from(reader.array::<4>()?)
    };
    Ok(SocketAddr::new(ip, reader.u16()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr() -> impl Strategy<Value = SocketAddr> {
        (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
    }

    fn peer() -> impl Strategy<Value = ExchangedPeer> {
        (addr(), any::<u8>()).prop_map(|(addr, flags)| ExchangedPeer { addr, flags })
    }

    fn payload(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = Vec::new();
        put_dictionary(&mut out, |dictionary| {
            for (key, value) in entries {
                dictionary.bytes(key.as_bytes(), value);
            }
        });
        out
    }

    #[test]
    fn lists_that_are_missing_or_no_texts_are_empty_and_missing_flags_are_none() {
        for empty in [&b"de"[..], b"d5:addedi1e7:droppedlee", b"detrailing"] {
            assert_eq!(PeerExchange::decode(empty), Ok(PeerExchange::default()));
        }
        let two = payload(&[
            ("added", &[10, 0, 0, 1, 0, 9, 10, 0, 0, 2, 0, 9]),
            ("added.f", &[2]),
        ]);
        let two = PeerExchange::decode(&two).expect("valid");
        let flags: Vec<u8> = two.added.iter().map(|peer| peer.flags).collect();
        assert_eq!(flags, [FLAG_SEED, 0]);
    }

    #[test]
    fn a_list_that_ends_inside_an_address_is_refused() {
        for (key, len) in [
            ("added", 7),
            ("added6", 6),
            ("dropped", 5),
            ("dropped6", 35),
        ] {
            let refused = PeerExchange::decode(&payload(&[(key, &vec![1; len])]));
            assert_eq!(refused, Err(WireError::Truncated), "{key}");
        }
        assert_eq!(PeerExchange::decode(b"le"), Err(WireError::BadValue));
        assert!(PeerExchange::decode(b"").is_err());
    }

    #[test]
    fn what_is_beyond_the_limit_is_skipped() {
        let lists = [
            ("added", 6),
            ("added6", 18),
            ("dropped", 6),
            ("dropped6", 18),
        ];
        let lists = lists.map(|(key, addr_len)| (key, vec![7; addr_len * (TAKEN_MAX + 9)]));
        let entries = lists.iter().map(|(key, bytes)| (*key, &bytes[..]));
        let taken = PeerExchange::decode(&payload(&entries.collect::<Vec<_>>())).expect("valid");
        let counts = (taken.added.len(), taken.dropped.len());
        assert_eq!(counts, (2 * TAKEN_MAX, 2 * TAKEN_MAX));
    }

    proptest! {
        #[test]
        fn survives_its_own_encoding(
            added in prop::collection::vec(peer(), 0..=EXCHANGED_MAX),
            dropped in prop::collection::vec(addr(), 0..=EXCHANGED_MAX),
        ) {
            let mut sent = PeerExchange { added, dropped };
            let mut out = Vec::new();
            sent.encode(&mut out);
            let canonical = super::super::bencode::decode(&out, Limits::METAINFO);
            prop_assert!(canonical.is_ok(), "{canonical:?}");
            sent.added.sort_by_key(|peer| peer.addr.is_ipv6());
            sent.dropped.sort_by_key(SocketAddr::is_ipv6);
            prop_assert_eq!(PeerExchange::decode(&out), Ok(sent));
        }

        #[test]
        fn no_bytes_make_it_panic_or_take_too_much(
            mut bytes in prop::collection::vec(any::<u8>(), 0..200),
            spoilt in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let _ = PeerExchange::decode(&bytes);
            bytes = payload(&[("added", &bytes), ("dropped6", &bytes)]);
            for (at, byte) in spoilt {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Ok(taken) = PeerExchange::decode(&bytes) {
                prop_assert!(taken.added.len() <= bytes.len() / 6);
            }
        }
    }
}
