//! What the tracker is for: register, find, join, report, leave.

use harness::{Client, OwnPush, Tracker, info, peer_id, until};
use shoal::base::hex;
use shoal::wire::native::{
    BadPeer, ErrorCode, Evidence, LeaveReason, LookupBy, MemberEntry, Reply, Request,
};

use super::harness;

fn members(client: &mut Client, info_hash: shoal::base::InfoHash) -> Vec<MemberEntry<'static>> {
    let (mut cursor, mut rows) = (0, Vec::new());
    loop {
        let reply = client.ask(Request::Members {
            info_hash,
            cursor,
            limit: 3,
            with_bitmaps: true,
        });
        let Reply::Members {
            next_cursor,
            entries,
        } = reply
        else {
            panic!("{reply:?}");
        };
        rows.extend(entries.iter());
        if next_cursor == 0 {
            return rows;
        }
        cursor = next_cursor;
    }
}

#[test]
fn a_content_is_registered_found_and_fetched() {
    let tracker = Tracker::start(None);
    assert!(
        tracker.start_line.contains("state none"),
        "it says that it keeps nothing"
    );
    let (info, hash) = info("vm.qcow2", 1000);
    let mut client = Client::connect(tracker.addr);
    let hello = client.hello(1);
    let Reply::Hello(hello) = hello else {
        panic!("{hello:?}");
    };
    assert_eq!((hello.batch_ms, hello.interval_s), (250, 60));
    assert_eq!(hello.seen_addr, client.stream.local_addr().expect("bound"));
    for exists in [false, true] {
        let reply = Reply::Register {
            info_hash: hash,
            exists,
        };
        assert_eq!(client.register(&info), reply);
    }
    let digits = hash.to_string();
    for (by, key) in [
        (LookupBy::Name, "vm.qcow2"),
        (LookupBy::Hash, &digits),
        (LookupBy::Hash, &digits[..8]),
        (LookupBy::Sha256, &hex(&[7; 32])),
    ] {
        let Reply::Lookup(found) = client.ask(Request::Lookup {
            by,
            key: key.into(),
        }) else {
            panic!("no answer");
        };
        let entry = found.iter().next().expect("found");
        assert_eq!((entry.info_hash, entry.n_pieces), (hash, 1000));
        assert_eq!(entry.sha256, Some([7; 32]));
    }
    let mut fetched = Vec::new();
    loop {
        let offset = fetched.len() as u32;
        let Reply::Info { total, bytes } = client.ask(Request::GetInfo {
            info_hash: hash,
            offset,
        }) else {
            panic!("no answer");
        };
        assert_eq!(total as usize, info.len());
        fetched.extend_from_slice(&bytes);
        if bytes.is_empty() {
            break;
        }
    }
    assert_eq!(fetched, info);
    let Reply::List { entries, .. } = client.ask(Request::List {
        cursor: 0,
        limit: 10,
        glob: "*.qcow2".into(),
    }) else {
        panic!("no answer");
    };
    assert_eq!(entries.len(), 1);
    assert_eq!(client.ask(Request::Ping(77)), Reply::Pong(77));
}

#[test]
fn a_large_content_is_registered_in_chunks() {
    let tracker = Tracker::start(None);
    let (info, hash) = info("large", 131_072);
    let mut client = tracker.client(1);
    let chunks = info.chunks(200_000);
    let count = chunks.len();
    let mut wire = Vec::new();
    for (at, chunk) in chunks.enumerate() {
        let request = Request::Register {
            total: info.len() as u32,
            chunk: chunk.into(),
            more: at + 1 < count,
        };
        request.encode(900, &mut wire);
    }
    use std::io::Write;
    client.stream.write_all(&wire).expect("sent");
    let reply = Reply::Register {
        info_hash: hash,
        exists: false,
    };
    assert_eq!(client.next(), Some(harness::Frame::Reply(900, reply)));
}

