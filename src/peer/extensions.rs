//! The extension protocol on one link (BEP 10): what each end can, and the messages that both can.
//!
//! Owns the numbers under which the other side wants to be sent extensions. What a message says goes to the swarm.

use std::collections::VecDeque;
use std::net::SocketAddr;

use crate::base::Time;
use crate::reactor::{Closed, Outbox};
use crate::swarm::{Input, PeerKey, REQUEST_BYTES_MAX, Said, Swarm};
use crate::wire::extension::{EXTENDED_HANDSHAKE, ExtendedHandshake, Extension};
use crate::wire::metadata::{MetadataMessage, metadata_piece_count, metadata_piece_range};
use crate::wire::peer::Message;
use crate::wire::peer_exchange::PeerExchange;

/// Requests that we keep queued for one peer, as we tell it (`reqq`, BEP 10): 512 is what most clients tell.
const REQUESTS_TAKEN_MAX: u32 = 512;

/// Pieces of the info dictionary that one peer may wait for; further requests are rejected.
const INFO_REQUESTS_MAX: usize = 64;

/// What the other side wants to be sent.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    /// The number that it gave to peer exchange; 0 if it does not want it.
    exchange_id: u8,
    /// What it asks of our info dictionary.
    pub info: InfoServing,
}

/// The info dictionary as it is served on one link (BEP 9).
#[derive(Debug, Default)]
pub(super) struct InfoServing {
    /// The number that the other side gave to `ut_metadata`; 0 if it does not want it.
    id: u8,
    /// Pieces that it asked for and that wait until its conn has room.
    waiting: VecDeque<u32>,
}

impl InfoServing {
    /// Takes in a message. What cannot be served is rejected at once.
    pub(super) fn received(
        &mut self,
        payload: &[u8],
        info_len: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Closed> {
        let message = MetadataMessage::decode(payload);
        // Nothing was asked of it, so what else it says is late or lost.
        let MetadataMessage::Request { piece } = message.map_err(|e| Closed::Fault(e.reason()))?
        else {
            return Ok(());
        };
        if self.id == 0 {
            return Ok(());
        }
        let is_there = piece < metadata_piece_count(info_len as u32);
        if is_there && self.waiting.len() < INFO_REQUESTS_MAX {
            self.waiting.push_back(piece);
        } else {
            MetadataMessage::Reject { piece }.encode(self.id, out);
        }
        Ok(())
    }

    /// Appends as much of what was asked for as there is room for.
    pub(super) fn send(&mut self, info: &[u8], out: &mut Outbox) {
        let mut bytes = Vec::new();
        while out.wants_bulk()
            && let Some(piece) = self.waiting.pop_front()
        {
            let total_size = info.len() as u32;
            let message = MetadataMessage::Data {
                piece,
                total_size,
                bytes: &info[metadata_piece_range(total_size, piece)],
            };
            bytes.clear();
            message.encode(self.id, &mut bytes);
            out.control(&bytes);
        }
    }
}

impl Extensions {
    /// Takes in an extended message. What we never offered is skipped.
    pub(super) fn received(
        &mut self,
        now: Time,
        swarm: &mut Swarm,
        peer: PeerKey,
        id: u8,
        payload: &[u8],
    ) -> Result<(), Closed> {
        if id == EXTENDED_HANDSHAKE {
            let said = self.introduced(payload)?;
            swarm.handle_input(now, Input::Extended { peer, said });
            return Ok(());
        }
        match Extension::from_id(id) {
            Some(Extension::DontHave) => {
                let index = payload.try_into();
                let index = index.map_err(|_| Closed::Fault("lt_donthave has a wrong length"))?;
                let piece = u32::from_be_bytes(index);
                swarm.handle_input(now, Input::Lost { peer, piece });
            }
            Some(Extension::PeerExchange) => {
                let message = PeerExchange::decode(payload);
                let message = &message.map_err(|error| Closed::Fault(error.reason()))?;
                swarm.handle_input(now, Input::Exchanged { peer, message });
            }
            Some(Extension::UploadOnly) => {
                let said = Said {
                    is_upload_only: payload.first().map(|&flag| flag != 0),
                    ..Said::default()
                };
                swarm.handle_input(now, Input::Extended { peer, said });
            }
            // It is served by `info`.
            Some(Extension::Metadata) | None => {}
        }
        Ok(())
    }

    fn introduced(&mut self, payload: &[u8]) -> Result<Said, Closed> {
        let theirs = ExtendedHandshake::decode(payload).map_err(|e| Closed::Fault(e.reason()))?;
        let exchange_id = theirs.id_of(Extension::PeerExchange);
        if let Some(id) = theirs.id_of(Extension::Metadata) {
            self.info.id = id;
            if id == 0 {
                self.info.waiting.clear();
            }
        }
        self.exchange_id = exchange_id.unwrap_or(self.exchange_id);
        Ok(Said {
            requests_max: theirs.reqq,
            request_bytes_max: theirs.request_bytes_max,
            port: theirs.port,
            is_upload_only: theirs.upload_only,
            wants_exchange: exchange_id.map(|id| id > 0),
        })
    }

