//! The BitTorrent side of the wire, from outside: byte vectors exchanged with real clients, every way to cut a stream,
//! a second opinion on bencode, and garbage.

#[path = "../common/noise.rs"]
mod noise;
mod tracker;

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::Value as Json;
use shoal::base::{Bitfield, InfoHash, PeerId, Rng};
use shoal::wire::WireError;
use shoal::wire::bencode::{self, Limits, Value};
use shoal::wire::extension::{ExtendedHandshake, Extension};
use shoal::wire::info_builder::{Content, canonical_info};
use shoal::wire::metadata::MetadataMessage;
use shoal::wire::metainfo::{Metainfo, MetainfoError};
use shoal::wire::peer::{BLOCK_LEN, BlockRequest, Handshake, Message, put_piece_header};
use shoal::wire::peer_decoder::{Decoder, DecoderLimits, Event, FRAME_BYTES_MAX};
use shoal::wire::peer_exchange::{ExchangedPeer, FLAG_REACHABLE, FLAG_SEED, PeerExchange};
use shoal::wire::torrent::Torrent;

use noise::spoil;

const INFO_HASH: &str = "01f9f5ad8efcc93d082597a3ad916a3f48edf6d8";
const PEER_ID: &[u8; 20] = b"-XX0100-abcdefghijkl";

struct Vectors(Vec<Json>);

impl Vectors {
    fn load() -> Self {
        let file: Json = serde_json::from_str(include_str!("../wire_vectors.json")).expect("JSON");
        Self(file["vectors"].as_array().expect("an array").clone())
    }

    fn json(&self, name: &str) -> &Json {
        let found = self.0.iter().find(|vector| vector["name"] == name);
        found.unwrap_or_else(|| panic!("no vector {name}"))
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(self.json(name)["hex"].as_str().expect("text"))
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .map(|vector| vector["name"].as_str().expect("text"))
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

fn handshake() -> Handshake {
    let info_hash = INFO_HASH.parse().expect("a hash");
    Handshake::new(info_hash, PeerId(*PEER_ID))
}

fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    message.encode(&mut out);
    out
}

/// A handshake, then `frames`.
fn stream(frames: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    handshake().encode(&mut out);
    out.extend_from_slice(frames);
    out
}

/// The messages of the vectors whose encoding and decoding must give one another.
fn message_vectors<'a>() -> Vec<(&'static str, Message<'a>)> {
    use Message::*;
    let block = BlockRequest {
        piece: 1,
        begin: 16384,
        len: BLOCK_LEN,
    };
    let tail = BlockRequest {
        piece: 3,
        begin: 0,
        len: 1696,
    };
    let bytes = &[0xc0, 0x40];
    let lost = Extended {
        id: 7,
        payload: &[0, 0, 0, 2],
    };
    let disable = Extended {
        id: 0,
        payload: b"d1:md6:ut_pexi0eee",
    };
    vec![
        ("keepalive", KeepAlive),
        ("choke", Choke),
        ("unchoke", Unchoke),
        ("interested", Interested),
        ("not_interested", NotInterested),
        ("have", Have { piece: 3 }),
        ("bitfield_10pieces_0_1_9", Bitfield { bytes }),
        ("request", Request(block)),
        ("request_tail", Request(tail)),
        ("cancel", Cancel(block)),
        ("port", Port { port: 6881 }),
        ("suggest", Suggest { piece: 2 }),
        ("have_all", HaveAll),
        ("have_none", HaveNone),
        ("reject_request", Reject(block)),
        ("allowed_fast", AllowedFast { piece: 1059 }),
        ("lt_donthave", lost),
        ("ext_handshake_disable", disable),
    ]
}

/// What a decoder makes of `chunks`: one line per event, the bytes of a block in one line however they came. With
/// `landing`, some of a block's bytes are read past the decoder, as that many at most.
fn transcript(chunks: &[&[u8]], landing: usize) -> Result<Vec<String>, WireError> {
    let mut decoder = Decoder::new(DecoderLimits::default());
    let (mut lines, mut payload) = (Vec::new(), Vec::new());
    for chunk in chunks {
        let mut input = *chunk;
        while let Some(event) = decoder.decode(&mut input)? {
            match event {
                Event::Payload(bytes) => payload.extend_from_slice(bytes),
                Event::PieceEnd => lines.push(format!("{:?}", std::mem::take(&mut payload))),
                other => lines.push(format!("{other:?}")),
            }
            let landed = landing.min(decoder.payload_remaining()).min(input.len());
            payload.extend_from_slice(&input[..landed]);
            input = &input[landed..];
            if decoder.payload_landed(landed) {
                lines.push(format!("{:?}", std::mem::take(&mut payload)));
            }
        }
        assert!(input.is_empty(), "input left over");
        assert!(decoder.buffer_bytes() <= FRAME_BYTES_MAX + 4);
    }
    Ok(lines)
}

