//! `ut_metadata` (BEP 9): the info dictionary from peers, in pieces of 16 KiB.
//!
//! A message is a dictionary, and in one that carries data the bytes follow it to the end of the message. Owns the
//! lengths that pieces have; whether the whole is right only its SHA-1 tells, which is not looked at here.

use std::ops::Range;

use super::WireError;
use super::bencode::{Limits, decode_prefix, put_dictionary};
use super::metainfo::INFO_BYTES_MAX;
use super::peer::Message;

/// The length of every piece of an info dictionary but the last, in bytes (BEP 9).
pub const METADATA_PIECE_LEN: u32 = 16 << 10;

const REQUEST: i64 = 0;
const DATA: i64 = 1;
const REJECT: i64 = 2;

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetadataMessage<'a> {
    /// The sender wants a piece.
    Request {
        /// Which.
        piece: u32,
    },
    /// A piece.
    Data {
        /// Which.
        piece: u32,
        /// The length of the whole dictionary in bytes; 1 to [`INFO_BYTES_MAX`].
        total_size: u32,
        /// Exactly as many as the piece has.
        bytes: &'a [u8],
    },
    /// The sender will not send a piece.
    Reject {
        /// Which.
        piece: u32,
    },
    /// A kind that we do not know, which BEP 9 wants ignored.
    Unknown,
}

impl<'a> MetadataMessage<'a> {
    /// Appends it as the extended message `id`, which is the number that the receiver chose.
    pub fn encode(&self, id: u8, out: &mut Vec<u8>) {
        let (kind, piece, data) = match *self {
            Self::Request { piece } => (REQUEST, piece, None),
            Self::Reject { piece } => (REJECT, piece, None),
            Self::Data {
                piece,
                total_size,
                bytes,
            } => (DATA, piece, Some((total_size, bytes))),
            Self::Unknown => unreachable!("nobody sends what it does not know"),
        };
        let mut payload = Vec::new();
        put_dictionary(&mut payload, |entries| {
            entries.int(b"msg_type", kind);
            entries.int(b"piece", piece.into());
            if let Some((total_size, _)) = data {
                entries.int(b"total_size", total_size.into());
            }
        });
        payload.extend_from_slice(data.map_or(&[], |(_, bytes)| bytes));
        let payload = &payload[..];
        Message::Extended { id, payload }.encode(out);
    }

    /// Reads the payload of an extended message.
    pub fn decode(payload: &'a [u8]) -> Result<Self, WireError> {
        let head = decode_prefix(payload, Limits::MESSAGE)?;
        let dictionary = head.as_dictionary().ok_or(WireError::BadValue)?;
        let (mut kind, mut piece, mut total_size) = (None, None, None);
        for (key, value) in dictionary.entries() {
            match key {
                b"msg_type" => kind = value.as_int(),
                b"piece" => piece = value.as_int().and_then(|piece| u32::try_from(piece).ok()),
                b"total_size" => total_size = value.as_int(),
                _ => {}
            }
        }
        let piece = piece.ok_or(WireError::BadValue);
        match kind.ok_or(WireError::BadValue)? {
            REQUEST => piece.map(|piece| Self::Request { piece }),
            REJECT => piece.map(|piece| Self::Reject { piece }),
            DATA => {
                let bytes = &payload[head.raw().len()..];
                data(piece?, total_size, bytes)
            }
            _ => Ok(Self::Unknown),
        }
    }
}

fn data(
    piece: u32,
    total_size: Option<i64>,
    bytes: &[u8],
) -> Result<MetadataMessage<'_>, WireError> {
    let total_size = total_size
        .and_then(|size| u32::try_from(size).ok())
        .filter(|size| (1..=INFO_BYTES_MAX as u32).contains(size))
        .ok_or(WireError::BadValue)?;
    if piece >= metadata_piece_count(total_size)
        || metadata_piece_range(total_size, piece).len() != bytes.len()
    {
        return Err(WireError::FrameLength);
    }
    Ok(MetadataMessage::Data {
        piece,
        total_size,
        bytes,
    })
}

/// How many pieces an info dictionary of so many bytes has.
pub fn metadata_piece_count(total_size: u32) -> u32 {
    total_size.div_ceil(METADATA_PIECE_LEN)
}

