//! The downloader and uploader of one content, as a pure machine: what happened goes in, what to do comes out.
//!
//! It owns what each peer has and wants, the state of each piece, the pipelines of requests, the upload cache and
//! the contacts. It never opens a socket or a file, asks no clock, and starts no thread. Bytes of a block never pass
//! through an [`Input`] or an [`Output`]: [`Swarm::landing`] lends the place where they belong, and
//! [`Swarm::next_upload`] names what is to be sent.
//!
//! Invariants (asserted by [`Swarm::check`]):
//! 1. a piece is in exactly one state, and `have` holds exactly those that are verified and written;
//! 2. the picker holds exactly the missing pieces, and its counts are the sums over the links;
//! 3. a block is asked for as often as links say that they asked for it;
//! 4. buffers of arriving and checked pieces and of the cache stay within their shares of the pool, and what is asked
//!    for has its home in one;
//! 5. there is at most one link to a peer id, and none to a banned one.

mod announcer;
mod cache;
mod choice;
mod choker;
mod config;
mod contact;
mod contacts;
mod exchange;
mod fair;
mod freedom;
mod geometry;
mod inbound;
mod info;
mod invariants;
mod knowledge;
mod landing;
mod ledger;
mod links;
mod notes;
mod peer;
mod picker;
mod pieces;
mod preference;
mod requests;
mod rescue;
mod runs;
mod sequence;
mod service;
mod standby;
mod stretch;
mod suspects;
mod timers;
mod upload;
mod view;
mod width;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use slab::Slab;

pub use announcer::REPORT_PIECES_MAX;
pub use cache::{RUN_BYTES, Run};
pub use config::Config;
pub use contact::Found;
pub use geometry::{Geometry, WHOLE_PIECE_BYTES_MAX};
pub use info::{InfoFetch, InfoInput, InfoOutput};
pub use knowledge::{COUNTS_MAX, Watch};
pub use ledger::{Account, Ledger};
pub use links::Reason;
pub use notes::{Decision, Favour, Lure, Note, Why};
pub use peer::{Hello, PeerKey, Said};
pub use picker::{Order, Picker};
pub use preference::PeerOrder;
pub use stretch::REQUEST_BYTES_MAX;
pub use suspects::{Digests, Proof};
pub use upload::Upload;
pub use view::{Counts, LinkView};

pub use crate::wire::native::Policy;

