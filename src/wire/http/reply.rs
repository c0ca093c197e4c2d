//! What a tracker answers over HTTP: a bencoded dictionary, also for failures, behind status 200 (BEP 3, 7, 23, 24, 31, 48).

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::base::{InfoHash, PeerId};
use crate::wire::announce::{AnnouncedPeer, PeerList, ScrapeEntry};
use crate::wire::bencode::{
    self, Dictionary, Limits, Value, put_decimal, put_dictionary, put_list,
};
use crate::wire::{Reader, WireError};

/// Bytes of a reply that a client reads.
pub const REPLY_BYTES_MAX: usize = 1 << 20;
/// Peers that a client takes from one reply; the others are left out.
pub const PEERS_MAX: usize = 2_000;

/// The answer to an announce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnnounceReply {
    /// Seconds until the next announce.
    pub interval_s: u32,
    /// Seconds that pass between two announces in any case.
    pub interval_s_min: Option<u32>,
    /// The figures of the swarm.
    pub swarm: ScrapeEntry,
    /// Where the tracker sees the client (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// The others.
    pub peers: Vec<AnnouncedPeer>,
    /// What the client sends along the next time.
    pub tracker_id: Option<Vec<u8>>,
    /// What the tracker has to say to the user although it took the announce. Not to be shown unescaped.
    pub warning: Option<String>,
}

/// The same, as a tracker writes it.
#[derive(Clone, Copy, Debug)]
pub struct AnnounceBody<'a> {
    /// Seconds until the next announce.
    pub interval_s: u32,
    /// Seconds that pass between two announces in any case.
    pub interval_s_min: Option<u32>,
    /// The figures of the swarm.
    pub swarm: ScrapeEntry,
    /// Where the tracker sees the client (BEP 24).
    pub external_ip: Option<IpAddr>,
    /// The others.
    pub peers: &'a PeerList,
    /// What the client sends along the next time.
    pub tracker_id: Option<&'a [u8]>,
    /// What the tracker has to say to the user although it took the announce.
    pub warning: Option<&'a str>,
}

impl AnnounceBody<'_> {
    /// Appends the body.
    pub fn put(&self, form: PeerForm, out: &mut Vec<u8>) {
        put_dictionary(out, |entries| {
            entries.int(b"complete", self.swarm.complete.into());
            entries.int(b"downloaded", self.swarm.downloaded.into());
            match self.external_ip {
                Some(IpAddr::V4(ip)) => entries.bytes(b"external ip", &ip.octets()),
                Some(IpAddr::V6(ip)) => entries.bytes(b"external ip", &ip.octets()),
                None => {}
            }
            entries.int(b"incomplete", self.swarm.incomplete.into());
            entries.int(b"interval", self.interval_s.into());
            if let Some(interval_s_min) = self.interval_s_min {
                entries.int(b"min interval", interval_s_min.into());
            }
            match form {
                PeerForm::Compact => {
                    entries.bytes(b"peers", &self.peers.v4);
                    if !self.peers.v6.is_empty() {
                        entries.bytes(b"peers6", &self.peers.v6);
                    }
                }
                PeerForm::Dictionaries { with_ids } => {
                    put_list(entries.value(b"peers"), |list| {
                        for peer in self.peers.iter() {
                            put_peer(list, &peer, with_ids);
                        }
                    });
                }
            }
            if let Some(tracker_id) = self.tracker_id {
                entries.bytes(b"tracker id", tracker_id);
            }
            if let Some(warning) = self.warning {
                entries.bytes(b"warning message", warning.as_bytes());
            }
        });
    }
}

/// How peers are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerForm {
    /// As 6 bytes each, and as 18 in a list of their own (BEP 23, 7).
    Compact,
    /// As dictionaries.
    Dictionaries {
        /// Whether they tell the peer id, where it is known.
        with_ids: bool,
    },
}

/// When a client that was refused may try again (BEP 31).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is no use.
    Never,
    /// After so many minutes.
    Minutes(u32),
}

