//! Magnet links: the info dictionary from peers (BEP 9), be they honest or not.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shoal::base::{InfoHash, PeerId};
use shoal::wire::extension::{EXTENDED_HANDSHAKE, ExtendedHandshake, Extension};
use shoal::wire::info_builder::{Content as Kind, NewFile, canonical_info};
use shoal::wire::metadata::{MetadataMessage, metadata_piece_range};
use shoal::wire::metainfo::{INFO_BYTES_MAX, Metainfo};
use shoal::wire::peer::{Handshake, Message};
use shoal::wire::peer_decoder::{Decoder, DecoderLimits, Event};
use shoal::wire::torrent::{Extras, torrent_file};

use crate::common::{Content, Native, Running, World, assert_same};

/// The number that scripted peers give to `ut_metadata`.
const ID: u8 = 77;

/// How a scripted peer deals with the info dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Claims another size, and sends zeros to fit it.
    WrongSize,
    /// Claims the most that there may be, and never comes to an end.
    Huge,
    /// Claims the right size, and sends zeros.
    Garbage,
    /// Sends pieces that nobody asked for.
    Endless,
    /// Claims, and does not answer.
    Silent,
    /// Answers with what is no bencode.
    Nonsense,
    /// Refuses everything.
    Refuses,
    /// Never sends its handshake.
    Mute,
}

/// A peer that has an info dictionary and no content.
struct Source {
    addr: SocketAddr,
    /// How many conns came.
    conns: Arc<AtomicUsize>,
}

impl Source {
    fn start(info: &[u8], info_hash: InfoHash, manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let conns = Arc::new(AtomicUsize::new(0));
        let (info, counter): (Arc<[u8]>, _) = (info.into(), conns.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                counter.fetch_add(1, Ordering::Relaxed);
                let info = info.clone();
                std::thread::spawn(move || serve(stream, &info, info_hash, manner));
            }
        });
        Self { addr, conns }
    }

    fn conn_count(&self) -> usize {
        self.conns.load(Ordering::Relaxed)
    }
}

/// Answers one conn until it ends.
fn serve(mut stream: TcpStream, info: &[u8], info_hash: InfoHash, manner: Manner) -> Option<()> {
    let size = match manner {
        Manner::WrongSize => info.len() as u32 + 1,
        Manner::Huge => INFO_BYTES_MAX as u32,
        _ => info.len() as u32,
    };
    let (mut decoder, mut buffer) = (Decoder::new(DecoderLimits::default()), vec![0; 64 << 10]);
    let mut their_id = 0;
    loop {
        let count = stream.read(&mut buffer).ok().filter(|count| *count > 0)?;
        let mut input = &buffer[..count];
        while let Some(event) = decoder.decode(&mut input).expect("it speaks BitTorrent") {
            let mut out = Vec::new();
            match event {
                Event::Handshake(_) if manner == Manner::Mute => {}
                Event::Handshake(_) => {
                    let port = stream.local_addr().ok()?.port();
                    let mut id = [manner as u8; 20];
                    id[..2].copy_from_slice(&port.to_be_bytes());
                    Handshake::new(info_hash, PeerId(id)).encode(&mut out);
                    Message::HaveNone.encode(&mut out);
                    let handshake = ExtendedHandshake {
                        metadata_size: Some(size),
                        messages: vec![(Extension::Metadata, ID)],
                        ..ExtendedHandshake::default()
                    };
                    handshake.encode(&mut out);
                }
                Event::Message(Message::Extended { id, payload }) if id == EXTENDED_HANDSHAKE => {
                    let theirs = ExtendedHandshake::decode(payload).expect("a handshake");
                    their_id = theirs.id_of(Extension::Metadata).expect("it wants it");
                    if manner == Manner::Endless {
                        flood(&mut stream, their_id, size)?;
                    }
                }
                Event::Message(Message::Extended { id, payload }) => {
                    assert_eq!(id, ID, "it uses our number");
                    let asked = MetadataMessage::decode(payload).expect("a message");
                    let MetadataMessage::Request { piece } = asked else {
                        panic!("{asked:?}");
                    };
                    answer(info, size, manner, their_id, piece, &mut out);
                }
                _ => {}
            }
            stream.write_all(&out).ok()?;
        }
    }
}