use crate::base::{Bitfield, Deadlines, Digest20, PieceBuf, Rng, Time, Verdict};
use crate::wire::native::AvailDelta;
use crate::wire::peer::{BlockRequest, Message};
use crate::wire::peer_exchange::PeerExchange;
use announcer::Announcer;
use cache::Cache;
use contacts::Contacts;
use freedom::Share;
use knowledge::Knowledge;
use notes::Notes;
use peer::Peer;
use pieces::PieceState;
use service::Service;
use suspects::Suspects;
use width::Width;

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A link is gone.
    Disconnected {
        /// Which.
        peer: PeerKey,
    },
    /// A message came; blocks come through [`Swarm::block_started`] and its companions instead.
    Received {
        /// From whom.
        peer: PeerKey,
        /// What.
        message: Message<'a>,
    },
    /// An extension handshake told us of the other side (BEP 10).
    Extended {
        /// Who.
        peer: PeerKey,
        /// What it said.
        said: Said,
    },
    /// A peer told of others (BEP 11).
    Exchanged {
        /// Who.
        peer: PeerKey,
        /// Of whom.
        message: &'a PeerExchange,
    },
    /// A peer no longer has a piece (BEP 54).
    Lost {
        /// Who.
        peer: PeerKey,
        /// Which.
        piece: u32,
    },
    /// A whole block came, without bytes: the simulator's form of an arrival. [`Swarm::block_started`] may have told of
    /// its head.
    Landed {
        /// From whom.
        peer: PeerKey,
        /// Which.
        block: BlockRequest,
        /// Whether its bytes are wrong.
        spoilt: bool,
    },
    /// A worker has hashed a piece, and written it if it was right.
    Checked {
        /// Which.
        piece: u32,
        /// What came of it.
        verdict: Verdict,
        /// The SHA-1 of each block, as far as they were wanted.
        digests: Vec<Digest20>,
        /// Its buffer, which comes home.
        buffer: PieceBuf,
    },
    /// A worker has written a run of a large piece.
    Written {
        /// Which.
        run: Run,
        /// Its buffer, which comes home.
        buffer: PieceBuf,
        /// Whether it is on disk; the error names the path.
        result: io::Result<()>,
    },
    /// A worker has read a large piece back, and hashed it.
    Verified {
        /// Which.
        piece: u32,
        /// What came of it.
        verdict: Verdict,
        /// The SHA-1 of each block, as far as they were wanted.
        digests: Vec<Digest20>,
    },
    /// A worker has read a run for uploading.
    Loaded {
        /// Which.
        run: Run,
        /// Its buffer, filled if `ok`.
        buffer: PieceBuf,
        /// Whether the read worked.
        ok: bool,
    },
    /// The tracker named peers in answer to us.
    Found {
        /// Them.
        peers: &'a [Found],
    },
    /// The tracker told of newcomers, who will dial us.
    Newcomers {
        /// Them.
        peers: &'a [Found],
    },
    /// A dial, or the handshake after it, came to nothing.
    DialFailed {
        /// The address dialled.
        addr: SocketAddr,
    },
    /// The tracker has our bitmap, as it was when it was sent.
    Joined {
        /// How long to collect reports.
        batch: Duration,
    },
    /// The tracker told how many members hold each of the next pieces that were asked for: see [`Output::Watch`].
    Counted {
        /// The version of the counts.
        version: u32,
        /// One for each piece, [`COUNTS_MAX`] of them or as many as are left.
        counts: &'a [u16],
    },
    /// The tracker told how these numbers changed.
    CountsChanged {
        /// From which version.
        base: u32,
        /// To which.
        version: u32,
        /// By how much.
        deltas: &'a [AvailDelta],
    },
}

/// Something to do.
#[derive(Debug)]
pub enum Output {
    /// Tell a new peer what we have, and whatever else opens a link: before anything else goes to it.
    Open {
        /// Whom.
        peer: PeerKey,
    },
    /// Send a message.
    Send {
        /// To whom.
        peer: PeerKey,
        /// What.
        message: Message<'static>,
    },
    /// Tell every peer that we have a piece.
    Broadcast {
        /// Which.
        piece: u32,
    },
    /// Tell a peer of others (BEP 11).
    Exchange {
        /// Whom.
        peer: PeerKey,
        /// Of whom.
        message: PeerExchange,
    },
    /// There may be something to upload to a peer.
    Upload {
        /// To whom.
        peer: PeerKey,
    },
    /// Hash a piece and write it if it matches.
    Check {
        /// Which.
        piece: u32,
        /// Its bytes.
        buffer: PieceBuf,
        /// Whether the digests of its blocks are wanted as well.
        digests: Digests,
    },
    /// Write a run of a large piece where it belongs, unchecked.
    Write {
        /// Which; the length is the buffer's.
        run: Run,
        /// Its bytes.
        buffer: PieceBuf,
    },
    /// Read a large piece back, all of which is written, and hash it.
    Verify {
        /// Which.
        piece: u32,
        /// Whether the digests of its blocks are wanted as well.
        digests: Digests,
    },
    /// Read a run from disk.
    Load {
        /// Which; the length is the buffer's.
        run: Run,
        /// Where to.
        buffer: PieceBuf,
    },
    /// Open a conn.
    Connect {
        /// Whither.
        addr: SocketAddr,
    },
    /// Close a link.
    Disconnect {
        /// Which.
        peer: PeerKey,
        /// Why.
        reason: Reason,
    },
    /// Verified pieces are to be reported to the tracker: see [`Swarm::take_report`].
    Report,
    /// Ask the tracker for more peers.
    WantPeers,
    /// Ask the tracker for the counts of all pieces, [`COUNTS_MAX`] at a time, and right after that to be told how they
    /// change; or to be told no longer.
    Watch {
        /// Whether we want to be told.
        is_on: bool,
    },
    /// A peer is banned, since it sent wrong bytes: the tracker is to know, if there is proof.
    Accuse {
        /// Where it listens.
        addr: SocketAddr,
        /// What it spoilt.
        piece: u32,
        /// How that is known.
        proof: Proof,
    },
    /// Every piece is verified and written.
    Complete,
    /// A piece could not be written.
    Failed(io::Error),
}

