//! Each rule of the search by itself, then all kinds of liars at once.

use super::*;
use crate::wire::metadata::{METADATA_PIECE_LEN, metadata_piece_count, metadata_piece_range};

const ID: u8 = 3;

/// How a peer behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Honest,
    /// Honest, but its conn breaks after so many answers.
    Breaks(u32),
    /// Nobody listens there.
    Absent,
    /// Has no dictionary yet.
    Empty,
    /// Claims the right size, and sends other bytes.
    Garbage,
    /// Sends one wrong piece, the others right.
    OneWrong,
    /// Claims another size, and sends what fits it.
    OtherSize(u32),
    /// Claims the right size, and says another one with the data.
    Contradicts,
    /// Claims, and never answers.
    Silent,
    /// Sends what nobody asked for.
    Endless,
    /// Refuses everything.
    Refuses,
    /// Sends a wrong piece every nine seconds.
    Drips,
}

#[derive(Debug)]
enum Happens {
    Connects(usize),
    Answers(PeerKey, usize, u32),
    Closes(PeerKey),
    Floods(PeerKey, usize),
}

/// The search among scripted peers, in virtual time.
struct Bed {
    fetch: InfoFetch,
    info: Vec<u8>,
    kinds: Vec<Kind>,
    answers: Vec<u32>,
    events: BTreeMap<(Time, u64), Happens>,
    links: BTreeMap<PeerKey, usize>,
    sequence: u64,
    now: Time,
    rng: Rng,
    reasons: Vec<(usize, Reason)>,
    got: Option<Vec<u8>>,
}

fn addr(peer: usize) -> SocketAddr {
    ([127, 0, 0, 1], 1000 + peer as u16).into()
}