/// The first event after the handshake.
fn first_line(frame: &[u8]) -> Result<Option<String>, WireError> {
    transcript(&[&stream(frame)], 0).map(|lines| lines.into_iter().nth(1))
}

/// As libtorrent 2.0.8 makes them by default: its file tree of BitTorrent v2 is not ours to read.
#[test]
fn a_hybrid_torrent_is_read_as_version_1() {
    let torrent = Torrent::from_bytes(include_bytes!("hybrid.torrent")).expect("valid");
    let hash = "9b14b670abf02d150f4b71bc27ebbb589573872e";
    assert_eq!(torrent.meta.info_hash().to_string(), hash);
    let files: Vec<_> = torrent.meta.files().iter().collect();
    let shape: Vec<_> = files.iter().map(|f| (f.len, f.is_padding)).collect();
    let padding = [(14_688, true), (12_768, true)];
    assert_eq!(
        shape,
        [(100_000, false), padding[0], (20_000, false), padding[1]]
    );
}

#[test]
fn every_vector_of_this_wire_is_judged_by_a_test_below() {
    let messages = message_vectors().into_iter().map(|(name, _)| name);
    let elsewhere = ["lsd_", "bep40_", "allowed_fast_set"];
    let by_prefix = ["bencode_bad_", "handshake_", "info_dict", "hash", "ut_"];
    let of_trackers = tracker::JUDGED.iter().copied();
    let judged: BTreeSet<_> = messages
        .chain(of_trackers)
        .chain([
            "metainfo_v1",
            "piece_32B_block",
            "ext_handshake",
            "oversize_prefix",
            "length_zero_id",
            "bitfield_spare_bit_set",
            "bitfield_wrong_size",
            "request_too_long",
            "request_begin_overflow",
        ])
        .collect();
    let vectors = Vectors::load();
    for name in vectors.names() {
        let prefixes = elsewhere.iter().chain(&by_prefix);
        let known = judged.contains(name) || prefixes.into_iter().any(|p| name.starts_with(p));
        assert!(known, "vector {name} is judged nowhere");
    }
}

#[test]
fn bencode_that_is_not_canonical_is_refused() {
    let vectors = Vectors::load();
    let bad = || {
        vectors
            .names()
            .filter(|name| name.starts_with("bencode_bad_"))
    };
    for name in bad() {
        let bytes = vectors.bytes(name);
        assert!(bencode::decode(&bytes, Limits::METAINFO).is_err(), "{name}");
    }
    assert_eq!(bad().count(), 11);
}

#[test]
fn info_dictionaries_of_the_vectors_are_understood() {
    let vectors = Vectors::load();
    let info = vectors.bytes("info_dict");
    let metainfo = Metainfo::from_info(&info).expect("valid");
    assert_eq!(metainfo.info_hash().to_string(), INFO_HASH);
    assert_eq!(
        (metainfo.name(), metainfo.total_len()),
        ("vec.bin", 100_000)
    );
    assert_eq!((metainfo.piece_count(), metainfo.piece_len(3)), (4, 1696));
    let pieces: Vec<u8> = (0..4).flat_map(|i| metainfo.piece_hash(i)).collect();
    let content = Content::Single {
        len: 100_000,
        sha256: None,
    };
    assert_eq!(canonical_info("vec.bin", 32768, &pieces, content), info);
    let torrent = vectors.bytes("metainfo_v1");
    assert_eq!(Metainfo::from_torrent(&torrent), Ok(metainfo));

    let private = Metainfo::from_info(&vectors.bytes("info_dict_private")).expect("valid");
    let hash = &vectors.json("info_dict_private")["fields"]["info_hash"];
    assert_eq!(*hash, private.info_hash().to_string());
    assert!(private.is_private());
    let version_2 = Metainfo::from_info(&vectors.bytes("info_dict_v2"));
    assert!(matches!(version_2, Err(MetainfoError::Unreadable(_))));
}

