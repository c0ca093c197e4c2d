//! The frame: its head, the decoder of a stream of frames, and the writer of one.
//!
//! The decoder lends whole frames from the input and copies only one that is incomplete. Its buffer grows with what
//! arrived, never from the announced length, and is given back with the frame: an idle connection holds none.

use byteorder::{BigEndian, ByteOrder};

use super::{FRAME_BYTES_MAX, HEAD_BYTES};
use crate::wire::{Put, Reader, WireError};

/// The part of the head that the length counts.
const COUNTED_HEAD_BYTES: usize = HEAD_BYTES - 4;

/// What stands before every payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// Bytes of the frame behind this field: 8 for an empty payload, at most [`FRAME_BYTES_MAX`].
    pub len: u32,
    /// The type of the frame (`kind`, with [`super::REPLY_BIT`] or [`super::PUSH_BIT`]).
    pub kind: u8,
    /// The flags: their meaning depends on the kind.
    pub flags: u8,
    /// Chosen by who asks, repeated in the reply; 0 in a push.
    pub request_id: u32,
}

/// One frame of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its head.
    pub head: FrameHead,
    /// Its payload.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The whole frame that `bytes` are; their number was checked against the head.
    fn of(head: FrameHead, bytes: &'a [u8]) -> Self {
        Self {
            head,
            payload: &bytes[HEAD_BYTES..],
        }
    }
}

impl FrameHead {
    /// The head at the start of `bytes`, or `None` if not all of it is there. A wrong length is refused as soon as it
    /// is seen.
    fn peek(bytes: &[u8]) -> Result<Option<Self>, WireError> {
        let mut reader = Reader::new(bytes);
        let Ok(len) = reader.u32() else {
            return Ok(None);
        };
        if len as usize > FRAME_BYTES_MAX {
            return Err(WireError::FrameTooLong);
        }
        if (len as usize) < COUNTED_HEAD_BYTES {
            return Err(WireError::FrameLength);
        }
        if reader.remaining() < COUNTED_HEAD_BYTES {
            return Ok(None);
        }
        let (kind, flags) = (reader.u8()?, reader.u8()?);
        if reader.u16()? != 0 {
            return Err(WireError::BadValue);
        }
        Ok(Some(Self {
            len,
            kind,
            flags,
            request_id: reader.u32()?,
        }))
    }

    /// Bytes of the whole frame.
    fn frame_bytes(self) -> usize {
        4 + self.len as usize
    }
}

/// Cuts the bytes of one connection into frames.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    /// The start of a frame whose end has not arrived, or the frame that was lent last.
    partial: Vec<u8>,
    lent: bool,
}

impl FrameDecoder {
    /// Takes the next frame from the front of `input`. `None` means that all of `input` was taken and no frame is
    /// whole. After an error the stream has no further frames to find: close it.
    #[expect(single_use_lifetimes, reason = "a lifetime is named to be bounded")]
    pub fn decode<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Frame<'a>>, WireError> {
        if self.lent {
            self.lent = false;
            self.partial = Vec::new();
        }
        if !self.partial.is_empty() {
            return self.resume(input);
        }
        match FrameHead::peek(input)? {
            Some(head) if input.len() >= head.frame_bytes() => {
                let (bytes, rest) = input.split_at(head.frame_bytes());
                *input = rest;
                Ok(Some(Frame::of(head, bytes)))
            }
            _ => {
                let taken = input.len();
                self.keep(input, taken, FRAME_BYTES_MAX);
                Ok(None)
            }
        }
    }

    /// Bytes of memory that the decoder holds.
    pub fn bytes_held(&self) -> usize {
        self.partial.capacity()
    }

    /// Continues the frame in `partial` with `input`.
    fn resume(&mut self, input: &mut &[u8]) -> Result<Option<Frame<'_>>, WireError> {
        let wanted = HEAD_BYTES.saturating_sub(self.partial.len());
        self.keep(input, wanted.min(input.len()), HEAD_BYTES);
        let Some(head) = FrameHead::peek(&self.partial)? else {
            return Ok(None);
        };
        let wanted = head.frame_bytes() - self.partial.len();
        self.keep(input, wanted.min(input.len()), head.frame_bytes());
        if self.partial.len() < head.frame_bytes() {
            return Ok(None);
        }
        self.lent = true;
        Ok(Some(Frame::of(head, &self.partial)))
    }

    /// Moves `count` bytes of `input` to `partial`, whose memory at most doubles unless more than that arrived.
    fn keep(&mut self, input: &mut &[u8], count: usize, frame_bytes: usize) {
        let (bytes, rest) = input.split_at(count);
        *input = rest;
        let len = self.partial.len() + count;
        if len > self.partial.capacity() {
            let capacity = (2 * self.partial.len()).min(frame_bytes).max(len);
            self.partial.reserve_exact(capacity - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
    }
}

/// Writes one frame at the end of a buffer; the length is patched when the frame is finished.
#[derive(Debug)]
#[must_use = "a frame that is not finished has no length"]
pub struct FrameWriter<'v> {
    out: &'v mut Vec<u8>,
    start: usize,
}

