//! What a peer asks of the tracker.

use std::borrow::Cow;
use std::net::SocketAddr;

use super::{
    AVAIL_COUNTS_MAX, Bitmap, Evidence, FLAG_CRITICAL, FLAG_LOW, FrameWriter, HAVE_ITEMS_MAX,
    HELLO_ADDRS_MAX, HaveItem, INFO_BYTES_MAX, Item, LeaveReason, List, LookupBy, MAGIC,
    PAGE_ENTRIES_MAX, Refusal, Role, VERSION_MAJOR, VERSION_MINOR, WANT_MAX, cut, kind,
};
use crate::base::{Digest20, InfoHash, PeerId};
use crate::wire::{Put, Reader, WireError};

/// One request. Texts longer than [`crate::wire::TEXT_BYTES_MAX`] are cut when they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// The first frame of a connection.
    Hello(Hello<'a>),
    /// Part of an info dictionary to be kept; all parts carry one request id, and only the last is answered.
    Register {
        /// Bytes of the whole dictionary.
        total: u32,
        /// The next of its bytes.
        chunk: Cow<'a, [u8]>,
        /// Whether more parts follow.
        more: bool,
    },
    /// Which contents are these?
    Lookup {
        /// What `key` is.
        by: LookupBy,
        /// A name, or hexadecimal digits.
        key: Cow<'a, str>,
    },
    /// The info dictionary, from `offset` on.
    GetInfo {
        /// Whose.
        info_hash: InfoHash,
        /// The first byte wanted.
        offset: u32,
    },
    /// Become a member of a swarm, or say again what is had.
    Join(Join<'a>),
    /// What became of pieces since the last batch.
    HaveBatch(HaveBatch<'a>),
    /// How many members have each of these pieces?
    AvailQuery {
        /// The member that asks.
        slot: u32,
        /// The first piece.
        first: u32,
        /// How many pieces.
        count: u32,
    },
    /// Tell me every so often how these counts change.
    AvailSub {
        /// The member that asks.
        slot: u32,
        /// The time between two pushes, in milliseconds; 0 ends it.
        period_ms: u16,
    },
    /// Name other members.
    Peers {
        /// The member that asks.
        slot: u32,
        /// How many at most.
        want: u16,
        /// Pieces that are missing urgently.
        missing: Option<Bitmap<'a>>,
    },
    /// A member sent wrong bytes.
    BadPeer(BadPeer),
    /// No longer be a member.
    Leave {
        /// The member that goes.
        slot: u32,
        /// Why.
        reason: LeaveReason,
    },
    /// The contents whose names match.
    List {
        /// Where the page starts: 0, or what the last page said.
        cursor: u32,
        /// How many entries at most.
        limit: u16,
        /// A pattern with `*` and `?`; empty matches all.
        glob: Cow<'a, str>,
    },
    /// The figures of one swarm, or of all.
    Stats {
        /// The member whose swarm is meant; 0 for all swarms.
        slot: u32,
    },
    /// Are you there? The reply repeats the number.
    Ping(u64),
    /// Forget a content.
    Unregister {
        /// Which.
        info_hash: InfoHash,
    },
    /// Who has what of a content; needs no JOIN.
    Members {
        /// Which content.
        info_hash: InfoHash,
        /// Where the page starts: 0, or what the last page said.
        cursor: u32,
        /// How many entries at most.
        limit: u16,
        /// Whether to say which pieces.
        with_bitmaps: bool,
    },
}

/// Who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The minor version; the major one is [`VERSION_MAJOR`].
    pub minor: u16,
    /// Optional features that it knows; none are defined.
    pub features: u64,
    /// What it calls itself.
    pub peer_id: PeerId,
    /// Where it listens; nothing, if it cannot be dialled.
    pub addrs: List<'a, SocketAddr>,
    /// What its machine calls itself.
    pub host: Cow<'a, str>,
    /// Where its machine stands: `site/rack`.
    pub zone: Cow<'a, str>,
    /// What it may do; empty, if it has none.
    pub token: Cow<'a, str>,
}

/// Who joins which swarm with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join<'a> {
    /// The content.
    pub info_hash: InfoHash,
    /// Bytes that it still misses.
    pub left: u64,
    /// What it has.
    pub have: Bitmap<'a>,
    /// How many members to name.
    pub want: u16,
    /// What it is to the swarm.
    pub role: Role,
}

