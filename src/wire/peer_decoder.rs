//! The incoming half of one peer link: a stream of bytes, cut anywhere, becomes a handshake, then messages.
//!
//! Owns the only state of the wire: the start of a message that has not arrived whole, and how much of a block is still
//! to come. A message that is whole in the input is lent from there; a block's bytes are lent as they come and never
//! held. A length is checked as soon as the id is known, and memory grows only with bytes that did arrive.

use super::metainfo::PIECES_MAX;
use super::peer::{BLOCK_LEN, HANDSHAKE_LEN, Handshake, Message, PROTOCOL, id};
use super::{Reader, WireError};
use crate::base::Bitfield;

/// The longest message but a block, in bytes (as libtorrent).
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// The longest block that two links may agree on, in bytes.
pub const BLOCK_BYTES_MAX: u32 = 1 << 20;

/// Memory beyond this is given back as soon as the message that needed it is done with.
const BUFFER_BYTES_KEPT: usize = 4 << 10;
/// The length of a frame is four bytes.
const LENGTH_LEN: usize = 4;
/// Length, id, piece and begin of a message 7.
const PIECE_HEADER_LEN: usize = 13;

/// What a link may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecoderLimits {
    /// The number of pieces of the content, as soon as the link's content is known; a bit field must have that size.
    pub piece_count: Option<u32>,
    /// The longest block in bytes; at most [`BLOCK_BYTES_MAX`].
    pub block_bytes_max: u32,
}

impl Default for DecoderLimits {
    fn default() -> Self {
        Self {
            piece_count: None,
            block_bytes_max: BLOCK_LEN,
        }
    }
}

