//! The search for the info dictionary of a magnet link among peers (BEP 9): which job searches for what, on which conns.
//!
//! A conn of a search is for that alone: it is closed when the dictionary is here, and the transfer, which then knows the
//! pieces, dials anew.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::job::Context;
use super::shell::{Dial, Shell};
use super::wire_link::Links;
use crate::base::{InfoHash, Time};
use crate::reactor::{Closed, Command};
use crate::swarm::{Hello, InfoFetch, InfoInput, InfoOutput, PeerKey, Reason};
use crate::wire::extension::{EXTENDED_HANDSHAKE, ExtendedHandshake, Extension};
use crate::wire::metadata::MetadataMessage;
use crate::wire::peer::Message;
use crate::wire::peer_decoder::{Decoder, Event};

/// The searches under way.
#[derive(Debug)]
pub(super) struct Searches {
    listen_port: u16,
    by_job: BTreeMap<usize, InfoFetch>,
}

impl Searches {
    pub(super) fn new(listen_port: u16) -> Self {
        Self {
            listen_port,
            by_job: BTreeMap::new(),
        }
    }

    /// What a job searches for.
    pub(super) fn hash_of(&self, job: usize) -> Option<InfoHash> {
        self.by_job.get(&job).map(InfoFetch::info_hash)
    }

    /// A conn has finished its handshakes.
    pub(super) fn connect(
        &mut self,
        now: Time,
        job: usize,
        hello: Hello,
        speaks_extended: bool,
    ) -> Result<PeerKey, Closed> {
        let search = self.by_job.get_mut(&job).filter(|_| speaks_extended);
        let search = search.ok_or(Closed::Local("it cannot send an info dictionary"))?;
        let connected = search.connect(now, hello);
        connected.map_err(|reason| Closed::Local(reason.text()))
    }

    /// Appends what opens a link: that we have nothing, and what we want.
    pub(super) fn introduce(&self, hello: Hello, out: &mut Vec<u8>) {
        if hello.fast {
            Message::HaveNone.encode(out);
        }
        let handshake = ExtendedHandshake {
            version: Some(concat!("Shoal ", env!("CARGO_PKG_VERSION")).to_owned()),
            port: Some(self.listen_port),
            your_ip: Some(hello.remote.ip()),
            messages: vec![(Extension::Metadata, Extension::Metadata.id())],
            ..ExtendedHandshake::default()
        };
        handshake.encode(out);
    }

    /// Takes in bytes of a link. What a peer has and wants of the content is asked again when the content is known.
    pub(super) fn received(
        &mut self,
        now: Time,
        (job, peer): (usize, PeerKey),
        decoder: &mut Decoder,
        mut bytes: &[u8],
    ) -> Result<Option<usize>, Closed> {
        let Some(search) = self.by_job.get_mut(&job) else {
            return Ok(None);
        };
        while let Some(event) = decoder
            .decode(&mut bytes)
            .map_err(|error| Closed::Fault(error.reason()))?
        {
            match event {
                Event::Handshake(_) => return Err(Closed::Fault("a second handshake")),
                Event::PieceStart { .. } => {
                    return Err(Closed::Fault(Reason::Unrequested.text()));
                }
                Event::Message(Message::Extended { id, payload }) => {
                    let input = read(peer, id, payload)?;
                    input.into_iter().for_each(|i| search.handle_input(now, i));
                }
                Event::Message(_) | Event::Payload(_) | Event::PieceEnd => {}
            }
        }
        Ok(Some(job))
    }

    /// A dial came to nothing.
    pub(super) fn dial_failed(&mut self, now: Time, job: usize, addr: SocketAddr) {
        self.handle_input(now, job, InfoInput::DialFailed { addr });
    }

    /// A link is gone.
    pub(super) fn disconnected(&mut self, now: Time, job: usize, peer: PeerKey) {
        self.handle_input(now, job, InfoInput::Disconnected { peer });
    }

