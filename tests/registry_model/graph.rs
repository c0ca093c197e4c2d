//! Whoever joins in whatever order and wherever it stands, the members that are named hold the swarm together.

use shoal::base::{InfoHash, PeerId, Rng};
use shoal::registry::{Caller, Joining};
use shoal::wire::native::{Bitmap, Role};

use crate::registry_of;

const HASH: InfoHash = InfoHash([7; 20]);

/// The group that a member belongs to, followed to its first.
fn root(groups: &mut [usize], mut at: usize) -> usize {
    while groups[at] != at {
        groups[at] = groups[groups[at]];
        at = groups[at];
    }
    at
}

#[test]
fn members_of_many_racks_are_one_swarm() {
    for seed in 0..60 {
        let rng = &mut Rng::new(seed);
        let (racks, members) = (2 + rng.below(12), 2 + rng.below(300));
        let want = 8 + rng.below(43) as u16;
        // In any order, or rack by rack.
        let is_sorted = rng.below(2) == 0;
        let mut registry = registry_of(HASH, 64, seed);
        let mut groups: Vec<usize> = (0..members).collect();
        let (mut far, mut racks_of) = (vec![0; racks], Vec::new());
        for member in 0..members {
            let rack = if is_sorted {
                member * racks / members
            } else {
                rng.below(racks)
            };
            racks_of.push(rack);
            let zone = format!("site/{rack}");
            let ip = [10, 1, (member / 250) as u8, (member % 250) as u8];
            let client = registry.connect(Caller {
                peer_id: PeerId::from_random([rack as u8; 12].map(|byte| byte ^ member as u8)),
                source: ip.into(),
                listens_at: &[(ip, 7_000 + member as u16).into()],
                host: &format!("host{member}"),
                zone: &zone,
            });
            let joining = Joining {
                hash: HASH,
                left: 64 << 16,
                have: Bitmap::None,
                want,
                role: Role::Leech,
            };
            let joined = registry.join(client, &joining, 0).expect("it is there");
            assert!(joined.members.len() <= usize::from(want));
            for named in &joined.members {
                let addr = named.addrs.iter().next().expect("an address");
                let other = usize::from(addr.port()) - 7_000;
                let (a, b) = (root(&mut groups, member), root(&mut groups, other));
                groups[a] = b;
                if named.proximity < 2 {
                    far[rack] += 1;
                    far[racks_of[other]] += 1;
                }
            }
        }
        let one = root(&mut groups, 0);
        assert!(
            (0..members).all(|member| root(&mut groups, member) == one),
            "seed {seed}: the swarm has fallen apart"
        );
        for (rack, &links) in far.iter().enumerate() {
            let inside = racks_of.iter().filter(|&&other| other == rack).count();
            let links_least = (members - inside).min(2).min(inside * 2);
            assert!(
                links >= links_least,
                "seed {seed}: a rack hangs on one link"
            );
        }
    }
}

#[test]
fn most_members_that_are_named_stand_in_the_same_rack() {
    let mut registry = registry_of(HASH, 64, 1);
    let mut near = 0;
    for member in 0..400u16 {
        let ip = [10, 1, (member / 250) as u8, (member % 250) as u8];
        let zone = format!("site/{}", member % 10);
        let client = registry.connect(Caller {
            peer_id: PeerId::from_random([(member / 256) as u8; 12].map(|b| b ^ member as u8)),
            source: ip.into(),
            listens_at: &[(ip, 7_000).into()],
            host: "",
            zone: &zone,
        });
        let joining = Joining {
            hash: HASH,
            left: 64 << 16,
            have: Bitmap::None,
            want: 50,
            role: Role::Leech,
        };
        let joined = registry.join(client, &joining, 0).expect("it is there");
        near = joined.members.iter().filter(|m| m.proximity == 2).count();
    }
    assert!((30..=45).contains(&near), "{near} of 50");
}