/// What an announce came to, as the client reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnnounceOutcome {
    /// It was taken.
    Taken(AnnounceReply),
    /// It was refused.
    Refused {
        /// Why, in the tracker's words.
        reason: String,
        /// When to try again, if the tracker says it.
        retry: Option<Retry>,
    },
}

impl AnnounceReply {
    /// Appends the body.
    pub fn put(&self, form: PeerForm, out: &mut Vec<u8>) {
        let body = AnnounceBody {
            interval_s: self.interval_s,
            interval_s_min: self.interval_s_min,
            swarm: self.swarm,
            external_ip: self.external_ip,
            peers: &self.peers.iter().collect(),
            tracker_id: self.tracker_id.as_deref(),
            warning: self.warning.as_deref(),
        };
        body.put(form, out);
    }

    fn read(dictionary: Dictionary<'_>) -> Result<Self, WireError> {
        let mut reply = Self::default();
        for (key, value) in dictionary.entries() {
            match key {
                b"interval" => reply.interval_s = number(value)?,
                b"min interval" => reply.interval_s_min = Some(number(value)?),
                b"complete" => reply.swarm.complete = number(value)?,
                b"downloaded" => reply.swarm.downloaded = number(value)?,
                b"incomplete" => reply.swarm.incomplete = number(value)?,
                b"external ip" => reply.external_ip = value.as_bytes().and_then(ip),
                b"tracker id" => reply.tracker_id = value.as_bytes().map(<[u8]>::to_vec),
                b"warning message" => {
                    let text = value.as_bytes().map(String::from_utf8_lossy);
                    reply.warning = text.map(Cow::into_owned);
                }
                b"peers" => match value.as_list() {
                    Some(list) => reply.peers.extend(list.filter_map(peer)),
                    None => read_records(text(value)?, false, &mut reply.peers)?,
                },
                b"peers6" => read_records(text(value)?, true, &mut reply.peers)?,
                _ => {}
            }
        }
        reply.peers.truncate(PEERS_MAX);
        Ok(reply)
    }
}

impl AnnounceOutcome {
    /// Reads the body of a reply.
    ///
    /// # Errors
    /// [`WireError::Bencode`] for what is no bencode, [`WireError::BadValue`] for a field of another kind.
    pub fn decode(body: &[u8]) -> Result<Self, WireError> {
        if body.len() > REPLY_BYTES_MAX {
            return Err(WireError::FrameTooLong);
        }
        let value = bencode::decode(body, Limits::MESSAGE)?;
        let dictionary = value.as_dictionary().ok_or(WireError::BadValue)?;
        let Some(reason) = dictionary.get(b"failure reason") else {
            return AnnounceReply::read(dictionary).map(Self::Taken);
        };
        Ok(Self::Refused {
            reason: String::from_utf8_lossy(text(reason)?).into_owned(),
            retry: dictionary.get(b"retry in").and_then(retry),
        })
    }
}

/// Appends the body of a refusal.
pub fn put_failure(reason: &str, retry: Option<Retry>, out: &mut Vec<u8>) {
    put_dictionary(out, |entries| {
        entries.bytes(b"failure reason", reason.as_bytes());
        match retry {
            Some(Retry::Never) => entries.bytes(b"retry in", b"never"),
            Some(Retry::Minutes(minutes)) => entries.int(b"retry in", minutes.into()),
            None => {}
        }
    });
}

/// Appends the body of a scrape: the figures of contents, ascending by hash and each once.
pub fn put_scrape(
    files: impl IntoIterator<Item = (InfoHash, ScrapeEntry)>,
    interval_s_min: u32,
    out: &mut Vec<u8>,
) {
    put_dictionary(out, |entries| {
        put_dictionary(entries.value(b"files"), |entries| {
            for (hash, swarm) in files {
                put_dictionary(entries.value(&hash.0), |entries| {
                    entries.int(b"complete", swarm.complete.into());
                    entries.int(b"downloaded", swarm.downloaded.into());
                    entries.int(b"incomplete", swarm.incomplete.into());
                });
            }
        });
        put_dictionary(entries.value(b"flags"), |entries| {
            entries.int(b"min_request_interval", interval_s_min.into());
        });
    });
}

