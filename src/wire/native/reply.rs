//! What the tracker says: replies to requests, and pushes that nobody asked for.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::{
    AVAIL_COUNTS_MAX, AVAIL_DELTAS_MAX, AvailDelta, CHUNK_BYTES_MAX, ErrorCode, FLAG_CRITICAL,
    FrameWriter, INFO_BYTES_MAX, Item, LOOKUP_ENTRIES_MAX, List, ListEntry, LookupEntry, Member,
    MemberEntry, PAGE_ENTRIES_MAX, PUSH_BIT, Policy, PushedMember, REPLY_BIT, WANT_MAX, cut, kind,
};
use crate::base::InfoHash;
use crate::wire::{Put, Reader, WireError};

const HELLO: u8 = kind::HELLO | REPLY_BIT;
const REGISTER: u8 = kind::REGISTER | REPLY_BIT;
const LOOKUP: u8 = kind::LOOKUP | REPLY_BIT;
const GET_INFO: u8 = kind::GET_INFO | REPLY_BIT;
const JOIN: u8 = kind::JOIN | REPLY_BIT;
const HAVE_BATCH: u8 = kind::HAVE_BATCH | REPLY_BIT;
const AVAIL_QUERY: u8 = kind::AVAIL_QUERY | REPLY_BIT;
const AVAIL_SUB: u8 = kind::AVAIL_SUB | REPLY_BIT;
const PEERS: u8 = kind::PEERS | REPLY_BIT;
const BAD_PEER: u8 = kind::BAD_PEER | REPLY_BIT;
const LEAVE: u8 = kind::LEAVE | REPLY_BIT;
const LIST: u8 = kind::LIST | REPLY_BIT;
const STATS: u8 = kind::STATS | REPLY_BIT;
const PING: u8 = kind::PING | REPLY_BIT;
const UNREGISTER: u8 = kind::UNREGISTER | REPLY_BIT;
const MEMBERS: u8 = kind::MEMBERS | REPLY_BIT;
const PEERS_PUSH: u8 = kind::PEERS | PUSH_BIT;
const AVAIL_PUSH: u8 = kind::AVAIL_SUB | PUSH_BIT;
const REMOVED_PUSH: u8 = kind::UNREGISTER | PUSH_BIT;

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// To HELLO.
    Hello(HelloReply),
    /// To REGISTER.
    Register {
        /// The name that the info dictionary has now.
        info_hash: InfoHash,
        /// Whether an equal one was there.
        exists: bool,
    },
    /// To LOOKUP: what was found, the newest first.
    Lookup(List<'a, LookupEntry<'a>>),
    /// To GET_INFO.
    Info {
        /// Bytes of the whole dictionary.
        total: u32,
        /// Those from the offset on.
        bytes: Cow<'a, [u8]>,
    },
    /// To JOIN.
    Join(JoinReply<'a>),
    /// To a HAVE_BATCH that wanted one.
    HaveBatch,
    /// To AVAIL_QUERY.
    Avail(AvailCounts<'a>),
    /// To AVAIL_SUB.
    AvailSub,
    /// To PEERS.
    Peers(List<'a, Member>),
    /// To BAD_PEER.
    BadPeer,
    /// To LEAVE.
    Leave,
    /// To LIST.
    List {
        /// Where the next page starts; 0 is the end.
        next_cursor: u32,
        /// This page.
        entries: List<'a, ListEntry<'a>>,
    },
    /// To STATS.
    Stats(Stats),
    /// To PING: its number.
    Pong(u64),
    /// To UNREGISTER.
    Unregister,
    /// To MEMBERS.
    Members {
        /// Where the next page starts; 0 is the end.
        next_cursor: u32,
        /// This page.
        entries: List<'a, MemberEntry<'a>>,
    },
    /// To any request: it failed.
    Error {
        /// Why.
        code: ErrorCode,
        /// When to ask again, in milliseconds from now; 0 says nothing.
        retry_ms: u32,
        /// Why, for people.
        text: Cow<'a, str>,
    },
}

/// How the tracker wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HelloReply {
    /// Milliseconds between two HAVE_BATCHes of one member.
    pub batch_ms: u32,
    /// Seconds of silence after which a client sends PING.
    pub interval_s: u32,
    /// The longest frame that the tracker takes, without its length field.
    pub frame_bytes_max: u32,
    /// Whom peers serve first.
    pub policy: Policy,
    /// Where the tracker sees the client.
    pub seen_addr: SocketAddr,
}

/// The new member's place, and whom to dial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinReply<'a> {
    /// What later requests of this connection call this membership; from 1.
    pub slot: u32,
    /// Other members.
    pub members: List<'a, Member>,
    /// Which part of the pieces this seed offers first.
    pub partition_index: u16,
    /// Of how many parts; 0 or 1 is no partition.
    pub partition_of: u16,
}

