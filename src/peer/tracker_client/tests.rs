//! The client against a scripted tracker that speaks through the codec.

use std::net::SocketAddr;

use super::*;
use crate::base::{InfoHash, PeerId};
use crate::wire::native::{
    AVAIL_DELTAS_MAX, AvailDelta, CHUNK_BYTES_MAX, HaveBatch, LeaveReason, List, Member, PUSH_BIT,
    PeerChange, Policy, PushedMember,
};

const HASH: InfoHash = InfoHash([3; 20]);
const INTERVAL_S: u32 = 60;

fn at(millis: u64) -> Time {
    Time::ZERO + Duration::from_millis(millis)
}

fn seconds(seconds: u32) -> Time {
    at(u64::from(seconds) * 1000)
}

/// A client and what the tracker has of its bytes.
struct Scene {
    client: TrackerClient,
    decoder: FrameDecoder,
}

/// A request as the tracker sees it.
type Seen = (u32, Request<'static>);

impl Scene {
    fn new() -> Self {
        let hello = HelloConfig {
            peer_id: PeerId([9; 20]),
            listen_addrs: vec![SocketAddr::from(([10, 0, 0, 1], 6881))],
            host: "host".into(),
            zone: "site/rack".into(),
            token: "secret".into(),
        };
        Self {
            client: TrackerClient::new(hello, Rng::new(1)),
            decoder: FrameDecoder::default(),
        }
    }

    /// A client whose HELLO is answered at time zero.
    fn ready() -> Self {
        let mut scene = Self::new();
        scene.connect(Time::ZERO);
        scene.answer_hello(Time::ZERO);
        scene
    }

    fn connect(&mut self, now: Time) {
        assert!(self.client.poll_connect(now));
        assert!(!self.client.poll_connect(now), "says so once");
        self.client.connected(now);
        self.decoder = FrameDecoder::default();
    }

    fn answer_hello(&mut self, now: Time) {
        let seen = self.seen(now);
        let (id, Request::Hello(_)) = seen[0] else {
            panic!("{seen:?}");
        };
        self.reply(now, id, &hello_reply());
        assert_eq!(self.events(), [Event::Ready(ready())]);
    }

    /// Everything that the client sends now.
    fn seen(&mut self, now: Time) -> Vec<Seen> {
        let (mut bytes, mut seen) = (Vec::new(), Vec::new());
        while self.client.has_output() {
            let before = bytes.len();
            self.client.fill(now, &mut bytes);
            assert!(bytes.len() > before, "said that there is output");
        }
        self.client.fill(now, &mut bytes);
        let mut input = &bytes[..];
        while let Some(frame) = self.decoder.decode(&mut input).expect("valid") {
            let payload: &'static [u8] = frame.payload.to_vec().leak();
            let request = Request::decode(frame.head.kind, frame.head.flags, payload);
            seen.push((frame.head.request_id, request.expect("valid")));
        }
        seen
    }

    fn reply(&mut self, now: Time, id: u32, reply: &Reply<'_>) {
        assert_eq!(self.try_reply(now, id, reply), Ok(()));
    }

    fn try_reply(&mut self, now: Time, id: u32, reply: &Reply<'_>) -> Result<(), WireError> {
        let mut bytes = Vec::new();
        reply.encode(id, &mut bytes);
        self.client.received(now, &bytes)
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.client.poll_event()).collect()
    }
}

fn ready() -> HelloReply {
    HelloReply {
        batch_ms: 250,
        interval_s: INTERVAL_S,
        frame_bytes_max: 1 << 20,
        policy: Policy::Fleet,
        seen_addr: SocketAddr::from(([10, 0, 0, 1], 40_000)),
    }
}

fn hello_reply() -> OwnedReply {
    Reply::Hello(ready())
}

fn error(code: ErrorCode, retry_ms: u32) -> OwnedReply {
    Reply::Error {
        code,
        retry_ms,
        text: "why".into(),
    }
}

fn refused(code: ErrorCode, retry_ms: u32) -> Failure {
    Failure::Refused {
        code,
        retry_ms,
        text: "why".into(),
    }
}

fn get_info() -> OwnedRequest {
    Request::GetInfo {
        info_hash: HASH,
        offset: 0,
    }
}

fn register(info: &[u8]) -> OwnedRequest {
    Request::Register {
        total: info.len() as u32,
        chunk: info.to_vec().into(),
        more: false,
    }
}

