//! The UDP tracker protocol, both ways (BEP 15), with the options behind an announce (BEP 41).
//!
//! Owns the layouts. Every datagram has exactly the length that its action prescribes; nothing is ever appended to a
//! reply, since clients divide what follows its head by the size of a record.

use std::net::{IpAddr, Ipv4Addr};

use crate::base::{InfoHash, PeerId};
use crate::wire::announce::{
    Announce, AnnounceEvent, AnnouncedPeer, SCRAPE_HASHES_MAX, ScrapeEntry,
};
use crate::wire::http::reply::{put_record, read_records};
use crate::wire::{Put, Reader, WireError};

/// What a connect carries instead of a connection id (BEP 15).
const PROTOCOL_ID: u64 = 0x417_2710_1980;
/// Bytes of an announce without options.
const ANNOUNCE_BYTES: usize = 98;
/// Bytes of the options of an announce: as many as fit into one datagram of the usual size.
const OPTIONS_BYTES_MAX: usize = 1024;
/// Bytes of the longest request; a longer datagram is none.
pub const REQUEST_BYTES_MAX: usize = 16 + 20 * SCRAPE_HASHES_MAX;
/// Bytes of the head of an announce reply.
const ANNOUNCE_REPLY_BYTES: usize = 20;
/// Bytes of a reply that need no fragments on any path of today.
const REPLY_BYTES_MAX: usize = 1200;

/// No option follows (BEP 41).
const OPTION_END: u8 = 0;
/// Padding of one byte (BEP 41).
const OPTION_NOP: u8 = 1;
/// A part of path and query of the tracker's URL (BEP 41).
const OPTION_URL_DATA: u8 = 2;

/// The actions of BEP 15.
mod action {
    pub(super) const CONNECT: u32 = 0;
    pub(super) const ANNOUNCE: u32 = 1;
    pub(super) const SCRAPE: u32 = 2;
    pub(super) const ERROR: u32 = 3;
}

/// How many peers fit into a reply.
pub const fn peers_max(are_v6: bool) -> usize {
    (REPLY_BYTES_MAX - ANNOUNCE_REPLY_BYTES) / if are_v6 { 18 } else { 6 }
}

/// What a client sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Comes back with the reply.
    pub transaction: u32,
    /// What is asked.
    pub body: RequestBody<'a>,
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestBody<'a> {
    /// A connection id.
    Connect,
    /// To be a member.
    Announce {
        /// The id that the client was given.
        connection_id: u64,
        /// What is announced.
        announce: Announce,
        /// What follows it.
        options: Options<'a>,
    },
    /// Figures.
    Scrape {
        /// The id that the client was given.
        connection_id: u64,
        /// The contents that it asks for.
        hashes: Vec<InfoHash>,
    },
}

impl<'a> Request<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`WireError::FrameLength`] for a length that its action does not have, [`WireError::UnknownType`] for an unknown
    /// action, [`WireError::BadValue`] for a connect without its mark. None of them is worth an answer.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let connection_id = reader.u64()?;
        let (action, transaction) = (reader.u32()?, reader.u32()?);
        let body = match action {
            action::CONNECT if connection_id != PROTOCOL_ID => return Err(WireError::BadValue),
            action::CONNECT if reader.remaining() > 0 => return Err(WireError::FrameLength),
            action::CONNECT => RequestBody::Connect,
            action::ANNOUNCE => RequestBody::Announce {
                connection_id,
                announce: take_announce(&mut reader)?,
                options: Options::take(&mut reader)?,
            },
            action::SCRAPE => RequestBody::Scrape {
                connection_id,
                hashes: take_hashes(&mut reader)?,
            },
            _ => return Err(WireError::UnknownType),
        };
        Ok(Self { transaction, body })
    }

    /// Appends the datagram.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (connection_id, action) = match self.body {
            RequestBody::Connect => (PROTOCOL_ID, action::CONNECT),
            RequestBody::Announce { connection_id, .. } => (connection_id, action::ANNOUNCE),
            RequestBody::Scrape { connection_id, .. } => (connection_id, action::SCRAPE),
        };
        out.put_u64(connection_id);
        out.put_u32(action);
        out.put_u32(self.transaction);
        match &self.body {
            RequestBody::Connect => {}
            RequestBody::Announce {
                announce, options, ..
            } => {
                put_announce(announce, out);
                out.extend_from_slice(options.0);
            }
            RequestBody::Scrape { hashes, .. } => {
                hashes
                    .iter()
                    .for_each(|hash| out.extend_from_slice(&hash.0));
            }
        }
    }
}

