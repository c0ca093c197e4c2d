//! Which of many candidates are named to somebody: near ones, such as have what it lacks, and any.
//!
//! Decides nothing but the choice among candidates, which it is given in random order. Nearness alone would cut a swarm
//! into groups, so there are always some that are not near, and some that are chosen for nothing at all.

use std::cmp::Reverse;

use crate::base::Rng;

/// Parts of a hundred that are near, and that have more of what is lacked than another one has.
const NEAR_PERCENT: usize = 60;
const COMPLEMENT_PERCENT: usize = 25;
/// Of those who are named, at least so many are not of the nearest, if there are any.
const FAR_MIN: usize = 2;

/// What counts in the choice.
pub(super) trait Candidate {
    /// How near it is: the more, the nearer.
    fn proximity(&self) -> u8;
    /// How much it has that is lacked.
    fn complement(&self) -> u32;
}

/// `count` of the candidates.
pub(super) fn mix<T: Candidate>(mut rest: Vec<T>, count: usize, rng: &mut Rng) -> Vec<T> {
    if rest.len() <= count {
        return rest;
    }
    let farthest = rest.iter().map(T::proximity).min().unwrap_or(0);
    rest.sort_by_key(|candidate| Reverse(candidate.proximity()));
    let nearer = rest.partition_point(|candidate| candidate.proximity() > farthest);
    let near = nearer.min(count * NEAR_PERCENT / 100);
    let mut chosen: Vec<T> = rest.drain(..near).collect();
    for _ in 0..count * COMPLEMENT_PERCENT / 100 {
        let (one, other) = (rng.below(rest.len()), rng.below(rest.len()));
        let is_one_better = rest[one].complement() >= rest[other].complement();
        chosen.push(rest.swap_remove(if is_one_better { one } else { other }));
    }
    while chosen.len() < count {
        chosen.push(rest.swap_remove(rng.below(rest.len())));
    }
    keep_far(&mut chosen, &mut rest);
    chosen
}

/// Sees to it that some are chosen that are not of the nearest.
fn keep_far<T: Candidate>(chosen: &mut [T], rest: &mut Vec<T>) {
    let Some(top) = chosen.iter().map(T::proximity).max() else {
        return;
    };
    let is_far = |candidate: &T| candidate.proximity() < top;
    let mut far = chosen.iter().filter(|candidate| is_far(candidate)).count();
    while far < FAR_MIN.min(chosen.len()) {
        let Some(from) = rest.iter().position(is_far) else {
            return;
        };
        let Some(to) = chosen.iter().position(|candidate| !is_far(candidate)) else {
            return;
        };
        chosen[to] = rest.swap_remove(from);
        far += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Candidate for (u8, u32) {
        fn proximity(&self) -> u8 {
            self.0
        }

        fn complement(&self) -> u32 {
            self.1
        }
    }

    #[test]
    fn most_are_near_and_some_are_not() {
        for seed in 0..100 {
            let rng = &mut Rng::new(seed);
            let mut candidates: Vec<(u8, u32)> = vec![(2, 0); 60];
            candidates.extend([(0, 0); 140]);
            rng.shuffle(&mut candidates);
            let chosen = mix(candidates, 50, rng);
            assert_eq!(chosen.len(), 50);
            let near = chosen.iter().filter(|(near, _)| *near == 2).count();
            assert!((30..48).contains(&near), "{near}, seed {seed}");
        }
    }

    #[test]
    fn where_nearly_all_are_near_the_few_others_are_among_the_named() {
        for count in [3, 5, 50] {
            for seed in 0..50 {
                let rng = &mut Rng::new(seed);
                let mut candidates: Vec<(u8, u32)> = vec![(2, 0); 100];
                candidates.extend([(0, 0), (1, 0)]);
                rng.shuffle(&mut candidates);
                let chosen = mix(candidates, count, rng);
                let far = chosen.iter().filter(|(near, _)| *near < 2).count();
                assert_eq!((chosen.len(), far), (count, 2), "seed {seed}");
            }
        }
    }

    #[test]
    fn who_has_more_of_what_is_lacked_is_named_more_often() {
        let (mut named, rng) = (0, &mut Rng::new(1));
        for _ in 0..200 {
            let mut candidates: Vec<(u8, u32)> = vec![(0, 0); 100];
            candidates.extend([(0, 9); 100]);
            rng.shuffle(&mut candidates);
            let chosen = mix(candidates, 40, rng);
            named += chosen.iter().filter(|(_, has)| *has == 9).count();
        }
        // Three in four of the quarter, and half of the others.
        let share = named as f64 / (200.0 * 40.0);
        assert!((0.54..0.59).contains(&share), "{share}");
    }

    #[test]
    fn few_are_all_named() {
        let candidates: Vec<(u8, u32)> = vec![(0, 1), (2, 3)];
        assert_eq!(mix(candidates.clone(), 2, &mut Rng::new(1)), candidates);
    }
}