fn batch(wants_reply: bool) -> OwnedRequest {
    Request::HaveBatch(HaveBatch {
        slot: 1,
        up: 0,
        down: 0,
        items: List::default(),
        wants_reply,
    })
}

fn lost(token: u64) -> Event {
    Event::Failed {
        token,
        why: Failure::ConnectionLost,
    }
}

#[test]
fn hello_is_first_and_what_was_asked_follows_at_once() {
    let mut scene = Scene::new();
    scene.client.request(7, Request::Stats { slot: 0 });
    assert!(!scene.client.has_output());
    scene.connect(Time::ZERO);
    let seen = scene.seen(Time::ZERO);
    let [(_, Request::Hello(hello)), (id, Request::Stats { slot: 0 })] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!(hello.peer_id, PeerId([9; 20]));
    assert_eq!(hello.addrs.iter().count(), 1);
    let texts = (&*hello.host, &*hello.zone, &*hello.token);
    assert_eq!(texts, ("host", "site/rack", "secret"));
    assert!(!scene.client.is_ready());
    scene.reply(Time::ZERO, seen[0].0, &hello_reply());
    scene.reply(Time::ZERO, *id, &Reply::Stats(Default::default()));
    let reply = Reply::Stats(Default::default());
    let events = [Event::Ready(ready()), Event::Reply { token: 7, reply }];
    assert_eq!(scene.events(), events);
    assert!(scene.client.is_ready());
}

#[test]
fn at_most_eight_requests_are_in_flight() {
    let mut scene = Scene::ready();
    for token in 0..20 {
        scene.client.request(token, Request::Ping(token));
    }
    let first = scene.seen(Time::ZERO);
    assert_eq!(first.len(), REQUESTS_IN_FLIGHT_MAX);
    assert!(!scene.client.has_output());
    // Replies in any order make room, and find their requests.
    for (id, _) in first.iter().rev().take(3) {
        scene.reply(Time::ZERO, *id, &Reply::Pong(0));
    }
    let tokens: Vec<u64> = scene.events().iter().map(token_of).collect();
    assert_eq!(tokens, [7, 6, 5]);
    assert_eq!(scene.seen(Time::ZERO).len(), 3);
}

