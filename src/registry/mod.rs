//! The tracker as a pure machine: which contents are registered, who has which piece of them, who finished.
//!
//! Owns clients, contents, members and completions, and every rule of who is told what. Never asks what time it is,
//! opens nothing, sends nothing: what must be told to others is returned. Wall-clock seconds come in as arguments.
//!
//! Invariants (`check`, run in debug builds after each change, on contents that are small enough for it):
//! 1. A slot of a client names a member of a content, and that member names the client and the slot.
//! 2. The memory for bitmaps and counts is what the contents say it is.
//! 3. Those of the catalogue, of each content's members, native and foreign, and of the completions.
//!
//! Maps are ordered ones, or lie by a keyed hash and are never walked where order matters: no key that others choose slows
//! one down, and no hasher decides an order.

mod announce;
mod availability;
mod catalogue;
mod clients;
mod completions;
mod foreign;
mod list;
mod members;
mod mixture;
mod naming;
mod partition;
mod places;
mod query;
mod rows;
mod scope;
mod subscriptions;
mod swarms;
mod table;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use slab::Slab;

use crate::base::{InfoHash, Rng, canonical};
use crate::wire::WireError;
use crate::wire::native::{Bitmap, ErrorCode, HaveItem, HaveState, Member as Named, Role};
pub use announce::{Announced, FINISHED_MAX, FOREIGN_MAX, Families, OPEN_SWARMS_MAX};
use announce::{Finished, Sweep};
use availability::Holding;
pub use catalogue::{CONTENTS_MAX, Entry, Facts, INFO_BYTES_MAX};
use catalogue::{Catalogue, OWNERS_MAX};
pub use clients::{Caller, Client, SLOTS_PER_CLIENT_MAX};
use clients::{Known, Membership};
pub use completions::{COMPLETION_AGE_SECS_MAX, COMPLETIONS_MAX, Completion};
use completions::{Completions, Serial};
pub use foreign::{FOREIGN_PER_IP_MAX, FOREIGN_PER_SWARM_MAX};
use members::Members;
pub use naming::Told;
pub use partition::{PARTS_MAX, PartTold};
use rows::Ticks;
pub use scope::{Addresses, Reach};
use subscriptions::Subscriptions;
pub use subscriptions::{AvailTold, apply_deltas};
use swarms::Swarms;

/// Bytes of memory for the bitmaps of members and the counts of pieces, over all contents.
pub const HEAP_BYTES_MAX: usize = 1 << 30;
/// The interval of foreign members, unless told otherwise (CLI.md).
pub const INTERVAL_S: (u32, u32) = (30, 1800);
/// How many members one announce is answered with, unless told otherwise (CLI.md).
pub const NAMED_MAX: usize = 50;
/// Above this many members the batches of HAVE are asked for at the slower pace (PROTOCOL.md).
const MEMBERS_FAST_MAX: usize = 1000;
const BATCH_MS: u32 = 250;
const BATCH_MS_SLOW: u32 = 1000;
/// A content is checked after a change if members × pieces is at most this.
const CHECK_COST_MAX: usize = 1 << 16;

/// Why a content's members are always found.
const SWARM: &str = "a swarm for each content";

/// What the registry is made with.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Seeds the choice of members.
    pub seed: u64,
    /// Bytes of memory for bitmaps and counts ([`HEAP_BYTES_MAX`]).
    pub heap_bytes_max: usize,
    /// The shortest and the longest interval that a foreign member is told, in seconds.
    pub interval_s: (u32, u32),
    /// How many members one announce is answered with, at most.
    pub named_max: usize,
    /// Whether contents are tracked that nobody registered.
    pub is_open: bool,
    /// How many of those there are, at most ([`OPEN_SWARMS_MAX`]).
    pub open_swarms_max: usize,
    /// How many foreign members there are, at most ([`FOREIGN_MAX`]).
    pub foreign_max: usize,
}

impl Config {
    /// The limits of a live tracker.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            heap_bytes_max: HEAP_BYTES_MAX,
            interval_s: INTERVAL_S,
            named_max: NAMED_MAX,
            is_open: false,
            open_swarms_max: OPEN_SWARMS_MAX,
            foreign_max: FOREIGN_MAX,
        }
    }
}

