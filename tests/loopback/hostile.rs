//! Peers and publishers that do not play by the rules.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal::base::InfoHash;
use shoal::wire::bencode::{put_bytes, put_dictionary, put_list};
use shoal::wire::peer::{BLOCK_LEN, BlockRequest, Message};

use crate::common::scripted::{Link, Said};
use crate::common::{
    Answer, Content, Gate, Native, Running, Seeder, World, assert_same, liar, random_bytes,
};

const PIECE: u32 = 64 << 10;

/// A content that lies in the scratch folder, too.
fn image(world: &World, pieces: usize) -> Arc<Content> {
    let bytes = random_bytes(5, pieces * PIECE as usize - 100);
    fs::write(world.path("image"), &bytes).expect("a file");
    Arc::new(Content::new("image", PIECE, bytes))
}

/// Where the members listen that the tracker names to a newcomer.
fn named(world: &World, content: &Content) -> Vec<SocketAddr> {
    let (_, members) = Native::connect(&world.tracker.addr, &[]).join(content, false);
    members
        .iter()
        .flat_map(|member| member.addrs.iter().collect::<Vec<_>>())
        .collect()
}

/// Where the one who shares listens. It says that it shares a moment before the tracker has it as a member.
fn address_of_share(world: &World, content: &Content) -> SocketAddr {
    loop {
        if let Some(&addr) = named(world, content).first() {
            return addr;
        }
    }
}

#[test]
fn a_corrupting_seed_is_banned_and_nobody_else() {
    let world = World::new();
    let content = image(&world, 80);
    let wrong = Seeder::start(&world.tracker.addr, &content, |_| Answer::Wrong);
    // The honest ones wait until the other one has had its say.
    let gate = Gate::new(0);
    let honest: Vec<Seeder> = (0..3)
        .map(|_| {
            let gate = gate.clone();
            Seeder::start(&world.tracker.addr, &content, move |_| {
                gate.pass();
                Answer::Right
            })
        })
        .collect();
    for n in 1..=2 {
        assert_eq!(
            named(&world, &content).len(),
            4,
            "one reporter is not enough"
        );
        gate.close();
        let copy = format!("copy{n}");
        let get = world.start_get(&["image", "-o", &copy, "-v", "--seed", "forever"]);
        get.complaint(&format!("{} sent a corrupt piece", wrong.addr));
        gate.open();
        get.event("seeding");
        assert_same(&world.path("image"), &world.path(&copy));
        let ended = get.stop().exits(0);
        let banned = ended.err.iter().filter(|line| line.contains("banned"));
        assert_eq!(banned.count(), 1, "{ended:#?}");
        assert!(ended.summary()["hash_fail"].as_u64() >= Some(1));
    }
    let left = named(&world, &content);
    assert!(!left.contains(&wrong.addr), "two reporters are enough");
    assert!(honest.iter().all(|seeder| left.contains(&seeder.addr)));
}

/// A liar sends one wrong block, and rejects whatever else it is asked for: its piece has several senders.
#[test]
fn who_sent_one_wrong_block_of_a_piece_of_many_is_banned_and_nobody_else() {
    let world = World::new();
    let content = image(&world, 40);
    let gate = Gate::new(0);
    let (said, lies) = (gate.clone(), AtomicUsize::new(0));
    let liar = Seeder::start(&world.tracker.addr, &content, move |_| {
        if lies.fetch_add(1, Ordering::Relaxed) == 0 {
            return Answer::Wrong;
        }
        said.open();
        Answer::Reject
    });
    // The honest ones wait until the other one has had its say.
    let honest: Vec<Seeder> = (0..3)
        .map(|_| {
            let gate = gate.clone();
            Seeder::start(&world.tracker.addr, &content, move |_| {
                gate.pass();
                Answer::Right
            })
        })
        .collect();
    let got = world
        .get(&["image", "-o", "copy", "--check", "-v"])
        .exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    let banned: Vec<&String> = got
        .err
        .iter()
        .filter(|line| line.contains("banned"))
        .collect();
    let blamed = format!("{} sent a corrupt block", liar.addr);
    assert!(
        matches!(banned[..], [line] if line.contains(&blamed)),
        "{banned:?}"
    );
    let summary = got.summary();
    assert_eq!(summary["hash_fail"].as_u64(), Some(1));
    let peers = summary["peers"].as_array().expect("a list");
    let banned: Vec<_> = peers.iter().filter(|peer| peer["banned"] == true).collect();
    assert_eq!(banned.len(), 1, "{peers:?}");
    assert_eq!(banned[0]["addr"], liar.addr.to_string());
    assert!(honest.iter().any(|seeder| seeder.request_count() > 0));
}