fn answer(info: &[u8], size: u32, manner: Manner, id: u8, piece: u32, out: &mut Vec<u8>) {
    let range = metadata_piece_range(size, piece);
    let zeros = vec![0; range.len()];
    let bytes = match manner {
        Manner::Honest => &info[range],
        Manner::Silent | Manner::Mute => return,
        Manner::Refuses => return MetadataMessage::Reject { piece }.encode(id, out),
        Manner::Nonsense => {
            let payload = b"d8:msg_type";
            return Message::Extended { id, payload }.encode(out);
        }
        _ => &zeros,
    };
    let total_size = size;
    let data = MetadataMessage::Data {
        piece,
        total_size,
        bytes,
    };
    data.encode(id, out);
}

fn flood(stream: &mut TcpStream, id: u8, total_size: u32) -> Option<()> {
    loop {
        let mut out = Vec::new();
        let bytes = &vec![0; metadata_piece_range(total_size, 0).len()];
        let data = MetadataMessage::Data {
            piece: 0,
            total_size,
            bytes,
        };
        data.encode(id, &mut out);
        stream.write_all(&out).ok()?;
    }
}

/// A folder of so many small files that its info dictionary has several pieces, described by a `.torrent` file.
fn folder(world: &World, name: &str, files: usize) {
    let folder = world.folder(name);
    for number in 0..files {
        let file = format!("{folder}a file with a rather long name, number {number}");
        fs::write(file, format!("{number} of {name}")).expect("a file");
    }
}

/// Shares it, and says where, and what it is.
pub(crate) fn shared(world: &World, name: &str, args: &[&str]) -> (Running, Metainfo, SocketAddr) {
    let torrent = format!("{name}.torrent");
    let share = world.share(&[&[name, "--torrent", &torrent], args].concat());
    let bytes = fs::read(world.path(&torrent)).expect("it was written");
    let meta = Metainfo::from_torrent(&bytes).expect("a torrent");
    let content = Content {
        meta: meta.clone(),
        bytes: Vec::new(),
    };
    let addr = loop {
        let (_, members) = Native::connect(&world.tracker.addr, &[]).join(&content, false);
        if let Some(addr) = members.iter().find_map(|member| member.addrs.iter().next()) {
            break addr;
        }
    };
    (share, meta, addr)
}

fn magnet(info_hash: InfoHash, peers: &[SocketAddr]) -> String {
    let peers: String = peers.iter().map(|addr| format!("&x.pe={addr}")).collect();
    format!("magnet:?xt=urn:btih:{info_hash}{peers}")
}

/// Fetches into the folder `got`, without a native tracker.
fn start_get(world: &World, whats: &[&str], more: &[&str]) -> Running {
    let to = world.folder("got");
    let args = [&["get", "-v", "-o", &to], more, whats].concat();
    let mut command = world.peer(&args);
    command.env_remove("SHOAL_TRACKER");
    Running::start("get", &mut command)
}

#[test]
fn a_magnet_link_that_names_a_peer_is_enough() {
    let world = World::new();
    folder(&world, "folder", 800);
    let (share, meta, addr) = shared(&world, "folder", &[]);
    assert!(meta.info().len() > 65_536, "several pieces");
    let link = magnet(meta.info_hash(), &[addr]);
    let got = start_get(&world, &[&link], &[]).end().exits(0);
    assert_same(&world.path("folder"), &world.path("got/folder"));
    assert_eq!(got.summary()["down_bytes"].as_u64(), Some(meta.total_len()));
    share.stop().exits(0);
}

#[test]
fn a_magnet_link_is_known_to_the_native_tracker_too() {
    let world = World::new();
    folder(&world, "folder", 3);
    let (share, meta, _) = shared(&world, "folder", &[]);
    world
        .get(&[&magnet(meta.info_hash(), &[]), "-o", &world.folder("got")])
        .exits(0);
    assert_same(&world.path("folder"), &world.path("got/folder"));
    share.stop().exits(0);
}

