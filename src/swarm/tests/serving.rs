//! Slots, and what is sent in which order.

use super::*;

fn uploads(rig: &mut Rig) -> Vec<PeerKey> {
    let outputs = std::mem::take(&mut rig.rest).into_iter();
    let (uploads, rest): (Vec<Output>, _) =
        outputs.partition(|output| matches!(output, Output::Upload { .. }));
    rig.rest = rest;
    let peer = |output: &Output| match output {
        Output::Upload { peer } => Some(*peer),
        _ => None,
    };
    uploads.iter().filter_map(peer).collect()
}

fn request(rig: &mut Rig, peer: PeerKey, block: BlockRequest) {
    rig.receive(peer, Message::Request(block));
}

fn next(rig: &mut Rig, peer: PeerKey) -> Option<BlockRequest> {
    let upload = rig.swarm.next_upload(rig.now, peer);
    rig.drain();
    upload.map(|upload| upload.request)
}

#[test]
fn a_newcomer_is_unchoked_at_once_and_served_in_its_order() {
    let mut rig = Rig::seed(3);
    let peer = rig.link(1, true);
    let told = rig.told(peer);
    assert!(matches!(
        told[..],
        [Message::Suggest { .. }, Message::Unchoke]
    ));
    for index in [2, 0, 1] {
        request(&mut rig, peer, block(index, 1));
    }
    assert_eq!(uploads(&mut rig), [peer], "once is enough");
    assert_eq!(next(&mut rig, peer), None, "it must be read first");
    rig.load_all();
    assert_eq!(uploads(&mut rig), [peer]);
    assert_eq!(next(&mut rig, peer), Some(block(2, 1)));
    assert_eq!(next(&mut rig, peer), None);
    rig.load_all();
    assert_eq!(next(&mut rig, peer), Some(block(0, 1)));
    assert_eq!(next(&mut rig, peer), None);
    rig.load_all();
    assert_eq!(next(&mut rig, peer), Some(block(1, 1)));
    assert_eq!(next(&mut rig, peer), None);
    assert_eq!(rig.swarm.counts().up_bytes, 3 * u64::from(BLOCK_LEN));
}

#[test]
fn a_request_that_lies_across_two_runs_is_served_whole() {
    let piece_length = 2 * RUN_BYTES;
    let geometry = Geometry::new(u64::from(piece_length), piece_length);
    let mut rig = Rig::seed(1);
    rig.swarm = Swarm::new(config(), geometry, Bitfield::all(1));
    let peer = rig.sink(1);
    let across = BlockRequest {
        piece: 0,
        begin: RUN_BYTES - 100,
        len: BLOCK_LEN,
    };
    request(&mut rig, peer, across);
    assert_eq!(next(&mut rig, peer), None);
    rig.load_all();
    let upload = rig.swarm.next_upload(rig.now, peer).expect("it is here");
    assert_eq!((upload.request, upload.range), (across, 0..BLOCK_LEN));
}

#[test]
fn what_was_just_fetched_is_served_without_reading() {
    let mut rig = Rig::getter(1);
    let (source, sink) = (rig.source(1), rig.sink(2));
    rig.land_all(source);
    assert_eq!(rig.judge(true), 1);
    request(&mut rig, sink, block(0, 3));
    let upload = rig.swarm.next_upload(rig.now, sink).expect("it is here");
    assert_eq!(upload.range, 3 * BLOCK_LEN..4 * BLOCK_LEN);
}

#[test]
fn the_next_block_goes_when_the_one_that_was_waited_for_is_taken_back() {
    let mut rig = Rig::seed(2);
    let peer = rig.sink(1);
    request(&mut rig, peer, block(0, 0));
    request(&mut rig, peer, block(1, 0));
    assert_eq!(next(&mut rig, peer), None);
    rig.receive(peer, Message::Cancel(block(0, 0)));
    assert_eq!(rig.rejected(peer), [block(0, 0)]);
    assert_eq!(
        uploads(&mut rig),
        [peer, peer],
        "there is something to send again"
    );
    assert_eq!(next(&mut rig, peer), None);
    rig.load_all();
    assert_eq!(next(&mut rig, peer), Some(block(1, 0)));
}

