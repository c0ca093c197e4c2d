//! The native protocol from outside: whatever is written is read back, however it is cut; whatever is hostile is refused.

use std::net::SocketAddr;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use shoal::base::{Bitfield, InfoHash, PeerId};
use shoal::wire::native::*;
use shoal::wire::{TEXT_BYTES_MAX, WireError};

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

fn text() -> impl Strategy<Value = std::borrow::Cow<'static, str>> {
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

fn request() -> impl Strategy<Value = Request<'static>> {
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

fn reply() -> impl Strategy<Value = Reply<'static>> {
    prop_oneof![reply_of_numbers(), reply_of_lists()]
}

fn push() -> impl Strategy<Value = Push<'static>> {
    prop_oneof![
        (any::<u32>(), vec(pushed_member(), 0..5)).prop_map(|(slot, members)| Push::Peers {
            slot,
            members: members.into(),
        }),
        any::<u32>().prop_map(|slot| Push::Removed { slot }),
    ]
}

/// The one frame that `bytes` are.
fn frame(bytes: &[u8]) -> (FrameHead, &[u8]) {
    let mut decoder = FrameDecoder::default();
    let mut input = bytes;
    let frame = decoder.decode(&mut input).expect("valid").expect("whole");
    assert!(input.is_empty());
    assert_eq!(bytes[0], FIRST_BYTE);
    (frame.head, &bytes[HEAD_BYTES..])
}

fn request_bytes(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(77, &mut bytes);
    bytes
}

/// What becomes of a request when `change` has been at its payload.
fn decode_changed(
    request: &Request<'_>,
    change: impl FnOnce(&mut Vec<u8>),
) -> Result<Request<'static>, Refusal> {
    let bytes = request_bytes(request);
    let (head, payload) = frame(&bytes);
    let mut payload = payload.to_vec();
    change(&mut payload);
    let payload: &'static [u8] = payload.leak();
    Request::decode(head.kind, head.flags, payload)
}