/// The content that a datagram announces, if it is an announce; nothing else of it is read.
pub fn announced_hash(bytes: &[u8]) -> Option<InfoHash> {
    let action = bytes.get(8..12)?;
    let hash = bytes.get(16..36)?.try_into().ok()?;
    (action == action::ANNOUNCE.to_be_bytes()).then_some(InfoHash(hash))
}

fn take_announce(reader: &mut Reader<'_>) -> Result<Announce, WireError> {
    let (info_hash, peer_id) = (InfoHash(reader.array()?), PeerId(reader.array()?));
    let (downloaded, left, uploaded) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let event = match reader.u32()? {
        1 => AnnounceEvent::Completed,
        2 => AnnounceEvent::Started,
        3 => AnnounceEvent::Stopped,
        // libtorrent numbers the event of BEP 21 so.
        4 => AnnounceEvent::Paused,
        _ => AnnounceEvent::None,
    };
    let ip = Ipv4Addr::from_octets(reader.array()?);
    let key = reader.u32()?;
    let want = reader.u32()? as i32;
    Ok(Announce {
        info_hash,
        peer_id,
        port: reader.u16()?,
        uploaded,
        downloaded,
        left,
        event,
        want: u32::try_from(want).ok(),
        key,
        ip: (!ip.is_unspecified()).then_some(IpAddr::V4(ip)),
    })
}

fn put_announce(announce: &Announce, out: &mut Vec<u8>) {
    out.extend_from_slice(&announce.info_hash.0);
    out.extend_from_slice(&announce.peer_id.0);
    out.put_u64(announce.downloaded);
    out.put_u64(announce.left);
    out.put_u64(announce.uploaded);
    out.put_u32(match announce.event {
        AnnounceEvent::None => 0,
        AnnounceEvent::Completed => 1,
        AnnounceEvent::Started => 2,
        AnnounceEvent::Stopped => 3,
        AnnounceEvent::Paused => 4,
    });
    match announce.ip {
        Some(IpAddr::V4(ip)) => out.extend_from_slice(&ip.octets()),
        _ => out.put_u32(0),
    }
    out.put_u32(announce.key);
    let want = announce.want.and_then(|want| i32::try_from(want).ok());
    out.put_u32(want.unwrap_or(-1) as u32);
    out.put_u16(announce.port);
}

/// One content at least, and whole hashes only.
fn take_hashes(reader: &mut Reader<'_>) -> Result<Vec<InfoHash>, WireError> {
    let bytes = reader.rest();
    let (hashes, rest) = bytes.as_chunks::<20>();
    if hashes.is_empty() || hashes.len() > SCRAPE_HASHES_MAX || !rest.is_empty() {
        return Err(WireError::FrameLength);
    }
    Ok(hashes.iter().copied().map(InfoHash).collect())
}

/// The options of an announce, as they were sent; all of them were found well-formed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let bytes = reader.rest();
        if bytes.len() > OPTIONS_BYTES_MAX {
            return Err(WireError::FrameLength);
        }
        let options = Self(bytes);
        let mut left = Reader::new(bytes);
        while next_option(&mut left)?.is_some() {}
        Ok(options)
    }

    /// Appends the options that carry path and query of the URL that the client was given: none for an empty one.
    ///
    /// # Panics
    /// If it is longer than a datagram has room for; a [`TrackerUrl`](crate::wire::url::TrackerUrl) never is.
    pub fn put_url_data(target: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for part in target.as_bytes().chunks(usize::from(u8::MAX)) {
            out.put_u8(OPTION_URL_DATA);
            out.put_u8(part.len() as u8);
            out.extend_from_slice(part);
        }
        assert!(out.len() - start <= OPTIONS_BYTES_MAX, "a URL is short");
    }

    /// Options that [`Self::put_url_data`] wrote.
    pub const fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Path and query of the URL that the client was given, put together from its parts.
    pub fn url_data(self) -> Vec<u8> {
        let (mut url, mut reader) = (Vec::new(), Reader::new(self.0));
        while let Ok(Some((kind, data))) = next_option(&mut reader) {
            if kind == OPTION_URL_DATA {
                url.extend_from_slice(data);
            }
        }
        url
    }
}

