//! The native tracker protocol: what only Shoal programs speak, over one long-lived TCP connection per peer.
//!
//! Owns the frame (`u32 len, u8 kind, u8 flags, u16 0, u32 request id, payload`, big-endian), every request, reply and
//! push, and their limits. Decides nothing: whether a slot exists or a token is right is for the registry to say.
//!
//! Invariants:
//! 1. The first byte of a frame is 0x00, so one port tells this protocol from HTTP.
//! 2. What the other end announces is checked against a limit, and against the bytes that are there, before memory is
//!    taken for it; lists and bitmaps stay borrowed from the frame.
//! 3. Whatever follows the known fields of a payload is ignored, so that a minor version can add fields.

mod frame;
mod items;
mod reply;
mod request;
mod value;

pub use frame::{Frame, FrameDecoder, FrameHead, FrameWriter};
pub use items::{Item, ItemWriter, List, Paged};
pub use reply::{AvailCounts, HelloReply, JoinReply, Push, Reply, Stats};
pub use request::{BadPeer, HaveBatch, Hello, Join, Request};
pub use value::{
    AddrPair, AvailDelta, Bitmap, HaveItem, ListEntry, LookupEntry, Member, MemberEntry,
    PushedMember,
};

use super::{TEXT_BYTES_MAX, WireError};

/// The first byte of every frame; HTTP begins with a letter.
pub const FIRST_BYTE: u8 = 0;
/// The first bytes of a HELLO.
pub const MAGIC: [u8; 4] = *b"SHOL";
/// The version that both ends must share.
pub const VERSION_MAJOR: u16 = 1;
/// Grows when fields are added behind the known ones.
pub const VERSION_MINOR: u16 = 0;

/// Bytes of a frame before its payload.
pub const HEAD_BYTES: usize = 12;
/// The longest frame, without its length field.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// The longest info dictionary.
pub const INFO_BYTES_MAX: u32 = 32 << 20;
/// Bytes of an info dictionary in one frame: a GET_INFO reply has at most these, and our REGISTER chunks as well.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;
/// Where a MEMBERS or LIST reply is cut; the cursor continues it.
pub const PAGE_BYTES_MAX: usize = 256 << 10;
/// Pieces of one content, hence bits of a bitmap.
pub const PIECES_MAX: u32 = 131_072;
/// Addresses that a HELLO declares.
pub const HELLO_ADDRS_MAX: usize = 8;
/// Addresses of one member: one per family.
pub const MEMBER_ADDRS_MAX: usize = 2;
/// Members that one JOIN or PEERS asks for, and that one reply or push names.
pub const WANT_MAX: u16 = 50;
/// Entries of a LOOKUP reply.
pub const LOOKUP_ENTRIES_MAX: usize = 64;
/// Items of one HAVE_BATCH.
pub const HAVE_ITEMS_MAX: usize = 4096;
/// Pieces that one AVAIL_QUERY asks for.
pub const AVAIL_COUNTS_MAX: u32 = 65_536;
/// Entries that one LIST or MEMBERS asks for.
pub const PAGE_ENTRIES_MAX: u16 = 256;
/// Requests without their reply on one connection.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 8;

/// On a REGISTER: more chunks follow. On a HAVE_BATCH: a reply is wanted.
pub const FLAG_LOW: u8 = 0x01;
/// Whoever does not know what this flag means must refuse the frame.
pub const FLAG_CRITICAL: u8 = 0x80;
/// The kind of a reply is that of its request with this bit.
pub const REPLY_BIT: u8 = 0x80;
/// The kind of a push is that of the related request with this bit.
pub const PUSH_BIT: u8 = 0x40;

/// The shortest time between two pushes of changed counts to one member, in milliseconds.
pub const AVAIL_PERIOD_MS_MIN: u16 = 250;
/// In the place of a piece: every one.
pub const PIECE_EVERY: u32 = u32::MAX;
/// Changes in one push: one for each piece of the largest content, and one for all.
pub const AVAIL_DELTAS_MAX: u32 = PIECES_MAX + 1;