#[test]
fn members_learn_of_one_another_and_of_what_each_has() {
    let tracker = Tracker::start(None);
    let (info, hash) = info("file", 10);
    let mut seed = tracker.client(1);
    seed.register(&info);
    assert_eq!(seed.join(hash, 10, true).slot, 1);
    let mut getter = tracker.client(2);
    let joined = getter.join(hash, 10, false);
    let named = joined.members.iter().next().expect("the seed");
    assert_eq!((named.peer_id, named.seed), (peer_id(1), true));
    assert_eq!(
        named.addrs.iter().next(),
        Some(([127, 0, 0, 1], 1001).into())
    );
    assert_eq!(seed.next_push(), OwnPush::Joined(1, vec![peer_id(2)]));
    assert_eq!(getter.have(joined.slot, 0..4), Reply::HaveBatch);
    let query = Request::AvailQuery {
        slot: joined.slot,
        first: 2,
        count: 100,
    };
    let Reply::Avail(avail) = getter.ask(query) else {
        panic!("no answer");
    };
    assert_eq!(
        avail.counts.iter().collect::<Vec<_>>(),
        [2, 2, 1, 1, 1, 1, 1, 1]
    );
    let rows = members(&mut seed, hash);
    let had: Vec<_> = rows
        .iter()
        .map(|row| (&*row.host, row.pieces_had))
        .collect();
    assert_eq!(had, [("host1", 10), ("host2", 4)]);
    getter.have(joined.slot, 4..10);
    let Reply::Stats(stats) = getter.ask(Request::Stats { slot: 1 }) else {
        panic!("no answer");
    };
    assert_eq!((stats.seeds, stats.leechers, stats.completed), (2, 0, 1));
    assert_eq!((stats.copies_min, stats.copies_mean_256), (2, 512));
    let leave = Request::Leave {
        slot: joined.slot,
        reason: LeaveReason::Done,
    };
    assert_eq!(getter.ask(leave.clone()), Reply::Leave);
    assert_eq!(getter.refused(leave), ErrorCode::NotFound);
    let rows = members(&mut seed, hash);
    let rows: Vec<_> = rows.iter().map(|row| (&*row.host, row.connected)).collect();
    assert_eq!(
        rows,
        [("host1", true), ("host2", false)],
        "a completion is remembered"
    );
}

#[test]
fn a_member_whose_connection_ends_is_gone_at_once() {
    let tracker = Tracker::start(None);
    let (info, hash) = info("file", 10);
    let mut watcher = tracker.client(1);
    watcher.register(&info);
    let mut member = tracker.client(2);
    member.join(hash, 10, true);
    assert_eq!(members(&mut watcher, hash).len(), 1);
    drop(member);
    until(|| members(&mut watcher, hash).is_empty());
}

#[test]
fn an_accused_peer_is_named_no_more_once_two_accuse_it() {
    let tracker = Tracker::start(None);
    let (info, hash) = info("file", 10);
    let mut liar = tracker.client(1);
    liar.register(&info);
    liar.join(hash, 10, true);
    let mut accusers = [tracker.client(2), tracker.client(3), tracker.client(4)];
    for (count, accuser) in accusers.iter_mut().enumerate() {
        let slot = accuser.join(hash, 10, false).slot;
        let Reply::Peers(named) = accuser.ask(Request::Peers {
            slot,
            want: 50,
            missing: None,
        }) else {
            panic!("no answer");
        };
        let is_named = named.iter().any(|member| member.peer_id == peer_id(1));
        assert_eq!(is_named, count < 2);
        let report = BadPeer {
            slot,
            addr: ([127, 0, 0, 1], 1001).into(),
            piece: 1,
            block: 0,
            evidence: Evidence::SoleSender,
            digest: [0; 20],
        };
        assert_eq!(accuser.ask(Request::BadPeer(report)), Reply::BadPeer);
    }
}

#[test]
fn unregistering_tells_the_members() {
    let tracker = Tracker::start(None);
    let (info, hash) = info("file", 10);
    let mut member = tracker.client(1);
    member.register(&info);
    let slot = member.join(hash, 10, true).slot;
    let mut remover = tracker.client(2);
    let unregister = Request::Unregister { info_hash: hash };
    assert_eq!(remover.ask(unregister.clone()), Reply::Unregister);
    assert_eq!(member.next_push(), OwnPush::Removed(slot));
    assert_eq!(remover.refused(unregister), ErrorCode::NotFound);
    assert_eq!(
        remover.refused(Request::GetInfo {
            info_hash: hash,
            offset: 0
        }),
        ErrorCode::NotFound
    );
}

#[test]
fn who_subscribes_is_told_how_the_counts_change() {
    let tracker = Tracker::start(None);
    let (info, hash) = info("vm.qcow2", 8);
    let mut reader = tracker.client(1);
    reader.register(&info);
    let slot = reader.join(hash, 8, false).slot;
    let period_ms = 250;
    let subscribed = reader.ask(Request::AvailSub { slot, period_ms });
    assert_eq!(subscribed, Reply::AvailSub);
    let (first, count) = (0, 8);
    let Reply::Avail(counts) = reader.ask(Request::AvailQuery { slot, first, count }) else {
        panic!("no counts");
    };
    let mut writer = tracker.client(2);
    let joined = writer.join(hash, 8, false);
    writer.have(joined.slot, 2..4);
    // A newcomer is told of as well.
    let (mut told, mut known) = (vec![0; 8], counts.version);
    while told != [0, 0, 1, 1, 0, 0, 0, 0] {
        if let OwnPush::Counts(of, base, version, deltas) = reader.next_push() {
            assert_eq!((of, base), (slot, known), "each goes on from the last");
            known = version;
            for (piece, delta) in deltas {
                told[piece as usize] += delta;
            }
        }
    }
    let other = slot + 1;
    let refused = reader.refused(Request::AvailSub {
        slot: other,
        period_ms,
    });
    assert_eq!(refused, ErrorCode::NotFound);
}
