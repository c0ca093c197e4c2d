//! What one conn has yet to send: control bytes and references to payload, in order.
//!
//! All control bytes lie in one growing buffer and a segment is only their count, so a message costs no allocation once
//! that buffer has its size; an outbox that ran empty is lent to the next conn that has something to send.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use crate::base::PieceBuf;

/// Slices handed to one `writev`: 32 blocks with their headers.
const SLICES_MAX: usize = 64;

/// Memory that an outbox keeps when it rests; a larger one is given back.
const CONTROL_RESTING_BYTES_MAX: usize = 16 << 10;
const SEGMENTS_RESTING_MAX: usize = 256;

/// The output queue of one conn.
///
/// Payload is held by reference: evicting a buffer from a cache never frees bytes that are queued here.
#[derive(Debug, Default)]
pub struct Outbox {
    segments: VecDeque<Segment>,
    /// The bytes of all control segments, in order, from `control_start` on.
    control: Vec<u8>,
    control_start: usize,
    len: usize,
}

#[derive(Debug)]
enum Segment {
    /// That many bytes of `control`.
    Control(usize),
    Payload {
        buf: Arc<PieceBuf>,
        rest: Range<u32>,
    },
}

impl Outbox {
    /// Below this many queued bytes the conn asks for more.
    pub const BULK_BYTES_LOW: usize = 256 << 10;

    /// Queues control bytes.
    pub fn control(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let full = self.control.len() + bytes.len() > self.control.capacity();
        if full && self.control_start >= self.control.len() / 2 {
            self.control.drain(..self.control_start);
            self.control_start = 0;
        }
        self.control.extend_from_slice(bytes);
        self.len += bytes.len();
        if let Some(Segment::Control(count)) = self.segments.back_mut() {
            *count += bytes.len();
        } else {
            self.segments.push_back(Segment::Control(bytes.len()));
        }
    }

    /// Queues `range` of `buf`, which must lie inside its bytes.
    pub fn payload(&mut self, buf: Arc<PieceBuf>, range: Range<u32>) {
        assert!(
            range.end as usize <= buf.bytes().len(),
            "payload {range:?} reaches beyond a buffer of {} bytes",
            buf.bytes().len()
        );
        if range.is_empty() {
            return;
        }
        self.len += range.len();
        self.segments
            .push_back(Segment::Payload { buf, rest: range });
    }

    /// Whether there is room for more bulk.
    pub fn wants_bulk(&self) -> bool {
        self.len < Self::BULK_BYTES_LOW
    }

    /// Bytes queued.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Control bytes queued.
    pub fn control_len(&self) -> usize {
        self.control.len() - self.control_start
    }

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is queued, in order.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let mut control = &self.control[self.control_start..];
        self.segments.iter().map(move |segment| match segment {
            Segment::Control(count) => {
                let (bytes, rest) = control.split_at(*count);
                control = rest;
                bytes
            }
            Segment::Payload { buf, rest } => &buf.bytes()[rest.start as usize..rest.end as usize],
        })
    }

    /// Calls `write` with the first `bytes_max` queued bytes, as far as they fit into one `writev`, and with their count.
    pub(super) fn with_front<T>(
        &self,
        bytes_max: usize,
        write: impl FnOnce(&[IoSlice<'_>], usize) -> T,
    ) -> T {
        let mut front = [IoSlice::new(&[]); SLICES_MAX];
        let (mut count, mut bytes) = (0, 0);
        for (slot, slice) in front.iter_mut().zip(self.slices()) {
            let take = slice.len().min(bytes_max - bytes);
            *slot = IoSlice::new(&slice[..take]);
            bytes += take;
            count += 1;
            if bytes == bytes_max {
                break;
            }
        }
        write(&front[..count], bytes)
    }

    /// Drops the first `count` queued bytes: they were sent.
    pub fn consume(&mut self, count: usize) {
        assert!(count <= self.len, "more sent than was queued");
        self.len -= count;
        let mut left = count;
        while left > 0 {
            let segment = self.segments.front_mut().expect("len counts the segments");
            let (taken, finished) = match segment {
                Segment::Control(bytes) => {
                    let taken = left.min(*bytes);
                    *bytes -= taken;
                    self.control_start += taken;
                    (taken, *bytes == 0)
                }
                Segment::Payload { rest, .. } => {
                    let taken = left.min(rest.len());
                    rest.start += taken as u32;
                    (taken, rest.start == rest.end)
                }
            };
            left -= taken;
            if finished {
                self.segments.pop_front();
            }
        }
        if self.control_start == self.control.len() {
            self.control.clear();
            self.control_start = 0;
        }
    }
}

/// Empty outboxes, kept for the next conns that have something to send: an idle conn owns none.
#[derive(Debug, Default)]
#[expect(
    clippy::vec_box,
    reason = "the box moves to a conn and back without an allocation"
)]
pub(super) struct Spares(Vec<Box<Outbox>>);