/// How many members have each piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailCounts<'a> {
    /// Grows with every change.
    pub version: u32,
    /// Foreign members that are no seeds: nobody knows what they have.
    pub unknown: u32,
    /// One count per piece from the first one asked for; saturating.
    pub counts: List<'a, u16>,
}

/// Figures of one swarm, or of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Members that have everything.
    pub seeds: u32,
    /// Members that do not.
    pub leechers: u32,
    /// Copies of the rarest piece.
    pub copies_min: u32,
    /// Copies of a piece on the average, times 256.
    pub copies_mean_256: u32,
    /// Bytes that members have received from members.
    pub bytes: u64,
    /// Members that completed.
    pub completed: u32,
}

/// What the tracker tells without being asked; its request id is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push<'a> {
    /// Members of the receiver's swarm changed.
    Peers {
        /// The receiver's membership.
        slot: u32,
        /// Who.
        members: List<'a, PushedMember>,
    },
    /// The counts of pieces changed.
    Avail {
        /// The receiver's membership.
        slot: u32,
        /// The version from which the changes count; if the receiver knows another one, it asks for all counts again.
        base: u32,
        /// The version to which they lead.
        version: u32,
        /// The changes.
        deltas: List<'a, AvailDelta>,
    },
    /// The content was unregistered, and the receiver's membership with it.
    Removed {
        /// Which membership.
        slot: u32,
    },
}