#[test]
fn one_wrong_block_in_twenty_is_found_out() {
    let world = World::new();
    let content = image(&world, 100);
    let _wrong = Seeder::start(&world.tracker.addr, &content, |request| {
        match (request.piece * 4 + request.begin / BLOCK_LEN) % 20 {
            7 => Answer::Wrong,
            _ => Answer::Right,
        }
    });
    let share = world.share(&["image"]);
    let got = world.get(&["image", "-o", "copy", "--check"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    assert!(
        got.err
            .iter()
            .filter(|line| line.contains("banned"))
            .count()
            <= 1
    );
    share.stop().exits(0);
}

#[test]
fn a_silent_seed_does_not_hold_up_a_download() {
    let world = World::new();
    let content = image(&world, 80);
    let silent = Seeder::start(&world.tracker.addr, &content, |_| Answer::Silence);
    let share = world.share(&["image"]);
    world.get(&["image", "-o", "copy"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    assert!(silent.request_count() > 0, "it was asked");
    share.stop().exits(0);
}

#[test]
fn a_seed_that_stops_in_the_middle_of_a_block_does_not_hold_up_a_download() {
    let world = World::new();
    let content = image(&world, 80);
    let half = Seeder::start(&world.tracker.addr, &content, |_| Answer::Half);
    let share = world.share(&["image"]);
    world.get(&["image", "-o", "copy", "--check"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    assert!(half.request_count() > 0, "it was asked");
    share.stop().exits(0);
}

#[test]
fn blocks_that_nobody_asked_for_harm_nobody() {
    let world = World::new();
    let content = image(&world, 20);
    let _lavish = Seeder::start(&world.tracker.addr, &content, |_| Answer::Lavish);
    let got = world.get(&["image", "-o", "copy", "--check"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    assert_eq!(got.summary()["hash_fail"], 0);
}

#[test]
fn who_asks_for_everything_and_reads_nothing_costs_no_memory() {
    let world = World::new();
    let content = image(&world, 2_000);
    let share = world.share(&["image"]);
    let addr = address_of_share(&world, &content);
    let mut native = Native::connect(&world.tracker.addr, &[]);
    native.join(&content, false);
    let before = share.status("VmRSS:") >> 10;
    let mut links = Vec::new();
    for _ in 0..20 {
        let mut link = Link::dial(addr, &content, Native::connect(&world.tracker.addr, &[]).id);
        link.send(&Message::HaveNone);
        link.send(&Message::Interested);
        while !matches!(link.next(), Said::Unchoke) {}
        for piece in 0..500 {
            for begin in [0, 1, 2, 3].map(|block| block * BLOCK_LEN) {
                let len = BLOCK_LEN;
                link.send(&Message::Request(BlockRequest { piece, begin, len }));
            }
        }
        links.push(link);
    }
    // Somebody who reads is served all the same, and after that all requests have been seen.
    world.get(&["image", "-o", "copy"]).exits(0);
    assert_same(&world.path("image"), &world.path("copy"));
    let peak = share.memory_peak_mib();
    assert!(peak < before.max(64) + 48, "{before} MiB became {peak} MiB");
    drop(links);
    share.stop().exits(0);
}

#[test]
fn garbage_on_the_listening_port_harms_nobody() {
    use std::io::{Read, Write};
    let world = World::new();
    let content = image(&world, 20);
    let share = world.share(&["image"]);
    let addr = address_of_share(&world, &content);
    for seed in 0..20 {
        let mut stream = std::net::TcpStream::connect(addr).expect("it listens");
        let _ = stream.write_all(&random_bytes(seed, 5_000));
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "it answers nobody who does not greet");
    }
    let id = Native::connect(&world.tracker.addr, &[]).id;
    for bad in [u32::MAX, content.meta.piece_count()] {
        let mut link = Link::dial(addr, &content, id);
        link.send(&Message::Have { piece: bad });
        while !matches!(link.next(), Said::Gone) {}
    }
    world.get(&["image", "-o", "copy"]).exits(0);
    share.stop().exits(0);
}

/// An info dictionary with whatever name and path, of one file of 4 bytes.
fn info(name: &str, path: Option<&[&str]>) -> Vec<u8> {
    info_of(name, path, 4, 65536, 1)
}

/// The same, of any length and in any pieces.
fn info_of(
    name: &str,
    path: Option<&[&str]>,
    len: i64,
    piece_length: i64,
    pieces: usize,
) -> Vec<u8> {
    let mut info = Vec::new();
    put_dictionary(&mut info, |entries| {
        match path {
            Some(path) => put_list(entries.value(b"files"), |files| {
                put_dictionary(files, |file| {
                    file.int(b"length", len);
                    put_list(file.value(b"path"), |parts| {
                        path.iter()
                            .for_each(|part| put_bytes(parts, part.as_bytes()));
                    });
                });
            }),
            None => entries.int(b"length", len),
        }
        entries.bytes(b"name", name.as_bytes());
        entries.int(b"piece length", piece_length);
        entries.bytes(b"pieces", &vec![7; pieces * 20]);
    });
    info
}

fn hostile_descriptions() -> Vec<Vec<u8>> {
    vec![
        info("..", None),
        info("/etc/shoal-was-here", None),
        info("a/../../x", None),
        info("", None),
        info("top", Some(&["..", "..", "x"])),
        info("top", Some(&["/etc/x"])),
        info("..", Some(&["x"])),
        info("top", Some(&["a", "", "b"])),
        info("top", Some(&["."])),
        info("nul\0", None),
    ]
}

#[test]
fn the_tracker_does_not_take_a_description_with_a_hostile_name() {
    let world = World::new();
    for info in hostile_descriptions() {
        let taken = Native::connect(&world.tracker.addr, &[]).register(&info);
        assert!(taken.is_err(), "{}", String::from_utf8_lossy(&info));
    }
    let fine = Native::connect(&world.tracker.addr, &[]).register(&info("fine", None));
    assert!(fine.is_ok(), "{fine:?}");
}

#[test]
fn a_getter_refuses_a_hostile_description_whoever_hands_it_out() {
    let world = World::new();
    let lied = |info: Vec<u8>, hash: Option<InfoHash>| {
        let liar = liar::start(info, hash);
        fs::create_dir_all(world.path("deep")).expect("a folder");
        let mut command = world.peer(&["get", "x", "-o", ".", "-t", &liar]);
        command.current_dir(world.path("deep"));
        let ended = Running::start("get", &mut command).end();
        ended.summary();
        let entries = |name| fs::read_dir(world.path(name)).expect("a folder").count();
        assert_eq!((entries(""), entries("deep")), (1, 0), "nothing is written");
        ended
    };
    let too_large = [
        info_of("large", None, 4, (512 << 20) + 1, 1),
        info_of("many", None, 131_073, 1, 131_073),
    ];
    for info in hostile_descriptions().into_iter().chain(too_large) {
        lied(info, None).exits(26);
    }
    lied(info("fine", None), Some(InfoHash([1; 20]))).exits(25);
    lied(b"d4:name".to_vec(), None).exits(25);
    lied(Vec::new(), None).exits(25);
}
