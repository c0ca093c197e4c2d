//! What members are yet to be told of newcomers.
//!
//! Owns the pushes that wait. Who is told of a newcomer gives it a second to come by itself, so that a push may be a little
//! late: after a pause it goes out at once, and those that follow are gathered until the next pause is over. So many
//! newcomers at a time cost a member one frame, and not one write each.
//!
//! Invariants:
//! 1. What waits is told within one pause, or as fast as slices of [`FRAMES_PER_SLICE`] go out.
//! 2. No more than [`WAITING_MAX`] pushes are gathered: with one more all of them are due.

use std::time::Duration;

use crate::base::Time;
use crate::reactor::ConnId;
use crate::registry::Told;
use crate::wire::native::{Member, PeerChange, PushedMember, WANT_MAX};

/// Pushes that are gathered.
const WAITING_MAX: usize = 1 << 16;
/// Frames that go out in one turn of the loop, so that others are not kept waiting.
pub(super) const FRAMES_PER_SLICE: usize = 256;

/// One member that is told of one newcomer.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    receiver: Receiver,
    /// Its place among the newcomers, who are told to many.
    newcomer: u32,
    /// How near it is to the receiver.
    proximity: u8,
}

/// Who is told: a connection, and which of its memberships in which content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receiver {
    pub(super) conn: ConnId,
    pub(super) slot: u32,
    pub(super) content: u32,
}

/// The pushes of newcomers.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    gathered: Batch,
    /// What is going out, the next at the end, all of one receiver together.
    going: Batch,
    /// When what is gathered goes out.
    due: Option<Time>,
    /// Until when pushes are gathered.
    quiet_until: Time,
}

#[derive(Debug, Default)]
struct Batch {
    waiting: Vec<Waiting>,
    newcomers: Vec<Member>,
}

impl Newcomers {
    /// One more push, to the member that is on `conn`.
    pub(super) fn add(&mut self, now: Time, conn: ConnId, told: &Told) {
        let Batch { waiting, newcomers } = &mut self.gathered;
        let proximity = told.newcomer.proximity;
        let newcomer = Member {
            proximity: 0,
            ..told.newcomer
        };
        if newcomers.last() != Some(&newcomer) {
            newcomers.push(newcomer);
        }
        waiting.push(Waiting {
            receiver: Receiver {
                conn,
                slot: told.slot,
                content: told.content,
            },
            newcomer: newcomers.len() as u32 - 1,
            proximity,
        });
        let is_full = waiting.len() >= WAITING_MAX;
        self.due.get_or_insert_with(|| self.quiet_until.max(now));
        if is_full {
            self.due = Some(now);
        }
    }

    /// When there is something to tell.
    pub(super) fn next_at(&self) -> Option<Time> {
        if self.going.waiting.is_empty() {
            self.due
        } else {
            Some(Time::ZERO)
        }
    }

