//! The tracker's side: the real registry, asked and answering over the same latency as the peers.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::{Event, Scenario, Simulation};
use crate::base::{Bitfield, InfoHash, PeerId, Time};
use crate::registry::{Caller, Client, Config, Facts, Joining, Registry};
use crate::swarm::{Found, Geometry, Input};
use crate::wire::native::{
    AVAIL_PERIOD_MS_MIN, AvailDelta, Bitmap, HaveItem, HaveState, Member, Role,
};

pub(super) const HASH: InfoHash = InfoHash([0x5a; 20]);
/// Members that a node asks to be named.
const WANTED: u16 = 50;

/// What a node tells the tracker.
#[derive(Clone, Debug)]
pub(super) enum Question {
    Join(Bitfield),
    Report(Vec<u32>),
    WantPeers,
    /// It wants to be told how counts change, or no longer.
    Watch(bool),
    Accuse(SocketAddr),
    /// The conn to the tracker is gone.
    Gone,
}

/// What the tracker tells a node.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Joined {
        batch: Duration,
        peers: Vec<Found>,
    },
    Named(Vec<Found>),
    Newcomer(Found),
    Part {
        index: u16,
        of: u16,
    },
    Counted {
        version: u32,
        counts: Vec<u16>,
    },
    CountsChanged {
        base: u32,
        version: u32,
        deltas: Rc<[AvailDelta]>,
    },
}

#[derive(Clone, Copy, Debug)]
struct Membership {
    client: Client,
    slot: u32,
}

/// The registry, and who is who in it.
#[derive(Debug)]
pub(super) struct Tracker {
    registry: Registry,
    memberships: Vec<Option<Membership>>,
    /// When it is to look whom to tell of changed counts.
    tells_at: Option<Time>,
}

impl Tracker {
    /// A tracker on which the content of `scenario` is registered.
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut registry = Registry::new(Config::new(scenario.seed));
        let geometry = scenario.geometry();
        let facts = Facts {
            hash: HASH,
            info_sha256: [0; 32],
            info_bytes: 100,
            name: "content".into(),
            size: geometry.total_len(),
            piece_len: scenario.piece_length,
            piece_count: geometry.piece_count(),
            file_count: 1,
            sha256: Box::default(),
        };
        registry
            .register(facts, [10, 0, 0, 1].into(), 0)
            .expect("the first content fits");
        Self {
            registry,
            memberships: vec![None; scenario.node_count()],
            tells_at: None,
        }
    }

    /// Asserts that the registry knows, of the nodes that are up, exactly what they have.
    pub(super) fn check(&self, geometry: Geometry, nodes: &[Option<&Bitfield>]) {
        self.registry.check();
        let mut held = vec![0u16; geometry.piece_count() as usize];
        for have in nodes.iter().flatten() {
            have.ones().for_each(|piece| held[piece as usize] += 1);
        }
        let Some(someone) = self.memberships.iter().flatten().next() else {
            return;
        };
        let (_, counts) = self
            .registry
            .counts(someone.client, someone.slot, 0, geometry.piece_count())
            .expect("a member may ask");
        assert_eq!(counts, held, "what the tracker knows of who has what");
    }

    fn node_of(&self, client: Client) -> usize {
        let is_it = |m: &Option<Membership>| m.is_some_and(|m| m.client == client);
        let node = self.memberships.iter().position(is_it);
        node.expect("the registry tells only who is connected")
    }
}

impl Simulation {
    /// A node sends something to the tracker.
    pub(super) fn ask(&mut self, node: usize, question: Question) {
        self.schedule(self.scenario.latency, Event::Asked { node, question });
    }

    fn answer(&mut self, node: usize, answer: Answer) {
        let life = self.nodes[node].life;
        self.schedule(
            self.scenario.latency,
            Event::Answered { node, life, answer },
        );
    }

    /// Something arrives at the tracker.
    pub(super) fn asked(&mut self, node: usize, question: Question) {
        if let Question::Join(have) = question {
            return self.join(node, &have);
        }
        let Some(Membership { client, slot }) = self.tracker.memberships[node] else {
            return;
        };
        let registry = &mut self.tracker.registry;
        match question {
            Question::Join(_) => unreachable!("it was handled above"),
            Question::Report(pieces) => {
                let state = HaveState::Have;
                let items = pieces.into_iter().map(|piece| HaveItem { piece, state });
                registry
                    .have_batch(client, slot, 0, items, 0)
                    .expect("a member reports pieces that exist");
            }
            Question::WantPeers => {
                let named = registry.peers(client, slot, WANTED, None);
                let peers = named.expect("a member may ask").iter().map(found).collect();
                self.answer(node, Answer::Named(peers));
            }
            Question::Watch(is_on) => self.subscribe(node, client, slot, is_on),
            Question::Accuse(addr) => {
                registry
                    .accuse(client, slot, addr)
                    .expect("a member may accuse another");
            }
            Question::Gone => {
                registry.disconnect(client);
                self.tracker.memberships[node] = None;
            }
        }
        self.tell_parts();
    }

