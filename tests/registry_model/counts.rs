//! Whoever subscribed and applies what it is told knows the counts, whatever the others do; who misses a push learns of it.

use std::time::Duration;

use shoal::base::{Bitfield, InfoHash, PeerId, Rng, Time};
use shoal::registry::{Caller, Client, Joining, Registry, apply_deltas};
use shoal::wire::native::{Bitmap, HaveItem, HaveState, Role};

use crate::registry_of;

const HASH: InfoHash = InfoHash([9; 20]);
const PIECES: u32 = 40;

struct World {
    registry: Registry,
    rng: Rng,
    /// Those who are members, each with its slot.
    members: Vec<(Client, u32)>,
    joined: u16,
    now: Time,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            registry: registry_of(HASH, PIECES, seed),
            rng: Rng::new(seed),
            members: Vec::new(),
            joined: 0,
            now: Time::ZERO + Duration::from_secs(1),
        }
    }

    fn join(&mut self) -> (Client, u32) {
        self.joined += 1;
        let [high, low] = self.joined.to_be_bytes();
        let ip = [10, 1, high, low];
        let client = self.registry.connect(Caller {
            peer_id: PeerId::from_random([low; 12]),
            source: ip.into(),
            listens_at: &[(ip, 7_000).into()],
            host: "",
            zone: "",
        });
        let mut have = Bitfield::none(PIECES);
        match self.rng.below(4) {
            0 => have = Bitfield::all(PIECES),
            1 => {}
            _ => {
                for piece in 0..PIECES {
                    if self.rng.below(2) == 0 {
                        have.set(piece);
                    }
                }
            }
        }
        let joining = Joining {
            hash: HASH,
            left: u64::from(PIECES - have.count()) << 16,
            have: Bitmap::of(&have),
            want: 10,
            role: Role::Leech,
        };
        let joined = self.registry.join(client, &joining, 0);
        (client, joined.expect("it is there").slot)
    }

    fn report(&mut self, (client, slot): (Client, u32), piece: u32, state: HaveState) {
        let items = [HaveItem { piece, state }].into_iter();
        let done = self.registry.have_batch(client, slot, 0, items, 0);
        done.expect("a member may report");
    }

    fn step(&mut self) {
        match self.rng.below(10) {
            0 | 1 => {
                let member = self.join();
                self.members.push(member);
            }
            2 if !self.members.is_empty() => {
                let at = self.rng.below(self.members.len());
                let (client, _) = self.members.swap_remove(at);
                self.registry.disconnect(client);
            }
            _ if self.members.is_empty() => {}
            _ => {
                let member = self.members[self.rng.below(self.members.len())];
                let piece = self.rng.below(PIECES as usize) as u32;
                let state = match self.rng.below(4) {
                    0 => HaveState::Lost,
                    _ => HaveState::Have,
                };
                self.report(member, piece, state);
            }
        }
    }

    fn counts(&self, (client, slot): (Client, u32)) -> (u32, Vec<u16>) {
        let counts = self.registry.counts(client, slot, 0, PIECES);
        counts.expect("a member may ask")
    }

    fn subscribe(&mut self, (client, slot): (Client, u32), period_ms: u16) {
        let done = self.registry.subscribe(client, slot, period_ms, self.now);
        done.expect("a member may");
    }
}

#[test]
fn who_applies_every_push_knows_the_counts() {
    for seed in 0..100 {
        let mut world = World::new(seed);
        let readers = [(); 3].map(|()| world.join());
        let mut known = Vec::new();
        for (at, &reader) in readers.iter().enumerate() {
            world.subscribe(reader, 250 * (1 + at as u16));
            known.push(world.counts(reader));
        }
        let mut pushes = [0; 3];
        for _ in 0..300 {
            world.step();
            if world.rng.below(3) > 0 {
                continue;
            }
            world.now += Duration::from_millis(100);
            for told in world.registry.take_avail_told(world.now) {
                let reader = (told.client, told.slot);
                let at = readers.iter().position(|&other| other == reader);
                let at = at.expect("one of them");
                assert_eq!(told.base, known[at].0, "seed {seed}");
                apply_deltas(&mut known[at].1, &told.deltas);
                known[at].0 = told.version;
                assert_eq!(known[at], world.counts(reader), "seed {seed}");
                pushes[at] += 1;
            }
            world.registry.check();
        }
        assert!(pushes[0] > pushes[2] && pushes[2] > 0, "{pushes:?}");
        for reader in readers {
            world.subscribe(reader, 0);
        }
        world.registry.check();
        world.join();
        world.now += Duration::from_secs(1);
        assert_eq!(world.registry.take_avail_told(world.now), []);
    }
}

#[test]
fn who_is_too_far_behind_is_told_so() {
    let mut world = World::new(1);
    let reader = world.join();
    world.subscribe(reader, 250);
    let known = world.counts(reader).0;
    let writer = world.join();
    for at in 0..80_000 {
        let state = [HaveState::Lost, HaveState::Have][at % 2];
        world.report(writer, 3, state);
    }
    world.now += Duration::from_secs(1);
    let told = world.registry.take_avail_told(world.now);
    assert_eq!(told.len(), 1);
    assert_ne!(told[0].base, known, "it is not where the reader stands");
    let (version, mut counts) = world.counts(reader);
    assert_eq!(told[0].version, version);
    // From there on it can follow again.
    world.report(writer, 5, HaveState::Lost);
    world.report(writer, 6, HaveState::Have);
    world.report(writer, 7, HaveState::Lost);
    world.now += Duration::from_secs(1);
    for next in world.registry.take_avail_told(world.now) {
        assert_eq!(next.base, version);
        apply_deltas(&mut counts, &next.deltas);
    }
    assert_eq!(counts, world.counts(reader).1);
}
