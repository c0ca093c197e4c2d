//! What a peer sends: handshake, messages however they are cut, and the payloads of extended messages.

use shoal::base::{InfoHash, PeerId};
use shoal::wire::WireError;
use shoal::wire::extension::{ExtendedHandshake, Extension};
use shoal::wire::metadata::{METADATA_PIECE_LEN, MetadataMessage};
use shoal::wire::metainfo::INFO_BYTES_MAX;
use shoal::wire::peer::{
    BLOCK_LEN, BlockRequest, HANDSHAKE_LEN, Handshake, Message, put_piece_header,
};
use shoal::wire::peer_decoder::{Decoder, DecoderLimits, Event, FRAME_BYTES_MAX};
use shoal::wire::peer_exchange::{EXCHANGED_MAX, ExchangedPeer, PeerExchange, TAKEN_MAX};

use super::at_every_split;

/// What is read is written again as it was.
pub fn handshake(data: &[u8]) {
    if let Ok(handshake) = Handshake::decode(data) {
        assert_eq!(encoded(&handshake), data[..HANDSHAKE_LEN]);
    }
}

fn encoded(handshake: &Handshake) -> Vec<u8> {
    let mut out = Vec::new();
    handshake.encode(&mut out);
    out
}

fn hello() -> Vec<u8> {
    encoded(&Handshake::new(InfoHash([1; 20]), PeerId([2; 20])))
}

pub fn handshake_samples() -> Vec<Vec<u8>> {
    vec![hello()]
}

/// The messages of a link, behind a byte for the number of pieces: they are the same however they are cut, nothing is
/// lent beyond a limit, and what is read is written again as it was.
pub fn messages(data: &[u8]) {
    let Some((&pieces, bytes)) = data.split_first() else {
        return;
    };
    let limits = DecoderLimits {
        piece_count: (pieces > 0).then_some(u32::from(pieces)),
        ..DecoderLimits::default()
    };
    at_every_split(bytes, |chunks| transcript(limits, chunks));
}

/// What a link says, blocks in one piece however they came, and the error that ends it. Encodes it again on the way.
fn transcript(limits: DecoderLimits, chunks: &[&[u8]]) -> (Vec<u8>, Option<WireError>) {
    let mut decoder = Decoder::new(limits);
    let mut said = Vec::new();
    for mut input in chunks.iter().copied() {
        loop {
            match decoder.decode(&mut input) {
                Err(error) => return (said, Some(error)),
                Ok(None) => break,
                Ok(Some(Event::Handshake(handshake))) => handshake.encode(&mut said),
                Ok(Some(Event::Message(message))) => message.encode(&mut said),
                Ok(Some(Event::PieceStart { piece, begin, len })) => {
                    assert!((1..=BLOCK_LEN).contains(&len));
                    put_piece_header(&mut said, piece, begin, len);
                }
                Ok(Some(Event::Payload(bytes))) => said.extend_from_slice(bytes),
                Ok(Some(Event::PieceEnd)) => {}
            }
        }
        assert!(input.is_empty(), "some of it was left");
        assert!(decoder.buffer_bytes() <= FRAME_BYTES_MAX + 4);
    }
    (said, None)
}

pub fn message_samples() -> Vec<Vec<u8>> {
    let block = BlockRequest {
        piece: 1,
        begin: BLOCK_LEN,
        len: BLOCK_LEN,
    };
    let messages = [
        Message::KeepAlive,
        Message::Bitfield {
            bytes: &[0xc0, 0x40],
        },
        Message::Unchoke,
        Message::Interested,
        Message::Have { piece: 3 },
        Message::Request(block),
        Message::Cancel(block),
        Message::Reject(block),
        Message::Port { port: 6881 },
        Message::Suggest { piece: 2 },
        Message::AllowedFast { piece: 9 },
        Message::HaveAll,
        Message::HaveNone,
        Message::NotInterested,
        Message::Choke,
        Message::Extended {
            id: 0,
            payload: b"d1:md6:ut_pexi1eee",
        },
    ];
    let mut one = [vec![10], hello()].concat();
    messages.iter().for_each(|message| message.encode(&mut one));
    put_piece_header(&mut one, 1, 0, 5);
    one.extend_from_slice(b"block");
    let mut other = [vec![0], hello()].concat();
    Message::HaveAll.encode(&mut other);
    vec![one, other]
}

/// What is understood is written so that it is understood as the same.
pub fn extension(data: &[u8]) {
    if let Ok(handshake) = ExtendedHandshake::decode(data) {
        let mut out = Vec::new();
        handshake.encode(&mut out);
        assert_eq!(ExtendedHandshake::decode(&out[6..]), Ok(handshake));
    }
}

pub fn extension_samples() -> Vec<Vec<u8>> {
    let full = ExtendedHandshake {
        reqq: Some(512),
        version: Some("Shoal 0.1".into()),
        port: Some(6881),
        your_ip: Some("2001:db8::1".parse().expect("an address")),
        request_bytes_max: Some(1 << 17),
        upload_only: Some(true),
        metadata_size: Some(INFO_BYTES_MAX as u32),
        messages: vec![(Extension::DontHave, 7), (Extension::PeerExchange, 255)],
    };
    let mut out = Vec::new();
    full.encode(&mut out);
    vec![out.split_off(6), b"d1:mde1:pi1ee".into()]
}

/// What is understood of the exchange of info dictionaries is written so that it is understood as the same.
pub fn metadata(data: &[u8]) {
    match MetadataMessage::decode(data) {
        Err(_) | Ok(MetadataMessage::Unknown) => {}
        Ok(message) => {
            let mut out = Vec::new();
            message.encode(9, &mut out);
            assert_eq!(MetadataMessage::decode(&out[6..]), Ok(message));
        }
    }
}

pub fn metadata_samples() -> Vec<Vec<u8>> {
    let messages = [
        MetadataMessage::Request { piece: 3 },
        MetadataMessage::Reject { piece: 0 },
        MetadataMessage::Data {
            piece: 1,
            total_size: METADATA_PIECE_LEN + 5,
            bytes: b"bytes",
        },
    ];
    let payload = |message: MetadataMessage<'_>| {
        let mut out = Vec::new();
        message.encode(9, &mut out);
        out.split_off(6)
    };
    messages.map(payload).into()
}

/// No more peers are taken than may be, and what is understood is written so that it is understood as the same.
pub fn exchange(data: &[u8]) {
    let Ok(mut message) = PeerExchange::decode(data) else {
        return;
    };
    assert!(message.added.len() <= 2 * TAKEN_MAX && message.dropped.len() <= 2 * TAKEN_MAX);
    message.added.truncate(EXCHANGED_MAX);
    message.dropped.truncate(EXCHANGED_MAX);
    let mut out = Vec::new();
    message.encode(&mut out);
    assert_eq!(PeerExchange::decode(&out), Ok(message));
}

pub fn exchange_samples() -> Vec<Vec<u8>> {
    let peer = |addr: &str, flags| ExchangedPeer {
        addr: addr.parse().expect("an address"),
        flags,
    };
    let message = PeerExchange {
        added: vec![peer("10.0.0.1:6881", 2), peer("[2001:db8::1]:80", 0x10)],
        dropped: vec!["10.0.0.2:1".parse().expect("an address")],
    };
    let mut out = Vec::new();
    message.encode(&mut out);
    vec![out, b"d5:added0:e".into()]
}