#[test]
fn a_tracker_over_http_leads_to_the_info_dictionary() {
    let world = World::new();
    folder(&world, "folder", 3);
    let (share, meta, _) = shared(&world, "folder", &[]);
    let link = magnet(meta.info_hash(), &[]);
    let link = format!("{link}&tr=http%3A%2F%2F{}%2Fannounce", world.tracker.addr);
    start_get(&world, &[&link], &[]).end().exits(0);
    assert_same(&world.path("folder"), &world.path("got/folder"));
    share.stop().exits(0);
}

#[test]
fn hostile_sources_beside_an_honest_one_change_nothing() {
    let world = World::new();
    folder(&world, "folder", 800);
    let (share, meta, addr) = shared(&world, "folder", &[]);
    let hostile = [
        Manner::WrongSize,
        Manner::Huge,
        Manner::Garbage,
        Manner::Endless,
        Manner::Silent,
        Manner::Nonsense,
        Manner::Refuses,
        Manner::Mute,
    ];
    let start = |manner: &Manner| Source::start(meta.info(), meta.info_hash(), *manner);
    let sources: Vec<Source> = hostile.iter().map(start).collect();
    let mut peers: Vec<SocketAddr> = sources.iter().map(|source| source.addr).collect();
    peers.push(addr);
    let get = start_get(&world, &[&magnet(meta.info_hash(), &peers)], &["--check"]);
    get.event("start");
    let peak = get.memory_peak_mib();
    get.end().exits(0);
    assert!(peak < 200, "{peak} MiB");
    assert_same(&world.path("folder"), &world.path("got/folder"));
    assert!(sources.iter().all(|source| source.conn_count() > 0));
    share.stop().exits(0);
}

#[test]
fn an_honest_source_without_content_helps_one_with_it() {
    let world = World::new();
    folder(&world, "folder", 800);
    let (share, meta, addr) = shared(&world, "folder", &[]);
    let source = Source::start(meta.info(), meta.info_hash(), Manner::Honest);
    let link = magnet(meta.info_hash(), &[source.addr, addr]);
    start_get(&world, &[&link], &[]).end().exits(0);
    assert_same(&world.path("folder"), &world.path("got/folder"));
    assert!(source.conn_count() > 0);
    share.stop().exits(0);
}

#[test]
fn who_lies_alone_is_named_and_not_asked_again() {
    let world = World::new();
    let source = Source::start(&[1; 20_000], InfoHash([7; 20]), Manner::Garbage);
    let link = magnet(InfoHash([7; 20]), &[source.addr]);
    let get = start_get(&world, &[&link], &["--stall", "3s"]);
    get.complaint(&format!("{} sent a wrong info dictionary", source.addr));
    get.end().exits(5);
    assert_eq!(source.conn_count(), 1);
}

#[test]
fn without_an_info_dictionary_the_user_decides_how_long_it_takes() {
    let world = World::new();
    let link = magnet(InfoHash([7; 20]), &[]);
    start_get(&world, &[&link], &["--stall", "1s"])
        .end()
        .exits(5);
    start_get(&world, &[&link], &["--timeout", "1s"])
        .end()
        .exits(2);
    let silent = Source::start(&[1; 20_000], InfoHash([7; 20]), Manner::Silent);
    let link = magnet(InfoHash([7; 20]), &[silent.addr]);
    start_get(&world, &[&link], &["--stall", "2s"])
        .end()
        .exits(5);
    let get = start_get(&world, &[&link], &[]);
    while silent.conn_count() < 2 {
        std::thread::yield_now();
    }
    get.stop().exits(7);
}

#[test]
fn a_description_that_is_found_must_be_acceptable() {
    let world = World::new();
    let kind = Kind::Single {
        len: 1,
        sha256: None,
    };
    let info = canonical_info("a/b", 16 << 10, &[7; 20], kind);
    let info_hash = {
        use sha1::{Digest, Sha1};
        InfoHash(Sha1::digest(&info).into())
    };
    let source = Source::start(&info, info_hash, Manner::Honest);
    start_get(&world, &[&magnet(info_hash, &[source.addr])], &[])
        .end()
        .exits(26);
}

