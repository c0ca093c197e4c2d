//! Any request, reply and push that the format allows.

use std::borrow::Cow;
use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shoal::base::{Bitfield, InfoHash, PeerId};
use shoal::wire::native::*;

fn info_hash() -> impl Strategy<Value = InfoHash> {
    any::<[u8; 20]>().prop_map(InfoHash)
}

fn peer_id() -> impl Strategy<Value = PeerId> {
    any::<[u8; 20]>().prop_map(PeerId)
}

fn addr() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
        any::<([u8; 16], u16)>().prop_map(SocketAddr::from),
    ]
}

fn text() -> impl Strategy<Value = Cow<'static, str>> {
    "\\PC{0,40}".prop_map(Into::into)
}

fn bitmap() -> impl Strategy<Value = Bitmap<'static>> {
    vec(any::<bool>(), 0..70).prop_map(|bits| {
        let mut have = Bitfield::none(bits.len() as u32);
        for (at, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
            have.set(at as u32);
        }
        Bitmap::of(&have).into_owned()
    })
}

fn member() -> impl Strategy<Value = Member> {
    let rest = any::<(bool, bool, bool, u8, u16)>();
    (peer_id(), vec(addr(), 0..=MEMBER_ADDRS_MAX), rest).prop_map(|(peer_id, addrs, rest)| Member {
        peer_id,
        addrs: addrs.into_iter().collect(),
        seed: rest.0,
        upload_only: rest.1,
        foreign: rest.2,
        proximity: rest.3,
        share: rest.4,
    })
}

fn pushed_member() -> impl Strategy<Value = PushedMember> {
    (0..2u8, member()).prop_map(|(change, member)| PushedMember {
        change: PeerChange::from_number(change).expect("in range"),
        member,
    })
}

fn lookup_entry() -> impl Strategy<Value = LookupEntry<'static>> {
    let numbers = any::<(u64, u32, u32, u32, u64)>();
    let sha256 = option::of(any::<[u8; 32]>());
    (info_hash(), numbers, text(), sha256).prop_map(|(info_hash, numbers, name, sha256)| {
        LookupEntry {
            info_hash,
            size: numbers.0,
            piece_len: numbers.1,
            n_pieces: numbers.2,
            n_files: numbers.3,
            name,
            sha256: sha256.filter(|digest| *digest != [0; 32]),
            registered_at: numbers.4,
        }
    })
}

fn list_entry() -> impl Strategy<Value = ListEntry<'static>> {
    (lookup_entry(), any::<(u32, u32, u32)>()).prop_map(|(entry, numbers)| ListEntry {
        entry,
        seeds: numbers.0,
        leechers: numbers.1,
        copies_min: numbers.2,
    })
}

fn member_entry() -> impl Strategy<Value = MemberEntry<'static>> {
    let numbers = any::<(u32, u64, bool)>();
    (member(), text(), numbers, option::of(bitmap())).prop_map(|(member, host, numbers, bitmap)| {
        MemberEntry {
            member,
            host,
            pieces_had: numbers.0,
            completed_at: numbers.1,
            connected: numbers.2,
            bitmap,
        }
    })
}

fn hello() -> impl Strategy<Value = Request<'static>> {
    let addrs = vec(addr(), 0..=HELLO_ADDRS_MAX);
    let numbers = any::<(u16, u64)>();
    (numbers, peer_id(), addrs, text(), text(), text()).prop_map(
        |(numbers, peer_id, addrs, host, zone, token)| {
            Request::Hello(Hello {
                minor: numbers.0,
                features: numbers.1,
                peer_id,
                addrs: addrs.into(),
                host,
                zone,
                token,
            })
        },
    )
}

fn register() -> impl Strategy<Value = Request<'static>> {
    let parts = (vec(any::<u8>(), 0..99), 0..1000u32, any::<bool>());
    parts.prop_map(|(chunk, beyond, more)| Request::Register {
        total: chunk.len() as u32 + beyond,
        chunk: chunk.into(),
        more,
    })
}

fn join() -> impl Strategy<Value = Request<'static>> {
    (info_hash(), any::<u64>(), bitmap(), 0..=WANT_MAX, 0..3u8).prop_map(
        |(info_hash, left, have, want, role)| {
            Request::Join(Join {
                info_hash,
                left,
                have,
                want,
                role: Role::from_number(role).expect("in range"),
            })
        },
    )
}

fn have_batch() -> impl Strategy<Value = Request<'static>> {
    let items = vec((any::<u32>(), 0..3u8), 0..99);
    (any::<(u32, u64, u64, bool)>(), items).prop_map(|(numbers, items)| {
        let item = |(piece, state)| HaveItem {
            piece,
            state: HaveState::from_number(state).expect("in range"),
        };
        Request::HaveBatch(HaveBatch {
            slot: numbers.0,
            up: numbers.1,
            down: numbers.2,
            items: items.into_iter().map(item).collect(),
            wants_reply: numbers.3,
        })
    })
}

fn bad_peer() -> impl Strategy<Value = Request<'static>> {
    let numbers = any::<(u32, u32, u32)>();
    (numbers, addr(), 1..3u8, any::<[u8; 20]>()).prop_map(|(numbers, addr, evidence, digest)| {
        Request::BadPeer(BadPeer {
            slot: numbers.0,
            addr,
            piece: numbers.1,
            block: numbers.2,
            evidence: Evidence::from_number(evidence).expect("in range"),
            digest,
        })
    })
}