/// What became of pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaveBatch<'a> {
    /// The member that reports.
    pub slot: u32,
    /// Bytes that it has sent to other members, since it joined.
    pub up: u64,
    /// Bytes that it has received from other members, since it joined.
    pub down: u64,
    /// Piece by piece.
    pub items: List<'a, HaveItem>,
    /// Whether a reply is wanted.
    pub wants_reply: bool,
}

/// Who sent wrong bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPeer {
    /// The member that reports.
    pub slot: u32,
    /// Where the wrong bytes came from.
    pub addr: SocketAddr,
    /// In which piece.
    pub piece: u32,
    /// In which block of it, if one is accused.
    pub block: u32,
    /// How that is known.
    pub evidence: Evidence,
    /// The SHA-1 of what was sent.
    pub digest: Digest20,
}

impl<'a> Request<'a> {
    /// The type of its frame.
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Hello(_) => kind::HELLO,
            Self::Register { .. } => kind::REGISTER,
            Self::Lookup { .. } => kind::LOOKUP,
            Self::GetInfo { .. } => kind::GET_INFO,
            Self::Join(_) => kind::JOIN,
            Self::HaveBatch(_) => kind::HAVE_BATCH,
            Self::AvailQuery { .. } => kind::AVAIL_QUERY,
            Self::AvailSub { .. } => kind::AVAIL_SUB,
            Self::Peers { .. } => kind::PEERS,
            Self::BadPeer(_) => kind::BAD_PEER,
            Self::Leave { .. } => kind::LEAVE,
            Self::List { .. } => kind::LIST,
            Self::Stats { .. } => kind::STATS,
            Self::Ping(_) => kind::PING,
            Self::Unregister { .. } => kind::UNREGISTER,
            Self::Members { .. } => kind::MEMBERS,
        }
    }

    /// Whether the tracker answers it, if all goes well.
    pub const fn wants_reply(&self) -> bool {
        match self {
            Self::Register { more, .. } => !*more,
            Self::HaveBatch(batch) => batch.wants_reply,
            _ => true,
        }
    }

    /// The request that a frame holds, or why the tracker refuses it.
    pub fn decode(kind: u8, flags: u8, payload: &'a [u8]) -> Result<Self, Refusal> {
        if flags & FLAG_CRITICAL != 0 {
            return Err(Refusal::CriticalFlag);
        }
        let (low, mut reader) = (flags & FLAG_LOW != 0, Reader::new(payload));
        let reader = &mut reader;
        match kind {
            kind::HELLO => Hello::take(reader).map(Self::Hello),
            kind::REGISTER => take_register(reader, low),
            kind::JOIN => Join::take(reader).map(Self::Join),
            kind::HAVE_BATCH => Ok(HaveBatch::take(reader, low).map(Self::HaveBatch)?),
            kind::AVAIL_QUERY => take_avail_query(reader),
            kind::PEERS => take_peers(reader),
            kind::LIST => take_list(reader),
            kind::MEMBERS => take_members(reader),
            _ => Self::take_plain(kind, reader),
        }
    }

    /// Takes a request whose fields have no limits of their own.
    fn take_plain(kind: u8, reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        Ok(match kind {
            kind::LOOKUP => Self::Lookup {
                by: LookupBy::from_number(reader.u8()?)?,
                key: reader.str()?.into(),
            },
            kind::GET_INFO => Self::GetInfo {
                info_hash: InfoHash(reader.array()?),
                offset: reader.u32()?,
            },
            kind::BAD_PEER => Self::BadPeer(BadPeer::take(reader)?),
            kind::LEAVE => Self::Leave {
                slot: reader.u32()?,
                reason: LeaveReason::from_number(reader.u8()?)?,
            },
            kind::STATS => Self::Stats {
                slot: reader.u32()?,
            },
            kind::AVAIL_SUB => Self::AvailSub {
                slot: reader.u32()?,
                period_ms: reader.u16()?,
            },
            kind::PING => Self::Ping(reader.u64()?),
            kind::UNREGISTER => Self::Unregister {
                info_hash: InfoHash(reader.array()?),
            },
            _ => return Err(Refusal::UnknownType),
        })
    }

    /// Appends the frame of this request to `out`.
    pub fn encode(&self, request_id: u32, out: &mut Vec<u8>) {
        let low = match self {
            Self::Register { more, .. } => *more,
            Self::HaveBatch(batch) => batch.wants_reply,
            _ => false,
        };
        let flags = if low { FLAG_LOW } else { 0 };
        let mut frame = FrameWriter::start(out, self.kind(), flags, request_id);
        self.put(frame.payload());
        frame.finish();
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => hello.put(out),
            Self::Register { total, chunk, .. } => {
                out.put_u32(*total);
                out.extend_from_slice(chunk);
            }
            Self::Lookup { by, key } => {
                out.put_u8(by.number());
                out.put_str(cut(key));
            }
            Self::GetInfo { info_hash, offset } => {
                out.extend_from_slice(&info_hash.0);
                out.put_u32(*offset);
            }
            Self::Join(join) => join.put(out),
            Self::HaveBatch(batch) => batch.put(out),
            Self::BadPeer(report) => report.put(out),
            Self::Leave { slot, reason } => {
                out.put_u32(*slot);
                out.put_u8(reason.number());
            }
            Self::AvailSub { slot, period_ms } => {
                out.put_u32(*slot);
                out.put_u16(*period_ms);
            }
            Self::Stats { slot } => out.put_u32(*slot),
            Self::Ping(number) => out.put_u64(*number),
            Self::Unregister { info_hash } => out.extend_from_slice(&info_hash.0),
            _ => self.put_query(out),
        }
    }

    /// Puts the requests that ask for a list.
    fn put_query(&self, out: &mut Vec<u8>) {
        match self {
            Self::AvailQuery { slot, first, count } => {
                out.put_u32(*slot);
                out.put_u32(*first);
                out.put_u32(*count);
            }
            Self::Peers {
                slot,
                want,
                missing,
            } => {
                out.put_u32(*slot);
                out.put_u16(*want);
                if let Some(missing) = missing {
                    missing.put(out);
                }
            }
            Self::List {
                cursor,
                limit,
                glob,
            } => {
                out.put_u32(*cursor);
                out.put_u16(*limit);
                out.put_str(cut(glob));
            }
            Self::Members {
                info_hash,
                cursor,
                limit,
                with_bitmaps,
            } => {
                out.extend_from_slice(&info_hash.0);
                out.put_u32(*cursor);
                out.put_u16(*limit);
                out.put_u8(u8::from(*with_bitmaps));
            }
            _ => unreachable!("{:#04x} is no query", self.kind()),
        }
    }
}

