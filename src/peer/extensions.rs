//! The extension protocol on one link (BEP 10): what each end can, and the messages that both can.
//!
//! Owns the numbers under which the other side wants to be sent extensions. What a message says goes to the swarm.

use std::net::SocketAddr;

use crate::base::Time;
use crate::reactor::Closed;
use crate::swarm::{Input, PeerKey, Said, Swarm};
use crate::wire::extension::{EXTENDED_HANDSHAKE, ExtendedHandshake, Extension};
use crate::wire::peer::Message;
use crate::wire::peer_exchange::PeerExchange;

/// Requests that we keep queued for one peer, as we tell it (`reqq`, BEP 10): 512 is what most clients tell.
const REQUESTS_TAKEN_MAX: u32 = 512;

/// What the other side wants to be sent.
#[derive(Debug, Default)]
pub(super) struct Extensions {
    /// The number that it gave to peer exchange; 0 if it does not want it.
    exchange_id: u8,
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
            Some(Extension::Metadata) | None => {}
        }
        Ok(())
    }

    fn introduced(&mut self, payload: &[u8]) -> Result<Said, Closed> {
        let theirs = ExtendedHandshake::decode(payload).map_err(|e| Closed::Fault(e.reason()))?;
        let of_exchange = |message: &&(Extension, u8)| message.0 == Extension::PeerExchange;
        let exchange_id = theirs.messages.iter().find(of_exchange).map(|&(_, id)| id);
        self.exchange_id = exchange_id.unwrap_or(self.exchange_id);
        Ok(Said {
            requests_max: theirs.reqq,
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
    listen_port: u16,
    remote: SocketAddr,
    out: &mut Vec<u8>,
) {
    let offered = |extension: &Extension| match extension {
        Extension::DontHave | Extension::UploadOnly => true,
        Extension::PeerExchange => swarm.exchanges(),
        Extension::Metadata => false,
    };
    let offered = Extension::ALL.into_iter().filter(offered);
    let handshake = ExtendedHandshake {
        reqq: Some(REQUESTS_TAKEN_MAX),
        version: Some(concat!("Shoal ", env!("CARGO_PKG_VERSION")).to_owned()),
        port: Some(listen_port),
        your_ip: Some(remote.ip()),
        upload_only: swarm.wants_nothing().then_some(true),
        messages: offered
            .map(|extension| (extension, extension.id()))
            .collect(),
        ..ExtendedHandshake::default()
    };
    handshake.encode(out);
}