/// Whether all that follows known fields belongs to the last field, so that nothing can be ignored.
fn is_open_ended(kind: u8) -> bool {
    kind == kind::REGISTER || kind == kind::GET_INFO | REPLY_BIT || kind == kind::PEERS
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_survives_the_wire(request in request(), id: u32, tail in vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        request.encode(id, &mut bytes);
        let (head, payload) = frame(&bytes);
        prop_assert_eq!((head.kind, head.request_id), (request.kind(), id));
        prop_assert_eq!(Request::decode(head.kind, head.flags, payload), Ok(request.clone()));
        let critical = Request::decode(head.kind, head.flags | FLAG_CRITICAL, payload);
        prop_assert_eq!(critical, Err(Refusal::CriticalFlag));
        if !is_open_ended(head.kind) {
            let longer = [payload, &tail].concat();
            prop_assert_eq!(Request::decode(head.kind, head.flags, &longer), Ok(request));
            for cut in 0..payload.len() {
                let refused = Request::decode(head.kind, head.flags, &payload[..cut]);
                prop_assert_eq!(refused, Err(Refusal::Malformed(WireError::Truncated)));
            }
        }
    }

    #[test]
    fn every_reply_survives_the_wire(reply in reply(), id: u32, tail in vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        reply.encode(id, &mut bytes);
        let (head, payload) = frame(&bytes);
        prop_assert_eq!((head.kind, head.request_id), (reply.kind(), id));
        let decoded = Reply::decode(head.kind, head.flags, payload).expect("valid");
        prop_assert_eq!(&decoded, &reply);
        prop_assert_eq!(decoded.into_owned(), reply.clone());
        if !is_open_ended(head.kind) {
            let longer = [payload, &tail].concat();
            prop_assert_eq!(Reply::decode(head.kind, head.flags, &longer), Ok(reply));
            for cut in 0..payload.len() {
                let refused = Reply::decode(head.kind, head.flags, &payload[..cut]);
                prop_assert_eq!(refused, Err(WireError::Truncated));
            }
        }
    }

    #[test]
    fn every_push_survives_the_wire(push in push(), tail in vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        push.encode(&mut bytes);
        let (head, payload) = frame(&bytes);
        prop_assert!(Push::is_kind(head.kind));
        prop_assert_eq!(head.request_id, 0);
        prop_assert_eq!(Push::decode(head.kind, head.flags, payload), Ok(push.clone()));
        let longer = [payload, &tail].concat();
        prop_assert_eq!(Push::decode(head.kind, head.flags, &longer), Ok(push));
    }

    #[test]
    fn any_chunking_gives_the_frames_of_the_whole(
        requests in vec(request(), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let mut bytes = Vec::new();
        for (id, request) in requests.iter().enumerate() {
            request.encode(id as u32, &mut bytes);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let (mut decoder, mut decoded) = (FrameDecoder::default(), 0);
        for pair in cuts.windows(2) {
            let mut input = &bytes[pair[0]..pair[1]];
            while let Some(frame) = decoder.decode(&mut input).expect("valid") {
                prop_assert_eq!(frame.head.request_id as usize, decoded);
                let request = Request::decode(frame.head.kind, frame.head.flags, frame.payload);
                prop_assert_eq!(request.as_ref(), Ok(&requests[decoded]));
                decoded += 1;
            }
        }
        prop_assert_eq!(decoded, requests.len());
        prop_assert_eq!(decoder.bytes_held(), 0);
    }

    #[test]
    fn garbage_is_refused_or_means_something_but_never_panics(
        kind: u8,
        flags: u8,
        bytes in vec(prop_oneof![Just(0u8), 0..5u8, any::<u8>()], 0..300),
    ) {
        for kind in [kind, kind % 17, kind % 17 | REPLY_BIT, kind % 17 | PUSH_BIT] {
            if let Ok(request) = Request::decode(kind, flags, &bytes) {
                request.encode(1, &mut Vec::new());
            }
            if let Ok(reply) = Reply::decode(kind, flags, &bytes) {
                reply.into_owned().encode(1, &mut Vec::new());
            }
            if let Ok(push) = Push::decode(kind, flags, &bytes) {
                push.encode(&mut Vec::new());
            }
        }
        let (mut decoder, mut input) = (FrameDecoder::default(), &bytes[..]);
        while let Ok(Some(_)) = decoder.decode(&mut input) {}
        prop_assert!(decoder.bytes_held() <= bytes.len());
    }

    #[test]
    fn a_damaged_frame_never_panics(request in request(), reply in reply(), at: prop::sample::Index, with: u8) {
        let mut bytes = request_bytes(&request);
        let at_request = HEAD_BYTES.min(bytes.len() - 1).max(at.index(bytes.len()));
        bytes[at_request] = with;
        if let Ok(request) = Request::decode(request.kind(), 0, &bytes[HEAD_BYTES..]) {
            request.encode(1, &mut Vec::new());
        }
        bytes.clear();
        reply.encode(1, &mut bytes);
        let at_reply = HEAD_BYTES.min(bytes.len() - 1).max(at.index(bytes.len()));
        bytes[at_reply] = with;
        if let Ok(reply) = Reply::decode(reply.kind(), 0, &bytes[HEAD_BYTES..]) {
            reply.encode(1, &mut Vec::new());
        }
    }
}

const HASH: InfoHash = InfoHash([7; 20]);

fn plain_hello() -> Request<'static> {
    Request::Hello(Hello::new(PeerId([1; 20]), &[]))
}

/// Where the number of addresses stands in a HELLO: magic, versions, features and peer id come before.
const HELLO_COUNT_AT: usize = 4 + 4 + 8 + 20;

fn one_member() -> Member {
    Member {
        peer_id: PeerId([2; 20]),
        addrs: [SocketAddr::from(([10, 0, 0, 1], 6881))]
            .into_iter()
            .collect(),
        seed: true,
        upload_only: false,
        foreign: false,
        proximity: 0,
        share: u16::MAX,
    }
}

#[test]
fn the_layout_of_a_hello_is_the_documented_one() {
    let addrs = [SocketAddr::from(([10, 0, 0, 1], 0x1ae1))];
    let mut hello = Hello::new(PeerId(*b"-SH0010-abcdefghijkl"), &addrs);
    hello.host = "h".into();
    hello.zone = "s/r".into();
    let bytes = request_bytes(&Request::Hello(hello));
    let expected = [
        &[0, 0, 0, 62, 0x01, 0, 0, 0, 0, 0, 0, 77][..],
        b"SHOL\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        b"-SH0010-abcdefghijkl\x01\x04\x0a\x00\x00\x01\x1a\xe1",
        b"\x00\x01h\x00\x03s/r\x00\x00",
    ]
    .concat();
    assert_eq!(bytes, expected);
}

#[test]
fn another_major_version_is_told_apart_from_a_bad_frame() {
    let other = decode_changed(&plain_hello(), |payload| {
        payload.truncate(8);
        payload[5] = 2;
    });
    assert_eq!(other, Err(Refusal::Version(2)));
    let stranger = decode_changed(&plain_hello(), |payload| payload[0] = b'X');
    assert_eq!(stranger, Err(Refusal::Malformed(WireError::BadValue)));
}

#[test]
fn a_hello_with_too_many_addresses_is_refused() {
    let nine = decode_changed(&plain_hello(), |payload| {
        payload[HELLO_COUNT_AT] = HELLO_ADDRS_MAX as u8 + 1;
        payload.extend_from_slice(&[4; 99]);
    });
    assert_eq!(nine, Err(Refusal::Malformed(WireError::TooMany)));
    let missing = decode_changed(&plain_hello(), |payload| {
        payload[HELLO_COUNT_AT] = HELLO_ADDRS_MAX as u8;
    });
    assert_eq!(missing, Err(Refusal::Malformed(WireError::Truncated)));
}

#[test]
fn an_address_of_an_unknown_family_is_refused() {
    let family = decode_changed(&plain_hello(), |payload| {
        payload[HELLO_COUNT_AT] = 1;
        let at = HELLO_COUNT_AT + 1;
        payload.splice(at..at, [5, 1, 2, 3, 4, 5, 6]);
    });
    assert_eq!(family, Err(Refusal::Malformed(WireError::BadValue)));
}

#[test]
fn a_text_that_is_too_long_is_refused() {
    let lookup = Request::Lookup {
        by: LookupBy::Name,
        key: "x".repeat(TEXT_BYTES_MAX).into(),
    };
    assert_eq!(decode_changed(&lookup, |_| {}), Ok(lookup.clone()));
    let longer = decode_changed(&lookup, |payload| {
        payload[2] += 1;
        payload.push(b'x');
    });
    let refusal = Refusal::Malformed(WireError::TextTooLong);
    assert_eq!(longer, Err(refusal));
    assert_eq!(refusal.code(), ErrorCode::TooLarge);
}

#[test]
fn a_text_that_we_write_is_cut_to_what_is_allowed() {
    let lookup = Request::Lookup {
        by: LookupBy::Name,
        key: "x".repeat(TEXT_BYTES_MAX + 9).into(),
    };
    let Ok(Request::Lookup { key, .. }) = decode_changed(&lookup, |_| {}) else {
        panic!("a lookup");
    };
    assert_eq!(key.len(), TEXT_BYTES_MAX);
}

#[test]
fn a_text_that_is_not_utf8_is_refused() {
    let lookup = Request::Lookup {
        by: LookupBy::Name,
        key: "name".into(),
    };
    let changed = decode_changed(&lookup, |payload| payload[4] = 0xff);
    assert_eq!(changed, Err(Refusal::Malformed(WireError::TextNotUtf8)));
}

#[test]
fn a_list_that_announces_more_than_the_payload_holds_is_refused() {
    let batch = Request::HaveBatch(HaveBatch {
        slot: 1,
        up: 0,
        down: 0,
        items: List::default(),
        wants_reply: false,
    });
    let count_at = 4 + 8 + 8;
    let beyond = decode_changed(&batch, |payload| payload[count_at + 1] = 1);
    assert_eq!(beyond, Err(Refusal::Malformed(WireError::Truncated)));
    let allowed = decode_changed(&batch, |payload| {
        payload[count_at..].copy_from_slice(&(HAVE_ITEMS_MAX as u16).to_be_bytes());
        payload.resize(payload.len() + 5 * HAVE_ITEMS_MAX, 0);
    });
    let Ok(Request::HaveBatch(allowed)) = allowed else {
        panic!("{allowed:?}");
    };
    assert_eq!(allowed.items.len(), HAVE_ITEMS_MAX);
    let too_many = decode_changed(&batch, |payload| {
        payload[count_at..].copy_from_slice(&(HAVE_ITEMS_MAX as u16 + 1).to_be_bytes());
        payload.resize(payload.len() + 5 * HAVE_ITEMS_MAX + 5, 0);
    });
    assert_eq!(too_many, Err(Refusal::Malformed(WireError::TooMany)));
}

#[test]
fn counts_of_replies_are_checked_as_those_of_requests_are() {
    let lookup = |count: u32| {
        let payload = [&count.to_be_bytes()[..], &[0; 99]].concat();
        Reply::decode(kind::LOOKUP | REPLY_BIT, 0, &payload).map(|_| ())
    };
    assert_eq!(lookup(65), Err(WireError::TooMany));
    assert_eq!(lookup(64), Err(WireError::Truncated));
    assert_eq!(lookup(1), Ok(()));
    let avail = |count: u32| {
        let payload = [&[0; 8][..], &count.to_be_bytes()].concat();
        Reply::decode(kind::AVAIL_QUERY | REPLY_BIT, 0, &payload).map(|_| ())
    };
    assert_eq!(avail(AVAIL_COUNTS_MAX + 1), Err(WireError::TooMany));
    assert_eq!(avail(u32::MAX), Err(WireError::TooMany));
    assert_eq!(avail(AVAIL_COUNTS_MAX), Err(WireError::Truncated));
    let peers = Reply::decode(kind::PEERS | REPLY_BIT, 0, &[0, WANT_MAX as u8 + 1]);
    assert_eq!(peers, Err(WireError::TooMany));
    let members = Reply::decode(kind::MEMBERS | REPLY_BIT, 0, &[0, 0, 0, 0, 1, 1]);
    assert_eq!(members, Err(WireError::TooMany));
}

#[test]
fn a_member_with_too_many_addresses_is_refused() {
    let mut bytes = Vec::new();
    Reply::Peers(List::lent(&[one_member()])).encode(1, &mut bytes);
    let payload = &mut bytes[HEAD_BYTES..];
    payload[2 + 20] = MEMBER_ADDRS_MAX as u8 + 1;
    let longer = [&*payload, &[4, 0, 0, 0, 0, 0, 0].repeat(3)].concat();
    let refused = Reply::decode(kind::PEERS | REPLY_BIT, 0, &longer);
    assert_eq!(refused, Err(WireError::TooMany));
}

#[test]
fn a_bitmap_is_refused_when_it_is_too_long_or_has_spare_bits() {
    let join = |bitmap: &[u8]| {
        let payload = [&HASH.0[..], &[0; 8], bitmap, &[0, 5, 0]].concat();
        Request::decode(kind::JOIN, 0, &payload).map(|_| ())
    };
    assert_eq!(join(&[0, 0, 0, 10, 0xff, 0xc0]), Ok(()));
    let spare = Refusal::Malformed(WireError::BadValue);
    assert_eq!(join(&[0, 0, 0, 10, 0xff, 0xe0]), Err(spare));
    let too_many = Refusal::Malformed(WireError::TooMany);
    assert_eq!(join(&(PIECES_MAX + 1).to_be_bytes()), Err(too_many));
    let truncated = Refusal::Malformed(WireError::Truncated);
    assert_eq!(join(&PIECES_MAX.to_be_bytes()), Err(truncated));
    assert_eq!(join(&u32::MAX.to_be_bytes()), Ok(()));
}

#[test]
fn numbers_beyond_their_limits_are_too_large() {
    let refused = |request: &Request<'_>, at: usize, bytes: &[u8]| {
        let changed = decode_changed(request, |payload| {
            payload[at..at + bytes.len()].copy_from_slice(bytes);
        });
        assert_eq!(changed, Err(Refusal::TooLarge), "{request:?}");
    };
    let register = Request::Register {
        total: INFO_BYTES_MAX,
        chunk: b"de".into(),
        more: false,
    };
    assert_eq!(decode_changed(&register, |_| {}), Ok(register.clone()));
    refused(&register, 0, &(INFO_BYTES_MAX + 1).to_be_bytes());
    let avail = Request::AvailQuery {
        slot: 1,
        first: 0,
        count: 1,
    };
    refused(&avail, 8, &(AVAIL_COUNTS_MAX + 1).to_be_bytes());
    let peers = Request::Peers {
        slot: 1,
        want: 1,
        missing: None,
    };
    refused(&peers, 4, &(WANT_MAX + 1).to_be_bytes());
    let list = Request::List {
        cursor: 0,
        limit: 1,
        glob: "".into(),
    };
    refused(&list, 4, &(PAGE_ENTRIES_MAX + 1).to_be_bytes());
    let members = Request::Members {
        info_hash: HASH,
        cursor: 0,
        limit: 1,
        with_bitmaps: true,
    };
    refused(&members, 24, &(PAGE_ENTRIES_MAX + 1).to_be_bytes());
    assert_eq!(Refusal::TooLarge.code(), ErrorCode::TooLarge);
}