impl<'a> Reply<'a> {
    /// The type of its frame.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => HELLO,
            Self::Register { .. } => REGISTER,
            Self::Lookup(_) => LOOKUP,
            Self::Info { .. } => GET_INFO,
            Self::Join(_) => JOIN,
            Self::HaveBatch => HAVE_BATCH,
            Self::Avail(_) => AVAIL_QUERY,
            Self::AvailSub => AVAIL_SUB,
            Self::Peers(_) => PEERS,
            Self::BadPeer => BAD_PEER,
            Self::Leave => LEAVE,
            Self::List { .. } => LIST,
            Self::Stats(_) => STATS,
            Self::Pong(_) => PING,
            Self::Unregister => UNREGISTER,
            Self::Members { .. } => MEMBERS,
            Self::Error { .. } => kind::ERROR,
        }
    }

    /// The reply that a frame holds.
    pub fn decode(kind: u8, flags: u8, payload: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = payload_of(flags, payload)?;
        let reader = &mut reader;
        Ok(match kind {
            HELLO => Self::Hello(HelloReply::take(reader)?),
            REGISTER => Self::Register {
                info_hash: InfoHash(reader.array()?),
                exists: reader.u8()? != 0,
            },
            LOOKUP => {
                let count = reader.u32()? as usize;
                Self::Lookup(List::take(reader, count, LOOKUP_ENTRIES_MAX)?)
            }
            GET_INFO => take_info(reader)?,
            JOIN => Self::Join(JoinReply::take(reader)?),
            HAVE_BATCH => Self::HaveBatch,
            AVAIL_QUERY => Self::Avail(AvailCounts::take(reader)?),
            AVAIL_SUB => Self::AvailSub,
            PEERS => Self::Peers(take_counted(reader, WANT_MAX)?),
            BAD_PEER => Self::BadPeer,
            LEAVE => Self::Leave,
            LIST => Self::List {
                next_cursor: reader.u32()?,
                entries: take_counted(reader, PAGE_ENTRIES_MAX)?,
            },
            STATS => Self::Stats(Stats::take(reader)?),
            PING => Self::Pong(reader.u64()?),
            UNREGISTER => Self::Unregister,
            MEMBERS => Self::Members {
                next_cursor: reader.u32()?,
                entries: take_counted(reader, PAGE_ENTRIES_MAX)?,
            },
            kind::ERROR => Self::Error {
                code: ErrorCode::from_number(reader.u16()?),
                retry_ms: reader.u32()?,
                text: reader.str()?.into(),
            },
            _ => return Err(WireError::UnknownType),
        })
    }

    /// Appends the frame of this reply to `out`.
    pub fn encode(&self, request_id: u32, out: &mut Vec<u8>) {
        let mut frame = FrameWriter::start(out, self.kind(), 0, request_id);
        self.put(frame.payload());
        frame.finish();
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => hello.put(out),
            Self::Register { info_hash, exists } => {
                out.extend_from_slice(&info_hash.0);
                out.put_u8(u8::from(*exists));
            }
            Self::Lookup(entries) => {
                out.put_u32(entries.len() as u32);
                entries.put(LOOKUP_ENTRIES_MAX, out);
            }
            Self::Info { total, bytes } => {
                out.put_u32(*total);
                out.extend_from_slice(bytes);
            }
            Self::Join(join) => join.put(out),
            Self::Avail(counts) => counts.put(out),
            Self::Peers(members) => put_counted(members, WANT_MAX, out),
            Self::List {
                next_cursor,
                entries,
            } => {
                out.put_u32(*next_cursor);
                put_counted(entries, PAGE_ENTRIES_MAX, out);
            }
            Self::Stats(stats) => stats.put(out),
            Self::Pong(number) => out.put_u64(*number),
            Self::Members {
                next_cursor,
                entries,
            } => {
                out.put_u32(*next_cursor);
                put_counted(entries, PAGE_ENTRIES_MAX, out);
            }
            Self::Error {
                code,
                retry_ms,
                text,
            } => {
                out.put_u16(code.number());
                out.put_u32(*retry_ms);
                out.put_str(cut(text));
            }
            Self::HaveBatch | Self::AvailSub | Self::BadPeer | Self::Leave | Self::Unregister => {}
        }
    }

    /// The reply without the borrow.
    pub fn into_owned(self) -> Reply<'static> {
        match self {
            Self::Hello(hello) => Reply::Hello(hello),
            Self::Register { info_hash, exists } => Reply::Register { info_hash, exists },
            Self::Lookup(entries) => Reply::Lookup(entries.into_owned()),
            Self::Info { total, bytes } => Reply::Info {
                total,
                bytes: bytes.into_owned().into(),
            },
            Self::Join(join) => Reply::Join(JoinReply {
                members: join.members.into_owned(),
                ..join
            }),
            Self::HaveBatch => Reply::HaveBatch,
            Self::Avail(counts) => Reply::Avail(AvailCounts {
                counts: counts.counts.into_owned(),
                ..counts
            }),
            Self::Peers(members) => Reply::Peers(members.into_owned()),
            Self::AvailSub => Reply::AvailSub,
            Self::BadPeer => Reply::BadPeer,
            Self::Leave => Reply::Leave,
            Self::List {
                next_cursor,
                entries,
            } => Reply::List {
                next_cursor,
                entries: entries.into_owned(),
            },
            Self::Stats(stats) => Reply::Stats(stats),
            Self::Pong(number) => Reply::Pong(number),
            Self::Unregister => Reply::Unregister,
            Self::Members {
                next_cursor,
                entries,
            } => Reply::Members {
                next_cursor,
                entries: entries.into_owned(),
            },
            Self::Error {
                code,
                retry_ms,
                text,
            } => Reply::Error {
                code,
                retry_ms,
                text: text.into_owned().into(),
            },
        }
    }
}

impl<'a> Push<'a> {
    /// Whether frames of this type are pushes, known to us or not.
    pub const fn is_kind(kind: u8) -> bool {
        kind & (REPLY_BIT | PUSH_BIT) == PUSH_BIT
    }

    /// The push that a frame holds; one of a later version is [`WireError::UnknownType`].
    pub fn decode(kind: u8, flags: u8, payload: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = payload_of(flags, payload)?;
        Ok(match kind {
            PEERS_PUSH => Self::Peers {
                slot: reader.u32()?,
                members: take_counted(&mut reader, WANT_MAX)?,
            },
            AVAIL_PUSH => {
                let (slot, base, version) = (reader.u32()?, reader.u32()?, reader.u32()?);
                let count = reader.u32()? as usize;
                Self::Avail {
                    slot,
                    base,
                    version,
                    deltas: List::take(&mut reader, count, AVAIL_DELTAS_MAX as usize)?,
                }
            }
            REMOVED_PUSH => Self::Removed {
                slot: reader.u32()?,
            },
            _ => return Err(WireError::UnknownType),
        })
    }

