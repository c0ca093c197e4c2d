//! Who is asked for what: which sizes are fetched now, which link alone where several lied together, which pieces.

use std::time::Duration;

use super::claim::{Claim, Sole};
use super::link::{Asked, Link};
use super::{CLAIMS_ACTIVE_MAX, InfoFetch, InfoOutput, REQUESTS_MAX};
use crate::base::Time;

/// The first turn of a size while others wait, and of a link that is asked alone; it doubles with every turn.
const TURN_TIME: Duration = Duration::from_secs(15);
/// Doublings after which a turn grows no more: two hours.
const TURN_DOUBLINGS_MAX: u32 = 9;
/// One choice in so many is made blindly.
const BLIND_ONE_IN: usize = 8;

impl InfoFetch {
    /// Forgets what nobody claims, and lets what waits have its turn.
    pub(super) fn take_turns(&mut self, now: Time) {
        let links = &self.links;
        let is_claimed = |size: u32| links.iter().any(|(_, link)| link.offers(size));
        self.claims
            .retain(|size, claim| is_claimed(*size) || claim.is_active() && claim.is_begun());
        if self.next_claim().is_some() && self.active_count() == CLAIMS_ACTIVE_MAX {
            let over = |(size, claim): (&u32, &Claim)| {
                let is_over = claim.turn_until.is_some_and(|until| until <= now);
                is_over.then_some(*size)
            };
            for size in self.claims.iter().filter_map(over).collect::<Vec<_>>() {
                self.make_stale(size);
                if let Some(claim) = self.claims.get_mut(&size) {
                    claim.suspend();
                }
            }
        }
        while self.active_count() < CLAIMS_ACTIVE_MAX
            && let Some(size) = self.next_claim()
            && let Some(claim) = self.claims.get_mut(&size)
        {
            claim.restart();
            claim.turn_until = Some(now + turn(claim.turn_count));
            claim.turn_count += 1;
        }
    }

    /// The claim that has waited for its turn most: had the fewest, is made by most, is smallest.
    pub(super) fn next_claim(&self) -> Option<u32> {
        let offers = |size: u32| self.links.iter().filter(|(_, l)| l.offers(size)).count();
        let waiting = self.claims.iter().filter(|(_, claim)| !claim.is_active());
        waiting
            .map(|(size, claim)| (claim.turn_count, usize::MAX - offers(*size), *size))
            .filter(|(_, others, _)| *others < usize::MAX)
            .min()
            .map(|(_, _, size)| size)
    }

    pub(super) fn active_count(&self) -> usize {
        self.claims.values().filter(|c| c.is_active()).count()
    }

    /// Of a claim that was wrong in common, sees to it that one link alone is asked.
    pub(super) fn choose_sole(&mut self, now: Time, size: u32) {
        let Some(claim) = self.claims.get_mut(&size) else {
            return;
        };
        if !(claim.is_active() && claim.is_divided) {
            return;
        }
        let may = |link: &Link| link.offers(size) && link.refused_until.is_none();
        let current = claim.sole.filter(|sole| {
            let link = self.links.get(sole.key.slot());
            sole.until > now
                && link.is_some_and(|link| link.key(sole.key.slot()) == sole.key && may(link))
        });
        if current.is_some() {
            return;
        }
        let last = claim.sole.take().map(|sole| sole.key);
        let candidates = self.links.iter().filter(|(_, link)| may(link));
        let mut candidates: Vec<(bool, u32, u32, usize)> = candidates
            .map(|(slot, link)| {
                let is_mute = !link.has_delivered;
                (is_mute, link.failure_count, link.sole_count, slot)
            })
            .collect();
        candidates.sort_unstable();
        // Whatever a liar does to look like the best choice, at times the choice is a blind one.
        let best = candidates.first();
        let Some(&(_, _, _, slot)) = (match self.rng.below(BLIND_ONE_IN) {
            0 => self.rng.pick(&candidates),
            _ => best,
        }) else {
            return;
        };
        let link = &mut self.links[slot];
        let (key, until) = (link.key(slot), now + turn(link.sole_count));
        link.sole_count += 1;
        claim.sole = Some(Sole { key, until });
        if last != Some(key) {
            self.restart(size);
        }
    }

    /// Asks a link for as much as it may be asked for.
    pub(super) fn ask(&mut self, now: Time, slot: usize) {
        let Some(link) = self.links.get_mut(slot) else {
            return;
        };
        let key = link.key(slot);
        let claim = link.claim.filter(|size| link.offers(*size));
        let Some(claim) = claim.and_then(|size| self.claims.get_mut(&size)) else {
            return;
        };
        let (Some(id), true) = (link.id, claim.asks(key) && link.refused_until.is_none()) else {
            return;
        };
        while link.asked.len() < REQUESTS_MAX {
            let has_asked = |piece| link.asked.iter().any(|asked| asked.piece == piece);
            let is_idle = link.asked.is_empty();
            let Some(piece) = claim.next(is_idle, has_asked) else {
                return;
            };
            if is_idle {
                link.waiting_since = now;
            }
            claim.asked(piece);
            link.asked.push(Asked {
                piece,
                is_stale: false,
            });
            let peer = key;
            self.outputs
                .push_back(InfoOutput::Request { peer, id, piece });
        }
    }
}

/// How long the turn lasts after `count` of them.
fn turn(count: u32) -> Duration {
    TURN_TIME * 2u32.pow(count.min(TURN_DOUBLINGS_MAX))
}
