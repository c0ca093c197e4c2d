//! How fast the tracker's store is with a thousand members of one content: what each request costs.

use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shoal::base::{Bitfield, InfoHash, PeerId, Rng, Time};
use shoal::registry::{Caller, Client, Config, Facts, Families, Joining, Registry};
use shoal::wire::announce::{Announce, AnnounceEvent, PeerList};
use shoal::wire::native::{Bitmap, HaveItem, HaveState, Role};

const MEMBERS: u32 = 1_000;
/// Foreign members of each content.
const EACH: u32 = 100;
const PIECES: u32 = 2_048;
const PIECE_LEN: u32 = 4 << 20;
/// Members that a JOIN and a request for peers ask for.
const WANT: u16 = 50;
const HASH: InfoHash = InfoHash([7; 20]);
const NOW: u64 = 1_800_000_000;

fn facts() -> Facts {
    Facts {
        hash: HASH,
        info_sha256: [7; 32],
        info_bytes: 41_000,
        name: "content.bin".into(),
        size: u64::from(PIECES) * u64::from(PIECE_LEN),
        piece_len: PIECE_LEN,
        piece_count: PIECES,
        file_count: 1,
        sha256: [[7; 32]].into(),
    }
}

fn connect(registry: &mut Registry, number: u32) -> Client {
    let [_, high, middle, low] = number.to_be_bytes();
    let source = IpAddr::from([10, high, middle, low]);
    let mut id = [0; 20];
    id[..4].copy_from_slice(&number.to_be_bytes());
    registry.connect(Caller {
        peer_id: PeerId(id),
        source,
        listens_at: &[SocketAddr::new(source, 6881)],
        host: "host",
        zone: "",
    })
}

/// Enters the swarm with nothing; the slot, and how many members were named and told.
fn join(registry: &mut Registry, client: Client) -> (u32, usize) {
    let joining = Joining {
        hash: HASH,
        left: u64::from(PIECES) * u64::from(PIECE_LEN),
        have: Bitmap::None,
        want: WANT,
        role: Role::Leech,
    };
    let joined = registry.join(client, &joining, NOW).expect("there is room");
    (joined.slot, joined.members.len() + joined.told.len())
}

/// A member tells of 16 pieces that it has, and then that it has lost them.
fn report(registry: &mut Registry, member: (Client, u32), from: u32) {
    for state in [HaveState::Have, HaveState::Lost] {
        let items = (from..from + 16).map(|piece| HaveItem { piece, state });
        let (client, slot) = member;
        registry
            .have_batch(client, slot, 1, items, NOW)
            .expect("valid");
    }
}

/// A swarm whose members have a random half each.
fn swarm() -> (Registry, Vec<(Client, u32)>) {
    let mut registry = Registry::new(Config::new(1));
    let mut rng = Rng::new(1);
    registry
        .register(facts(), [10, 0, 0, 1].into(), NOW)
        .expect("room");
    let members = (1..=MEMBERS).map(|number| {
        let client = connect(&mut registry, number);
        let mut have = Bitfield::none(PIECES);
        (0..PIECES).filter(|_| rng.below(2) == 0).for_each(|piece| {
            have.set(piece);
        });
        let joining = Joining {
            hash: HASH,
            left: u64::from(PIECES - have.count()) * u64::from(PIECE_LEN),
            have: Bitmap::of(&have),
            want: 0,
            role: Role::Leech,
        };
        let joined = registry.join(client, &joining, NOW).expect("room");
        (client, joined.slot)
    });
    let members = members.collect();
    (registry, members)
}

fn requests(criterion: &mut Criterion) {
    let (mut registry, members) = swarm();
    let (client, slot) = members[0];
    println!(
        "registry: {:?}",
        registry.stats(client, slot).expect("a member")
    );
    let mut group = criterion.benchmark_group(format!("registry/{MEMBERS} members"));
    let mut rng = Rng::new(2);

    group.throughput(Throughput::Elements(32));
    group.bench_function("16 pieces had and lost", |bencher| {
        bencher.iter(|| {
            let member = members[rng.below(members.len())];
            report(
                &mut registry,
                member,
                rng.below(PIECES as usize - 16) as u32,
            );
        });
    });

    group.throughput(Throughput::Elements(1));
    let mut number = MEMBERS;
    group.bench_function("connect, join, leave", |bencher| {
        bencher.iter(|| {
            number = number % (1 << 23) + 1;
            let client = connect(&mut registry, number + MEMBERS);
            let (_, named) = join(&mut registry, client);
            registry.disconnect(client);
            named
        });
    });
    group.bench_function("stats", |bencher| {
        bencher.iter(|| {
            let (client, slot) = members[rng.below(members.len())];
            registry.stats(black_box(client), slot).expect("a member")
        });
    });
    group.finish();
    registry.check();
}

/// A registry of foreign members, a hundred of each content; announce number `number`.
fn announce(registry: &mut Registry, number: u32, contents: u32, peers: &mut PeerList) -> usize {
    let (content, member) = (number % contents, number / contents);
    let mut hash = [0; 20];
    hash[..8].copy_from_slice(&Rng::new(content.into()).next_u64().to_be_bytes());
    let source = IpAddr::from([10, 0, (member >> 8) as u8, member as u8]);
    let announce = Announce {
        info_hash: InfoHash(hash),
        peer_id: PeerId([1; 20]),
        port: 6881,
        uploaded: 0,
        downloaded: 0,
        left: u64::from(number % 3),
        event: AnnounceEvent::None,
        ip: None,
        want: Some(30),
        key: 0,
    };
    let now = Time::ZERO + Duration::from_secs(60);
    let told = registry.announce(now, &announce, source, Families::Same, peers);
    told.expect("it is open to all");
    peers.v4.len()
}

/// What an announce costs without the system's part, and how that grows with the members of all contents.
fn announces(criterion: &mut Criterion) {
    let is_measured = std::env::args().any(|arg| arg == "--bench");
    let sizes: &[u32] = if is_measured {
        &[10_000, 1_000_000, 5_000_000]
    } else {
        &[10_000]
    };
    let mut group = criterion.benchmark_group("registry");
    for &members in sizes {
        let (contents, mut peers) = (members / EACH, PeerList::default());
        let mut registry = Registry::new(Config {
            is_open: true,
            ..Config::new(1)
        });
        let named: usize = (0..members)
            .map(|number| announce(&mut registry, number, contents, &mut peers))
            .sum();
        println!("registry: {members} announces named {named} bytes of members");
        let mut rng = Rng::new(1);
        let id = BenchmarkId::new("announce", format!("{members} peers"));
        group.bench_function(id, |bencher| {
            bencher.iter(|| {
                let number = rng.below(members as usize) as u32;
                announce(&mut registry, number, contents, &mut peers)
            });
        });
    }
}

criterion_group!(benches, requests, announces);
criterion_main!(benches);