/// The next option; `None` at the end, which the end of the datagram is too.
fn next_option<'a>(reader: &mut Reader<'a>) -> Result<Option<(u8, &'a [u8])>, WireError> {
    if reader.remaining() == 0 {
        return Ok(None);
    }
    match reader.u8()? {
        OPTION_END => Ok(None),
        OPTION_NOP => Ok(Some((OPTION_NOP, &[]))),
        kind => {
            let len = reader.u8()?;
            Ok(Some((kind, reader.bytes(len.into())?)))
        }
    }
}

/// What a tracker sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// That of the request.
    pub transaction: u32,
    /// What is answered.
    pub body: ReplyBody,
}

/// What a tracker answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyBody {
    /// The id that further requests carry.
    Connect {
        /// Good for about a minute.
        connection_id: u64,
    },
    /// The announce was taken.
    Announce(AnnounceReply),
    /// The figures that were asked for, in the order of the request.
    Scrape(Vec<ScrapeEntry>),
    /// It was refused: why, in the tracker's words.
    Error(String),
}

/// The answer to an announce.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnounceReply {
    /// Seconds until the next announce.
    pub interval_s: u32,
    /// Members that do not hold everything.
    pub leechers: u32,
    /// Members that do.
    pub seeders: u32,
    /// The others, all of the family of the socket, [`peers_max`] at most.
    pub peers: Vec<AnnouncedPeer>,
}

/// The answer to an announce, as a tracker writes it: its peers are records already.
#[derive(Clone, Copy, Debug)]
pub struct AnnounceAnswer<'a> {
    /// That of the request.
    pub transaction: u32,
    /// Seconds until the next announce.
    pub interval_s: u32,
    /// The figures of the swarm.
    pub swarm: ScrapeEntry,
    /// The others, 6 or 18 bytes each after the family of the socket; [`peers_max`] at most.
    pub records: &'a [u8],
}

impl AnnounceAnswer<'_> {
    /// Appends the datagram.
    pub fn put(&self, out: &mut Vec<u8>) {
        let mut head = [0; ANNOUNCE_REPLY_BYTES];
        for (place, number) in head.chunks_exact_mut(4).zip([
            action::ANNOUNCE,
            self.transaction,
            self.interval_s,
            self.swarm.incomplete,
            self.swarm.complete,
        ]) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&head);
        out.extend_from_slice(self.records);
    }
}

impl Reply {
    /// Appends the datagram.
    pub fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(match self.body {
            ReplyBody::Connect { .. } => action::CONNECT,
            ReplyBody::Announce(_) => action::ANNOUNCE,
            ReplyBody::Scrape(_) => action::SCRAPE,
            ReplyBody::Error(_) => action::ERROR,
        });
        out.put_u32(self.transaction);
        match &self.body {
            ReplyBody::Connect { connection_id } => out.put_u64(*connection_id),
            ReplyBody::Announce(reply) => {
                out.put_u32(reply.interval_s);
                out.put_u32(reply.leechers);
                out.put_u32(reply.seeders);
                for peer in &reply.peers {
                    put_record(out, peer.addr);
                }
            }
            ReplyBody::Scrape(entries) => {
                for entry in entries {
                    out.put_u32(entry.complete);
                    out.put_u32(entry.downloaded);
                    out.put_u32(entry.incomplete);
                }
            }
            ReplyBody::Error(text) => out.extend_from_slice(text.as_bytes()),
        }
    }

    /// Reads a datagram that came over IPv6 or IPv4: that decides how long its records are.
    ///
    /// # Errors
    /// As for [`Request::decode`].
    pub fn decode(bytes: &[u8], is_v6: bool) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let (action, transaction) = (reader.u32()?, reader.u32()?);
        let body = match action {
            action::CONNECT => {
                let connection_id = reader.u64()?;
                if reader.remaining() > 0 {
                    return Err(WireError::FrameLength);
                }
                ReplyBody::Connect { connection_id }
            }
            action::ANNOUNCE => {
                let mut reply = AnnounceReply {
                    interval_s: reader.u32()?,
                    leechers: reader.u32()?,
                    seeders: reader.u32()?,
                    peers: Vec::new(),
                };
                read_records(reader.rest(), is_v6, &mut reply.peers)?;
                ReplyBody::Announce(reply)
            }
            action::SCRAPE => {
                let mut entries = Vec::new();
                while reader.remaining() > 0 {
                    entries.push(ScrapeEntry {
                        complete: reader.u32()?,
                        downloaded: reader.u32()?,
                        incomplete: reader.u32()?,
                    });
                }
                ReplyBody::Scrape(entries)
            }
            action::ERROR => ReplyBody::Error(String::from_utf8_lossy(reader.rest()).into_owned()),
            _ => return Err(WireError::UnknownType),
        };
        Ok(Self { transaction, body })
    }
}