fn info(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

fn hash(info: &[u8]) -> InfoHash {
    InfoHash(Sha1::digest(info).into())
}

impl Bed {
    fn new(seed: u64, len: usize, kinds: &[Kind]) -> Self {
        let info = info(len, seed);
        let mut bed = Self {
            fetch: InfoFetch::new(hash(&info), PeerId([0; 20]), seed),
            info,
            kinds: kinds.to_vec(),
            answers: vec![0; kinds.len()],
            events: BTreeMap::new(),
            links: BTreeMap::new(),
            sequence: 0,
            now: Time::ZERO,
            rng: Rng::new(seed ^ 1),
            reasons: Vec::new(),
            got: None,
        };
        let addrs: Vec<SocketAddr> = (0..kinds.len()).map(addr).collect();
        bed.fetch
            .handle_input(bed.now, InfoInput::Found { addrs: &addrs });
        bed.drain();
        bed
    }

    fn later(&mut self, after_ms: u64, event: Happens) {
        let jitter = self.rng.below(5) as u64;
        let at = self.now + Duration::from_millis(after_ms + jitter);
        self.sequence += 1;
        self.events.insert((at, self.sequence), event);
    }

    fn drain(&mut self) {
        self.fetch.check();
        while let Some(output) = self.fetch.poll_output() {
            match output {
                InfoOutput::Connect { addr } => {
                    let peer = usize::from(addr.port() - 1000);
                    self.later(1, Happens::Connects(peer));
                }
                InfoOutput::Request { peer, id, piece } => {
                    assert_eq!(id, ID, "its number is used");
                    let Some(&at) = self.links.get(&peer) else {
                        continue;
                    };
                    let after = if self.kinds[at] == Kind::Drips {
                        9_000
                    } else {
                        2
                    };
                    self.later(after, Happens::Answers(peer, at, piece));
                }
                InfoOutput::Reject { .. } => {}
                InfoOutput::Disconnect { peer, reason } => {
                    if let Some(at) = self.links.get(&peer) {
                        self.reasons.push((*at, reason));
                    }
                    self.later(0, Happens::Closes(peer));
                }
                InfoOutput::Complete(info) => self.got = Some(info),
            }
        }
    }

    fn connects(&mut self, at: usize) {
        let (now, kind) = (self.now, self.kinds[at]);
        if kind == Kind::Absent {
            let addr = addr(at);
            self.fetch.handle_input(now, InfoInput::DialFailed { addr });
            return;
        }
        let hello = Hello {
            id: PeerId([at as u8 + 1; 20]),
            remote: addr(at),
            dialled: true,
            fast: true,
            greeted_at: self.now,
        };
        let Ok(peer) = self.fetch.connect(now, hello) else {
            return;
        };
        self.links.insert(peer, at);
        let size = match kind {
            Kind::Empty => None,
            Kind::OtherSize(size) => Some(size),
            _ => Some(self.info.len() as u32),
        };
        let input = InfoInput::Extended {
            peer,
            id: Some(ID),
            size,
            port: None,
        };
        self.fetch.handle_input(now, input);
        if kind == Kind::Endless {
            self.later(1, Happens::Floods(peer, at));
        }
    }

    fn answers(&mut self, peer: PeerKey, at: usize, piece: u32) {
        if !self.links.contains_key(&peer) {
            return;
        }
        self.answers[at] += 1;
        let kind = self.kinds[at];
        let size = match kind {
            Kind::OtherSize(size) => size,
            _ => self.info.len() as u32,
        };
        let range = metadata_piece_range(size, piece);
        let is_right = match kind {
            Kind::Silent | Kind::Empty | Kind::Absent => return,
            Kind::Refuses => {
                let message = MetadataMessage::Reject { piece };
                return self.receive(peer, message);
            }
            Kind::Breaks(after) if self.answers[at].is_multiple_of(after + 1) => {
                return self.later(0, Happens::Closes(peer));
            }
            Kind::Honest | Kind::Breaks(_) | Kind::Contradicts => true,
            Kind::OneWrong => piece != 0,
            _ => false,
        };
        let bytes = match is_right {
            true => self.info[range].to_vec(),
            false => vec![0xee; range.len()],
        };
        let message = MetadataMessage::Data {
            piece,
            total_size: size - u32::from(kind == Kind::Contradicts),
            bytes: &bytes,
        };
        self.receive(peer, message);
    }

    fn receive(&mut self, peer: PeerKey, message: MetadataMessage<'_>) {
        let input = InfoInput::Received { peer, message };
        self.fetch.handle_input(self.now, input);
    }

    /// When the next thing happens.
    fn next_at(&self) -> Option<Time> {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        event.into_iter().chain(self.fetch.poll_timeout()).min()
    }

    /// Lets the next thing happen.
    fn step(&mut self) {
        let event = self.events.first_key_value().map(|((at, _), _)| *at);
        let due = self.fetch.poll_timeout();
        self.now = self.now.max(self.next_at().expect("there is one"));
        if event.is_none_or(|event| due.is_some_and(|due| due <= event)) {
            self.fetch.handle_timeout(self.now);
            let again = self.fetch.poll_timeout();
            assert!(again.is_none_or(|again| again > self.now), "a busy loop");
        } else if let Some((_, event)) = self.events.pop_first() {
            match event {
                Happens::Connects(at) => self.connects(at),
                Happens::Answers(peer, at, piece) => self.answers(peer, at, piece),
                Happens::Closes(peer) => {
                    self.links.remove(&peer);
                    let input = InfoInput::Disconnected { peer };
                    self.fetch.handle_input(self.now, input);
                }
                Happens::Floods(peer, at) => {
                    if self.links.contains_key(&peer) {
                        let (total_size, piece) = (self.info.len() as u32, 0);
                        let bytes = vec![0; metadata_piece_range(total_size, piece).len()];
                        let message = MetadataMessage::Data {
                            piece,
                            total_size,
                            bytes: &bytes,
                        };
                        self.receive(peer, message);
                        self.later(1, Happens::Floods(peer, at));
                    }
                }
            }
        }
        self.drain();
    }

    /// Until the dictionary is here, or the time is over.
    fn run(&mut self, seconds: u64) -> bool {
        let end = Time::ZERO + Duration::from_secs(seconds);
        let mut step_count = 0;
        while self.got.is_none() && self.next_at().is_some_and(|at| at <= end) {
            self.step();
            step_count += 1;
            assert!(step_count < 1_000_000, "it goes round in circles: {self:?}");
        }
        self.got.as_ref() == Some(&self.info)
    }

    fn closed_for(&self, reason: Reason) -> bool {
        self.reasons.iter().any(|(_, known)| *known == reason)
    }
}

const PIECE: usize = METADATA_PIECE_LEN as usize;

#[test]
fn one_honest_peer_is_enough_whatever_the_size() {
    for len in [1, 100, PIECE - 1, PIECE, PIECE + 1, 40 * PIECE + 7] {
        let mut bed = Bed::new(7, len, &[Kind::Honest]);
        assert!(bed.run(2), "{len} bytes");
        assert_eq!(bed.fetch.poll_timeout(), None, "it is over");
        assert_eq!(bed.fetch.arrived_bytes(), len as u64);
        assert_eq!(bed.answers[0], metadata_piece_count(len as u32));
    }
}

#[test]
fn several_peers_share_the_work() {
    let mut bed = Bed::new(7, 64 * PIECE, &[Kind::Honest; 4]);
    assert!(bed.run(2));
    assert!(bed.answers.iter().all(|count| *count >= 8), "{bed:?}");
}

#[test]
fn a_silent_peer_costs_no_time_beside_an_honest_one() {
    let mut bed = Bed::new(7, 20 * PIECE, &[Kind::Silent, Kind::Honest]);
    assert!(bed.run(1));
}

#[test]
fn a_silent_peer_is_closed_and_dialled_again() {
    let mut bed = Bed::new(7, PIECE, &[Kind::Silent]);
    assert!(!bed.run(25));
    let silent = bed.reasons.iter().filter(|(_, r)| *r == Reason::Silent);
    assert_eq!(silent.count(), 2, "{bed:?}");
}

#[test]
fn who_alone_sends_a_wrong_dictionary_is_banned_and_not_dialled_again() {
    let mut bed = Bed::new(7, 3 * PIECE, &[Kind::Garbage]);
    assert!(!bed.run(100));
    assert_eq!(bed.reasons, [(0, Reason::WrongMetadata)]);
    assert_eq!(bed.fetch.addrs(), []);
    let hello = Hello {
        id: PeerId([1; 20]),
        remote: addr(0),
        dialled: false,
        fast: false,
        greeted_at: Time::ZERO,
    };
    let again = bed.fetch.connect(bed.now, hello);
    assert_eq!(again, Err(Reason::Banned));
}

#[test]
fn one_wrong_piece_among_right_ones_is_blamed_on_who_sent_it() {
    let kinds = [Kind::Honest, Kind::OneWrong, Kind::Honest, Kind::Honest];
    for seed in 0..20 {
        let mut bed = Bed::new(seed, 30 * PIECE, &kinds);
        assert!(bed.run(60), "seed {seed}: {bed:?}");
        let blamed =
            |(peer, reason): &(usize, Reason)| *reason == Reason::WrongMetadata && *peer != 1;
        assert!(!bed.reasons.iter().any(blamed), "seed {seed}: {bed:?}");
    }
}

#[test]
fn sizes_are_fetched_side_by_side() {
    let kinds = [
        Kind::OtherSize(100),
        Kind::OtherSize(1 << 20),
        Kind::OtherSize(PIECE as u32),
        Kind::Honest,
    ];
    let mut bed = Bed::new(7, 3 * PIECE, &kinds);
    assert!(bed.run(1), "{bed:?}");
}

#[test]
fn more_sizes_than_are_fetched_at_a_time_take_turns() {
    // Each of them would take half an hour to send its wrong dictionary.
    let drips = (0..8).map(|_| Kind::Drips);
    let mut kinds: Vec<Kind> = drips.collect();
    kinds.push(Kind::Honest);
    let mut bed = Bed::new(7, 300 * PIECE, &kinds);
    // They all claim the honest size here, so let them differ.
    for (at, kind) in bed.kinds.iter_mut().enumerate().take(8) {
        *kind = Kind::OtherSize((200 * PIECE + at) as u32);
    }
    assert!(bed.run(120), "{bed:?}");
}

#[test]
fn a_peer_that_contradicts_itself_is_closed() {
    let mut bed = Bed::new(7, PIECE + 5, &[Kind::Contradicts]);
    assert!(!bed.run(3));
    assert!(bed.closed_for(Reason::WrongMetadata));
    let (mut fetch, now) = (
        InfoFetch::new(InfoHash([0; 20]), PeerId([0; 20]), 1),
        Time::ZERO,
    );
    let peer = accepted(&mut fetch, 1).expect("room");
    for size in [100, 101] {
        let input = InfoInput::Extended {
            peer,
            id: Some(ID),
            size: Some(size),
            port: None,
        };
        fetch.handle_input(now, input);
    }
    let outputs: Vec<_> = std::iter::from_fn(|| fetch.poll_output()).collect();
    let reason = Reason::WrongMetadata;
    assert!(outputs.contains(&InfoOutput::Disconnect { peer, reason }));
}

#[test]
fn what_nobody_asked_for_closes_the_link() {
    let mut bed = Bed::new(7, 9 * PIECE, &[Kind::Endless]);
    assert!(!bed.run(3));
    assert!(bed.closed_for(Reason::Unrequested));
    let mut fetch = InfoFetch::new(InfoHash([0; 20]), PeerId([0; 20]), 1);
    let peer = accepted(&mut fetch, 1).expect("room");
    let message = MetadataMessage::Reject { piece: 0 };
    fetch.handle_input(Time::ZERO, InfoInput::Received { peer, message });
    let reason = Reason::BadReject;
    assert_eq!(
        fetch.poll_output(),
        Some(InfoOutput::Disconnect { peer, reason })
    );
}

#[test]
fn who_refuses_or_has_nothing_is_let_go_in_the_end() {
    let mut bed = Bed::new(7, PIECE, &[Kind::Refuses, Kind::Empty]);
    assert!(!bed.run(21));
    assert!(bed.reasons.contains(&(0, Reason::NoMetadata)), "{bed:?}");
    assert!(bed.reasons.contains(&(1, Reason::NoMetadata)), "{bed:?}");
}

/// A link that the other side dialled.
fn accepted(fetch: &mut InfoFetch, id: u8) -> Result<PeerKey, Reason> {
    let hello = Hello {
        id: PeerId([id; 20]),
        remote: ([10, 0, 0, id], 50_000).into(),
        dialled: false,
        fast: false,
        greeted_at: Time::ZERO,
    };
    fetch.connect(Time::ZERO, hello)
}

#[test]
fn a_request_of_the_other_side_is_rejected_by_its_number() {
    let mut fetch = InfoFetch::new(InfoHash([0; 20]), PeerId([0; 20]), 1);
    let peer = accepted(&mut fetch, 1).expect("room");
    let message = MetadataMessage::Request { piece: 7 };
    fetch.handle_input(Time::ZERO, InfoInput::Received { peer, message });
    assert_eq!(fetch.poll_output(), None, "it gave no number to answer by");
    let input = InfoInput::Extended {
        peer,
        id: Some(9),
        size: None,
        port: Some(6881),
    };
    fetch.handle_input(Time::ZERO, input);
    fetch.handle_input(Time::ZERO, InfoInput::Received { peer, message });
    let (id, piece) = (9, 7);
    assert_eq!(
        fetch.poll_output(),
        Some(InfoOutput::Reject { peer, id, piece })
    );
    assert_eq!(fetch.addrs(), [SocketAddr::from(([10, 0, 0, 1], 6881))]);
}

#[test]
fn links_are_limited_and_one_to_a_peer() {
    let mut fetch = InfoFetch::new(InfoHash([0; 20]), PeerId([200; 20]), 1);
    assert_eq!(accepted(&mut fetch, 200), Err(Reason::Ourselves));
    for id in 1..=LINKS_MAX as u8 {
        assert!(accepted(&mut fetch, id).is_ok());
        assert_eq!(accepted(&mut fetch, id), Err(Reason::Duplicate));
    }
    assert_eq!(accepted(&mut fetch, 100), Err(Reason::Full));
}

#[test]
fn of_two_conns_between_a_pair_the_same_one_stays_as_in_a_swarm() {
    let native = |number: u8| PeerId::from_random([number; 12]);
    // The one that the greater id dialled among our own; with others the one that was greeted first.
    let cases = [
        (native(2), native(1), 5, true),
        (native(0), native(1), 5, false),
        (native(0), PeerId([9; 20]), 5, false),
        (native(0), PeerId([9; 20]), 1, true),
    ];
    for (own, id, greeted_at, second_stays) in cases {
        let mut fetch = InfoFetch::new(InfoHash([0; 20]), own, 1);
        let addr = ([10, 0, 0, 1], 7).into();
        fetch.handle_input(Time::ZERO, InfoInput::Found { addrs: &[addr] });
        let hello = |dialled, greeted_at| Hello {
            id,
            remote: addr,
            dialled,
            fast: false,
            greeted_at: Time::from_nanos(greeted_at),
        };
        let first = fetch.connect(Time::ZERO, hello(false, 2)).expect("room");
        let second = fetch.connect(Time::ZERO, hello(true, greeted_at));
        assert_eq!(second.is_ok(), second_stays);
        let outputs: Vec<_> = std::iter::from_fn(|| fetch.poll_output()).collect();
        let (peer, reason) = (first, Reason::Duplicate);
        let closes = outputs.contains(&InfoOutput::Disconnect { peer, reason });
        assert_eq!(closes, second_stays);
    }
}

#[test]
fn an_honest_peer_prevails_over_all_kinds_of_others() {
    for seed in 0..300 {
        let mut rng = Rng::new(seed);
        let len = [1, 500, PIECE, 5 * PIECE + 1, 33 * PIECE - 1][rng.below(5)];
        let mut kinds: Vec<Kind> = (0..rng.below(14))
            .map(|_| match rng.below(12) {
                0 => Kind::Breaks(rng.below(4) as u32),
                1 => Kind::Absent,
                2 => Kind::Empty,
                3 => Kind::Garbage,
                4 => Kind::OneWrong,
                5 => Kind::OtherSize(1 + rng.below(1 << 20) as u32),
                6 => Kind::OtherSize(1 << 22),
                7 => Kind::Contradicts,
                8 => Kind::Silent,
                9 => Kind::Endless,
                10 => Kind::Refuses,
                _ => Kind::Drips,
            })
            .collect();
        kinds.push(Kind::Honest);
        rng.shuffle(&mut kinds);
        let mut bed = Bed::new(seed, len, &kinds);
        assert!(bed.run(600), "seed {seed}, {len} bytes: {bed:?}");
        let wrongly = bed.reasons.iter().any(|(peer, reason)| {
            let is_honest = matches!(bed.kinds[*peer], Kind::Honest | Kind::Breaks(_));
            is_honest && *reason != Reason::Duplicate
        });
        assert!(!wrongly, "seed {seed}: {bed:?}");
    }
}

impl std::fmt::Debug for Bed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bed")
            .field("now", &self.now)
            .field("kinds", &self.kinds)
            .field("answers", &self.answers)
            .field("reasons", &self.reasons)
            .finish()
    }
}