impl Spares {
    /// Outboxes at rest.
    const MAX: usize = 64;

    /// An empty outbox.
    pub(super) fn take(&mut self) -> Box<Outbox> {
        self.0.pop().unwrap_or_default()
    }

    /// Takes an empty outbox back, unless there are enough or it has grown large.
    pub(super) fn keep(&mut self, out: Box<Outbox>) {
        assert!(out.is_empty(), "only an empty outbox is spare");
        if self.0.len() < Self::MAX
            && out.control.capacity() <= CONTROL_RESTING_BYTES_MAX
            && out.segments.capacity() <= SEGMENTS_RESTING_MAX
        {
            self.0.push(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{BufferPool, Rng};

    fn piece(bytes: &[u8]) -> Arc<PieceBuf> {
        let mut buf = BufferPool::new(1 << 20).lend(bytes.len()).expect("room");
        buf.bytes_mut().copy_from_slice(bytes);
        Arc::new(buf)
    }

    fn queued(out: &Outbox) -> Vec<u8> {
        out.slices().flatten().copied().collect()
    }

    #[test]
    fn control_and_payload_keep_their_order() {
        let (mut out, buf) = (Outbox::default(), piece(b"0123456789"));
        out.control(b"head");
        out.control(b"er:");
        out.payload(Arc::clone(&buf), 2..5);
        out.payload(buf, 7..7);
        out.control(b".");
        assert_eq!(queued(&out), b"header:234.");
        assert_eq!((out.len(), out.control_len()), (11, 8));
        out.consume(8);
        assert_eq!(queued(&out), b"34.");
    }

    #[test]
    fn any_split_of_sending_gives_the_bytes_that_were_queued() {
        let seed = 11;
        let (mut out, mut rng) = (Outbox::default(), Rng::new(seed));
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let buf = piece(&bytes);
        let (mut expected, mut sent) = (Vec::new(), Vec::new());
        for _ in 0..3000 {
            let from = rng.below(bytes.len());
            let to = from + rng.below(bytes.len() - from);
            match rng.below(3) {
                0 => out.control(&bytes[from..to]),
                1 => out.payload(Arc::clone(&buf), from as u32..to as u32),
                _ => {
                    let count = out.with_front(rng.below(20_000), |slices, count| {
                        assert!(slices.len() <= SLICES_MAX);
                        for slice in slices {
                            sent.extend_from_slice(slice);
                        }
                        count
                    });
                    out.consume(count);
                    continue;
                }
            }
            expected.extend_from_slice(&bytes[from..to]);
        }
        sent.extend(queued(&out));
        assert!(sent == expected, "seed {seed}");
    }

    #[test]
    fn payload_is_released_once_it_is_sent() {
        let (mut out, buf) = (Outbox::default(), piece(b"abc"));
        out.payload(Arc::clone(&buf), 0..3);
        out.consume(2);
        assert_eq!(Arc::strong_count(&buf), 2);
        out.consume(1);
        assert_eq!(Arc::strong_count(&buf), 1);
    }

    #[test]
    fn a_steady_stream_of_messages_needs_no_more_memory() {
        let mut out = Outbox::default();
        out.control(&[0; 100]);
        for _ in 0..10 {
            out.control(&[1; 13]);
            out.consume(13);
        }
        let capacity = out.control.capacity();
        for _ in 0..100_000 {
            out.control(&[1; 13]);
            out.consume(13);
        }
        assert_eq!(out.control.capacity(), capacity);
        assert_eq!(out.len(), 100);
    }

    #[test]
    fn only_small_outboxes_rest() {
        let mut spares = Spares::default();
        let mut out = spares.take();
        out.control(&[0; CONTROL_RESTING_BYTES_MAX + 1]);
        out.consume(CONTROL_RESTING_BYTES_MAX + 1);
        spares.keep(out);
        assert!(spares.0.is_empty());
        for _ in 0..2 * Spares::MAX {
            spares.keep(Box::default());
        }
        assert_eq!(spares.0.len(), Spares::MAX);
    }

    #[test]
    #[should_panic(expected = "beyond a buffer")]
    fn payload_outside_its_buffer_is_our_own_bug() {
        Outbox::default().payload(piece(b"abc"), 0..4);
    }
}