impl<'v> FrameWriter<'v> {
    /// Starts a frame behind what `out` holds.
    pub fn start(out: &'v mut Vec<u8>, kind: u8, flags: u8, request_id: u32) -> Self {
        let start = out.len();
        out.put_u32(0);
        out.put_u8(kind);
        out.put_u8(flags);
        out.put_u16(0);
        out.put_u32(request_id);
        Self { out, start }
    }

    /// Where the payload is appended: the buffer with all that it holds.
    pub fn payload(&mut self) -> &mut Vec<u8> {
        self.out
    }

    /// Bytes of the frame so far, without its length field.
    pub fn len(&self) -> usize {
        self.out.len() - self.start - 4
    }

    /// Whether the frame has no payload so far.
    pub fn is_empty(&self) -> bool {
        self.len() == COUNTED_HEAD_BYTES
    }

    /// Ends the frame. It must not be longer than [`FRAME_BYTES_MAX`].
    pub fn finish(self) {
        let len = self.len();
        assert!(len <= FRAME_BYTES_MAX, "a frame of {len} bytes");
        BigEndian::write_u32(&mut self.out[self.start..], len as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = FrameWriter::start(&mut out, kind, 2, 7);
        assert!(writer.is_empty());
        writer.payload().extend_from_slice(payload);
        writer.finish();
        out
    }

    /// The kinds and payloads that come out when `chunks` go in one after the other.
    fn decode(chunks: &[&[u8]]) -> Result<Vec<(u8, Vec<u8>)>, WireError> {
        let (mut decoder, mut frames) = (FrameDecoder::default(), Vec::new());
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(frame) = decoder.decode(&mut input)? {
                assert_eq!((frame.head.flags, frame.head.request_id), (2, 7));
                frames.push((frame.head.kind, frame.payload.to_vec()));
            }
            assert!(input.is_empty());
        }
        Ok(frames)
    }

    #[test]
    fn a_stream_split_at_any_byte_has_the_same_frames() {
        let bytes = [frame(1, b""), frame(2, b"payload"), frame(3, &[9; 40])].concat();
        let whole = decode(&[&bytes]).expect("frames");
        assert_eq!(whole.len(), 3);
        for first in 0..=bytes.len() {
            for second in first..=bytes.len() {
                let chunks = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(decode(&chunks).as_ref(), Ok(&whole), "{first} {second}");
            }
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(decode(&single), Ok(whole));
    }

    #[test]
    fn refuses_a_frame_that_is_too_long_by_its_length_alone() {
        let mut longest = (FRAME_BYTES_MAX as u32).to_be_bytes().to_vec();
        assert_eq!(decode(&[&longest]), Ok(Vec::new()));
        longest[3] += 1;
        assert_eq!(decode(&[&longest]), Err(WireError::FrameTooLong));
        let (head, tail) = longest.split_at(3);
        assert_eq!(decode(&[head, tail]), Err(WireError::FrameTooLong));
        assert_eq!(decode(&[b"GET / HTTP/1.1"]), Err(WireError::FrameTooLong));
    }

    #[test]
    fn refuses_a_frame_that_is_too_short_for_its_head() {
        for len in 0..8 {
            assert_eq!(decode(&[&[0, 0, 0, len]]), Err(WireError::FrameLength));
        }
        assert_eq!(decode(&[&[0, 0, 0, 8]]), Ok(Vec::new()));
    }

    #[test]
    fn refuses_reserved_bits() {
        for at in [6, 7] {
            let mut bytes = frame(1, b"");
            bytes[at] = 1;
            assert_eq!(decode(&[&bytes]), Err(WireError::BadValue));
        }
    }

    #[test]
    fn memory_grows_with_what_arrived_and_is_given_back_with_the_frame() {
        let bytes = frame(1, &vec![5; FRAME_BYTES_MAX - 8]);
        let mut decoder = FrameDecoder::default();
        let (mut arrived, mut whole) = (0, false);
        for chunk in bytes.chunks(1000) {
            assert!(!whole);
            let mut input = chunk;
            whole = decoder.decode(&mut input).expect("valid").is_some();
            arrived += chunk.len();
            assert!(decoder.bytes_held() <= 2 * arrived, "{arrived}");
            assert!(decoder.bytes_held() <= bytes.len());
        }
        assert!(whole);
        assert_eq!(decoder.decode(&mut &[][..]), Ok(None));
        assert_eq!(decoder.bytes_held(), 0);
    }

    #[test]
    fn a_whole_frame_is_lent_from_the_input() {
        let bytes = frame(1, b"payload");
        let (mut decoder, mut input) = (FrameDecoder::default(), &bytes[..]);
        let payload = decoder
            .decode(&mut input)
            .expect("valid")
            .expect("whole")
            .payload;
        assert!(bytes.as_ptr_range().contains(&payload.as_ptr()));
        assert_eq!(decoder.bytes_held(), 0);
    }
}
