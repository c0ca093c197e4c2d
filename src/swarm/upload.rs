//! What is sent: requests wait as records until their socket has room and their bytes are in memory.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::cache::{Lookup, RUN_BYTES, Run};
use super::links::Reason;
use super::peer::PeerKey;
use super::{Output, Swarm, timers};
use crate::base::{PieceBuf, Time};
use crate::wire::peer::{BlockRequest, Message};

/// A block to send: its head, and where its bytes are.
#[derive(Debug)]
pub struct Upload {
    /// The request that it answers.
    pub request: BlockRequest,
    /// The buffer that holds its bytes.
    pub buf: Arc<PieceBuf>,
    /// Which bytes of the buffer.
    pub range: Range<u32>,
}

/// How far ahead of the block that is sent its successors are read: two runs.
const READ_AHEAD_BYTES: u32 = 2 * RUN_BYTES;
/// How soon it is tried again when there was no room in the cache, or no buffer in the pool: what holds them may be
/// another swarm's, or queued on a conn, and nobody tells when it is given back.
pub(super) const RETRY_AFTER: Duration = Duration::from_millis(20);

impl Swarm {
    /// Whether a peer is to be sent a block, be its bytes in memory or not.
    pub fn has_upload(&self, key: PeerKey) -> bool {
        self.next_request(key).is_some()
    }

    /// The next block to send to a peer, if its bytes are in memory; otherwise they are sent for.
    pub fn next_upload(&mut self, now: Time, key: PeerKey) -> Option<Upload> {
        let place = self.next_request(key)?;
        let request = self.peers[key.slot()].requests[place];
        let run = self.run_of(request);
        let (buf, start) = match self.cache.lookup(run) {
            Lookup::Ready(buf, start) => (buf, start),
            Lookup::Loading => return None,
            Lookup::Absent => {
                self.load(now, key, run, request);
                return None;
            }
        };
        let peer = &mut self.peers[key.slot()];
        peer.requests.remove(place);
        let asks_no_more = peer.requests.is_empty();
        peer.up.add(now, request.len as usize);
        peer.sent_at = now;
        let account = peer.account;
        self.counts.up_bytes += u64::from(request.len);
        self.ledger.account_mut(account).up_bytes += u64::from(request.len);
        self.deadlines
            .set(timers::CACHE_IDLE, now + timers::CACHE_IDLE_AFTER);
        self.read_ahead(key, place);
        self.count_turn(now, key, request);
        if asks_no_more {
            self.wake_last();
        }
        let begin = request.begin - start;
        Some(Upload {
            request,
            buf,
            range: begin..begin + request.len,
        })
    }

    /// The run that holds a request; one that lies across two runs gets a run of its own.
    fn run_of(&self, request: BlockRequest) -> Run {
        let run = Run::of(request.piece, request.begin);
        let end = run.begin + RUN_BYTES.min(self.geometry.piece_len(request.piece) - run.begin);
        if request.begin + request.len <= end {
            return run;
        }
        Run {
            piece: request.piece,
            begin: request.begin,
        }
    }

    fn run_len(&self, run: Run, request: BlockRequest) -> u32 {
        let rest = self.geometry.piece_len(run.piece) - run.begin;
        if run.begin.is_multiple_of(RUN_BYTES) {
            rest.min(RUN_BYTES).max(request.len)
        } else {
            request.len
        }
    }

    fn read_ahead(&mut self, key: PeerKey, place: usize) {
        for ahead in [READ_AHEAD_BYTES / 2, READ_AHEAD_BYTES] {
            let requests = &self.peers[key.slot()].requests;
            let Some(next) = requests.get(place) else {
                return;
            };
            let Some(&request) = requests.get(place + (ahead / next.len) as usize) else {
                return;
            };
            self.preload(request);
        }
    }

    /// Sends for the bytes of a request that is soon to be answered, if there is room.
    pub(super) fn preload(&mut self, request: BlockRequest) {
        let run = self.run_of(request);
        if let Lookup::Absent = self.cache.lookup(run) {
            let len = self.run_len(run, request) as usize;
            if let Some(buffer) = self.cache.begin_load(run, len) {
                self.outputs.push_back(Output::Load { run, buffer });
            }
        }
    }

    fn load(&mut self, now: Time, key: PeerKey, run: Run, request: BlockRequest) {
        let len = self.run_len(run, request) as usize;
        if let Some(buffer) = self.cache.begin_load(run, len) {
            self.outputs.push_back(Output::Load { run, buffer });
        } else if !self.starved.contains(&key) {
            self.starved.push_back(key);
            self.deadlines
                .set_if_idle(timers::STARVED, now + RETRY_AFTER);
        }
    }

    /// Lets those try again for whom there was no room.
    pub(super) fn feed_starved(&mut self) {
        self.hungry |= std::mem::take(&mut self.lacks_buffer);
        while let Some(peer) = self.starved.pop_front() {
            self.outputs.push_back(Output::Upload { peer });
        }
    }

    /// A worker has read a run, or could not.
    pub(super) fn loaded(&mut self, run: Run, buffer: PieceBuf, ok: bool) {
        let len = buffer.len() as u32;
        self.cache.end_load(run, buffer, ok);
        let inside = |request: &BlockRequest| {
            request.piece == run.piece && (run.begin..run.begin + len).contains(&request.begin)
        };
        let keys: Vec<PeerKey> = self.keys().collect();
        for key in keys {
            let next = self.next_request(key);
            let next = next.map(|place| self.peers[key.slot()].requests[place]);
            if !next.as_ref().is_some_and(inside) {
                continue;
            }
            if ok {
                self.outputs.push_back(Output::Upload { peer: key });
            } else {
                self.disconnect(key, Reason::Unreadable);
            }
        }
        self.feed_starved();
    }

    /// Stops serving a peer: what it asked for is rejected, or dropped without the fast extension.
    pub(super) fn drop_requests(&mut self, now: Time, key: PeerKey) {
        let peer = &mut self.peers[key.slot()];
        let requests = std::mem::take(&mut peer.requests);
        if peer.hello.fast {
            for request in requests {
                self.send(key, Message::Reject(request));
            }
        }
        self.end_turns(now, key);
        self.wake_last();
    }
}