#[test]
fn handshakes_of_the_vectors_survive_and_tell_their_features() {
    let vectors = Vectors::load();
    for (name, supports_both) in [
        ("handshake_plain", false),
        ("handshake_ext_fast", true),
        ("handshake_ext_fast_dht", true),
        ("handshake_ext_fast_dht_v2", true),
    ] {
        let bytes = vectors.bytes(name);
        let decoded = Handshake::decode(&bytes).expect("valid");
        assert_eq!(
            decoded.info_hash,
            INFO_HASH.parse::<InfoHash>().expect("a hash")
        );
        assert_eq!(decoded.peer_id, PeerId(*PEER_ID));
        assert_eq!(decoded.supports_extended(), supports_both);
        assert_eq!(decoded.supports_fast(), supports_both);
        let mut again = Vec::new();
        decoded.encode(&mut again);
        assert_eq!(again, bytes);
    }
    let bad = vectors.bytes("handshake_bad_pstrlen");
    assert_eq!(transcript(&[&bad], 0), Err(WireError::NotBitTorrent));
}

#[test]
fn messages_of_the_vectors_survive() {
    let vectors = Vectors::load();
    for (name, message) in message_vectors() {
        let bytes = vectors.bytes(name);
        assert_eq!(encoded(&message), bytes, "{name}");
        let line = format!("{:?}", Event::Message(message));
        assert_eq!(first_line(&bytes), Ok(Some(line)), "{name}");
    }
    let piece = vectors.bytes("piece_32B_block");
    let mut head = Vec::new();
    put_piece_header(&mut head, 3, 0, 32);
    assert_eq!(head, piece[..13]);
    let lines = transcript(&[&stream(&piece)], 0).expect("valid");
    assert_eq!(lines[1], "PieceStart { piece: 3, begin: 0, len: 32 }");
    assert_eq!(lines[2], format!("{:?}", &piece[13..]));
}

#[test]
fn messages_that_break_a_rule_are_refused() {
    let vectors = Vectors::load();
    for (name, error) in [
        ("oversize_prefix", WireError::FrameTooLong),
        ("length_zero_id", WireError::FrameLength),
        ("hash_request", WireError::UnknownType),
        ("hashes", WireError::UnknownType),
        ("hash_reject", WireError::UnknownType),
    ] {
        assert_eq!(first_line(&vectors.bytes(name)), Err(error), "{name}");
    }
    let mut decoder = Decoder::new(DecoderLimits {
        piece_count: Some(10),
        ..Default::default()
    });
    let bytes = stream(&vectors.bytes("bitfield_wrong_size"));
    let mut input = &bytes[..];
    assert!(decoder.decode(&mut input).is_ok());
    assert_eq!(decoder.decode(&mut input), Err(WireError::FrameLength));
    // What the decoder cannot know is left to those who know the content.
    let spare = vectors.bytes("bitfield_spare_bit_set");
    assert_eq!(Bitfield::from_bytes(10, &spare[5..]), None);
    for name in ["request_too_long", "request_begin_overflow"] {
        let line = first_line(&vectors.bytes(name)).expect("readable");
        let (begin, len) = match name {
            "request_too_long" => (0, 32768),
            _ => (0xffff_c000, 32768),
        };
        let request = BlockRequest {
            piece: 1,
            begin,
            len,
        };
        let expected = format!("{:?}", Event::Message(Message::Request(request)));
        assert_eq!(line, Some(expected));
        assert!(!request.is_within(1 << 20, BLOCK_LEN));
    }
}