const _: () = assert!(REQUEST_BYTES_MAX >= ANNOUNCE_BYTES + OPTIONS_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    fn announce() -> Vec<u8> {
        let mut bytes = Vec::new();
        let request = Request {
            transaction: 7,
            body: RequestBody::Announce {
                connection_id: 5,
                announce: Announce {
                    info_hash: InfoHash([1; 20]),
                    peer_id: PeerId([2; 20]),
                    port: 6881,
                    uploaded: 1,
                    downloaded: 2,
                    left: u64::MAX,
                    event: AnnounceEvent::Paused,
                    want: Some(3),
                    key: 9,
                    ip: Some([10, 0, 0, 1].into()),
                },
                options: Options::default(),
            },
        };
        request.put(&mut bytes);
        assert_eq!(Request::decode(&bytes), Ok(request));
        bytes
    }

    #[test]
    fn an_announce_is_98_bytes_and_whole_options() {
        let bytes = announce();
        assert_eq!(bytes.len(), ANNOUNCE_BYTES);
        for cut in 0..bytes.len() {
            assert!(Request::decode(&bytes[..cut]).is_err(), "{cut}");
        }
        let url = |options: &[u8]| {
            let bytes = [&bytes[..], options].concat();
            match Request::decode(&bytes)?.body {
                RequestBody::Announce { options, .. } => Ok(options.url_data()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(url(&[2, 1, b'/']), Ok(b"/".to_vec()));
        assert_eq!(
            url(&[1, 1, 2, 1, b'/', 9, 2, 0, 0, 2, 2, b'a', b'b', 0, 2, 9]),
            Ok(b"/ab".to_vec())
        );
        for torn in [&[2][..], &[2, 2, b'/'], &[9], &[1, 200, 1]] {
            assert_eq!(url(torn), Err(WireError::Truncated), "{torn:?}");
        }
        assert!(url(&[1; OPTIONS_BYTES_MAX]).is_ok());
        let long = url(&[1; OPTIONS_BYTES_MAX + 1]);
        assert_eq!(long, Err(WireError::FrameLength));
        for len in [0, 1, 255, 256, 1000] {
            let (target, mut options) = ("x".repeat(len), Vec::new());
            Options::put_url_data(&target, &mut options);
            assert_eq!(url(&options), Ok(target.into_bytes()));
        }
    }

    #[test]
    fn a_connect_is_16_bytes_with_the_mark() {
        let mut bytes = Vec::new();
        let request = Request {
            transaction: 3,
            body: RequestBody::Connect,
        };
        request.put(&mut bytes);
        assert_eq!(Request::decode(&bytes), Ok(request));
        bytes.push(0);
        assert_eq!(Request::decode(&bytes), Err(WireError::FrameLength));
        bytes.pop();
        bytes[0] ^= 1;
        assert_eq!(Request::decode(&bytes), Err(WireError::BadValue));
    }

    #[test]
    fn a_scrape_asks_for_one_to_74_whole_hashes() {
        let scrape = |bytes: usize| {
            let mut datagram = vec![0; 16];
            datagram[11] = 2;
            datagram.resize(16 + bytes, 1);
            Request::decode(&datagram).is_ok()
        };
        for (bytes, is_fine) in [
            (0, false),
            (19, false),
            (20, true),
            (21, false),
            (20 * SCRAPE_HASHES_MAX, true),
            (20 * (SCRAPE_HASHES_MAX + 1), false),
        ] {
            assert_eq!(scrape(bytes), is_fine, "{bytes}");
        }
    }

    #[test]
    fn a_reply_with_a_torn_record_is_refused() {
        let mut bytes = Vec::new();
        Reply {
            transaction: 1,
            body: ReplyBody::Announce(AnnounceReply {
                interval_s: 1,
                leechers: 2,
                seeders: 3,
                peers: Vec::new(),
            }),
        }
        .put(&mut bytes);
        for (more, is_fine) in [(0, true), (5, false), (6, true), (18, true)] {
            let bytes = [&bytes[..], &vec![1; more]].concat();
            assert_eq!(Reply::decode(&bytes, false).is_ok(), is_fine, "{more}");
        }
        assert!(Reply::decode(&[&bytes[..], &[1; 6]].concat(), true).is_err());
        assert!(bytes.len() + peers_max(true) * 18 <= REPLY_BYTES_MAX);
    }
}