#[test]
fn a_cancel_of_what_was_sent_is_not_answered() {
    let mut rig = Rig::seed(1);
    let peer = rig.sink(1);
    request(&mut rig, peer, block(0, 0));
    assert_eq!(next(&mut rig, peer), None);
    rig.load_all();
    assert_eq!(next(&mut rig, peer), Some(block(0, 0)));
    rig.receive(peer, Message::Cancel(block(0, 0)));
    assert_eq!(rig.rejected(peer), []);
}

#[test]
fn an_upload_for_which_the_cache_has_no_room_is_tried_again() {
    let mut config = config();
    config.cache_bytes_max = PIECE_LEN as usize;
    let mut rig = Rig::new(config, Bitfield::all(2));
    let (first, second) = (rig.sink(1), rig.sink(2));
    request(&mut rig, first, block(0, 0));
    request(&mut rig, second, block(1, 0));
    assert_eq!(next(&mut rig, first), None);
    rig.load_all();
    let on_its_way = rig.swarm.next_upload(rig.now, first).expect("it is here");
    assert_eq!(next(&mut rig, second), None);
    assert!(!rig.wants(|output| matches!(output, Output::Load { .. })));
    rig.pass(SECOND / 10);
    assert!(uploads(&mut rig).contains(&second), "it is tried again");
    assert_eq!(
        next(&mut rig, second),
        None,
        "what is on its way is not evicted"
    );
    drop(on_its_way);
    rig.pass(SECOND / 10);
    assert!(uploads(&mut rig).contains(&second));
    assert_eq!(next(&mut rig, second), None);
    rig.load_all();
    assert_eq!(next(&mut rig, second), Some(block(1, 0)));
}

#[test]
fn who_waits_for_what_cannot_be_read_is_dropped() {
    let mut rig = Rig::seed(1);
    let peer = rig.sink(1);
    request(&mut rig, peer, block(0, 0));
    assert_eq!(next(&mut rig, peer), None);
    for output in std::mem::take(&mut rig.rest) {
        if let Output::Load { run, buffer } = output {
            let ok = false;
            rig.input(Input::Loaded { run, buffer, ok });
        }
    }
    assert_eq!(rig.closed, [(peer, Reason::Unreadable)]);
}

#[test]
fn a_seed_of_several_offers_its_own_part_first_and_then_what_is_rarest() {
    let mut rig = Rig::seed(8);
    rig.swarm.set_part(1, 2);
    let sinks: Vec<PeerKey> = (1..=5).map(|number| rig.sink(number)).collect();
    let mut suggested = |peer| {
        rig.told(peer)
            .into_iter()
            .find_map(|message| match message {
                Message::Suggest { piece } => Some(piece),
                _ => None,
            })
    };
    let pieces = sinks[..4].iter().map(|&peer| suggested(peer));
    let mut pieces: Vec<u32> = pieces.map(|piece| piece.expect("it lacks all")).collect();
    pieces.sort_unstable();
    assert_eq!(pieces, [1, 3, 5, 7]);
    rig.receive(sinks[0], Message::Have { piece: 0 });
    rig.receive(sinks[1], Message::Have { piece: 2 });
    rig.receive(sinks[2], Message::Have { piece: 4 });
    for piece in [1, 3, 5, 7] {
        rig.receive(sinks[3], Message::Have { piece });
    }
    let last = rig.sink(6);
    let told = rig.told(last);
    assert_eq!(
        told[0],
        Message::Suggest { piece: 6 },
        "another's part, but nobody has it"
    );
}