/// The next thing that a link said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// Its first 68 bytes.
    Handshake(Handshake),
    /// A message other than a block.
    Message(Message<'a>),
    /// A block begins; its bytes follow.
    PieceStart {
        /// The index of the piece.
        piece: u32,
        /// Where the block starts in the piece, in bytes.
        begin: u32,
        /// Its length in bytes, which is not zero.
        len: u32,
    },
    /// The next bytes of the block.
    Payload(&'a [u8]),
    /// The block is complete.
    PieceEnd,
}

/// Reads what one peer sends.
#[derive(Debug)]
pub struct Decoder {
    limits: DecoderLimits,
    stage: Stage,
    /// The start of an incomplete handshake or message.
    buffer: Vec<u8>,
    /// Whether what `buffer` holds was complete and has been lent.
    is_lent: bool,
}

#[derive(Debug)]
enum Stage {
    Handshake,
    Frame,
    /// Inside a block, of which so many bytes are to come; never zero.
    Payload(u32),
    /// A block is complete, but that was not said yet.
    PieceEnd,
}

impl Decoder {
    /// Expects a handshake first.
    pub fn new(limits: DecoderLimits) -> Self {
        Self {
            limits,
            stage: Stage::Handshake,
            buffer: Vec::new(),
            is_lent: false,
        }
    }

    /// The limits, which become narrower or wider as the two ends learn of one another.
    pub fn limits_mut(&mut self) -> &mut DecoderLimits {
        &mut self.limits
    }

    /// The next event of `input`, which is moved past it; `None` when all of it is taken.
    ///
    /// An error is final: what follows it has no meaning.
    #[expect(
        single_use_lifetimes,
        reason = "the input outlives the loan of the decoder, so that this can be called in a loop"
    )]
    pub fn decode<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Event<'a>>, WireError> {
        match self.stage {
            Stage::Payload(left) => return Ok(self.payload(left, input)),
            Stage::PieceEnd => {
                self.stage = Stage::Frame;
                return Ok(Some(Event::PieceEnd));
            }
            Stage::Handshake | Stage::Frame => {}
        }
        self.forget_lent();
        if self.buffer.is_empty() {
            let wanted = self.wanted(input)?;
            if let Some((frame, rest)) = input.split_at_checked(wanted) {
                *input = rest;
                return self.stage.complete(frame).map(Some);
            }
        }
        loop {
            let wanted = self.wanted(&self.buffer)?;
            if wanted <= self.buffer.len() {
                self.is_lent = true;
                return self.stage.complete(&self.buffer).map(Some);
            }
            if input.is_empty() {
                return Ok(None);
            }
            self.keep(wanted, input);
        }
    }

    /// Bytes of the block at hand that are still to come; 0 outside of a block.
    pub fn payload_remaining(&self) -> usize {
        match self.stage {
            Stage::Payload(left) => left as usize,
            _ => 0,
        }
    }

    /// Tells that the next `count` bytes of the block at hand were read elsewhere. Returns whether the block is complete,
    /// which then is not said by an event. `count` must not exceed [`Self::payload_remaining`].
    pub fn payload_landed(&mut self, count: usize) -> bool {
        let left = self.payload_remaining();
        assert!(count <= left, "{count} bytes landed of {left}");
        if left == 0 {
            return false;
        }
        self.stage = match left - count {
            0 => Stage::Frame,
            left => Stage::Payload(left as u32),
        };
        left == count
    }

    /// Bytes of memory held for an incomplete message.
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    fn payload<'i>(&mut self, left: u32, input: &mut &'i [u8]) -> Option<Event<'i>> {
        if input.is_empty() {
            return None;
        }
        let (bytes, rest) = input.split_at(input.len().min(left as usize));
        *input = rest;
        self.stage = match left - bytes.len() as u32 {
            0 => Stage::PieceEnd,
            left => Stage::Payload(left),
        };
        Some(Event::Payload(bytes))
    }

    fn forget_lent(&mut self) {
        if std::mem::take(&mut self.is_lent) {
            self.buffer.clear();
            if self.buffer.capacity() > BUFFER_BYTES_KEPT {
                self.buffer = Vec::new();
            }
        }
    }

    /// Moves bytes from `input` to the buffer until it holds `wanted`. Memory at most doubles at a time, so that it follows
    /// what arrived, not what was announced.
    fn keep(&mut self, wanted: usize, input: &mut &[u8]) {
        let missing = wanted - self.buffer.len();
        let (bytes, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        if self.buffer.capacity() - self.buffer.len() < bytes.len() {
            let doubled = self.buffer.len().max(bytes.len());
            self.buffer.reserve_exact(missing.min(doubled));
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// How many bytes have to be there before `head` can be understood, or understood further; no more than it has, if it
    /// is a whole handshake, a whole message or the whole head of a block.
    fn wanted(&self, head: &[u8]) -> Result<usize, WireError> {
        if matches!(self.stage, Stage::Handshake) {
            let known = head.len().min(PROTOCOL.len());
            if head[..known] != PROTOCOL[..known] {
                return Err(WireError::NotBitTorrent);
            }
            return Ok(HANDSHAKE_LEN);
        }
        let mut reader = Reader::new(head);
        let Ok(len) = reader.u32() else {
            return Ok(LENGTH_LEN);
        };
        if len == 0 {
            return Ok(LENGTH_LEN);
        }
        let block_frame = 9 + self.limits.block_bytes_max as usize;
        let len = len as usize;
        if len > FRAME_BYTES_MAX.max(block_frame) {
            return Err(WireError::FrameTooLong);
        }
        let Ok(id) = reader.u8() else {
            return Ok(LENGTH_LEN + 1);
        };
        self.limits.check(id, len)?;
        Ok(if id == id::PIECE {
            PIECE_HEADER_LEN
        } else {
            LENGTH_LEN + len
        })
    }
}

impl DecoderLimits {
    /// Whether a message `id` may have `len` bytes, its id included.
    fn check(&self, id: u8, len: usize) -> Result<(), WireError> {
        let fits = match id {
            id::CHOKE
            | id::UNCHOKE
            | id::INTERESTED
            | id::NOT_INTERESTED
            | id::HAVE_ALL
            | id::HAVE_NONE => len == 1,
            id::PORT => len == 3,
            id::HAVE | id::SUGGEST | id::ALLOWED_FAST => len == 5,
            id::REQUEST | id::CANCEL | id::REJECT => len == 13,
            id::BITFIELD => match self.piece_count {
                Some(count) => len == 1 + Bitfield::byte_len(count),
                None => len <= 1 + PIECES_MAX / 8,
            },
            id::PIECE if len > 9 + self.block_bytes_max as usize => {
                return Err(WireError::BlockTooLong);
            }
            id::PIECE => len > 9,
            id::EXTENDED => (2..=FRAME_BYTES_MAX).contains(&len),
            _ => return Err(WireError::UnknownType),
        };
        if fits {
            Ok(())
        } else {
            Err(WireError::FrameLength)
        }
    }
}

impl Stage {
    /// What a whole handshake, a whole message or the whole head of a block says.
    fn complete<'a>(&mut self, frame: &'a [u8]) -> Result<Event<'a>, WireError> {
        if matches!(self, Self::Handshake) {
            *self = Self::Frame;
            return Handshake::decode(frame).map(Event::Handshake);
        }
        let mut reader = Reader::new(frame);
        let len = reader.u32()?;
        if frame.get(LENGTH_LEN) != Some(&id::PIECE) {
            return Message::decode(reader.rest()).map(Event::Message);
        }
        reader.u8()?;
        let len = len - 9;
        *self = Self::Payload(len);
        Ok(Event::PieceStart {
            piece: reader.u32()?,
            begin: reader.u32()?,
            len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{InfoHash, PeerId};
    use crate::wire::peer::put_piece_header;

    /// A decoder that has seen the handshake.
    fn greeted(limits: DecoderLimits) -> Decoder {
        let mut bytes = Vec::new();
        Handshake::new(InfoHash([1; 20]), PeerId([2; 20])).encode(&mut bytes);
        let mut decoder = Decoder::new(limits);
        assert!(matches!(
            decoder.decode(&mut &bytes[..]),
            Ok(Some(Event::Handshake(_)))
        ));
        decoder
    }

    fn verdict(limits: DecoderLimits, bytes: &[u8]) -> Result<(), WireError> {
        greeted(limits).decode(&mut &bytes[..]).map(|_| ())
    }

    #[test]
    fn a_whole_message_is_lent_from_the_input() {
        let mut decoder = greeted(DecoderLimits::default());
        let bytes = b"\0\0\0\x05\x14\x01abc";
        let mut input = &bytes[..];
        let event = decoder.decode(&mut input).expect("valid");
        let Some(Event::Message(Message::Extended { id: 1, payload })) = event else {
            panic!("{event:?}");
        };
        assert!(std::ptr::eq(payload, &bytes[6..]));
        assert_eq!((input, decoder.buffer_bytes()), (&b""[..], 0));
    }

    #[test]
    fn the_payload_of_a_block_is_lent_or_lands_elsewhere() {
        let mut decoder = greeted(DecoderLimits::default());
        let mut bytes = Vec::new();
        put_piece_header(&mut bytes, 3, 16384, 10);
        bytes.extend_from_slice(b"0123");
        let mut input = &bytes[..];
        let start = Event::PieceStart {
            piece: 3,
            begin: 16384,
            len: 10,
        };
        assert_eq!(decoder.decode(&mut input), Ok(Some(start)));
        assert_eq!(decoder.payload_remaining(), 10);
        let payload = Event::Payload(b"0123");
        assert_eq!(decoder.decode(&mut input), Ok(Some(payload)));
        assert_eq!(decoder.decode(&mut input), Ok(None));
        assert!(!decoder.payload_landed(5));
        assert_eq!(decoder.payload_remaining(), 1);
        assert!(decoder.payload_landed(1));
        assert!(!decoder.payload_landed(0));
        let mut input = &b"\0\0\0\0"[..];
        let alive = Event::Message(Message::KeepAlive);
        assert_eq!(decoder.decode(&mut input), Ok(Some(alive)));
        assert_eq!(decoder.buffer_bytes(), 0);
    }

    #[test]
    fn a_length_is_judged_before_its_bytes_arrive() {
        use WireError::*;
        let limits = DecoderLimits {
            piece_count: Some(10),
            block_bytes_max: BLOCK_LEN,
        };
        for (len, id, error) in [
            (2, id::CHOKE, FrameLength),
            (1, id::HAVE, FrameLength),
            (14, id::REQUEST, FrameLength),
            (2, id::BITFIELD, FrameLength),
            (4, id::BITFIELD, FrameLength),
            (9, id::PIECE, FrameLength),
            (10 + BLOCK_LEN, id::PIECE, BlockTooLong),
            (1, id::EXTENDED, FrameLength),
            (1 + (1 << 20), id::EXTENDED, FrameTooLong),
            (1, 10, UnknownType),
            (1, 255, UnknownType),
        ] {
            let mut bytes = u32::to_be_bytes(len).to_vec();
            bytes.push(id);
            assert_eq!(verdict(limits, &bytes), Err(error), "{len} {id}");
        }
        assert_eq!(verdict(limits, &[0x7f, 255, 255, 255]), Err(FrameTooLong));
        let unknown = DecoderLimits::default();
        assert_eq!(verdict(unknown, &[0, 0, 0x40, 1, id::BITFIELD]), Ok(()));
        let longer = [0, 0, 0x40, 2, id::BITFIELD];
        assert_eq!(verdict(unknown, &longer), Err(FrameLength));
    }

    #[test]
    fn a_longer_block_has_to_be_agreed_on() {
        let mut decoder = greeted(DecoderLimits::default());
        decoder.limits_mut().block_bytes_max = BLOCK_BYTES_MAX;
        let mut bytes = Vec::new();
        put_piece_header(&mut bytes, 0, 0, BLOCK_BYTES_MAX);
        assert!(decoder.decode(&mut &bytes[..]).is_ok());
        assert_eq!(decoder.payload_remaining(), BLOCK_BYTES_MAX as usize);
        let extended = [0, 0x10, 0, 1, id::EXTENDED];
        let limits = *decoder.limits_mut();
        assert_eq!(verdict(limits, &extended), Err(WireError::FrameLength));
    }

    #[test]
    fn memory_follows_what_arrived_and_is_given_back() {
        let mut decoder = greeted(DecoderLimits::default());
        let mut frame = Vec::new();
        let payload = vec![7; FRAME_BYTES_MAX - 2];
        let id = 1;
        Message::Extended {
            id,
            payload: &payload,
        }
        .encode(&mut frame);
        let (early, late) = frame.split_at(100);
        assert_eq!(decoder.decode(&mut &early[..]), Ok(None));
        assert!(decoder.buffer_bytes() <= 200, "{}", decoder.buffer_bytes());
        let (late, last) = late.split_at(late.len() - 1);
        for mut chunk in late.chunks(777) {
            assert_eq!(decoder.decode(&mut chunk), Ok(None));
        }
        assert!(decoder.buffer_bytes() <= 4 + FRAME_BYTES_MAX);
        assert!(matches!(decoder.decode(&mut &last[..]), Ok(Some(_))));
        assert_eq!(decoder.decode(&mut &b""[..]), Ok(None));
        assert_eq!(decoder.buffer_bytes(), 0);
    }
}