impl<'a> Hello<'a> {
    /// A HELLO of our version.
    pub fn new(peer_id: PeerId, addrs: &'a [SocketAddr]) -> Self {
        Self {
            minor: VERSION_MINOR,
            features: 0,
            peer_id,
            addrs: List::lent(&addrs[..addrs.len().min(HELLO_ADDRS_MAX)]),
            host: "".into(),
            zone: "".into(),
            token: "".into(),
        }
    }

    fn take(reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        if reader.array()? != MAGIC {
            return Err(Refusal::Malformed(WireError::BadValue));
        }
        let (major, minor) = (reader.u16()?, reader.u16()?);
        if major != VERSION_MAJOR {
            return Err(Refusal::Version(major));
        }
        let (features, peer_id) = (reader.u64()?, PeerId(reader.array()?));
        let count = usize::from(reader.u8()?);
        Ok(Self {
            minor,
            features,
            peer_id,
            addrs: List::take(reader, count, HELLO_ADDRS_MAX)?,
            host: reader.str()?.into(),
            zone: reader.str()?.into(),
            token: reader.str()?.into(),
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&MAGIC);
        out.put_u16(VERSION_MAJOR);
        out.put_u16(self.minor);
        out.put_u64(self.features);
        out.extend_from_slice(&self.peer_id.0);
        out.put_u8(self.addrs.len() as u8);
        self.addrs.put(HELLO_ADDRS_MAX, out);
        out.put_str(cut(&self.host));
        out.put_str(cut(&self.zone));
        out.put_str(cut(&self.token));
    }
}

impl<'a> Join<'a> {
    fn take(reader: &mut Reader<'a>) -> Result<Self, Refusal> {
        let (info_hash, left) = (InfoHash(reader.array()?), reader.u64()?);
        let (have, want) = (Bitmap::take(reader)?, reader.u16()?);
        Ok(Self {
            info_hash,
            left,
            have,
            want: within(want, WANT_MAX)?,
            role: Role::from_number(reader.u8()?)?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.info_hash.0);
        out.put_u64(self.left);
        self.have.put(out);
        out.put_u16(self.want);
        out.put_u8(self.role.number());
    }
}

impl<'a> HaveBatch<'a> {
    fn take(reader: &mut Reader<'a>, wants_reply: bool) -> Result<Self, WireError> {
        let (slot, up, down) = (reader.u32()?, reader.u64()?, reader.u64()?);
        let count = usize::from(reader.u16()?);
        Ok(Self {
            slot,
            up,
            down,
            items: List::take(reader, count, HAVE_ITEMS_MAX)?,
            wants_reply,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.slot);
        out.put_u64(self.up);
        out.put_u64(self.down);
        out.put_u16(self.items.len() as u16);
        self.items.put(HAVE_ITEMS_MAX, out);
    }
}

impl BadPeer {
    fn take(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            slot: reader.u32()?,
            addr: SocketAddr::take(reader)?,
            piece: reader.u32()?,
            block: reader.u32()?,
            evidence: Evidence::from_number(reader.u8()?)?,
            digest: reader.array()?,
        })
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.put_u32(self.slot);
        self.addr.put(out);
        out.put_u32(self.piece);
        out.put_u32(self.block);
        out.put_u8(self.evidence.number());
        out.extend_from_slice(&self.digest);
    }
}

/// `value`, unless it exceeds `value_max`.
fn within<N: PartialOrd + Copy>(value: N, value_max: N) -> Result<N, Refusal> {
    if value > value_max {
        return Err(Refusal::TooLarge);
    }
    Ok(value)
}

fn take_register<'a>(reader: &mut Reader<'a>, more: bool) -> Result<Request<'a>, Refusal> {
    let total = within(reader.u32()?, INFO_BYTES_MAX)?;
    let chunk = reader.rest();
    if chunk.len() > total as usize {
        return Err(Refusal::Malformed(WireError::FrameLength));
    }
    Ok(Request::Register {
        total,
        chunk: chunk.into(),
        more,
    })
}