#[test]
fn extension_messages_of_the_vectors_are_understood() {
    let vectors = Vectors::load();
    let bytes = vectors.bytes("ext_handshake");
    let handshake = ExtendedHandshake {
        reqq: Some(512),
        version: Some("xx 0.1.0".into()),
        port: Some(6881),
        your_ip: Some([10, 0, 0, 7].into()),
        request_bytes_max: None,
        upload_only: Some(false),
        metadata_size: Some(146),
        messages: vec![
            (Extension::DontHave, 7),
            (Extension::Metadata, 3),
            (Extension::PeerExchange, 1),
        ],
    };
    assert_eq!(
        ExtendedHandshake::decode(&bytes[6..]),
        Ok(handshake.clone())
    );
    let mut again = Vec::new();
    handshake.encode(&mut again);
    assert_eq!(again, bytes);
    let disable = ExtendedHandshake::decode(&vectors.bytes("ext_handshake_disable")[6..]);
    let messages = vec![(Extension::PeerExchange, 0)];
    assert_eq!(disable.map(|handshake| handshake.messages), Ok(messages));

    let info = vectors.bytes("info_dict");
    for (name, message) in [
        ("request", MetadataMessage::Request { piece: 0 }),
        (
            "data",
            MetadataMessage::Data {
                piece: 0,
                total_size: 146,
                bytes: &info,
            },
        ),
        ("reject", MetadataMessage::Reject { piece: 0 }),
    ] {
        let bytes = vectors.bytes(&format!("ut_metadata_{name}"));
        assert_eq!(MetadataMessage::decode(&bytes[6..]), Ok(message));
        let mut again = Vec::new();
        message.encode(bytes[5], &mut again);
        assert_eq!(again, bytes);
    }
    let exchange = vectors.bytes("ut_pex");
    let named = |text: &str, flags| ExchangedPeer {
        addr: text.parse().expect("an address"),
        flags,
    };
    let said = PeerExchange {
        added: vec![
            named("10.0.0.1:6881", FLAG_REACHABLE),
            named("10.0.0.2:6882", FLAG_REACHABLE | FLAG_SEED),
            named("[2001:db8::1]:6881", FLAG_REACHABLE),
        ],
        dropped: vec!["10.0.0.9:6881".parse().expect("an address")],
    };
    assert_eq!(PeerExchange::decode(&exchange[6..]).as_ref(), Ok(&said));
    let mut ours = Vec::new();
    said.encode(&mut ours);
    assert_eq!(ours, exchange[6..]);
}

/// Every message of the vectors and two blocks, one after the other.
fn all_frames() -> Vec<u8> {
    let mut frames = Vec::new();
    for (_, message) in message_vectors() {
        message.encode(&mut frames);
    }
    for len in [1, 40] {
        put_piece_header(&mut frames, 2, 0, len);
        frames.extend((0..len).map(|byte| byte as u8));
    }
    Message::HaveAll.encode(&mut frames);
    frames
}

#[test]
fn every_cut_into_two_or_into_bytes_gives_the_same_events() {
    let bytes = stream(&all_frames());
    let whole = transcript(&[&bytes], 0).expect("valid");
    assert_eq!(whole.len(), 1 + message_vectors().len() + 2 * 2 + 1);
    for landing in [0, 1, usize::MAX] {
        for cut in 0..=bytes.len() {
            let (one, two) = bytes.split_at(cut);
            let cut_up = transcript(&[one, two], landing);
            assert_eq!(cut_up.as_ref(), Ok(&whole), "cut at {cut}");
        }
        for size in 1..=80 {
            let chunks: Vec<_> = bytes.chunks(size).collect();
            assert_eq!(transcript(&chunks, landing).as_ref(), Ok(&whole));
        }
    }
}

proptest! {
    #[test]
    fn any_cutting_of_any_stream_gives_the_same_events(
        order in proptest::collection::vec((0usize..19, 1u32..20_000, any::<u8>()), 0..12),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..40),
        landing in 0usize..5_000,
    ) {
        let known = message_vectors();
        let mut bytes = stream(&[]);
        for (choice, len, fill) in order {
            match known.get(choice) {
                Some((_, Message::Extended { id, .. })) => {
                    let payload = &vec![fill; len as usize];
                    Message::Extended { id: *id, payload }.encode(&mut bytes);
                }
                Some((_, message)) => message.encode(&mut bytes),
                None => {
                    let len = len.min(BLOCK_LEN);
                    put_piece_header(&mut bytes, 0, 0, len);
                    bytes.resize(bytes.len() + len as usize, fill);
                }
            }
        }
        let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        ends.extend([0, bytes.len()]);
        ends.sort_unstable();
        let chunks: Vec<_> = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        prop_assert_eq!(transcript(&chunks, landing), transcript(&[&bytes], 0));
    }

    #[test]
    fn agrees_with_another_implementation_on_what_it_wrote(value in any_value()) {
        let bytes = bt_bencode::to_vec(&value).expect("encodable");
        let decoded = bencode::decode(&bytes, Limits::METAINFO).expect("canonical");
        let mut again = Vec::new();
        rewrite(decoded, &mut again);
        prop_assert_eq!(again, bytes);
    }

    #[test]
    fn agrees_with_another_implementation_on_what_is_canonical(
        value in any_value(),
        at in any::<proptest::sample::Index>(),
        byte in prop_oneof![Just(b'e'), Just(b'i'), Just(b'-'), b'0'..=b'9', any::<u8>()],
        insert in any::<bool>(),
    ) {
        let mut bytes = bt_bencode::to_vec(&value).expect("encodable");
        let at = at.index(bytes.len());
        bytes.splice(at..if insert { at } else { at + 1 }, [byte]);
        let theirs = bt_bencode::from_slice::<bt_bencode::Value>(&bytes).ok();
        let is_canonical = theirs.is_some_and(|theirs| {
            bt_bencode::to_vec(&theirs).is_ok_and(|again| again == bytes)
        });
        let ours = bencode::decode(&bytes, Limits::METAINFO);
        // Theirs also reads integers that only an unsigned type holds.
        prop_assert!(ours.is_ok() == is_canonical || ours == Err(bencode::BencodeError::Integer));
    }
}