    /// Appends a message of peer exchange, if the other side wants it.
    pub(super) fn put_exchange(&self, message: &PeerExchange, out: &mut Vec<u8>) {
        if self.exchange_id == 0 {
            return;
        }
        let mut payload = Vec::new();
        message.encode(&mut payload);
        let (id, payload) = (self.exchange_id, &payload[..]);
        Message::Extended { id, payload }.encode(out);
    }
}

/// Appends our extension handshake to the peer at `remote`. It is said again, whole, when it has changed: some clients
/// take what a later one does not mention as withdrawn.
pub(super) fn put_handshake(
    swarm: &Swarm,
    (listen_port, info_len): (u16, usize),
    remote: SocketAddr,
    out: &mut Vec<u8>,
) {
    let offered = |extension: &Extension| match extension {
        Extension::DontHave | Extension::UploadOnly | Extension::Metadata => true,
        Extension::PeerExchange => swarm.exchanges(),
    };
    let offered = Extension::ALL.into_iter().filter(offered);
    let handshake = ExtendedHandshake {
        reqq: Some(REQUESTS_TAKEN_MAX),
        version: Some(concat!("Shoal ", env!("CARGO_PKG_VERSION")).to_owned()),
        port: Some(listen_port),
        your_ip: Some(remote.ip()),
        metadata_size: Some(info_len as u32),
        request_bytes_max: Some(REQUEST_BYTES_MAX),
        upload_only: swarm.wants_nothing().then_some(true),
        messages: offered
            .map(|extension| (extension, extension.id()))
            .collect(),
    };
    handshake.encode(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::metadata::METADATA_PIECE_LEN;

    const NOTHING: [u8; 0] = [];

    fn payload(message: &MetadataMessage<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        message.encode(1, &mut out);
        out.split_off(6)
    }

    /// The messages that were queued for the other side, which called `ut_metadata` 7.
    fn messages(mut bytes: &[u8]) -> Vec<(bool, u32)> {
        let mut messages = Vec::new();
        while let Some((len, rest)) = bytes.split_first_chunk() {
            let (frame, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
            assert_eq!(frame[..2], [20, 7]);
            match MetadataMessage::decode(&frame[2..]) {
                Ok(MetadataMessage::Data { piece, .. }) => messages.push((true, piece)),
                Ok(MetadataMessage::Reject { piece }) => messages.push((false, piece)),
                other => panic!("{other:?}"),
            }
            bytes = rest;
        }
        messages
    }

    fn ask(serving: &mut InfoServing, piece: u32, info_len: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let request = payload(&MetadataMessage::Request { piece });
        serving
            .received(&request, info_len, &mut out)
            .expect("a good message");
        out
    }

    fn sent(serving: &mut InfoServing, info: &[u8]) -> Vec<u8> {
        let mut outbox = Outbox::default();
        serving.send(info, &mut outbox);
        outbox.slices().collect::<Vec<_>>().concat()
    }

    fn serving() -> InfoServing {
        let mut extensions = Extensions::default();
        let messages = vec![(Extension::Metadata, 7)];
        let handshake = ExtendedHandshake {
            messages,
            ..ExtendedHandshake::default()
        };
        let mut out = Vec::new();
        handshake.encode(&mut out);
        extensions.introduced(&out[6..]).expect("a good handshake");
        extensions.info
    }

    #[test]
    fn a_piece_of_the_info_dictionary_is_sent_when_there_is_room() {
        let (mut serving, info) = (serving(), vec![5; 20_000]);
        assert_eq!(ask(&mut serving, 1, info.len()), NOTHING);
        assert_eq!(ask(&mut serving, 0, info.len()), NOTHING);
        let sent = sent(&mut serving, &info);
        assert_eq!(messages(&sent), [(true, 1), (true, 0)]);
        assert!(sent.len() > info.len() && sent.len() < info.len() + 200);
    }

    #[test]
    fn a_piece_that_does_not_exist_is_rejected() {
        let mut serving = serving();
        for (piece, info_len) in [(1, 16_384), (2, 16_385), (u32::MAX, 1)] {
            let out = ask(&mut serving, piece, info_len);
            assert_eq!(messages(&out), [(false, piece)]);
        }
        assert_eq!(sent(&mut serving, &[1; 100]), NOTHING);
    }

    #[test]
    fn requests_beyond_the_limit_are_rejected() {
        let (mut serving, info) = (serving(), vec![1; 100]);
        for _ in 0..INFO_REQUESTS_MAX {
            assert_eq!(ask(&mut serving, 0, info.len()), NOTHING);
        }
        let out = ask(&mut serving, 0, info.len());
        assert_eq!(messages(&out), [(false, 0)]);
        assert_eq!(
            messages(&sent(&mut serving, &info)).len(),
            INFO_REQUESTS_MAX
        );
    }

    #[test]
    fn no_more_is_queued_than_the_conn_has_room_for() {
        let (mut serving, info) = (serving(), vec![1; METADATA_PIECE_LEN as usize]);
        for _ in 0..INFO_REQUESTS_MAX {
            ask(&mut serving, 0, info.len());
        }
        let mut outbox = Outbox::default();
        serving.send(&info, &mut outbox);
        let queued = outbox.len();
        let room = Outbox::BULK_BYTES_LOW..Outbox::BULK_BYTES_LOW + 17_000;
        assert!(room.contains(&queued));
        assert!(serving.waiting.len() > INFO_REQUESTS_MAX / 2);
    }

    #[test]
    fn who_gave_no_number_gets_no_answer_and_garbage_is_a_fault() {
        let mut serving = InfoServing::default();
        assert_eq!(ask(&mut serving, 0, 100), NOTHING);
        assert_eq!(ask(&mut serving, 9, 100), NOTHING);
        assert_eq!(sent(&mut serving, &[1; 100]), NOTHING);
        let garbage = serving.received(b"d1:", 100, &mut Vec::new());
        assert!(matches!(garbage, Err(Closed::Fault(_))));
        let unknown = serving.received(b"d8:msg_typei9ee", 100, &mut Vec::new());
        assert!(unknown.is_ok());
    }
}