fn take_avail_query<'a>(reader: &mut Reader<'a>) -> Result<Request<'a>, Refusal> {
    Ok(Request::AvailQuery {
        slot: reader.u32()?,
        first: reader.u32()?,
        count: within(reader.u32()?, AVAIL_COUNTS_MAX)?,
    })
}

fn take_peers<'a>(reader: &mut Reader<'a>) -> Result<Request<'a>, Refusal> {
    let (slot, want) = (reader.u32()?, within(reader.u16()?, WANT_MAX)?);
    let missing = (reader.remaining() > 0).then(|| Bitmap::take(reader));
    Ok(Request::Peers {
        slot,
        want,
        missing: missing.transpose()?,
    })
}

fn take_list<'a>(reader: &mut Reader<'a>) -> Result<Request<'a>, Refusal> {
    Ok(Request::List {
        cursor: reader.u32()?,
        limit: within(reader.u16()?, PAGE_ENTRIES_MAX)?,
        glob: reader.str()?.into(),
    })
}

fn take_members<'a>(reader: &mut Reader<'a>) -> Result<Request<'a>, Refusal> {
    Ok(Request::Members {
        info_hash: InfoHash(reader.array()?),
        cursor: reader.u32()?,
        limit: within(reader.u16()?, PAGE_ENTRIES_MAX)?,
        with_bitmaps: reader.u8()? != 0,
    })
}
