//! Which seed offers which pieces first: several seeds begin with parts of their own, so that together they bring forth a
//! first copy as fast as they can, and send hardly a piece twice before all are out.
//!
//! It owns the rule and tells who is to hear of a change. When a copy is out, each seed sees for itself: parts only say
//! what comes first.

use super::completions::Serial;
use super::members::Members;
use super::{Client, Refusal, Registry};
use crate::base::PeerId;

/// More seeds than this are not told apart: there are copies enough, and each change is told to all of them.
pub const PARTS_MAX: usize = 16;

/// A seed that is told of the seeds' parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartTold {
    /// Whom.
    pub client: Client,
    /// Its membership.
    pub slot: u32,
    /// The seeds that share the pieces, in the order of their parts; empty if each offers all.
    pub seeds: Vec<PeerId>,
}

impl Registry {
    /// Which part of the pieces a member offers first, and of how many; 1 if of no part, as who is no seed.
    pub fn part(&self, client: Client, slot: u32) -> Result<(u16, u16), Refusal> {
        let (serial, key) = self.place(client, slot)?;
        let seeds = sharing(&self.swarms[&serial]);
        let index = seeds.iter().position(|seed| *seed == key);
        Ok(index.map_or((0, 1), |index| (index as u16, seeds.len() as u16)))
    }

    /// Takes the seeds that are to hear of changed parts.
    pub fn take_parts(&mut self) -> Vec<PartTold> {
        let mut told = Vec::new();
        for serial in std::mem::take(&mut self.repartitioned) {
            let Some(members) = self.swarms.get(&serial) else {
                continue;
            };
            // One more than may share them has just come: those who did hear that they no longer do.
            if members.seeds().len() > PARTS_MAX + 1 {
                continue;
            }
            let peer_of = |key: &u32| self.clients[members.member(*key).client as usize].peer_id;
            let seeds: Vec<PeerId> = sharing(members).iter().map(peer_of).collect();
            for &key in members.seeds() {
                let member = members.member(key);
                told.push(PartTold {
                    client: Client(member.client),
                    slot: member.slot,
                    seeds: seeds.clone(),
                });
            }
        }
        told
    }

    /// The seeds of a content are others than they were.
    pub(super) fn note_parts(&mut self, serial: Serial) {
        if !self.repartitioned.contains(&serial) {
            self.repartitioned.push(serial);
        }
    }
}

/// The seeds that share the pieces of a content, in order.
fn sharing(members: &Members) -> &[u32] {
    match members.seeds() {
        seeds if (2..=PARTS_MAX).contains(&seeds.len()) => seeds,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Caller, Config, Facts, Joining};
    use super::*;
    use crate::base::InfoHash;
    use crate::wire::native::{Bitmap, Role};

    const HASH: InfoHash = InfoHash([7; 20]);

    fn registry() -> Registry {
        let mut registry = Registry::new(Config::new(1));
        let facts = Facts {
            hash: HASH,
            info_sha256: [0; 32],
            info_bytes: 100,
            name: "content".into(),
            size: 4 << 20,
            piece_len: 1 << 20,
            piece_count: 4,
            file_count: 1,
            sha256: Box::default(),
        };
        let from = [10, 0, 0, 1].into();
        registry.register(facts, from, 0).expect("it fits");
        registry
    }

    fn join(registry: &mut Registry, number: u8, is_seed: bool) -> (Client, u32) {
        let addr = ([10, 0, 0, number], 6881).into();
        let client = registry.connect(Caller {
            peer_id: PeerId([number; 20]),
            source: [10, 0, 0, number].into(),
            listens_at: &[addr],
            host: "",
            zone: "",
        });
        let (left, have, role) = if is_seed {
            (0, Bitmap::All, Role::Seed)
        } else {
            (4 << 20, Bitmap::None, Role::Leech)
        };
        let joining = Joining {
            hash: HASH,
            left,
            have,
            want: 0,
            role,
        };
        let joined = registry.join(client, &joining, 0).expect("it is known");
        (client, joined.slot)
    }

    #[test]
    fn one_seed_offers_all_and_two_offer_halves() {
        let mut registry = registry();
        let (first, slot) = join(&mut registry, 1, true);
        let (getter, getter_slot) = join(&mut registry, 2, false);
        assert_eq!(registry.part(first, slot), Ok((0, 1)));
        assert_eq!(registry.take_parts(), [], "one alone hears of nothing");
        let (second, second_slot) = join(&mut registry, 3, true);
        assert_eq!(registry.part(first, slot), Ok((0, 2)));
        assert_eq!(registry.part(second, second_slot), Ok((1, 2)));
        assert_eq!(registry.part(getter, getter_slot), Ok((0, 1)));
        let told = registry.take_parts();
        assert_eq!(
            told.iter().map(|t| t.client).collect::<Vec<_>>(),
            [first, second]
        );
        assert_eq!(told[0].seeds, [PeerId([1; 20]), PeerId([3; 20])]);
        assert_eq!(registry.take_parts(), [], "it is told once");
        registry.disconnect(first);
        let told = registry.take_parts();
        assert_eq!((told.len(), told[0].client), (1, second));
        assert_eq!(told[0].seeds, []);
        assert_eq!(registry.part(second, second_slot), Ok((0, 1)));
    }

    #[test]
    fn many_seeds_share_nothing_and_hear_of_nothing() {
        let mut registry = registry();
        let seeds: Vec<(Client, u32)> = (0..PARTS_MAX as u8)
            .map(|number| join(&mut registry, number + 1, true))
            .collect();
        let parts: Vec<_> = seeds.iter().map(|&(c, s)| registry.part(c, s)).collect();
        assert_eq!(parts[15], Ok((15, 16)));
        registry.take_parts();
        join(&mut registry, 100, true);
        assert_eq!(registry.part(seeds[0].0, seeds[0].1), Ok((0, 1)));
        let told = registry.take_parts();
        assert!(told.len() == PARTS_MAX + 1 && told.iter().all(|t| t.seeds.is_empty()));
        join(&mut registry, 101, true);
        assert_eq!(registry.take_parts(), []);
    }
}