/// A whole response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The status code with its phrase.
    pub status: &'a str,
    /// The body, as plain text: so clients have known it since the beginning.
    pub body: &'a [u8],
    /// Whether the connection goes on.
    pub keeps_alive: bool,
    /// Whether the client speaks HTTP/1.0.
    pub is_old: bool,
}

impl Response<'_> {
    /// Appends head and body.
    pub fn put(&self, out: &mut Vec<u8>) {
        let connection = match (self.keeps_alive, self.is_old) {
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
            (false, _) => "Connection: close\r\n",
        };
        let allow = if self.status.starts_with("405") {
            "Allow: GET\r\n"
        } else {
            ""
        };
        let texts = [
            "HTTP/1.1 ",
            self.status,
            "\r\nContent-Type: text/plain\r\nContent-Length: ",
        ];
        for text in texts {
            out.extend_from_slice(text.as_bytes());
        }
        put_decimal(out, self.body.len() as u64);
        for text in ["\r\n", allow, connection, "\r\n"] {
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(self.body);
    }
}

/// Appends an address as 6 or 18 bytes.
pub(in crate::wire) fn put_record(out: &mut Vec<u8>, addr: SocketAddr) {
    match addr.ip() {
        IpAddr::V4(ip) => out.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => out.extend_from_slice(&ip.octets()),
    }
    out.extend_from_slice(&addr.port().to_be_bytes());
}

/// Takes addresses of 6 or 18 bytes each, up to [`PEERS_MAX`].
pub(in crate::wire) fn read_records(
    bytes: &[u8],
    are_v6: bool,
    peers: &mut Vec<AnnouncedPeer>,
) -> Result<(), WireError> {
    let stride = if are_v6 { 18 } else { 6 };
    if !bytes.len().is_multiple_of(stride) {
        return Err(WireError::FrameLength);
    }
    let mut reader = Reader::new(bytes);
    while reader.remaining() > 0 && peers.len() < PEERS_MAX {
        let ip = if are_v6 {
            IpAddr::from(reader.array::<16>()?)
        } else {
            IpAddr::from(reader.array::<4>()?)
        };
        let addr = SocketAddr::new(ip, reader.u16()?);
        peers.push(AnnouncedPeer {
            addr,
            peer_id: None,
        });
    }
    Ok(())
}

fn put_peer(out: &mut Vec<u8>, peer: &AnnouncedPeer, with_id: bool) {
    put_dictionary(out, |entries| {
        entries.bytes(b"ip", peer.addr.ip().to_string().as_bytes());
        if let Some(peer_id) = peer.peer_id.filter(|_| with_id) {
            entries.bytes(b"peer id", &peer_id.0);
        }
        entries.int(b"port", peer.addr.port().into());
    });
}

/// A peer of a list; one that gives a name instead of an address is left out.
fn peer(value: Value<'_>) -> Option<AnnouncedPeer> {
    let dictionary = value.as_dictionary()?;
    let ip = std::str::from_utf8(dictionary.get(b"ip")?.as_bytes()?).ok()?;
    let port = u16::try_from(dictionary.get(b"port")?.as_int()?).ok()?;
    let peer_id = dictionary.get(b"peer id").and_then(Value::as_bytes);
    Some(AnnouncedPeer {
        addr: SocketAddr::new(ip.parse().ok()?, port),
        peer_id: peer_id.and_then(|id| id.try_into().ok()).map(PeerId),
    })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = |ip| IpAddr::V4(Ipv4Addr::from_octets(ip));
    let v6 = |ip| IpAddr::V6(Ipv6Addr::from_octets(ip));
    let of_v6 = bytes.try_into().ok().map(v6);
    of_v6.or_else(|| bytes.try_into().ok().map(v4))
}

/// The minutes of BEP 31, which some write as a number and some as a text.
fn retry(value: Value<'_>) -> Option<Retry> {
    if let Some(minutes) = value.as_int() {
        return u32::try_from(minutes).ok().map(Retry::Minutes);
    }
    let text: Cow<'_, str> = String::from_utf8_lossy(value.as_bytes()?);
    match &*text {
        "never" => Some(Retry::Never),
        digits => digits.parse().ok().map(Retry::Minutes),
    }
}