fn query() -> impl Strategy<Value = Request<'static>> {
    prop_oneof![
        (any::<(u32, u32)>(), 0..=AVAIL_COUNTS_MAX)
            .prop_map(|((slot, first), count)| Request::AvailQuery { slot, first, count }),
        any::<(u32, u16)>().prop_map(|(slot, period_ms)| Request::AvailSub { slot, period_ms }),
        // A bitmap of an empty set is none, and one that is absent is not written at all.
        (any::<u32>(), 0..=WANT_MAX, option::of(bitmap())).prop_map(|(slot, want, missing)| {
            Request::Peers {
                slot,
                want,
                missing,
            }
        }),
        (any::<u32>(), 0..=PAGE_ENTRIES_MAX, text()).prop_map(|(cursor, limit, glob)| {
            Request::List {
                cursor,
                limit,
                glob,
            }
        }),
        (info_hash(), any::<(u32, bool)>(), 0..=PAGE_ENTRIES_MAX).prop_map(
            |(info_hash, (cursor, with_bitmaps), limit)| Request::Members {
                info_hash,
                cursor,
                limit,
                with_bitmaps,
            }
        ),
        (0..3u8, text()).prop_map(|(by, key)| Request::Lookup {
            by: LookupBy::from_number(by).expect("in range"),
            key,
        }),
    ]
}

pub(crate) fn request() -> impl Strategy<Value = Request<'static>> {
    prop_oneof![
        hello(),
        register(),
        join(),
        have_batch(),
        bad_peer(),
        query(),
        (info_hash(), any::<u32>())
            .prop_map(|(info_hash, offset)| Request::GetInfo { info_hash, offset }),
        (any::<u32>(), 0..2u8).prop_map(|(slot, reason)| Request::Leave {
            slot,
            reason: LeaveReason::from_number(reason).expect("in range"),
        }),
        any::<u32>().prop_map(|slot| Request::Stats { slot }),
        any::<u64>().prop_map(Request::Ping),
        info_hash().prop_map(|info_hash| Request::Unregister { info_hash }),
    ]
}

fn reply_of_numbers() -> impl Strategy<Value = Reply<'static>> {
    prop_oneof![
        (any::<(u32, u32, u32)>(), 0..2u8, addr()).prop_map(|(numbers, policy, seen_addr)| {
            Reply::Hello(HelloReply {
                batch_ms: numbers.0,
                interval_s: numbers.1,
                frame_bytes_max: numbers.2,
                policy: Policy::from_number(policy).expect("in range"),
                seen_addr,
            })
        }),
        (info_hash(), any::<bool>())
            .prop_map(|(info_hash, exists)| Reply::Register { info_hash, exists }),
        Just(Reply::HaveBatch),
        Just(Reply::AvailSub),
        Just(Reply::BadPeer),
        Just(Reply::Leave),
        Just(Reply::Unregister),
        any::<u64>().prop_map(Reply::Pong),
        any::<(u32, u32, u32, u32, u64, u32)>().prop_map(|numbers| Reply::Stats(Stats {
            seeds: numbers.0,
            leechers: numbers.1,
            copies_min: numbers.2,
            copies_mean_256: numbers.3,
            bytes: numbers.4,
            completed: numbers.5,
        })),
        (any::<(u16, u32)>(), text()).prop_map(|((code, retry_ms), text)| Reply::Error {
            code: ErrorCode::from_number(code),
            retry_ms,
            text,
        }),
    ]
}

fn reply_of_lists() -> impl Strategy<Value = Reply<'static>> {
    prop_oneof![
        vec(lookup_entry(), 0..5).prop_map(|entries| Reply::Lookup(entries.into())),
        (0..=INFO_BYTES_MAX, vec(any::<u8>(), 0..99)).prop_map(|(total, bytes)| Reply::Info {
            total,
            bytes: bytes.into(),
        }),
        (any::<(u32, u16, u16)>(), vec(member(), 0..5)).prop_map(|(numbers, members)| {
            Reply::Join(JoinReply {
                slot: numbers.0,
                members: members.into(),
                partition_index: numbers.1,
                partition_of: numbers.2,
            })
        }),
        (any::<(u32, u32)>(), vec(any::<u16>(), 0..99)).prop_map(|(numbers, counts)| {
            Reply::Avail(AvailCounts {
                version: numbers.0,
                unknown: numbers.1,
                counts: counts.into(),
            })
        }),
        vec(member(), 0..5).prop_map(|members| Reply::Peers(members.into())),
        (any::<u32>(), vec(list_entry(), 0..5)).prop_map(|(next_cursor, entries)| Reply::List {
            next_cursor,
            entries: entries.into(),
        }),
        (any::<u32>(), vec(member_entry(), 0..5)).prop_map(|(next_cursor, entries)| {
            Reply::Members {
                next_cursor,
                entries: entries.into(),
            }
        }),
    ]
}

pub(crate) fn reply() -> impl Strategy<Value = Reply<'static>> {
    prop_oneof![reply_of_numbers(), reply_of_lists()]
}

pub(crate) fn push() -> impl Strategy<Value = Push<'static>> {
    prop_oneof![
        (any::<u32>(), vec(pushed_member(), 0..5)).prop_map(|(slot, members)| Push::Peers {
            slot,
            members: members.into(),
        }),
        any::<u32>().prop_map(|slot| Push::Removed { slot }),
        (any::<(u32, u32, u32)>(), vec(any::<(u32, i16)>(), 0..9)).prop_map(|(numbers, deltas)| {
            let deltas = deltas.into_iter();
            Push::Avail {
                slot: numbers.0,
                base: numbers.1,
                version: numbers.2,
                deltas: deltas
                    .map(|(piece, delta)| AvailDelta { piece, delta })
                    .collect(),
            }
        }),
    ]
}