/// Why the registry does not do what a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such content, slot or member.
    #[error("{0} is not known here")]
    NotFound(&'static str),
    /// A name that more than one content bears.
    #[error("{0}")]
    Ambiguous(&'static str),
    /// Only some may do it.
    #[error("only loopback or an address that registered it may unregister it")]
    Unauthorised,
    /// What is asked breaks a rule of the protocol.
    #[error("{0}")]
    Invalid(&'static str),
    /// More than the protocol allows.
    #[error("{0} is too large")]
    TooLarge(&'static str),
    /// A limit of this tracker is reached.
    #[error("{0}")]
    Full(&'static str),
    /// Another info dictionary has this hash.
    #[error("another info dictionary has this hash")]
    HashConflict,
}

impl Refusal {
    /// The code of the ERROR that says it.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::NotFound(_) | Self::Ambiguous(_) => ErrorCode::NotFound,
            Self::Unauthorised => ErrorCode::Unauthorised,
            Self::Invalid(_) => ErrorCode::BadFrame,
            Self::TooLarge(_) => ErrorCode::TooLarge,
            Self::Full(_) => ErrorCode::Busy,
            Self::HashConflict => ErrorCode::HashConflict,
        }
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::Invalid(error.reason())
    }
}

/// What a JOIN says.
#[derive(Clone, Debug)]
pub struct Joining<'a> {
    /// The content.
    pub hash: InfoHash,
    /// Bytes that it still misses.
    pub left: u64,
    /// What it has.
    pub have: Bitmap<'a>,
    /// How many members to name.
    pub want: u16,
    /// What it is to the swarm.
    pub role: Role,
}

/// What came of a JOIN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The membership, from 1.
    pub slot: u32,
    /// Whom to dial.
    pub members: Vec<Named>,
    /// Those who are told of a newcomer: the members named, as far as they can dial it.
    pub told: Vec<Told>,
}

/// The machine.
#[derive(Debug)]
pub struct Registry {
    config: Config,
    rng: Rng,
    clients: Slab<Known>,
    catalogue: Catalogue,
    /// The members of each registered content.
    swarms: BTreeMap<Serial, Members>,
    completions: Completions,
    subscriptions: Subscriptions,
    members: usize,
    heap_bytes: usize,
    /// The foreign members of each content that is registered or had one.
    foreign: Swarms,
    ticks: Ticks,
    /// Contents whose seeds are to hear which parts of the pieces they offer first.
    repartitioned: Vec<Serial>,
    foreign_members: usize,
    /// Those of them that are not registered.
    open_swarms: usize,
    /// Changes when a foreign member completes a registered content.
    downloads_version: u64,
    finished: Finished,
    sweep: Sweep,
}

impl Registry {
    /// A registry that knows nothing.
    pub fn new(config: Config) -> Self {
        let mut rng = Rng::new(config.seed);
        let key = (rng.next_u64(), rng.next_u64());
        Self {
            config,
            rng,
            clients: Slab::new(),
            catalogue: Catalogue::default(),
            swarms: BTreeMap::new(),
            completions: Completions::default(),
            subscriptions: Subscriptions::default(),
            members: 0,
            heap_bytes: 0,
            foreign: Swarms::new(key),
            ticks: Ticks::new(announce::lifetime_s(config.interval_s.1)),
            repartitioned: Vec::new(),
            foreign_members: 0,
            open_swarms: 0,
            downloads_version: 0,
            finished: Finished::default(),
            sweep: Sweep::default(),
        }
    }

    /// A connection said HELLO.
    pub fn connect(&mut self, caller: Caller<'_>) -> Client {
        let client = self.clients.insert(Known::new(caller));
        Client(client as u32)
    }

    /// The connection is gone, and with it all its memberships.
    pub fn disconnect(&mut self, client: Client) {
        for slot in 1..=self.known(client).slots.len() as u32 {
            let _ = self.leave(client, slot);
        }
        self.clients.remove(client.index());
    }

    /// Whether `facts` may be registered; `true` says that they already are.
    pub fn may_register(&self, facts: &Facts) -> Result<bool, Refusal> {
        Ok(self.catalogue.admit(facts)?.is_some())
    }