fn token_of(event: &Event) -> u64 {
    match event {
        Event::Reply { token, .. } | Event::Failed { token, .. } => *token,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_batch_that_wants_no_reply_needs_no_room() {
    let mut scene = Scene::ready();
    for token in 0..9 {
        scene.client.request(token, Request::Ping(token));
    }
    scene.client.request(90, batch(true));
    scene.client.request(91, batch(false));
    let seen = scene.seen(Time::ZERO);
    assert_eq!(seen.len(), 9);
    assert_eq!(seen[8].1, batch(false));
    scene.reply(Time::ZERO, seen[8].0, &error(ErrorCode::NotFound, 0));
    let why = refused(ErrorCode::NotFound, 0);
    assert_eq!(scene.events(), [Event::Failed { token: 91, why }]);
    // Once.
    scene.reply(Time::ZERO, seen[8].0, &error(ErrorCode::NotFound, 0));
    assert_eq!(scene.events(), []);
}

#[test]
fn more_requests_than_may_wait_fail_at_once() {
    let mut scene = Scene::new();
    for token in 0..=WAITING_MAX as u64 {
        scene.client.request(token, Request::Ping(0));
    }
    let full = Event::Failed {
        token: WAITING_MAX as u64,
        why: Failure::QueueFull,
    };
    assert_eq!(scene.events(), [full]);
}

#[test]
fn a_long_info_dictionary_is_registered_in_chunks_under_one_id() {
    let info: Vec<u8> = (0..2 * CHUNK_BYTES_MAX + 10)
        .map(|i| (i % 251) as u8)
        .collect();
    let mut scene = Scene::ready();
    scene.client.request(1, register(&info));
    scene.client.request(2, register(b"second"));
    let seen = scene.seen(Time::ZERO);
    assert_eq!(seen.len(), 4);
    let (mut whole, id) = (Vec::new(), seen[0].0);
    for (at, (chunk_id, request)) in seen[..3].iter().enumerate() {
        let Request::Register { total, chunk, more } = request else {
            panic!("{request:?}");
        };
        assert_eq!((*chunk_id, *total as usize), (id, info.len()));
        assert_eq!(*more, at < 2);
        whole.extend_from_slice(chunk);
    }
    assert_eq!(whole, info);
    assert_eq!(seen[3].1, register(b"second"));
    let reply = Reply::Register {
        info_hash: HASH,
        exists: false,
    };
    scene.reply(Time::ZERO, id, &reply);
    assert_eq!(scene.events(), [Event::Reply { token: 1, reply }]);
}

#[test]
fn a_fill_stops_between_chunks_and_a_refusal_ends_them() {
    let mut scene = Scene::ready();
    scene
        .client
        .request(1, register(&vec![0; 3 * CHUNK_BYTES_MAX]));
    let mut bytes = Vec::new();
    scene.client.fill(Time::ZERO, &mut bytes);
    assert!(bytes.len() < CHUNK_BYTES_MAX + 100);
    assert!(scene.client.has_output());
    let id = scene.client.last_id;
    scene.reply(Time::ZERO, id, &error(ErrorCode::Busy, 500));
    let why = refused(ErrorCode::Busy, 500);
    assert_eq!(scene.events(), [Event::Failed { token: 1, why }]);
    assert!(!scene.client.has_output());
}

#[test]
fn an_info_dictionary_beyond_the_limit_is_not_sent() {
    let mut scene = Scene::ready();
    let info = vec![0; INFO_BYTES_MAX as usize + 1];
    scene.client.request(1, register(&info));
    assert!(!scene.client.has_output());
    let events = scene.events();
    assert!(
        matches!(
            &events[..],
            [Event::Failed {
                token: 1,
                why: Failure::Refused {
                    code: ErrorCode::TooLarge,
                    ..
                }
            }]
        ),
        "{events:?}"
    );
}

#[test]
fn an_info_dictionary_is_put_together_from_several_replies() {
    let info: Vec<u8> = (0..1000).map(|i| (i % 251) as u8).collect();
    let mut scene = Scene::ready();
    scene.client.request(5, get_info());
    for (start, end) in [(0, 400), (400, 401), (401, 1000)] {
        let seen = scene.seen(Time::ZERO);
        let [(id, Request::GetInfo { info_hash, offset })] = seen[..] else {
            panic!("{seen:?}");
        };
        assert_eq!((info_hash, offset), (HASH, start as u32));
        assert_eq!(scene.events(), []);
        let reply = Reply::Info {
            total: 1000,
            bytes: info[start..end].into(),
        };
        scene.reply(Time::ZERO, id, &reply);
    }
    let reply = Reply::Info {
        total: 1000,
        bytes: info.into(),
    };
    assert_eq!(scene.events(), [Event::Reply { token: 5, reply }]);
    assert_eq!(scene.seen(Time::ZERO), []);
}

#[test]
fn an_info_reply_that_lies_about_its_length_ends_the_connection() {
    let info = |total: u32, bytes: usize| Reply::Info {
        total,
        bytes: vec![0; bytes].into(),
    };
    // The first reply, and what must not follow it: another total, more than the total, nothing at all.
    for (total, bytes) in [(11, 1), (10, 6), (10, 0)] {
        let mut scene = Scene::ready();
        scene.client.request(5, get_info());
        let id = scene.seen(Time::ZERO)[0].0;
        scene.reply(Time::ZERO, id, &info(10, 5));
        let id = scene.seen(Time::ZERO)[0].0;
        let outcome = scene.try_reply(Time::ZERO, id, &info(total, bytes));
        assert!(outcome.is_err(), "{total} {bytes}");
        scene.client.disconnected(Time::ZERO);
        assert_eq!(scene.events(), [lost(5)]);
    }
}

#[test]
fn the_answer_to_another_question_ends_the_connection() {
    let mut scene = Scene::ready();
    scene.client.request(5, Request::Stats { slot: 0 });
    let id = scene.seen(Time::ZERO)[0].0;
    let outcome = scene.try_reply(Time::ZERO, id, &Reply::Leave);
    assert_eq!(outcome, Err(WireError::BadValue));
    scene.client.disconnected(Time::ZERO);
    assert_eq!(scene.events(), [lost(5)]);
}

#[test]
fn everything_asked_fails_when_the_connection_is_lost() {
    let mut scene = Scene::ready();
    for token in 0..10 {
        scene.client.request(token, get_info());
    }
    scene.client.request(10, register(b"de"));
    assert_eq!(scene.seen(Time::ZERO).len(), REQUESTS_IN_FLIGHT_MAX);
    scene.client.disconnected(at(5));
    let expected: Vec<Event> = (0..=10).map(lost).collect();
    assert_eq!(scene.events(), expected);
    assert!(!scene.client.has_output());
    // The next connection starts from nothing.
    scene.connect(seconds(20));
    scene.answer_hello(seconds(20));
    assert_eq!(scene.seen(seconds(20)), []);
}

#[test]
fn a_reply_cut_short_does_not_leak_into_the_next_connection() {
    let mut scene = Scene::ready();
    let mut bytes = Vec::new();
    Reply::Pong(1).encode(1, &mut bytes);
    assert_eq!(scene.client.received(Time::ZERO, &bytes[..9]), Ok(()));
    scene.client.disconnected(Time::ZERO);
    scene.connect(seconds(20));
    scene.answer_hello(seconds(20));
}

#[test]
fn pauses_between_attempts_grow_and_start_over_after_a_hello_reply() {
    let mut scene = Scene::new();
    let mut now = Time::ZERO;
    let mut pause = |scene: &mut Scene| {
        assert!(scene.client.poll_connect(now));
        scene.client.disconnected(now);
        let next = scene.client.poll_timeout().expect("another attempt");
        let pause = next.since(now);
        now = next;
        pause
    };
    for attempt in 0..10 {
        let full = BACKOFF_MAX.min(BACKOFF_MIN * 2u32.pow(attempt));
        let pause = pause(&mut scene);
        assert!(pause >= full / 2 && pause <= full, "{attempt}: {pause:?}");
    }
    scene.connect(now);
    scene.answer_hello(now);
    scene.client.disconnected(now);
    let next = scene.client.poll_timeout().expect("another attempt");
    assert!(next.since(now) <= BACKOFF_MIN);
    assert!(!scene.client.poll_connect(now));
}

#[test]
fn peers_of_one_tracker_do_not_come_back_together() {
    let pause = |seed| {
        let mut client = TrackerClient::new(Scene::new().client.hello, Rng::new(seed));
        assert!(client.poll_connect(Time::ZERO));
        client.disconnected(Time::ZERO);
        client.poll_timeout()
    };
    assert_ne!(pause(1), pause(2));
    assert_eq!(pause(1), pause(1));
}

#[test]
fn silence_is_answered_with_a_ping_and_three_intervals_of_it_end_the_connection() {
    let mut scene = Scene::ready();
    assert_eq!(scene.client.poll_timeout(), Some(seconds(INTERVAL_S)));
    scene.client.handle_timeout(seconds(INTERVAL_S - 1));
    assert!(!scene.client.has_output());
    scene.client.handle_timeout(seconds(INTERVAL_S));
    let seen = scene.seen(seconds(INTERVAL_S));
    let [(id, Request::Ping(number))] = seen[..] else {
        panic!("{seen:?}");
    };
    scene.reply(seconds(INTERVAL_S), id, &Reply::Pong(number));
    assert_eq!(scene.events(), []);

    assert_eq!(scene.client.poll_timeout(), Some(seconds(2 * INTERVAL_S)));
    scene.client.handle_timeout(seconds(2 * INTERVAL_S));
    assert_eq!(scene.seen(seconds(2 * INTERVAL_S)).len(), 1);
    // That one is not answered: last heard at one interval, so four is the end.
    assert_eq!(scene.client.poll_timeout(), Some(seconds(4 * INTERVAL_S)));
    scene.client.handle_timeout(seconds(4 * INTERVAL_S));
    assert_eq!(scene.events(), [Event::Silent]);
    assert_eq!(scene.client.poll_timeout(), None);
    scene.client.disconnected(seconds(4 * INTERVAL_S));
    assert!(scene.client.poll_timeout().is_some());
}

#[test]
fn reports_without_replies_do_not_hide_a_silent_tracker() {
    let mut scene = Scene::ready();
    for second in 1..INTERVAL_S {
        scene.client.request(0, batch(false));
        assert_eq!(scene.seen(seconds(second)).len(), 1);
    }
    assert_eq!(scene.client.poll_timeout(), Some(seconds(INTERVAL_S)));
    scene.client.handle_timeout(seconds(INTERVAL_S));
    let seen = scene.seen(seconds(INTERVAL_S));
    assert!(matches!(seen[..], [(_, Request::Ping(_))]), "{seen:?}");
}

#[test]
fn a_tracker_that_does_not_answer_hello_is_given_up() {
    let mut scene = Scene::new();
    scene.connect(seconds(1));
    assert_eq!(scene.seen(seconds(1)).len(), 1);
    assert_eq!(scene.client.poll_timeout(), Some(seconds(11)));
    scene.client.handle_timeout(seconds(11));
    assert_eq!(scene.events(), [Event::Silent]);
}

#[test]
fn a_refused_hello_says_why_and_when_to_come_again() {
    let mut scene = Scene::new();
    scene.client.request(1, get_info());
    scene.connect(Time::ZERO);
    let id = scene.seen(Time::ZERO)[0].0;
    scene.reply(Time::ZERO, id, &error(ErrorCode::Busy, 5000));
    let event = Event::Refused {
        code: ErrorCode::Busy,
        retry_ms: 5000,
        text: "why".into(),
    };
    assert_eq!(scene.events(), [event]);
    assert!(!scene.client.has_output());
    scene.client.disconnected(at(10));
    assert_eq!(scene.events(), [lost(1)]);
    assert_eq!(scene.client.poll_timeout(), Some(at(5000)));
}

#[test]
fn errors_of_requests_come_with_their_code_and_delay() {
    let mut scene = Scene::ready();
    let leave = Request::Leave {
        slot: 1,
        reason: LeaveReason::Done,
    };
    scene.client.request(4, leave);
    let id = scene.seen(Time::ZERO)[0].0;
    scene.reply(Time::ZERO, id, &error(ErrorCode::Busy, 250));
    let why = refused(ErrorCode::Busy, 250);
    assert_eq!(scene.events(), [Event::Failed { token: 4, why }]);
}

#[test]
fn pushes_become_events_and_unknown_ones_nothing() {
    let mut scene = Scene::ready();
    let pushed = PushedMember {
        change: PeerChange::Joined,
        member: Member {
            peer_id: PeerId([4; 20]),
            addrs: Default::default(),
            seed: false,
            upload_only: false,
            foreign: false,
            proximity: 1,
            share: 0,
        },
    };
    let mut bytes = Vec::new();
    Push::Peers {
        slot: 2,
        members: List::lent(&[pushed]),
    }
    .encode(&mut bytes);
    bytes.extend_from_slice(&[0, 0, 0, 8, 0x7e, 0, 0, 0, 0, 0, 0, 0]);
    Push::Removed { slot: 3 }.encode(&mut bytes);
    let deltas = vec![AvailDelta {
        piece: 7,
        delta: -2,
    }];
    Push::Avail {
        slot: 2,
        base: 8,
        version: 9,
        deltas: deltas.clone().into(),
    }
    .encode(&mut bytes);
    // A reply that nobody asked for is no harm either.
    Reply::Pong(1).encode(4711, &mut bytes);
    for byte in bytes.chunks(1) {
        assert_eq!(scene.client.received(Time::ZERO, byte), Ok(()));
    }
    let members = vec![pushed];
    let events = [
        Event::PeersChanged { slot: 2, members },
        Event::Removed { slot: 3 },
        Event::CountsChanged(CountsChanged {
            slot: 2,
            base: 8,
            version: 9,
            deltas,
        }),
    ];
    assert_eq!(scene.events(), events);
}

#[test]
fn a_push_of_counts_that_says_more_than_it_holds_is_an_error() {
    let push = |count: u32, deltas: usize| {
        let len = 8 + 16 + deltas as u32 * 6;
        let mut bytes = len.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[kind::AVAIL_SUB | PUSH_BIT, 0, 0, 0, 0, 0, 0, 0]);
        for number in [1, 2, 3, count] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.resize(bytes.len() + deltas * 6, 0);
        let mut scene = Scene::ready();
        let received = scene.client.received(Time::ZERO, &bytes);
        (received, scene.events().len())
    };
    assert_eq!(push(2, 2), (Ok(()), 1));
    for (count, deltas) in [(3, 2), (u32::MAX, 2), (AVAIL_DELTAS_MAX + 1, 2), (1, 0)] {
        let (received, events) = push(count, deltas);
        assert!(received.is_err() && events == 0, "{count} of {deltas}");
    }
}

#[test]
fn a_broken_frame_is_an_error_and_not_a_panic() {
    let mut scene = Scene::ready();
    let outcome = scene.client.received(Time::ZERO, b"HTTP/1.1 400");
    assert_eq!(outcome, Err(WireError::FrameTooLong));
}
