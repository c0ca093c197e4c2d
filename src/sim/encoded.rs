//! What conns carry, as the bytes that it is: encoded by one side, decoded by the other, and found the same.
//!
//! The payload of a block stays phantom. Scenarios ask for this where the wire is to be judged as well.

use super::Simulation;
use super::network::{Side, Wire};
use super::tracker::HASH;
use crate::base::PeerId;
use crate::wire::peer::{BlockRequest, Handshake, Message, put_piece_header};
use crate::wire::peer_decoder::{Decoder, DecoderLimits, Event};

/// The decoders of the two sides of a conn.
#[derive(Debug)]
pub(super) struct Decoders([Decoder; 2]);

impl Decoders {
    /// Nothing has arrived yet at either side, of a content of so many pieces.
    pub(super) fn new(piece_count: u32) -> Self {
        let limits = DecoderLimits {
            piece_count: Some(piece_count),
            ..DecoderLimits::default()
        };
        Self([Decoder::new(limits), Decoder::new(limits)])
    }
}

impl Simulation {
    /// Encodes what arrives at one side and decodes it there; the bytes become part of the outcome's hash.
    pub(super) fn pass_through_wire(&mut self, conn: usize, to: Side, what: &Wire) {
        let Some(decoders) = &mut self.conns[conn].decoders else {
            return;
        };
        let mut bytes = Vec::new();
        encode(what, &mut bytes);
        let decoder = &mut decoders.0[to as usize];
        let mut rest = &bytes[..];
        if !rest.is_empty() {
            let event = decoder.decode(&mut rest).expect("we keep to the protocol");
            let event = event.expect("it arrives whole");
            assert!(is_same(what, &event), "{what:?} arrives as {event:?}");
            assert!(rest.is_empty(), "one thing at a time");
        }
        if let Wire::Block { request, .. } = what {
            assert!(decoder.payload_landed(request.len as usize), "all of it");
        }
        for chunk in bytes.chunks(8) {
            let word = chunk
                .iter()
                .fold(0, |word, &byte| word << 8 | u64::from(byte));
            self.fold(word);
        }
    }
}

fn encode(what: &Wire, out: &mut Vec<u8>) {
    match what {
        Wire::Handshake { id, fast } => handshake(*id, *fast).encode(out),
        Wire::Possession(bytes) => Message::Bitfield { bytes }.encode(out),
        Wire::Message(message) => message.encode(out),
        Wire::Block { request, .. } => {
            let BlockRequest { piece, begin, len } = *request;
            put_piece_header(out, piece, begin, len);
        }
        Wire::Head(_) => unreachable!("whole pieces are no part of the protocol"),
        Wire::Closed => {}
    }
}

fn handshake(id: PeerId, fast: bool) -> Handshake {
    let mut handshake = Handshake::new(HASH, id);
    if !fast {
        handshake.reserved[7] = 0;
    }
    handshake
}

fn is_same(what: &Wire, event: &Event<'_>) -> bool {
    match (what, *event) {
        (Wire::Handshake { id, fast }, Event::Handshake(shaken)) => {
            shaken == handshake(*id, *fast) && shaken.supports_fast() == *fast
        }
        (Wire::Possession(sent), Event::Message(Message::Bitfield { bytes })) => **sent == *bytes,
        (Wire::Message(message), Event::Message(decoded)) => *message == decoded,
        (Wire::Block { request, .. }, Event::PieceStart { piece, begin, len }) => {
            *request == BlockRequest { piece, begin, len }
        }
        _ => false,
    }
}