fn any_value() -> impl Strategy<Value = bt_bencode::Value> {
    use bt_bencode::{ByteString, Value};
    let text = || proptest::collection::vec(any::<u8>(), 0..12).prop_map(ByteString::from);
    let leaf = prop_oneof![
        text().prop_map(Value::ByteStr),
        any::<i64>().prop_map(|int| Value::Int(int.into())),
    ];
    leaf.prop_recursive(6, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            proptest::collection::btree_map(text(), inner, 0..6).prop_map(Value::Dict),
        ]
    })
}

/// Writes `value` again from what its accessors tell.
fn rewrite(value: Value<'_>, out: &mut Vec<u8>) {
    if let Some(int) = value.as_int() {
        bencode::put_int(out, int);
    } else if let Some(bytes) = value.as_bytes() {
        bencode::put_bytes(out, bytes);
    } else if let Some(list) = value.as_list() {
        bencode::put_list(out, |out| list.for_each(|value| rewrite(value, out)));
    } else {
        let dictionary = value.as_dictionary().expect("the only other kind");
        bencode::put_dictionary(out, |entries| {
            for (key, value) in dictionary.entries() {
                assert_eq!(dictionary.get(key), Some(value));
                rewrite(value, entries.value(key));
            }
        });
    }
}

/// Bytes that mean something in bencode.
const TELLING: &[u8] = b"0123456789:deil-";

#[test]
fn garbage_never_panics_a_decoder_nor_fills_it() {
    let frames = all_frames();
    let mut refused = 0;
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed);
        let bytes = stream(&spoil(&frames, TELLING, &mut rng));
        let chunks: Vec<_> = bytes.chunks(1 + rng.below(100)).collect();
        let landing = rng.below(3) * 7;
        let once = transcript(&chunks, landing);
        assert_eq!(
            once.is_err(),
            transcript(&[&bytes], 0).is_err(),
            "seed {seed}"
        );
        refused += u32::from(once.is_err());
    }
    assert!(
        refused > 1000,
        "only {refused} refused: the garbage is too tame"
    );
}

#[test]
fn garbage_never_panics_a_reader_of_bencode() {
    let vectors = Vectors::load();
    let samples = [
        vectors.bytes("info_dict"),
        vectors.bytes("metainfo_v1"),
        vectors.bytes("ext_handshake")[6..].to_vec(),
    ];
    let mut readable = 0;
    for seed in 0..20_000 {
        let mut rng = Rng::new(seed);
        let bytes = spoil(&samples[rng.below(samples.len())], TELLING, &mut rng);
        if let Ok(value) = bencode::decode(&bytes, Limits::METAINFO) {
            let mut again = Vec::new();
            rewrite(value, &mut again);
            assert_eq!(again, bytes, "seed {seed}");
        }
        let _ = Metainfo::from_torrent(&bytes);
        if let Ok(metainfo) = Metainfo::from_info(&bytes) {
            let sum: u64 = (0..metainfo.piece_count())
                .map(|index| u64::from(metainfo.piece_len(index)))
                .sum();
            assert_eq!(sum, metainfo.total_len(), "seed {seed}");
        }
        readable += u32::from(ExtendedHandshake::decode(&bytes).is_ok());
    }
    assert!(
        readable > 1000,
        "only {readable} readable: the garbage is too wild"
    );
}