/// The machine. See the module's text.
#[derive(Debug)]
pub struct Swarm {
    config: Config,
    geometry: Geometry,
    rng: Rng,
    have: Bitfield,
    pieces: Vec<PieceState>,
    /// The pieces that are arriving.
    arriving: Vec<u32>,
    /// Blocks of arriving pieces that are neither here nor asked for.
    unasked_count: u32,
    /// Bytes of buffers in arriving and checked pieces.
    arriving_bytes: usize,
    /// Pieces that failed with several senders.
    suspects: Suspects,
    picker: Picker,
    knowledge: Knowledge,
    /// Pieces that nobody has but us, as far as we know, in order.
    last_copies: Vec<u32>,
    /// We know enough of the swarm to tell a last copy.
    sees_last_copies: bool,
    /// Peers counted as holding everything.
    whole_count: u32,
    peers: Slab<Peer>,
    generation: u32,
    contacts: Contacts,
    contacts_changed: bool,
    announcer: Announcer,
    service: Service,
    cache: Cache,
    /// Peers whose next upload waits for room in the cache.
    starved: VecDeque<PeerKey>,
    /// A piece could not begin because the pool had no buffer for it.
    lacks_buffer: bool,
    /// A piece could not begin because our share of the pool was taken.
    lacks_room: bool,
    /// All pieces before this one are here.
    front: u32,
    /// How soon an idle peer answers a request.
    answer_time: Duration,
    ledger: Ledger,
    counts: Counts,
    deadlines: Deadlines<{ timers::KINDS }>,
    /// Requests became free: every peer may get more to do.
    hungry: bool,
    turn: usize,
    share: Share,
    /// When slots were last passed on to those who give.
    round_began_at: Time,
    outputs: VecDeque<Output>,
    notes: Notes,
}

impl Swarm {
    /// A swarm for a content of this geometry, of which `have` is here already.
    pub fn new(config: Config, geometry: Geometry, have: Bitfield) -> Self {
        assert_eq!(have.len(), geometry.piece_count(), "one bit per piece");
        let state = |piece| {
            if have.get(piece) {
                PieceState::Have
            } else {
                PieceState::Missing
            }
        };
        Self {
            rng: Rng::new(config.seed),
            pieces: (0..have.len()).map(state).collect(),
            picker: Picker::new(&have),
            notes: Notes::new(config.notes),
            service: Service::new(have.len(), Width::new(config.turns_min, config.turns_max)),
            cache: Cache::new(config.pool.clone(), config.cache_bytes_max),
            config,
            geometry,
            have,
            arriving: Vec::new(),
            unasked_count: 0,
            arriving_bytes: 0,
            suspects: Suspects::default(),
            knowledge: Knowledge::default(),
            last_copies: Vec::new(),
            sees_last_copies: false,
            whole_count: 0,
            peers: Slab::new(),
            generation: 0,
            contacts: Contacts::default(),
            contacts_changed: false,
            announcer: Announcer::default(),
            starved: VecDeque::new(),
            lacks_buffer: false,
            lacks_room: false,
            front: 0,
            answer_time: standby::ANSWER_TIME_FIRST,
            ledger: Ledger::default(),
            counts: Counts::default(),
            deadlines: Deadlines::default(),
            hungry: false,
            turn: 0,
            share: Share::default(),
            round_began_at: Time::ZERO,
            outputs: VecDeque::new(),
        }
    }

