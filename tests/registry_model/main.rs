//! The registry against a naive model: random operations, every answer compared. A failure prints its seed.

mod ask;
mod change;
mod counts;
mod foreign;
mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use shoal::base::{Bitfield, InfoHash, PeerId, Rng};
use shoal::registry::{
    COMPLETION_AGE_SECS_MAX, Caller, Client, Config, Facts, Joining, Refusal, Registry,
};
use shoal::wire::native::{Bitmap, HaveItem, HaveState, LookupBy, Role, Stats};

const SEEDS: u64 = 300;
const STEPS: usize = 350;
/// When everything begins, in seconds since 1970.
const EPOCH: u64 = 1_700_000_000;

/// A client, as the model has it.
struct Known {
    key: Client,
    peer_id: PeerId,
    source: IpAddr,
    /// 0 = it does not listen.
    port: u16,
    slots: Vec<Option<InfoHash>>,
}

impl Known {
    fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.source, self.port)
    }

    fn may_be_given(&self, other: &Self) -> bool {
        other.port != 0 && foreign::is_in_reach(self.source, other.source)
    }

    fn reporter(&self) -> SocketAddr {
        let port = if self.source.is_loopback() {
            self.port
        } else {
            0
        };
        SocketAddr::new(self.source, port)
    }
}

struct Member {
    client: Client,
    slot: u32,
    pieces: Vec<bool>,
    is_upload_only: bool,
    down: u64,
}

impl Member {
    fn is_seed(&self) -> bool {
        self.pieces.iter().all(|&has| has)
    }
}

struct Content {
    facts: Facts,
    registered_at: u64,
    owners: Vec<IpAddr>,
    members: Vec<Member>,
    completions: Vec<(PeerId, u64)>,
    down: u64,
    accusations: Vec<(SocketAddr, SocketAddr)>,
    withheld: Vec<SocketAddr>,
}

impl Content {
    fn copies(&self) -> Vec<u16> {
        let count = |piece: usize| self.members.iter().filter(|m| m.pieces[piece]).count() as u16;
        (0..self.facts.piece_count as usize).map(count).collect()
    }

    fn seeds(&self) -> u32 {
        let seeds = self.members.iter().filter(|member| member.is_seed());
        seeds.count() as u32
    }

    /// The figures of these members and of foreign ones.
    fn stats(&self, foreign: &foreign::Swarm) -> Stats {
        let foreign_seeds = foreign.seeds();
        let copies = self.copies();
        let sum: u64 = copies.iter().map(|&n| u64::from(n)).sum();
        let mean = (sum * 256).checked_div(u64::from(self.facts.piece_count));
        let mean = mean.map_or_else(|| self.seeds() * 256, |mean| mean as u32);
        let least = copies
            .iter()
            .min()
            .map_or_else(|| self.seeds(), |&n| n.into());
        let seeds = self.seeds() + foreign_seeds;
        Stats {
            seeds,
            leechers: (self.members.len() + foreign.members.len()) as u32 - seeds,
            copies_min: least + foreign_seeds,
            copies_mean_256: mean + 256 * foreign_seeds,
            bytes: self.down,
            completed: self.completions.len() as u32 + foreign.downloads,
        }
    }
}

struct Model {
    rng: Rng,
    registry: Registry,
    now: u64,
    /// In the order of registration.
    contents: Vec<Content>,
    clients: Vec<Known>,
    foreign: BTreeMap<InfoHash, foreign::Swarm>,
    /// Whose completion was counted.
    finished: BTreeSet<(InfoHash, SocketAddr)>,
    is_open: bool,
    made: u32,
}

/// A registry that knows one content of so many pieces.
fn registry_of(hash: InfoHash, piece_count: u32, seed: u64) -> Registry {
    let mut registry = Registry::new(Config::new(seed));
    let facts = Facts {
        hash,
        info_sha256: [0; 32],
        info_bytes: 100,
        name: "content".into(),
        size: u64::from(piece_count) << 16,
        piece_len: 1 << 16,
        piece_count,
        file_count: 1,
        sha256: Box::default(),
    };
    let from = [10, 0, 0, 1].into();
    registry.register(facts, from, 0).expect("it fits");
    registry
}

fn bytes<const N: usize>(rng: &mut Rng) -> [u8; N] {
    std::array::from_fn(|_| rng.next_u64() as u8)
}

fn bitfield(pieces: &[bool]) -> Bitfield {
    let mut bits = Bitfield::none(pieces.len() as u32);
    for (index, _) in pieces.iter().enumerate().filter(|(_, has)| **has) {
        bits.set(index as u32);
    }
    bits
}

impl Model {
    pub(crate) fn new(seed: u64) -> Self {
        let config = Config {
            is_open: seed % 2 == 1,
            named_max: 7,
            ..Config::new(seed)
        };
        Self {
            rng: Rng::new(seed),
            registry: Registry::new(config),
            now: EPOCH,
            contents: Vec::new(),
            clients: Vec::new(),
            foreign: BTreeMap::new(),
            finished: BTreeSet::new(),
            is_open: config.is_open,
            made: 0,
        }
    }

    pub(crate) fn step(&mut self) {
        match self.rng.below(60) {
            0..4 => self.connect(),
            4 => self.disconnect(),
            5..7 => self.register(),
            7 => self.unregister(),
            8..16 => self.join(),
            16..24 => self.have_batch(),
            24 => self.leave(),
            25..27 => self.accuse(),
            27 => self.pass_time(),
            28..31 => self.peers(),
            31..33 => self.lookup(),
            33 => self.list(),
            34..36 => self.members(),
            36..38 => self.counts(),
            40..58 => self.announce(),
            58 => self.scrape(),
            _ => self.stats(),
        }
    }

    pub(crate) fn random_client(&mut self) -> Option<usize> {
        (!self.clients.is_empty()).then(|| self.rng.below(self.clients.len()))
    }

    pub(crate) fn random_content(&mut self) -> Option<usize> {
        (!self.contents.is_empty()).then(|| self.rng.below(self.contents.len()))
    }

    /// A random membership: the places of its client, of its content, and of the member in it.
    pub(crate) fn random_member(&mut self) -> Option<(usize, usize, usize)> {
        let at = self.random_content()?;
        let count = self.contents[at].members.len();
        let member = (count > 0).then(|| self.rng.below(count))?;
        let key = self.contents[at].members[member].client;
        let client = self.clients.iter().position(|known| known.key == key);
        Some((client.expect("a member is a client"), at, member))
    }
}

#[test]
fn every_answer_is_that_of_the_model() {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed);
            for _ in 0..STEPS {
                model.step();
                model.registry.check();
            }
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn equal_seeds_name_equal_members() {
    let run = || {
        let mut model = Model::new(77);
        (0..STEPS).for_each(|_| model.step());
        let members = model
            .contents
            .iter()
            .map(|content| content.members.len())
            .sum::<usize>();
        let mut named = Vec::new();
        for known in &model.clients {
            for slot in 1..=known.slots.len() as u32 {
                named.extend(model.registry.peers(known.key, slot, 5, None));
            }
        }
        (members, named)
    };
    let first = run();
    assert!(!first.1.is_empty());
    assert_eq!(first, run());
}