/// The kinds of request frames, and of the ERROR frame.
pub mod kind {
    #![allow(missing_docs)] // the names are those of PROTOCOL.md's table
    pub const HELLO: u8 = 0x01;
    pub const REGISTER: u8 = 0x02;
    pub const LOOKUP: u8 = 0x03;
    pub const GET_INFO: u8 = 0x04;
    pub const JOIN: u8 = 0x05;
    pub const HAVE_BATCH: u8 = 0x06;
    pub const AVAIL_QUERY: u8 = 0x07;
    pub const AVAIL_SUB: u8 = 0x08;
    pub const PEERS: u8 = 0x09;
    pub const BAD_PEER: u8 = 0x0a;
    pub const LEAVE: u8 = 0x0b;
    pub const LIST: u8 = 0x0c;
    pub const STATS: u8 = 0x0d;
    pub const PING: u8 = 0x0e;
    pub const UNREGISTER: u8 = 0x0f;
    pub const MEMBERS: u8 = 0x10;
    pub const ERROR: u8 = 0xff;
}

/// Why a request failed, as an ERROR frame says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ErrorCode {
    /// The frame breaks its format; the connection is closed.
    #[error("bad frame")]
    BadFrame,
    /// The major versions differ.
    #[error("the versions of the protocol differ")]
    Version,
    /// The kind of the frame, or a critical flag, is unknown.
    #[error("unknown type of request")]
    UnknownType,
    /// There is no such content, slot or member.
    #[error("not found")]
    NotFound,
    /// The token or the address does not allow it.
    #[error("unauthorised")]
    Unauthorised,
    /// A limit is exceeded.
    #[error("too large")]
    TooLarge,
    /// Not now; the frame says when to ask again.
    #[error("busy")]
    Busy,
    /// Asked too often; the frame says when to ask again.
    #[error("rate limited")]
    RateLimited,
    /// Two info dictionaries have one hash.
    #[error("hash conflict")]
    HashConflict,
    /// A code of a later minor version.
    #[error("error {0}")]
    Other(u16),
}

impl ErrorCode {
    const KNOWN: [(u16, Self); 9] = [
        (1, Self::BadFrame),
        (2, Self::Version),
        (3, Self::UnknownType),
        (4, Self::NotFound),
        (5, Self::Unauthorised),
        (6, Self::TooLarge),
        (7, Self::Busy),
        (9, Self::RateLimited),
        (10, Self::HashConflict),
    ];

    /// The number on the wire.
    pub fn number(self) -> u16 {
        if let Self::Other(number) = self {
            return number;
        }
        let known = Self::KNOWN.iter().find(|(_, code)| *code == self);
        known.expect("every named code has its number").0
    }

    /// The code with this number.
    pub fn from_number(number: u16) -> Self {
        let known = Self::KNOWN.iter().find(|(known, _)| *known == number);
        known.map_or(Self::Other(number), |(_, code)| *code)
    }
}

/// Why a request cannot be decoded; the tracker answers with an ERROR of [`Refusal::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No request has this kind.
    #[error("unknown type of request")]
    UnknownType,
    /// The frame has the critical flag, and we know of no meaning of it.
    #[error("unknown critical flag")]
    CriticalFlag,
    /// A HELLO of this other major version.
    #[error("version {0} of the protocol is not spoken here")]
    Version(u16),
    /// A number exceeds the limit of its field.
    #[error("more is asked for than is allowed")]
    TooLarge,
    /// The payload breaks its format.
    #[error("{0}")]
    Malformed(WireError),
}

