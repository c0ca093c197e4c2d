//! Bytes ⇄ values: bencode, metainfo, the peer wire, the three protocols of the tracker.
//!
//! Owns what every format shares: a checked reader, big-endian writing, and the one error of the wire. Keeps no state
//! but the stream decoder's, opens nothing, and never panics on input: what others sent ends in a value or in a
//! [`WireError`], and nothing is allocated before its length was checked.

pub mod announce;
pub mod bencode;
pub mod extension;
pub mod http;
pub mod info_builder;
pub mod magnet;
pub mod metadata;
pub mod metainfo;
pub mod native;
pub mod peer;
pub mod peer_decoder;
pub mod peer_exchange;
pub mod torrent;
pub mod udp;
pub mod url;
pub mod utp;

use std::fmt;

use byteorder::{BigEndian, ByteOrder, WriteBytesExt};

use bencode::BencodeError;

/// Bytes that a length-prefixed text may have (native protocol, "str").
pub const TEXT_BYTES_MAX: usize = 1024;

/// The rule of a format that the other end broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// The bytes end before the value does.
    Truncated,
    /// A text is longer than [`TEXT_BYTES_MAX`].
    TextTooLong,
    /// A text is not UTF-8.
    TextNotUtf8,
    /// A field has a value that its format does not allow.
    BadValue,
    /// A list has more entries than its format allows.
    TooMany,
    /// A frame is longer than any frame may be.
    FrameTooLong,
    /// A frame's length is not that of its type.
    FrameLength,
    /// A frame has a type that was never agreed on.
    UnknownType,
    /// A block is longer than agreed on.
    BlockTooLong,
    /// The first bytes are not BitTorrent's.
    NotBitTorrent,
    /// A part of it is not bencode.
    Bencode(BencodeError),
}

impl WireError {
    /// The rule, as a text that needs no allocation.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "a value ends too early",
            Self::TextTooLong => "a text is too long",
            Self::TextNotUtf8 => "a text is not UTF-8",
            Self::BadValue => "a field has a value that is not allowed",
            Self::TooMany => "a list has too many entries",
            Self::FrameTooLong => "a frame is too long",
            Self::FrameLength => "a frame has the wrong length for its type",
            Self::UnknownType => "a frame has an unknown type",
            Self::BlockTooLong => "a block is longer than agreed on",
            Self::NotBitTorrent => "the handshake is not BitTorrent's",
            Self::Bencode(error) => error.reason(),
        }
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for WireError {}

impl From<BencodeError> for WireError {
    fn from(error: BencodeError) -> Self {
        Self::Bencode(error)
    }
}

/// Takes values from the front of a slice. Integers are big-endian; a failed call takes nothing.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Bytes not taken yet.
    pub const fn remaining(&self) -> usize {
        self.0.len()
    }

    /// The next `count` bytes, or [`WireError::Truncated`], as for every other value.
    pub fn bytes(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(WireError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(|[byte]| byte)
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> Result<u16, WireError> {
        self.bytes(2).map(BigEndian::read_u16)
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        self.bytes(4).map(BigEndian::read_u32)
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> Result<u64, WireError> {
        self.bytes(8).map(BigEndian::read_u64)
    }

    /// A UTF-8 text of at most [`TEXT_BYTES_MAX`] bytes, behind its length as `u16`.
    pub fn str(&mut self) -> Result<&'a str, WireError> {
        let mut ahead = self.clone();
        let len = usize::from(ahead.u16()?);
        if len > TEXT_BYTES_MAX {
            return Err(WireError::TextTooLong);
        }
        let text = std::str::from_utf8(ahead.bytes(len)?).map_err(|_| WireError::TextNotUtf8)?;
        *self = ahead;
        Ok(text)
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Appends values to a buffer; integers are big-endian.
pub trait Put {
    /// Appends one byte.
    fn put_u8(&mut self, value: u8);
    /// Appends two bytes.
    fn put_u16(&mut self, value: u16);
    /// Appends four bytes.
    fn put_u32(&mut self, value: u32);
    /// Appends eight bytes.
    fn put_u64(&mut self, value: u64);
    /// Appends a text behind its length as `u16`. It must have at most [`TEXT_BYTES_MAX`] bytes.
    fn put_str(&mut self, text: &str);
}

const INFALLIBLE: &str = "writing to a Vec cannot fail";

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.write_u16::<BigEndian>(value).expect(INFALLIBLE);
    }

    fn put_u32(&mut self, value: u32) {
        self.write_u32::<BigEndian>(value).expect(INFALLIBLE);
    }

    fn put_u64(&mut self, value: u64) {
        self.write_u64::<BigEndian>(value).expect(INFALLIBLE);
    }

    fn put_str(&mut self, text: &str) {
        assert!(text.len() <= TEXT_BYTES_MAX, "{} bytes", text.len());
        self.put_u16(text.len() as u16);
        self.extend_from_slice(text.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.put_u8(1);
        bytes.put_u16(0x0203);
        bytes.put_u32(0x0405_0607);
        bytes.put_u64(0x0809_0a0b_0c0d_0e0f);
        bytes.put_str("Grüße");
        bytes.extend_from_slice(b"tail");
        bytes
    }

    fn read(bytes: &[u8]) -> Result<([u64; 4], &str, [u8; 4]), WireError> {
        let mut reader = Reader::new(bytes);
        let small = [reader.u8()?.into(), reader.u16()?.into()];
        let large = [reader.u32()?.into(), reader.u64()?];
        let integers = [small[0], small[1], large[0], large[1]];
        Ok((integers, reader.str()?, reader.array()?))
    }

    #[test]
    fn reads_what_was_put_and_nothing_beyond_the_end() {
        let bytes = sample();
        assert_eq!(bytes[..7], [1, 2, 3, 4, 5, 6, 7]);
        let integers = [1, 0x0203, 0x0405_0607, 0x0809_0a0b_0c0d_0e0f];
        assert_eq!(read(&bytes), Ok((integers, "Grüße", *b"tail")));
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Err(WireError::Truncated), "{cut}");
        }
    }

    #[test]
    fn a_refused_text_is_not_taken() {
        let mut long = (TEXT_BYTES_MAX as u16 + 1).to_be_bytes().to_vec();
        long.resize(2000, b'x');
        let mut reader = Reader::new(&long);
        assert_eq!(reader.str(), Err(WireError::TextTooLong));
        assert_eq!(reader.remaining(), 2000);
        let mut reader = Reader::new(&[0, 1, 0xff]);
        assert_eq!(reader.str(), Err(WireError::TextNotUtf8));
        assert_eq!(reader.rest(), [0, 1, 0xff]);
        assert!(reader.rest().is_empty());
    }
}