    /// Takes what goes in one frame now: to whom it goes; `members` becomes the newcomers. What comes from now on is
    /// gathered for `pause`.
    pub(super) fn take(
        &mut self,
        now: Time,
        pause: Duration,
        members: &mut Vec<PushedMember>,
    ) -> Option<Receiver> {
        if self.going.waiting.is_empty() && self.due.is_some_and(|at| at <= now) {
            self.due = None;
            self.quiet_until = now + pause;
            self.going = std::mem::take(&mut self.gathered);
            let waiting = &mut self.going.waiting;
            waiting.sort_by_key(|one| (one.receiver.conn.slot(), one.receiver.slot));
            waiting.reverse();
        }
        members.clear();
        let Batch { waiting, newcomers } = &mut self.going;
        let receiver = waiting.last()?.receiver;
        while members.len() < usize::from(WANT_MAX)
            && let Some(one) = waiting.pop_if(|one| one.receiver == receiver)
        {
            members.push(PushedMember {
                change: PeerChange::Joined,
                member: Member {
                    proximity: one.proximity,
                    ..newcomers[one.newcomer as usize]
                },
            });
        }
        if waiting.is_empty() {
            self.going = Batch::default();
        }
        Some(receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerId;
    use crate::registry::{Caller, Client, Config, Registry};
    use crate::wire::native::AddrPair;

    const PAUSE: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> Time {
        Time::ZERO + Duration::from_millis(millis)
    }

    /// A client of some registry.
    fn client() -> Client {
        Registry::new(Config::new(1)).connect(Caller {
            peer_id: PeerId([1; 20]),
            source: [10, 0, 0, 1].into(),
            listens_at: &[],
            host: "",
            zone: "",
        })
    }

    fn told(newcomer: u8) -> Told {
        Told {
            client: client(),
            slot: 1,
            content: 7,
            newcomer: Member {
                peer_id: PeerId([newcomer; 20]),
                addrs: AddrPair::default(),
                seed: false,
                upload_only: false,
                foreign: false,
                proximity: 0,
                share: 0,
            },
        }
    }

    /// What goes out at `now`: for each frame the slot of the connection, and the newcomers.
    fn taken(newcomers: &mut Newcomers, now: Time) -> Vec<(usize, Vec<u8>)> {
        let (mut frames, mut members) = (Vec::new(), Vec::new());
        while let Some(Receiver { conn, .. }) = newcomers.take(now, PAUSE, &mut members) {
            let ids = members.iter().map(|pushed| pushed.member.peer_id.0[0]);
            frames.push((conn.slot(), ids.collect()));
        }
        frames
    }

    #[test]
    fn the_first_is_told_at_once_and_those_that_follow_together() {
        let mut newcomers = Newcomers::default();
        let conn = |slot| ConnId::for_test(slot, 1);
        assert_eq!(newcomers.next_at(), None);
        newcomers.add(at(5), conn(1), &told(1));
        assert_eq!(newcomers.next_at(), Some(at(5)));
        assert_eq!(taken(&mut newcomers, at(5)), [(1, vec![1])]);
        for id in 2..5 {
            newcomers.add(at(20), conn(2), &told(id));
            newcomers.add(at(20), conn(1), &told(id));
        }
        assert_eq!(newcomers.next_at(), Some(at(1005)));
        assert_eq!(taken(&mut newcomers, at(1004)), []);
        let frames = [(1, vec![2, 3, 4]), (2, vec![2, 3, 4])];
        assert_eq!(taken(&mut newcomers, at(1005)), frames);
        assert_eq!(newcomers.next_at(), None);
        newcomers.add(at(3000), conn(1), &told(9));
        assert_eq!(newcomers.next_at(), Some(at(3000)));
    }

    #[test]
    fn a_frame_names_no_more_than_it_may_and_connections_are_not_mixed() {
        let mut newcomers = Newcomers::default();
        for id in 0..60 {
            newcomers.add(at(0), ConnId::for_test(1, 1), &told(id));
        }
        // The slot of the connection was given to another.
        newcomers.add(at(0), ConnId::for_test(1, 2), &told(60));
        let sizes = taken(&mut newcomers, at(0)).into_iter();
        let sizes: Vec<_> = sizes.map(|(slot, ids)| (slot, ids.len())).collect();
        assert_eq!(sizes, [(1, 50), (1, 10), (1, 1)]);
    }

    #[test]
    fn too_many_to_gather_are_due_at_once() {
        let mut newcomers = Newcomers::default();
        newcomers.add(at(0), ConnId::for_test(1, 1), &told(0));
        taken(&mut newcomers, at(0));
        for _ in 1..WAITING_MAX {
            newcomers.add(at(1), ConnId::for_test(1, 1), &told(1));
        }
        assert_eq!(newcomers.next_at(), Some(at(1000)));
        newcomers.add(at(2), ConnId::for_test(1, 1), &told(1));
        assert_eq!(newcomers.next_at(), Some(at(2)));
    }
}