    fn handle_input(&mut self, now: Time, job: usize, input: InfoInput<'_>) {
        if let Some(search) = self.by_job.get_mut(&job) {
            search.handle_input(now, input);
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        for search in self.by_job.values_mut() {
            if search.poll_timeout().is_some_and(|at| at <= now) {
                search.handle_timeout(now);
            }
        }
    }

    /// When [`Searches::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        let searches = self.by_job.values();
        searches.filter_map(InfoFetch::poll_timeout).min()
    }

    /// Bytes that came for a job so far.
    pub(super) fn arrived_bytes(&self, job: usize) -> u64 {
        self.by_job.get(&job).map_or(0, InfoFetch::arrived_bytes)
    }
}

/// What an extended message means for the search; nothing, if it is of an extension that is not needed for it.
fn read(peer: PeerKey, id: u8, payload: &[u8]) -> Result<Option<InfoInput<'_>>, Closed> {
    let fault = |error: crate::wire::WireError| Closed::Fault(error.reason());
    if id == EXTENDED_HANDSHAKE {
        let theirs = ExtendedHandshake::decode(payload).map_err(fault)?;
        return Ok(Some(InfoInput::Extended {
            peer,
            id: theirs.id_of(Extension::Metadata),
            size: theirs.metadata_size,
            port: theirs.port,
        }));
    }
    if id != Extension::Metadata.id() {
        return Ok(None);
    }
    let message = MetadataMessage::decode(payload).map_err(fault)?;
    Ok(Some(InfoInput::Received { peer, message }))
}

impl Links {
    /// Does everything that a job's search asks for: the one place where its outputs are drained. Returns the info
    /// dictionary, once it is found.
    pub(super) fn drain_search(&mut self, job: usize, shell: &mut Shell) -> Option<Vec<u8>> {
        while let Some(output) = self.searches.by_job.get_mut(&job)?.poll_output() {
            match output {
                InfoOutput::Connect { addr } => {
                    let tag = self.begin_dial(Dial { job, addr });
                    shell.commands.push_back(Command::Connect { addr, tag });
                }
                InfoOutput::Request { peer, id, piece } => {
                    let message = MetadataMessage::Request { piece };
                    self.put(job, peer, shell, |out| message.encode(id, out));
                }
                InfoOutput::Reject { peer, id, piece } => {
                    let message = MetadataMessage::Reject { piece };
                    self.put(job, peer, shell, |out| message.encode(id, out));
                }
                InfoOutput::Disconnect { peer, reason } => {
                    let Some(conn) = self.conn_of(job, peer) else {
                        continue;
                    };
                    let remote = self.remote_of(conn);
                    if reason == Reason::WrongMetadata {
                        log::warn!("{remote} sent a wrong info dictionary");
                    } else {
                        log::debug!("{remote}: closing: {reason}");
                    }
                    let why = Closed::Local(reason.text());
                    shell.commands.push_back(Command::Close(conn, why));
                }
                InfoOutput::Complete(info) => return Some(info),
            }
        }
        None
    }
}

impl Context<'_> {
    /// Begins to search for an info dictionary among `peers` and those that are found later.
    pub(super) fn begin_search(&mut self, info_hash: InfoHash, peers: &[SocketAddr]) {
        let seed = self.shell.rng.next_u64();
        let search = InfoFetch::new(info_hash, self.shell.id, seed);
        self.links.searches.by_job.insert(self.job, search);
        self.search_among(peers);
    }

    /// Tells the search of peers.
    pub(super) fn search_among(&mut self, addrs: &[SocketAddr]) {
        let input = InfoInput::Found { addrs };
        self.links.searches.handle_input(self.now, self.job, input);
    }

    /// Ends the search, if there is one, and its conns. Returns the peers that it knows.
    pub(super) fn end_search(&mut self) -> Vec<SocketAddr> {
        let Some(search) = self.links.searches.by_job.remove(&self.job) else {
            return Vec::new();
        };
        self.links
            .close_all(self.job, Reason::MetadataComplete.text(), self.shell);
        search.addrs()
    }
}