#[test]
fn a_chunk_longer_than_its_whole_is_refused() {
    let refused = Request::decode(kind::REGISTER, 0, &[0, 0, 0, 1, b'd', b'e']);
    assert_eq!(refused, Err(Refusal::Malformed(WireError::FrameLength)));
}

#[test]
fn an_info_reply_longer_than_a_chunk_is_refused() {
    let info = |bytes: usize, total: u32| {
        let payload = [&total.to_be_bytes()[..], &vec![0; bytes]].concat();
        Reply::decode(kind::GET_INFO | REPLY_BIT, 0, &payload).map(|_| ())
    };
    assert_eq!(info(CHUNK_BYTES_MAX, INFO_BYTES_MAX), Ok(()));
    assert!(info(CHUNK_BYTES_MAX + 1, INFO_BYTES_MAX).is_err());
    assert!(info(1, INFO_BYTES_MAX + 1).is_err());
}

#[test]
fn unknown_kinds_are_refused_by_name() {
    for kind in [0x00, 0x08, 0x11, 0x48, 0x7f] {
        let refused = Request::decode(kind, 0, &[0; 99]);
        assert_eq!(refused, Err(Refusal::UnknownType), "{kind:#x}");
        assert_eq!(
            Reply::decode(kind | REPLY_BIT, 0, &[0; 99]).err(),
            (kind != 0x7f).then_some(WireError::UnknownType),
            "{kind:#x}"
        );
    }
    assert_eq!(Push::decode(0x48, 0, &[0; 99]), Err(WireError::UnknownType));
    assert_eq!(Refusal::UnknownType.code(), ErrorCode::UnknownType);
}