    /// Registers a content at `now` (seconds since 1970); `true` says that it already was, and that its members stay.
    pub fn register(&mut self, facts: Facts, from: IpAddr, now: u64) -> Result<bool, Refusal> {
        let from = from.to_canonical();
        if let Some(serial) = self.catalogue.admit(&facts)? {
            if let Some(Entry { owners, .. }) = self.catalogue.entry_mut(serial)
                && owners.len() < OWNERS_MAX
                && !owners.contains(&from)
            {
                owners.push(from);
            }
            return Ok(true);
        }
        self.insert(facts, vec![from], now);
        Ok(false)
    }

    /// Takes back a content that was saved, with the addresses that registered it.
    pub fn restore(
        &mut self,
        facts: Facts,
        mut owners: Vec<IpAddr>,
        registered_at: u64,
    ) -> Result<(), Refusal> {
        if self.catalogue.admit(&facts)?.is_none() {
            owners.truncate(OWNERS_MAX);
            self.insert(facts, owners, registered_at);
        }
        Ok(())
    }

    /// Whether `from` may unregister a content: loopback, and whoever registered it, may.
    pub fn may_unregister(&self, hash: InfoHash, from: IpAddr) -> Result<(), Refusal> {
        let from = from.to_canonical();
        let entry = self.catalogue.entry(self.serial(hash)?);
        let may = from.is_loopback() || entry.owners.contains(&from);
        may.then_some(()).ok_or(Refusal::Unauthorised)
    }

    /// Forgets a content, its members and its completions; returns the memberships that ended with it.
    pub fn unregister(&mut self, hash: InfoHash) -> Result<Vec<(Client, u32)>, Refusal> {
        let serial = self.serial(hash)?;
        let members = self.swarms.remove(&serial).expect(SWARM);
        let ended: Vec<(Client, u32)> = members
            .starting_at(0)
            .map(|(_, member)| (Client(member.client), member.slot))
            .collect();
        for &(client, slot) in &ended {
            self.unsubscribe(client, slot);
            self.clients[client.index()].slots[slot as usize - 1] = None;
        }
        self.members -= ended.len();
        self.heap_bytes -= members.heap_bytes();
        self.completions.forget_content(serial);
        self.catalogue.remove(serial);
        if let Some(swarm) = self.foreign.remove(hash) {
            self.foreign_members -= swarm.members.len();
        }
        self.check_after(serial);
        Ok(ended)
    }

    /// A client joins a swarm, or says again what it has. `now` is in seconds since 1970.
    pub fn join(
        &mut self,
        client: Client,
        joining: &Joining<'_>,
        now: u64,
    ) -> Result<Joined, Refusal> {
        let serial = self.serial(joining.hash)?;
        let holding = self.holding(serial, joining)?;
        let is_complete = holding.is_all();
        let is_upload_only = joining.role == Role::UploadOnly;
        let (slot, is_new) = match self.known(client).slot_in(serial) {
            Some(slot) => (slot, false),
            None => (self.enter(client, serial)?, true),
        };
        if is_new {
            self.add_member(client, slot, serial, holding, is_upload_only);
        } else {
            let (_, key) = self.place(client, slot)?;
            self.change(serial, |members| {
                members.replace(key, holding, is_upload_only);
            });
        }
        if is_complete && joining.role == Role::Leech {
            self.complete(client, serial, now);
        }
        self.supersede(client, joining.hash);
        let chosen = self.choose(client, slot, usize::from(joining.want), None)?;
        let told = if is_new {
            self.told(client, slot, &chosen)?
        } else {
            Vec::new()
        };
        self.check_after(serial);
        let members = chosen.into_iter().map(|choice| choice.named).collect();
        Ok(Joined {
            slot,
            members,
            told,
        })
    }

