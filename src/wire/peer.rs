//! The peer wire (BEP 3, 6, 10): the handshake and every message but the payload of a block.
//!
//! Owns the layouts. Bytes of content are never part of a value here: a message 7 is written as a head that is followed
//! by bytes from elsewhere, and read piecemeal by [`super::peer_decoder`].

use super::{Put, Reader, WireError};
use crate::base::{InfoHash, PeerId};

/// What one request asks for, in bytes: the only length that every client serves.
pub const BLOCK_LEN: u32 = 16 << 10;
/// The length of a handshake in bytes.
pub const HANDSHAKE_LEN: usize = 68;
/// What every handshake starts with: a length and a name.
pub(super) const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// Message ids. `len` on the wire counts the id and what follows it.
pub(super) mod id {
    pub(crate) const CHOKE: u8 = 0;
    pub(crate) const UNCHOKE: u8 = 1;
    pub(crate) const INTERESTED: u8 = 2;
    pub(crate) const NOT_INTERESTED: u8 = 3;
    pub(crate) const HAVE: u8 = 4;
    pub(crate) const BITFIELD: u8 = 5;
    pub(crate) const REQUEST: u8 = 6;
    pub(crate) const PIECE: u8 = 7;
    pub(crate) const CANCEL: u8 = 8;
    pub(crate) const PORT: u8 = 9;
    pub(crate) const SUGGEST: u8 = 13;
    pub(crate) const HAVE_ALL: u8 = 14;
    pub(crate) const HAVE_NONE: u8 = 15;
    pub(crate) const REJECT: u8 = 16;
    pub(crate) const ALLOWED_FAST: u8 = 17;
    pub(crate) const EXTENDED: u8 = 20;
}

/// The first 68 bytes in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// One bit per optional protocol.
    pub reserved: [u8; 8],
    /// The content that the link is about.
    pub info_hash: InfoHash,
    /// Who sends this.
    pub peer_id: PeerId,
}

impl Handshake {
    /// Our handshake: it offers the extension protocol and the fast extension.
    pub const fn new(info_hash: InfoHash, peer_id: PeerId) -> Self {
        Self {
            reserved: [0, 0, 0, 0, 0, 0x10, 0, 0x04],
            info_hash,
            peer_id,
        }
    }

    /// Whether the sender speaks the extension protocol (BEP 10).
    pub const fn supports_extended(&self) -> bool {
        self.reserved[5] & 0x10 != 0
    }

    /// Whether the sender speaks the fast extension (BEP 6).
    pub const fn supports_fast(&self) -> bool {
        self.reserved[7] & 0x04 != 0
    }

    /// Appends the handshake.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(PROTOCOL);
        out.extend_from_slice(&self.reserved);
        out.extend_from_slice(&self.info_hash.0);
        out.extend_from_slice(&self.peer_id.0);
    }

    /// The handshake that `bytes` start with.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != *PROTOCOL {
            return Err(WireError::NotBitTorrent);
        }
        Ok(Self {
            reserved: reader.array()?,
            info_hash: InfoHash(reader.array()?),
            peer_id: PeerId(reader.array()?),
        })
    }
}

/// A part of a piece, as requests name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockRequest {
    /// The index of the piece.
    pub piece: u32,
    /// Where it starts in the piece, in bytes.
    pub begin: u32,
    /// Its length in bytes.
    pub len: u32,
}

impl BlockRequest {
    /// Where it ends in the piece; beyond 32 bits if others chose so.
    pub const fn end(self) -> u64 {
        self.begin as u64 + self.len as u64
    }

    /// Whether it asks for something, for at most `len_max` bytes, and inside a piece of `piece_len` bytes.
    pub const fn is_within(self, piece_len: u32, len_max: u32) -> bool {
        self.len > 0 && self.len <= len_max && self.end() <= piece_len as u64
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            piece: reader.u32()?,
            begin: reader.u32()?,
            len: reader.u32()?,
        })
    }
}

/// A message, with its bytes still where they were received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The sender is still there.
    KeepAlive,
    /// The sender will not serve us.
    Choke,
    /// The sender will serve us.
    Unchoke,
    /// The sender wants something that we have.
    Interested,
    /// The sender wants nothing that we have.
    NotInterested,
    /// The sender has one more piece.
    Have {
        /// Its index.
        piece: u32,
    },
    /// The pieces that the sender has; only as the first message.
    Bitfield {
        /// One bit per piece, high bit first; whether spare bits are zero is not checked here.
        bytes: &'a [u8],
    },
    /// The sender wants this block.
    Request(BlockRequest),
    /// The sender no longer wants this block.
    Cancel(BlockRequest),
    /// The sender will not answer this request (BEP 6).
    Reject(BlockRequest),
    /// The sender's port of the distributed hash table (BEP 5), which we do not use.
    Port {
        /// A UDP port.
        port: u16,
    },
    /// The sender would like us to fetch this piece (BEP 6).
    Suggest {
        /// Its index.
        piece: u32,
    },
    /// The sender has all pieces (BEP 6); only as the first message.
    HaveAll,
    /// The sender has no piece (BEP 6); only as the first message.
    HaveNone,
    /// The sender serves this piece although it chokes us (BEP 6).
    AllowedFast {
        /// Its index.
        piece: u32,
    },
    /// A message of the extension protocol (BEP 10).
    Extended {
        /// 0 for the extension handshake, else the number that the receiver gave to the extension.
        id: u8,
        /// The rest of it.
        payload: &'a [u8],
    },
}