#[test]
fn flags_that_are_neither_known_nor_critical_are_ignored() {
    assert_eq!(
        Request::decode(kind::PING, 0x7e, &[0; 8]),
        Ok(Request::Ping(0))
    );
}

#[test]
fn items_written_one_by_one_make_the_same_frame_as_a_list() {
    let mut listed = b"before".to_vec();
    let mut written = listed.clone();
    let members = [one_member(), one_member()];
    Reply::Peers(List::lent(&members)).encode(9, &mut listed);
    let mut writer = ItemWriter::peers(&mut written, 9);
    assert!(members.iter().all(|member| writer.push(member)));
    writer.finish();
    assert_eq!(written, listed);

    let pushed = PushedMember {
        change: PeerChange::Joined,
        member: one_member(),
    };
    Push::Peers {
        slot: 3,
        members: List::lent(&[pushed]),
    }
    .encode(&mut listed);
    let mut writer = ItemWriter::peers_push(&mut written, 3);
    assert!(writer.push(&pushed));
    writer.finish();
    assert_eq!(written, listed);
}

#[test]
fn a_page_is_cut_before_the_entry_that_does_not_fit() {
    let bits = vec![0x55; Bitfield::byte_len(PIECES_MAX)];
    let entry = MemberEntry {
        member: one_member(),
        host: "host".into(),
        pieces_had: PIECES_MAX / 2,
        completed_at: 0,
        connected: true,
        bitmap: Some(Bitmap::Bits(PIECES_MAX, bits.into())),
    };
    let mut bytes = Vec::new();
    let mut writer = ItemWriter::members(&mut bytes, 9);
    while writer.push(&entry) {}
    let count = writer.count();
    writer.continue_at(count as u32 + 1);
    writer.finish();
    assert!(bytes.len() <= PAGE_BYTES_MAX + 4);
    assert!(bytes.len() > PAGE_BYTES_MAX - 17_000);
    let (head, payload) = frame(&bytes);
    let Ok(Reply::Members {
        next_cursor,
        entries,
    }) = Reply::decode(head.kind, head.flags, payload)
    else {
        panic!("a page of members");
    };
    assert_eq!((next_cursor as usize, entries.len()), (count + 1, count));
    assert!(entries.iter().all(|read| read == entry));
}

#[test]
fn a_bitmap_and_the_set_it_spells_are_one() {
    let mut have = Bitfield::none(10);
    assert_eq!(Bitmap::of(&have), Bitmap::None);
    have.set(9);
    let bitmap = Bitmap::of(&have);
    assert_eq!(bitmap.to_bitfield(10), Some(have.clone()));
    assert_eq!(bitmap.to_bitfield(11), None);
    assert_eq!(Bitmap::of(&Bitfield::all(10)), Bitmap::All);
    assert_eq!(Bitmap::All.to_bitfield(3), Some(Bitfield::all(3)));
    assert_eq!(Bitmap::of(&Bitfield::none(0)), Bitmap::All);
}

#[test]
fn a_share_is_a_fraction_of_all_pieces() {
    assert_eq!(Member::share_of(0, 10), 0);
    assert_eq!(Member::share_of(5, 10), 32_767);
    assert_eq!(Member::share_of(10, 10), u16::MAX);
    assert_eq!(Member::share_of(0, 0), u16::MAX);
}