    /// A member says what became of pieces. Nothing is changed if a piece is none of the content.
    pub fn have_batch(
        &mut self,
        client: Client,
        slot: u32,
        down_bytes: u64,
        items: impl Iterator<Item = HaveItem> + Clone,
        now: u64,
    ) -> Result<(), Refusal> {
        let (serial, key) = self.place(client, slot)?;
        let piece_count = self.catalogue.entry(serial).facts.piece_count;
        if items.clone().any(|item| item.piece >= piece_count) {
            return Err(Refusal::Invalid("a piece index is beyond the last piece"));
        }
        self.room_for(serial)?;
        let changes = items.filter_map(|item| match item.state {
            HaveState::Have => Some((item.piece, true)),
            HaveState::Lost => Some((item.piece, false)),
            HaveState::Started => None,
        });
        let was_complete = self.swarms[&serial].member(key).holding.is_all();
        self.change(serial, |members| {
            members.change(key, piece_count, changes);
            members.note_down(key, down_bytes);
        });
        if !was_complete && self.swarms[&serial].member(key).holding.is_all() {
            self.complete(client, serial, now);
        }
        self.check_after(serial);
        Ok(())
    }

    /// A member leaves.
    pub fn leave(&mut self, client: Client, slot: u32) -> Result<(), Refusal> {
        let (serial, key) = self.place(client, slot)?;
        self.unsubscribe(client, slot);
        let place = self.known(client).place();
        self.change(serial, |members| members.remove(key, &place));
        self.members -= 1;
        self.clients[client.index()].slots[slot as usize - 1] = None;
        self.check_after(serial);
        Ok(())
    }

    /// A member accuses an address of sending wrong bytes; says whether it is withheld from peer lists now. It takes two
    /// distinct reporters: by address, on one machine by port as well.
    pub fn accuse(&mut self, client: Client, slot: u32, addr: SocketAddr) -> Result<bool, Refusal> {
        let (serial, _) = self.place(client, slot)?;
        let known = self.known(client);
        let reporter = known.reporter();
        let addr = canonical(addr);
        if known.addresses.all().contains(&addr) {
            return Err(Refusal::Invalid("a member accuses itself"));
        }
        let members = self.swarms.get_mut(&serial).expect(SWARM);
        Ok(members.accuse(reporter, addr))
    }

    /// Takes back a completion that was saved; one of an unknown content is dropped.
    pub fn restore_completion(&mut self, hash: InfoHash, completion: Completion) {
        if let Some(serial) = self.catalogue.serial(hash) {
            self.completions.remember(serial, completion);
        }
    }

    /// Takes back how often foreign members fetched a content; that of an unknown one is dropped.
    pub fn restore_downloads(&mut self, hash: InfoHash, count: u32) {
        if let Some(place) = self.foreign.place(hash) {
            self.foreign.at_mut(place).members.count_downloads(count);
        }
    }

    /// Forgets completions that are too old at `now` (seconds since 1970), and says whether any was.
    pub fn expire_completions(&mut self, now: u64) -> bool {
        self.completions.expire(now)
    }

    /// Asserts the invariants of everything, whatever that costs.
    pub fn check(&self) {
        self.catalogue.check();
        self.completions.check();
        assert_eq!(self.swarms.len(), self.catalogue.len());
        let (mut members, mut heap_bytes) = (0, 0);
        for (&serial, swarm) in &self.swarms {
            self.check_swarm(serial);
            members += swarm.len();
            heap_bytes += swarm.heap_bytes();
        }
        assert_eq!((self.members, self.heap_bytes), (members, heap_bytes));
        let slots = self
            .clients
            .iter()
            .map(|(_, known)| known.slots.iter().flatten().count());
        assert_eq!(slots.sum::<usize>(), members);
        self.check_foreign();
        self.check_subscriptions();
    }

    fn insert(&mut self, facts: Facts, owners: Vec<IpAddr>, registered_at: u64) {
        let (members, hash) = (Members::new(facts.piece_count), facts.hash);
        let serial = self.catalogue.insert(Entry {
            facts,
            registered_at,
            owners,
        });
        self.swarms.insert(serial, members);
        self.open_swarms -= usize::from(self.foreign.register(hash, serial));
        self.check_after(serial);
    }

    fn check_swarm(&self, serial: Serial) {
        let swarm = &self.swarms[&serial];
        swarm.check();
        for (key, member) in swarm.starting_at(0) {
            let known = &self.clients[member.client as usize];
            assert_eq!(known.slot(member.slot), Some((serial, key)));
            assert_eq!(swarm.find(&known.place()), Some(key));
        }
    }

    fn check_after(&self, serial: Serial) {
        if !cfg!(debug_assertions) {
            return;
        }
        if let Some(swarm) = self.swarms.get(&serial) {
            let pieces = self.catalogue.entry(serial).facts.piece_count as usize;
            if (swarm.len() + 1) * (pieces + 1) <= CHECK_COST_MAX {
                self.check_swarm(serial);
            }
        }
    }