    fn join(&mut self, node: usize, have: &Bitfield) {
        let (id, addr): (PeerId, SocketAddr) = (self.nodes[node].id, self.nodes[node].addr);
        let zone = match self.scenario.rack_count {
            1 => String::new(),
            _ => format!("site/{}", self.scenario.rack_of(node)),
        };
        let client = self.tracker.registry.connect(Caller {
            peer_id: id,
            source: addr.ip(),
            listens_at: &[addr],
            host: "",
            zone: &zone,
        });
        let geometry = self.scenario.geometry();
        let missing = have.zeros().map(|p| u64::from(geometry.piece_len(p)));
        let joining = Joining {
            hash: HASH,
            left: missing.sum(),
            have: Bitmap::of(have),
            want: WANTED,
            role: if have.is_all() {
                Role::Seed
            } else {
                Role::Leech
            },
        };
        let joined = self.tracker.registry.join(client, &joining, 0);
        let joined = joined.expect("the content is registered");
        let slot = joined.slot;
        self.tracker.memberships[node] = Some(Membership { client, slot });
        let batch = Duration::from_millis(self.tracker.registry.batch_ms().into());
        let peers = joined.members.iter().map(found).collect();
        self.answer(node, Answer::Joined { batch, peers });
        for told in joined.told {
            let other = self.tracker.node_of(told.client);
            self.answer(other, Answer::Newcomer(found(&told.newcomer)));
        }
        self.tell_parts();
    }

    /// A node is told the counts, and from now on how they change; or no longer.
    fn subscribe(&mut self, node: usize, client: Client, slot: u32, is_on: bool) {
        let registry = &mut self.tracker.registry;
        let period_ms = if is_on { AVAIL_PERIOD_MS_MIN } else { 0 };
        registry
            .subscribe(client, slot, period_ms, self.now)
            .expect("a member may ask");
        if is_on {
            let pieces = self.scenario.geometry().piece_count();
            let counts = registry.counts(client, slot, 0, pieces);
            let (version, counts) = counts.expect("a member may ask");
            self.answer(node, Answer::Counted { version, counts });
        }
        self.arm_telling();
    }

    fn arm_telling(&mut self) {
        let Some(at) = self.tracker.registry.poll_timeout() else {
            return;
        };
        if self.tracker.tells_at.is_none_or(|armed| at < armed) {
            self.tracker.tells_at = Some(at);
            self.schedule_at(at, Event::Tell);
        }
    }

    /// Tells whoever asked for it how the counts have changed.
    pub(super) fn tell_changes(&mut self) {
        if self.tracker.tells_at != Some(self.now) {
            return;
        }
        self.tracker.tells_at = None;
        for told in self.tracker.registry.take_avail_told(self.now) {
            let node = self.tracker.node_of(told.client);
            let changed = Answer::CountsChanged {
                base: told.base,
                version: told.version,
                deltas: told.deltas,
            };
            self.answer(node, changed);
        }
        self.arm_telling();
    }

    /// Tells seeds which parts of the pieces they offer first, if that has changed.
    fn tell_parts(&mut self) {
        for told in self.tracker.registry.take_parts() {
            let node = self.tracker.node_of(told.client);
            let id = self.nodes[node].id;
            let index = told.seeds.iter().position(|seed| *seed == id);
            let of = told.seeds.len().max(1) as u16;
            let index = index.unwrap_or(0) as u16;
            self.answer(node, Answer::Part { index, of });
        }
    }

    /// The tracker's answer arrives.
    pub(super) fn answered(&mut self, node: usize, life: u32, answer: Answer) {
        if self.nodes[node].life != life || !self.nodes[node].is_up {
            return;
        }
        match answer {
            Answer::Joined { batch, peers } => {
                self.nodes[node].joined_at.get_or_insert(self.now);
                self.input(node, Input::Joined { batch });
                self.input(node, Input::Found { peers: &peers });
            }
            Answer::Named(peers) => self.input(node, Input::Found { peers: &peers }),
            Answer::Part { index, of } => self.nodes[node].swarm.set_part(index, of),
            Answer::Counted { version, counts } => {
                let counts = &counts;
                self.input(node, Input::Counted { version, counts });
            }
            Answer::CountsChanged {
                base,
                version,
                deltas,
            } => {
                let changed = Input::CountsChanged {
                    base,
                    version,
                    deltas: &deltas,
                };
                self.input(node, changed);
            }
            Answer::Newcomer(peer) if self.scenario.both_dial => {
                self.input(node, Input::Found { peers: &[peer] });
            }
            Answer::Newcomer(peer) => self.input(node, Input::Newcomers { peers: &[peer] }),
        }
    }
}

fn found(member: &Member) -> Found {
    Found {
        id: Some(member.peer_id),
        addrs: member.addrs.iter().collect(),
        is_seed: member.seed,
        proximity: member.proximity,
        share: member.share,
    }
}