/// Where piece `piece` lies in an info dictionary of so many bytes. There must be such a piece.
pub fn metadata_piece_range(total_size: u32, piece: u32) -> Range<usize> {
    assert!(piece < metadata_piece_count(total_size), "piece {piece}");
    let start = piece * METADATA_PIECE_LEN;
    let end = (start + METADATA_PIECE_LEN).min(total_size);
    start as usize..end as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::peer_decoder::FRAME_BYTES_MAX;

    /// The payload of the encoded message.
    fn payload(message: &MetadataMessage<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(9, &mut out);
        assert_eq!(out[4..6], [20, 9]);
        out.split_off(6)
    }

    #[test]
    fn a_kind_that_nobody_knows_is_ignored_and_no_kind_is_a_fault() {
        for text in [&b"d8:msg_typei3e5:piecei0ee"[..], b"d8:msg_typei-1ee"] {
            let decoded = MetadataMessage::decode(text);
            assert_eq!(decoded, Ok(MetadataMessage::Unknown));
        }
        for text in [
            &b"d5:piecei0ee"[..],
            b"d8:msg_typei0ee",
            b"d8:msg_typei0e5:piecei-1ee",
            b"d8:msg_typei2e5:piecei4294967296ee",
            b"le",
        ] {
            assert_eq!(MetadataMessage::decode(text), Err(WireError::BadValue));
        }
        assert!(MetadataMessage::decode(b"").is_err());
    }

    #[test]
    fn a_piece_has_exactly_its_bytes() {
        let data = |piece: u32, total: i64, len: usize| {
            let mut text =
                format!("d8:msg_typei1e5:piecei{piece}e10:total_sizei{total}ee").into_bytes();
            text.resize(text.len() + len, b'x');
            MetadataMessage::decode(&text).map(|_| ())
        };
        assert_eq!(data(0, 16_384, 16_384), Ok(()));
        assert_eq!(data(1, 16_385, 1), Ok(()));
        assert_eq!(data(2047, INFO_BYTES_MAX as i64, 16_384), Ok(()));
        for (piece, total, len) in [
            (0, 16_384, 16_383),
            (0, 16_384, 16_385),
            (0, 100, 0),
            (1, 16_384, 0),
            (1, 16_385, 16_384),
            (u32::MAX, 16_385, 1),
        ] {
            assert_eq!(data(piece, total, len), Err(WireError::FrameLength));
        }
        for total in [0, -1, INFO_BYTES_MAX as i64 + 1, i64::MAX] {
            assert_eq!(data(0, total, 1), Err(WireError::BadValue));
        }
        let without_size = MetadataMessage::decode(b"d8:msg_typei1e5:piecei0eex");
        assert_eq!(without_size, Err(WireError::BadValue));
    }

    #[test]
    fn a_piece_fits_into_a_frame() {
        let bytes = vec![1; METADATA_PIECE_LEN as usize];
        let total_size = INFO_BYTES_MAX as u32;
        let piece = metadata_piece_count(total_size) - 1;
        let message = MetadataMessage::Data {
            piece,
            total_size,
            bytes: &bytes,
        };
        assert!(payload(&message).len() + 2 < FRAME_BYTES_MAX);
        assert_eq!(MetadataMessage::decode(&payload(&message)), Ok(message));
    }

    proptest! {
        #[test]
        fn survives_its_own_encoding(total_size in 1u32..200_000, at in 0u32.., kind in 0u8..3) {
            let piece = at % metadata_piece_count(total_size);
            let bytes = vec![kind; metadata_piece_range(total_size, piece).len()];
            let message = match kind {
                0 => MetadataMessage::Request { piece: at },
                1 => MetadataMessage::Reject { piece: at },
                _ => MetadataMessage::Data { piece, total_size, bytes: &bytes },
            };
            let payload = payload(&message);
            prop_assert_eq!(MetadataMessage::decode(&payload), Ok(message));
        }

        #[test]
        fn pieces_follow_one_another_to_the_end(total_size in 1u32..=INFO_BYTES_MAX as u32) {
            let mut end = 0;
            for piece in 0..metadata_piece_count(total_size) {
                let range = metadata_piece_range(total_size, piece);
                prop_assert_eq!(range.start, end);
                prop_assert!(!range.is_empty());
                end = range.end;
            }
            prop_assert_eq!(end, total_size as usize);
        }

        #[test]
        fn no_bytes_make_it_panic(
            head in "d8:msg_typei[0-3]e5:piecei[0-9]{1,5}e10:total_sizei[0-9]{1,9}ee|.{0,40}",
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let _ = MetadataMessage::decode(&[head.as_bytes(), &rest].concat());
        }
    }
}