#[test]
fn slots_rotate_among_those_who_wait() {
    let mut config = config();
    config.upload_slots_max = 2;
    let mut rig = Rig::new(config, Bitfield::all(1));
    let peers = [1, 2, 3, 4].map(|number| rig.sink(number));
    let mut served = [0; 4];
    let mut unchoked = [false; 4];
    for _ in 0..80 {
        rig.pass(SECOND);
        for (at, &peer) in peers.iter().enumerate() {
            for message in rig.told(peer) {
                match message {
                    Message::Unchoke => unchoked[at] = true,
                    Message::Choke => unchoked[at] = false,
                    _ => {}
                }
            }
            served[at] += u32::from(unchoked[at]);
        }
        assert_eq!(unchoked.iter().filter(|&&is| is).count(), 2);
    }
    assert!(
        served.iter().all(|&seconds| (30..=50).contains(&seconds)),
        "{served:?}"
    );
}

#[test]
fn a_choke_rejects_what_waits() {
    let mut config = config();
    config.upload_slots_max = 1;
    let mut rig = Rig::new(config, Bitfield::all(1));
    let holder = rig.sink(1);
    request(&mut rig, holder, block(0, 0));
    let waiter = rig.sink(2);
    assert_eq!(rig.told(waiter), []);
    rig.told(holder);
    rig.pass(11 * SECOND);
    let told = [Message::Suggest { piece: 0 }, Message::Unchoke];
    assert_eq!(rig.told(waiter), told);
    assert_eq!(
        rig.told(holder),
        [Message::Choke, Message::Reject(block(0, 0))]
    );
    request(&mut rig, holder, block(0, 1));
    assert_eq!(rig.rejected(holder), [block(0, 1)]);
    rig.input(Input::Disconnected { peer: waiter });
    assert_eq!(
        rig.told(holder),
        [Message::Unchoke],
        "a free slot is given at once"
    );
}

#[test]
fn what_only_serves_asks_nobody_and_parts_from_seeds() {
    let mut here = Bitfield::none(3);
    here.set(0);
    let mut upload_only = config();
    upload_only.is_upload_only = true;
    let mut rig = Rig::new(upload_only, here);
    let half = rig.link(1, true);
    rig.receive(half, Message::HaveNone);
    rig.receive(half, Message::Have { piece: 1 });
    rig.receive(half, Message::Unchoke);
    rig.pass(60 * SECOND);
    assert_eq!(rig.told(half), [Message::Unchoke], "it wants nothing");
    request(&mut rig, half, block(0, 0));
    assert_eq!(next(&mut rig, half), None, "it must be read first");
    rig.load_all();
    assert_eq!(next(&mut rig, half), Some(block(0, 0)));
    let whole = rig.link(2, true);
    rig.receive(whole, Message::HaveAll);
    assert_eq!(rig.closed, [(whole, Reason::BothComplete)]);
    let wants_peers = |output: &Output| matches!(output, Output::WantPeers);
    assert!(!rig.rest.iter().any(wants_peers));
}

#[test]
fn those_who_take_nothing_do_not_keep_others_waiting() {
    let mut config = config();
    config.turns_min = 2;
    let mut rig = Rig::new(config, Bitfield::all(3));
    let greedy = [rig.sink(1), rig.sink(2)];
    for peer in greedy {
        request(&mut rig, peer, block(0, 0));
        request(&mut rig, peer, block(0, 1));
    }
    rig.load_all();
    uploads(&mut rig);
    let patient = rig.sink(3);
    request(&mut rig, patient, block(1, 0));
    assert!(uploads(&mut rig).is_empty(), "two are served");
    rig.pass(Duration::from_millis(50));
    assert_eq!(uploads(&mut rig), [patient], "they take nothing");
    let mut served = |peer| {
        // What is not in memory is read first.
        next(&mut rig, peer).or_else(|| {
            rig.load_all();
            next(&mut rig, peer)
        })
    };
    assert_eq!(served(patient), Some(block(1, 0)));
    assert_eq!(served(greedy[0]), Some(block(0, 0)), "they still may");
}