impl<'a> Message<'a> {
    /// Appends the message with its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.put_u32(0);
        match *self {
            Self::KeepAlive => {}
            Self::Choke => out.put_u8(id::CHOKE),
            Self::Unchoke => out.put_u8(id::UNCHOKE),
            Self::Interested => out.put_u8(id::INTERESTED),
            Self::NotInterested => out.put_u8(id::NOT_INTERESTED),
            Self::Have { piece } => put_index(out, id::HAVE, piece),
            Self::Bitfield { bytes } => {
                out.put_u8(id::BITFIELD);
                out.extend_from_slice(bytes);
            }
            Self::Request(block) => put_block(out, id::REQUEST, block),
            Self::Cancel(block) => put_block(out, id::CANCEL, block),
            Self::Reject(block) => put_block(out, id::REJECT, block),
            Self::Port { port } => {
                out.put_u8(id::PORT);
                out.put_u16(port);
            }
            Self::Suggest { piece } => put_index(out, id::SUGGEST, piece),
            Self::HaveAll => out.put_u8(id::HAVE_ALL),
            Self::HaveNone => out.put_u8(id::HAVE_NONE),
            Self::AllowedFast { piece } => put_index(out, id::ALLOWED_FAST, piece),
            Self::Extended { id, payload } => {
                out.extend_from_slice(&[id::EXTENDED, id]);
                out.extend_from_slice(payload);
            }
        }
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
    }

    /// The message that follows a length which was checked to be that of its id; `body` starts with the id.
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(body);
        if reader.remaining() == 0 {
            return Ok(Self::KeepAlive);
        }
        Ok(match reader.u8()? {
            id::CHOKE => Self::Choke,
            id::UNCHOKE => Self::Unchoke,
            id::INTERESTED => Self::Interested,
            id::NOT_INTERESTED => Self::NotInterested,
            id::HAVE => Self::Have {
                piece: reader.u32()?,
            },
            id::BITFIELD => Self::Bitfield {
                bytes: reader.rest(),
            },
            id::REQUEST => Self::Request(BlockRequest::decode(&mut reader)?),
            id::CANCEL => Self::Cancel(BlockRequest::decode(&mut reader)?),
            id::REJECT => Self::Reject(BlockRequest::decode(&mut reader)?),
            id::PORT => Self::Port {
                port: reader.u16()?,
            },
            id::SUGGEST => Self::Suggest {
                piece: reader.u32()?,
            },
            id::HAVE_ALL => Self::HaveAll,
            id::HAVE_NONE => Self::HaveNone,
            id::ALLOWED_FAST => Self::AllowedFast {
                piece: reader.u32()?,
            },
            id::EXTENDED => Self::Extended {
                id: reader.u8()?,
                payload: reader.rest(),
            },
            _ => return Err(WireError::UnknownType),
        })
    }
}

/// Appends the first 13 bytes of a message 7, which `len` bytes of `piece` from `begin` on have to follow.
pub fn put_piece_header(out: &mut Vec<u8>, piece: u32, begin: u32, len: u32) {
    out.put_u32(9 + len);
    out.put_u8(id::PIECE);
    out.put_u32(piece);
    out.put_u32(begin);
}

fn put_index(out: &mut Vec<u8>, id: u8, piece: u32) {
    out.put_u8(id);
    out.put_u32(piece);
}

fn put_block(out: &mut Vec<u8>, id: u8, block: BlockRequest) {
    put_index(out, id, block.piece);
    out.put_u32(block.begin);
    out.put_u32(block.len);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_handshake_offers_what_we_speak() {
        let ours = Handshake::new(InfoHash([1; 20]), PeerId([2; 20]));
        assert!(ours.supports_extended() && ours.supports_fast());
        let mut bytes = Vec::new();
        ours.encode(&mut bytes);
        assert_eq!(bytes.len(), HANDSHAKE_LEN);
        assert_eq!(Handshake::decode(&bytes), Ok(ours));
        let (last, short) = (bytes[0], &bytes[..67]);
        assert_eq!(Handshake::decode(short), Err(WireError::Truncated));
        bytes[0] = last - 1;
        assert_eq!(Handshake::decode(&bytes), Err(WireError::NotBitTorrent));
    }

    #[test]
    fn a_request_is_judged_without_wrapping() {
        let request = |begin, len| BlockRequest {
            piece: 0,
            begin,
            len,
        };
        assert!(request(16384, 16384).is_within(32768, BLOCK_LEN));
        assert!(!request(16385, 16384).is_within(32768, BLOCK_LEN));
        assert!(!request(0, 16385).is_within(32768, BLOCK_LEN));
        assert!(!request(0, 0).is_within(32768, BLOCK_LEN));
        assert!(!request(u32::MAX, BLOCK_LEN).is_within(u32::MAX, BLOCK_LEN));
    }
}