#[test]
fn names_files_and_links_go_together() {
    let world = World::new();
    for name in ["one", "two", "three"] {
        folder(&world, name, 5);
    }
    let (one, ..) = shared(&world, "one", &[]);
    let (two, ..) = shared(&world, "two", &[]);
    let (three, meta, _) = shared(&world, "three", &[]);
    let to = world.folder("got");
    let link = magnet(meta.info_hash(), &[]);
    world
        .get(&["one", "two.torrent", &link, "-o", &to])
        .exits(0);
    for (name, share) in [("one", one), ("two", two), ("three", three)] {
        assert_same(&world.path(name), &world.path(&format!("got/{name}")));
        share.stop().exits(0);
    }
}

#[test]
fn a_torrent_of_somebody_else_is_not_registered_by_fetching_it() {
    let world = World::new();
    let files = [NewFile {
        path: vec!["f".to_owned()],
        len: 1,
        sha256: None,
    }];
    let info = canonical_info("foreign", 16 << 10, &[7; 20], Kind::Files(&files));
    fs::write(
        world.path("foreign.torrent"),
        torrent_file(&info, &Extras::default()),
    )
    .expect("a file");
    let to = world.folder("got");
    for what in ["foreign.torrent".to_owned(), magnet(InfoHash([9; 20]), &[])] {
        world.get(&[&what, "-o", &to, "--stall", "1s"]).exits(5);
    }
    let listed = world.run(&["ls"]).exits(0);
    assert_eq!(listed.events("file").len(), 0, "{listed:#?}");
}

#[test]
fn a_seed_answers_what_it_is_asked_and_rejects_what_does_not_exist() {
    let world = World::new();
    folder(&world, "folder", 800);
    let (share, meta, addr) = shared(&world, "folder", &[]);
    let mut stream = TcpStream::connect(addr).expect("it listens");
    let mut out = Vec::new();
    Handshake::new(meta.info_hash(), PeerId([3; 20])).encode(&mut out);
    Message::HaveNone.encode(&mut out);
    let handshake = ExtendedHandshake {
        messages: vec![(Extension::Metadata, ID)],
        ..ExtendedHandshake::default()
    };
    handshake.encode(&mut out);
    stream.write_all(&out).expect("it reads");
    let (mut decoder, mut buffer) = (Decoder::new(DecoderLimits::default()), vec![0; 64 << 10]);
    let (mut pieces, mut rejects) = (Vec::new(), Vec::new());
    while pieces.len() < 2 || rejects.len() < 2 {
        let count = stream.read(&mut buffer).expect("it answers");
        assert!(count > 0, "it closed the conn");
        let mut input = &buffer[..count];
        while let Some(event) = decoder.decode(&mut input).expect("its protocol") {
            let Event::Message(Message::Extended { id, payload }) = event else {
                continue;
            };
            if id == EXTENDED_HANDSHAKE {
                let theirs = ExtendedHandshake::decode(payload).expect("a handshake");
                assert_eq!(theirs.metadata_size, Some(meta.info().len() as u32));
                let id = theirs.id_of(Extension::Metadata).expect("it serves it");
                let mut out = Vec::new();
                for piece in [u32::MAX, 1, 1_000, 0] {
                    MetadataMessage::Request { piece }.encode(id, &mut out);
                }
                stream.write_all(&out).expect("it reads");
                continue;
            }
            assert_eq!(id, ID, "it uses our number");
            match MetadataMessage::decode(payload).expect("a message") {
                MetadataMessage::Data {
                    piece,
                    total_size,
                    bytes,
                } => {
                    let range = metadata_piece_range(total_size, piece);
                    assert_eq!(bytes, &meta.info()[range]);
                    pieces.push(piece);
                }
                MetadataMessage::Reject { piece } => rejects.push(piece),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!((pieces, rejects), (vec![1, 0], vec![u32::MAX, 1_000]));
    share.stop().exits(0);
}