/// A number that cannot be negative; one that is too large counts as the largest.
fn number(value: Value<'_>) -> Result<u32, WireError> {
    let number = value.as_int().ok_or(WireError::BadValue)?;
    Ok(number.clamp(0, u32::MAX.into()) as u32)
}

fn text(value: Value<'_>) -> Result<&[u8], WireError> {
    value.as_bytes().ok_or(WireError::BadValue)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer_at(text: &str) -> AnnouncedPeer {
        AnnouncedPeer {
            addr: text.parse().expect("an address"),
            peer_id: Some(PeerId([7; 20])),
        }
    }

    fn reply() -> AnnounceReply {
        AnnounceReply {
            interval_s: 90,
            interval_s_min: Some(30),
            swarm: ScrapeEntry {
                complete: 1,
                downloaded: 2,
                incomplete: 3,
            },
            external_ip: Some([10, 0, 0, 7].into()),
            peers: vec![
                peer_at("10.0.0.1:6881"),
                peer_at("10.0.0.2:1"),
                peer_at("[2001:db8::1]:9"),
            ],
            tracker_id: Some(b"t".to_vec()),
            warning: Some("be kind".to_owned()),
        }
    }

    fn survives(reply: &AnnounceReply, form: PeerForm) -> AnnounceReply {
        let mut body = Vec::new();
        reply.put(form, &mut body);
        match AnnounceOutcome::decode(&body) {
            Ok(AnnounceOutcome::Taken(again)) => again,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_reply_survives_in_every_form() {
        let reply = reply();
        let with_ids = PeerForm::Dictionaries { with_ids: true };
        assert_eq!(survives(&reply, with_ids), reply);
        let without = survives(&reply, PeerForm::Dictionaries { with_ids: false });
        assert!(without.peers.iter().all(|peer| peer.peer_id.is_none()));
        assert_eq!(without.peers[1].addr, reply.peers[1].addr);
        let mut compact = survives(&reply, PeerForm::Compact);
        let addrs: Vec<_> = compact.peers.iter().map(|peer| peer.addr.port()).collect();
        assert_eq!(addrs, [6881, 1, 9], "those of IPv6 come last");
        compact.peers = reply.peers.clone();
        assert_eq!(compact, reply);
    }

    #[test]
    fn nobody_is_an_empty_list_and_not_a_missing_one() {
        let mut body = Vec::new();
        AnnounceReply::default().put(PeerForm::Compact, &mut body);
        assert!(body.ends_with(b"5:peers0:e"));
        body.clear();
        AnnounceReply::default().put(PeerForm::Dictionaries { with_ids: true }, &mut body);
        assert!(body.ends_with(b"5:peerslee"));
    }

    #[test]
    fn lists_that_are_cut_short_are_refused_and_long_ones_are_cut() {
        let with_peers = |bytes: usize| {
            let mut body = Vec::new();
            put_dictionary(&mut body, |entries| {
                entries.bytes(b"peers", &vec![1; bytes]);
            });
            AnnounceOutcome::decode(&body)
        };
        for bytes in [1, 5, 7, 6 * 1000 - 1] {
            assert_eq!(with_peers(bytes), Err(WireError::FrameLength), "{bytes}");
        }
        for (bytes, count) in [(0, 0), (6, 1), (600_000, PEERS_MAX)] {
            match with_peers(bytes) {
                Ok(AnnounceOutcome::Taken(reply)) => assert_eq!(reply.peers.len(), count),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_response_tells_its_length_and_whether_the_connection_goes_on() {
        let text = |keeps_alive, is_old| {
            let mut out = Vec::new();
            let response = Response {
                status: "200 OK",
                body: b"de",
                keeps_alive,
                is_old,
            };
            response.put(&mut out);
            String::from_utf8(out).expect("a text")
        };
        let same = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n";
        assert_eq!(text(true, false), format!("{same}\r\nde"));
        let close = format!("{same}Connection: close\r\n\r\nde");
        assert_eq!([text(false, true), text(false, false)], [&*close; 2]);
        assert!(text(true, true).contains("\r\nConnection: keep-alive\r\n"));
    }
}