    /// Appends the frame of this push to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Peers { slot, members } => {
                let mut frame = FrameWriter::start(out, PEERS_PUSH, 0, 0);
                frame.payload().put_u32(*slot);
                put_counted(members, WANT_MAX, frame.payload());
                frame.finish();
            }
            Self::Avail {
                slot,
                base,
                version,
                deltas,
            } => {
                let mut frame = FrameWriter::start(out, AVAIL_PUSH, 0, 0);
                let payload = frame.payload();
                for number in [*slot, *base, *version, deltas.len() as u32] {
                    payload.put_u32(number);
                }
                deltas.put(AVAIL_DELTAS_MAX as usize, payload);
                frame.finish();
            }
            Self::Removed { slot } => {
                let mut frame = FrameWriter::start(out, REMOVED_PUSH, 0, 0);
                frame.payload().put_u32(*slot);
                frame.finish();
            }
        }
    }
}

impl HelloReply {
    fn take(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            batch_ms: reader.u32()?,
            interval_s: reader.u32()?,
            frame_bytes_max: reader.u32()?,
            policy: Policy::from_number(reader.u8()?)?,
            seen_addr: SocketAddr::take(reader)?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.batch_ms);
        out.put_u32(self.interval_s);
        out.put_u32(self.frame_bytes_max);
        out.put_u8(self.policy.number());
        self.seen_addr.put(out);
    }
}

impl<'a> JoinReply<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        Ok(Self {
            slot: reader.u32()?,
            members: take_counted(reader, WANT_MAX)?,
            partition_index: reader.u16()?,
            partition_of: reader.u16()?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.slot);
        put_counted(&self.members, WANT_MAX, out);
        out.put_u16(self.partition_index);
        out.put_u16(self.partition_of);
    }
}

impl<'a> AvailCounts<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let (version, unknown, count) = (reader.u32()?, reader.u32()?, reader.u32()?);
        Ok(Self {
            version,
            unknown,
            counts: List::take(reader, count as usize, AVAIL_COUNTS_MAX as usize)?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.version);
        out.put_u32(self.unknown);
        out.put_u32(self.counts.len() as u32);
        self.counts.put(AVAIL_COUNTS_MAX as usize, out);
    }
}

impl Stats {
    fn take(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            seeds: reader.u32()?,
            leechers: reader.u32()?,
            copies_min: reader.u32()?,
            copies_mean_256: reader.u32()?,
            bytes: reader.u64()?,
            completed: reader.u32()?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.seeds);
        out.put_u32(self.leechers);
        out.put_u32(self.copies_min);
        out.put_u32(self.copies_mean_256);
        out.put_u64(self.bytes);
        out.put_u32(self.completed);
    }
}

/// Reads the payload of a frame whose flags are none that we would have to know.
fn payload_of(flags: u8, payload: &[u8]) -> Result<Reader<'_>, WireError> {
    if flags & FLAG_CRITICAL != 0 {
        return Err(WireError::BadValue);
    }
    Ok(Reader::new(payload))
}

fn take_info<'a>(reader: &mut Reader<'a>) -> Result<Reply<'a>, WireError> {
    let total = reader.u32()?;
    let bytes = reader.rest();
    if total > INFO_BYTES_MAX || bytes.len() > CHUNK_BYTES_MAX {
        return Err(WireError::FrameTooLong);
    }
    Ok(Reply::Info {
        total,
        bytes: bytes.into(),
    })
}

/// Takes a list behind its count.
fn take_counted<'a, T: Item<'a>>(
    reader: &mut Reader<'a>,
    count_max: u16,
) -> Result<List<'a, T>, WireError> {
    let count = usize::from(reader.u16()?);
    List::take(reader, count, usize::from(count_max))
}

/// Puts a list behind its count.
fn put_counted<'a, T: Item<'a>>(list: &List<'a, T>, count_max: u16, out: &mut Vec<u8>) {
    out.put_u16(list.len() as u16);
    list.put(usize::from(count_max), out);
}
