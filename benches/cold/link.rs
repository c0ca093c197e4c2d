//! A peer of few words: it greets, becomes interested, asks for blocks and takes them.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use shoal::base::{InfoHash, PeerId};
use shoal::wire::peer::{BLOCK_LEN, BlockRequest, Handshake, Message};
use shoal::wire::peer_decoder::{Decoder, DecoderLimits, Event};

/// Blocks that are asked for ahead.
const AHEAD: usize = 256;
const PATIENCE: Duration = Duration::from_secs(60);

/// Where something is shared, and what.
pub(crate) struct Swarm {
    pub(crate) addr: SocketAddr,
    pub(crate) info_hash: InfoHash,
    pub(crate) piece_bytes: u32,
    pub(crate) bytes: u64,
}

/// A link with blocking reads.
pub(crate) struct Link<'a> {
    swarm: &'a Swarm,
    stream: TcpStream,
    decoder: Decoder,
    buffer: Vec<u8>,
    unread: VecDeque<Said>,
    block: Vec<u8>,
}

/// What is of interest.
#[derive(Debug, PartialEq)]
enum Said {
    Greeting,
    Unchoke,
    Block(Vec<u8>),
}

impl<'a> Link<'a> {
    /// Dials, and waits for the greeting.
    pub(crate) fn dial(swarm: &'a Swarm) -> Self {
        let stream = TcpStream::connect(swarm.addr).expect("it listens");
        stream.set_nodelay(true).expect("no delay");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let pieces = swarm.bytes.div_ceil(swarm.piece_bytes.into()) as u32;
        let mut link = Self {
            swarm,
            stream,
            decoder: Decoder::new(DecoderLimits {
                piece_count: Some(pieces),
                ..DecoderLimits::default()
            }),
            buffer: vec![0; 256 << 10],
            unread: VecDeque::new(),
            block: Vec::new(),
        };
        let random = getrandom::u64().expect("entropy").to_be_bytes();
        let mut id = *b"-BE0001-............";
        id[8..16].copy_from_slice(&random);
        let mut out = Vec::new();
        Handshake::new(swarm.info_hash, PeerId(id)).encode(&mut out);
        link.write(&out);
        link.await_said(|said| *said == Said::Greeting);
        link
    }

    /// Says so, and waits until it may ask.
    pub(crate) fn become_interested(&mut self) {
        self.send(&Message::Interested);
        self.await_said(|said| *said == Said::Unchoke);
    }

    /// Asks for the block at `begin` of `piece`.
    pub(crate) fn ask(&mut self, piece: u32, begin: u32) {
        let len = BLOCK_LEN;
        self.send(&Message::Request(BlockRequest { piece, begin, len }));
    }

    /// Waits for a block.
    pub(crate) fn await_block(&mut self) -> Vec<u8> {
        match self.await_said(|said| matches!(said, Said::Block(_))) {
            Said::Block(bytes) => bytes,
            said => unreachable!("{said:?}"),
        }
    }

    /// Reads all blocks from a piece to the end, in order, with many asked for ahead.
    pub(crate) fn read_from_piece(&mut self, first: u32, mut take: impl FnMut(&[u8])) {
        let (piece_bytes, len) = (u64::from(self.swarm.piece_bytes), u64::from(BLOCK_LEN));
        let begin = u64::from(first) * piece_bytes;
        let mut offsets = (begin..self.swarm.bytes).step_by(BLOCK_LEN as usize);
        let mut waiting = 0;
        loop {
            while waiting < AHEAD
                && let Some(offset) = offsets.next()
            {
                assert!(offset + len <= self.swarm.bytes, "whole blocks");
                self.ask((offset / piece_bytes) as u32, (offset % piece_bytes) as u32);
                waiting += 1;
            }
            if waiting == 0 {
                return;
            }
            take(&self.await_block());
            waiting -= 1;
        }
    }

    fn send(&mut self, message: &Message<'_>) {
        let mut out = Vec::new();
        message.encode(&mut out);
        self.write(&out);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the sharer reads");
    }

    /// The first thing said that is looked for; others are passed over.
    fn await_said(&mut self, is_it: impl Fn(&Said) -> bool) -> Said {
        loop {
            while let Some(said) = self.unread.pop_front() {
                if is_it(&said) {
                    return said;
                }
            }
            let count = self
                .stream
                .read(&mut self.buffer)
                .expect("the sharer answers");
            assert!(count > 0, "the sharer closed");
            let mut input = &self.buffer[..count];
            while let Some(event) = self.decoder.decode(&mut input).expect("its protocol") {
                match event {
                    Event::Handshake(_) => self.unread.push_back(Said::Greeting),
                    Event::Message(Message::Unchoke) => self.unread.push_back(Said::Unchoke),
                    Event::Payload(bytes) => self.block.extend_from_slice(bytes),
                    Event::PieceEnd => {
                        let block = std::mem::take(&mut self.block);
                        self.unread.push_back(Said::Block(block));
                    }
                    _ => {}
                }
            }
        }
    }
}