impl Refusal {
    /// The code of the ERROR that answers the request.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::UnknownType | Self::CriticalFlag => ErrorCode::UnknownType,
            Self::Version(_) => ErrorCode::Version,
            Self::TooLarge | Self::Malformed(WireError::TextTooLong | WireError::TooMany) => {
                ErrorCode::TooLarge
            }
            Self::Malformed(_) => ErrorCode::BadFrame,
        }
    }

    /// Whether the connection is closed behind that ERROR.
    pub fn closes(self) -> bool {
        matches!(self.code(), ErrorCode::BadFrame | ErrorCode::Version)
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::Malformed(error)
    }
}

/// Makes an enum of a one-byte field: its wire numbers, and the refusal of every other number.
macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum $name { $($(#[$variant_doc])* $variant = $number),+ }

        impl $name {
            /// The number on the wire.
            pub const fn number(self) -> u8 {
                self as u8
            }

            /// The value with this number, if there is one.
            pub fn from_number(number: u8) -> Result<Self, WireError> {
                match number {
                    $($number => Ok(Self::$variant),)+
                    _ => Err(WireError::BadValue),
                }
            }
        }
    };
}

byte_enum!(
    /// Whom peers serve.
    Policy {
        /// One domain of trust: everybody is to have everything as early as possible.
        Fleet = 0,
        /// Cohen's choker: who gives is given.
        Fair = 1,
    }
);

byte_enum!(
    /// What a member is to its swarm.
    Role {
        /// It fetches, and serves what it has.
        Leech = 0,
        /// It has everything.
        Seed = 1,
        /// It fetches nothing more, whatever it has (BEP 21).
        UploadOnly = 2,
    }
);

byte_enum!(
    /// Why a member leaves.
    LeaveReason {
        /// It has what it came for.
        Done = 0,
        /// It was stopped.
        Stopped = 1,
    }
);

byte_enum!(
    /// What became of a piece, as a HAVE_BATCH reports it.
    HaveState {
        /// It is verified and written.
        Have = 0,
        /// Its first block was asked for.
        Started = 1,
        /// It was there and no longer is.
        Lost = 2,
    }
);

byte_enum!(
    /// By what a LOOKUP finds contents.
    LookupBy {
        /// The name in the info dictionary.
        Name = 0,
        /// The info-hash in hexadecimal digits, or a prefix of at least eight that only one content has.
        Hash = 1,
        /// The SHA-256 of any of its files, in hexadecimal digits.
        Sha256 = 2,
    }
);

byte_enum!(
    /// How a member knows that another sent wrong bytes.
    Evidence {
        /// It sent every block of a piece whose SHA-1 was wrong.
        SoleSender = 1,
        /// The digest of one block differs from that of the verified piece.
        BlockDigest = 2,
    }
);

byte_enum!(
    /// What a PEERS push says of a member.
    PeerChange {
        /// It joined, and will dial.
        Joined = 0,
        /// Its part of the seed partition changed.
        Partition = 1,
    }
);

/// `text` up to [`TEXT_BYTES_MAX`], cut between characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_code_survives_its_number() {
        for number in 0..300 {
            assert_eq!(ErrorCode::from_number(number).number(), number);
        }
        assert_eq!(ErrorCode::from_number(8), ErrorCode::Other(8));
    }

    #[test]
    fn only_a_broken_format_or_another_version_closes() {
        assert!(Refusal::Malformed(WireError::Truncated).closes());
        assert!(Refusal::Version(2).closes());
        assert!(!Refusal::UnknownType.closes());
        assert!(!Refusal::CriticalFlag.closes());
        assert!(!Refusal::TooLarge.closes());
        assert!(!Refusal::Malformed(WireError::TooMany).closes());
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let long = "ü".repeat(TEXT_BYTES_MAX);
        assert_eq!(cut(&long).len(), TEXT_BYTES_MAX);
        let odd = format!("x{long}");
        assert_eq!(cut(&odd).len(), TEXT_BYTES_MAX - 1);
        assert_eq!(cut("short"), "short");
    }
}