    /// Takes in what happened at `now`.
    pub fn handle_input(&mut self, now: Time, input: Input<'_>) {
        match input {
            Input::Disconnected { peer } => self.disconnected(now, peer),
            Input::Received { peer, message } => {
                if let Err(reason) = self.received(now, peer, message) {
                    self.disconnect(peer, reason);
                }
            }
            Input::Extended { peer, said } => self.extended(now, peer, said),
            Input::Exchanged { peer, message } => {
                if let Err(reason) = self.exchanged(now, peer, message) {
                    self.disconnect(peer, reason);
                }
            }
            Input::Lost { peer, piece } => {
                if let Err(reason) = self.peer_lost(now, peer, piece) {
                    self.disconnect(peer, reason);
                }
            }
            Input::Landed {
                peer,
                block,
                spoilt,
            } => {
                if let Err(reason) = self.block_landed(now, peer, block, spoilt) {
                    self.disconnect(peer, reason);
                }
            }
            Input::Checked {
                piece,
                verdict,
                digests,
                buffer,
            } => self.checked(now, piece, (verdict, &digests), Some(buffer)),
            Input::Written {
                run,
                buffer,
                result,
            } => self.run_written(now, run, buffer, result),
            Input::Verified {
                piece,
                verdict,
                digests,
            } => self.checked(now, piece, (verdict, &digests), None),
            Input::Loaded { run, buffer, ok } => self.loaded(run, buffer, ok),
            Input::Found { peers } => self.found(now, peers, now),
            Input::Newcomers { peers } => self.found(now, peers, now + contacts::NEWCOMER_GRACE),
            Input::DialFailed { addr } => self.dial_failed(now, addr),
            Input::Joined { batch } => {
                self.announcer.set_batch(batch);
                self.announcer.joined(now);
                self.may_watch(now);
                self.contacts_changed = true;
            }
            Input::Counted { version, counts } => self.counted(now, version, counts),
            Input::CountsChanged {
                base,
                version,
                deltas,
            } => self.counts_changed(now, (base, version), deltas),
        }
        self.settle(now);
    }

    /// Takes in that time has passed.
    pub fn handle_timeout(&mut self, now: Time) {
        self.run_timers(now);
        self.settle(now);
    }

    /// When [`Swarm::handle_timeout`] is to be called, if at all.
    pub fn poll_timeout(&self) -> Option<Time> {
        [self.deadlines.next(), self.announcer.next_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// The next thing to do, if there is any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Moves the pieces that are to be reported into `pieces`.
    pub fn take_report(&mut self, now: Time, pieces: &mut Vec<u32>) {
        self.announcer.take(now, pieces);
    }

    /// Follows up on a change: gives work to those who can take it, and dials who is due.
    fn settle(&mut self, now: Time) {
        if self.hungry {
            self.hungry = false;
            self.fill_all(now);
        }
        if self.contacts_changed {
            self.contacts_changed = false;
            self.dial(now);
            self.note_lack(now);
        }
        self.arm_timers(now);
    }

    /// Dials and admits nobody from now on. The shell closes the links that there are.
    pub fn stop(&mut self) {
        self.config.links_max = 0;
        self.contacts_changed = true;
    }

    /// Whether a piece of `len` bytes is written before it is checked.
    fn is_large(&self, len: u32) -> bool {
        len > self.config.whole_piece_bytes_max
    }

    fn peer(&self, key: PeerKey) -> Option<&Peer> {
        self.peers
            .get(key.slot())
            .filter(|peer| peer.generation == key.generation)
    }

    fn peer_mut(&mut self, key: PeerKey) -> Option<&mut Peer> {
        self.peers
            .get_mut(key.slot())
            .filter(|peer| peer.generation == key.generation)
    }

    fn keys(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.peers.iter().map(|(slot, peer)| PeerKey {
            slot: slot as u32,
            generation: peer.generation,
        })
    }

    fn send(&mut self, peer: PeerKey, message: Message<'static>) {
        self.outputs.push_back(Output::Send { peer, message });
    }
}

#[cfg(test)]
mod tests;
