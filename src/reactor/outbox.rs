//! What one conn has yet to send: control bytes and references to payload, in order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::base::PieceBuf;

/// The output queue of one conn.
///
/// Payload is held by reference: evicting a buffer from a cache never frees bytes that are queued here.
#[derive(Debug, Default)]
pub struct Outbox {
    segments: VecDeque<Segment>,
    len: usize,
}

#[derive(Debug)]
enum Segment {
    Control(Vec<u8>),
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
        self.len += bytes.len();
        if let Some(Segment::Control(last)) = self.segments.back_mut() {
            last.extend_from_slice(bytes);
        } else {
            self.segments.push_back(Segment::Control(bytes.to_vec()));
        }
    }

    /// Queues `range` of `buf`.
    pub fn payload(&mut self, buf: Arc<PieceBuf>, range: Range<u32>) {
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

    /// Whether nothing is queued.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}