    fn known(&self, client: Client) -> &Known {
        &self.clients[client.index()]
    }

    fn serial(&self, hash: InfoHash) -> Result<Serial, Refusal> {
        let serial = self.catalogue.serial(hash);
        serial.ok_or(Refusal::NotFound("the content"))
    }

    /// The content and the member that a slot names.
    fn place(&self, client: Client, slot: u32) -> Result<Membership, Refusal> {
        let place = self.known(client).slot(slot);
        place.ok_or(Refusal::NotFound("the slot"))
    }

    /// Changes the members of a content, and keeps count of their memory.
    fn change(&mut self, serial: Serial, change: impl FnOnce(&mut Members)) {
        let members = self.swarms.get_mut(&serial).expect(SWARM);
        let (before, seeds_version) = (members.heap_bytes(), members.seeds_version());
        let shared_before = members.seeds().len() > 1;
        change(members);
        self.heap_bytes = self.heap_bytes - before + members.heap_bytes();
        let is_shared = shared_before || members.seeds().len() > 1;
        if is_shared && members.seeds_version() != seeds_version {
            self.note_parts(serial);
        }
    }

    /// What a JOIN says that its member has, checked against `left`: partly arrived pieces may be counted in it.
    fn holding(&self, serial: Serial, joining: &Joining<'_>) -> Result<Holding, Refusal> {
        let facts = &self.catalogue.entry(serial).facts;
        let holding = match &joining.have {
            Bitmap::All => Holding::All,
            Bitmap::None if facts.piece_count > 0 => Holding::None,
            bitmap => {
                let pieces = bitmap.to_bitfield(facts.piece_count);
                let pieces = pieces.ok_or(Refusal::Invalid("a bitmap of another length"))?;
                Holding::new(pieces)
            }
        };
        let had = match &holding {
            Holding::All => facts.size,
            Holding::None => 0,
            Holding::Some(pieces) => pieces.ones().map(|piece| facts.piece_bytes(piece)).sum(),
        };
        if joining.left > facts.size - had || (joining.left == 0) != holding.is_all() {
            return Err(Refusal::Invalid("what is left contradicts the bitmap"));
        }
        Ok(holding)
    }

    /// Whether there is memory for one more bitmap of this content.
    fn room_for(&self, serial: Serial) -> Result<(), Refusal> {
        let pieces = self.catalogue.entry(serial).facts.piece_count;
        if self.heap_bytes + availability::heap_bytes_max(pieces) > self.config.heap_bytes_max {
            return Err(Refusal::Full("the tracker has no memory for more members"));
        }
        Ok(())
    }

    /// A slot for a client that is about to become a member. The same peer at the same place, on an older connection, is
    /// a connection that died unnoticed: its membership ends.
    fn enter(&mut self, client: Client, serial: Serial) -> Result<u32, Refusal> {
        self.room_for(serial)?;
        if self.swarms[&serial].len() >= availability::MEMBERS_MAX {
            return Err(Refusal::Full("the swarm has as many members as it can"));
        }
        let slot = self.clients[client.index()].take_slot()?;
        let ghost = self.swarms[&serial].find(&self.known(client).place());
        if let Some(key) = ghost {
            let member = self.swarms[&serial].member(key);
            self.leave(Client(member.client), member.slot)?;
        }
        Ok(slot)
    }

    fn add_member(
        &mut self,
        client: Client,
        slot: u32,
        serial: Serial,
        holding: Holding,
        is_upload_only: bool,
    ) {
        let place = self.known(client).place();
        let mut key = 0;
        self.change(serial, |members| {
            key = members.add(place, client.0, slot, holding, is_upload_only);
        });
        self.clients[client.index()].slots[slot as usize - 1] = Some((serial, key));
        self.members += 1;
    }

    fn complete(&mut self, client: Client, serial: Serial, now: u64) {
        let known = &self.clients[client.index()];
        let completion = Completion {
            peer_id: known.peer_id,
            host: known.host.clone(),
            completed_at: now,
        };
        self.completions.remember(serial, completion);
    }
}
