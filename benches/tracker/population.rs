//! Who announces what: so many torrents, so many peers of each, always the same for the same numbers.

use shoal::base::Rng;

/// Peers in a hundred that hold everything.
const SEEDS_IN_100: u64 = 30;
/// What a peer that fetches says it misses.
const LEFT: u64 = 1 << 20;
/// Ports from here on are announced.
const PORT_MIN: u64 = 1024;
const PORTS: u64 = 64_000;

/// The torrents and their peers. A peer is a number below [`Population::peers`].
pub(crate) struct Population {
    hashes: Vec<[u8; 20]>,
    peers_each: u64,
}

impl Population {
    pub(crate) fn new(torrents: usize, peers_each: u64) -> Self {
        let mut rng = Rng::new(42);
        let mut hash = || {
            let mut hash = [0; 20];
            for part in hash.chunks_mut(8) {
                part.copy_from_slice(&rng.next_u64().to_be_bytes()[..part.len()]);
            }
            hash
        };
        Self {
            hashes: (0..torrents).map(|_| hash()).collect(),
            peers_each,
        }
    }

    /// How many peers there are.
    pub(crate) fn peers(&self) -> u64 {
        self.hashes.len() as u64 * self.peers_each
    }

    /// The hashes of all torrents.
    pub(crate) fn hashes(&self) -> &[[u8; 20]] {
        &self.hashes
    }

    /// The torrent of a peer.
    pub(crate) fn hash(&self, peer: u64) -> &[u8; 20] {
        &self.hashes[(peer % self.hashes.len() as u64) as usize]
    }

    /// The port that a peer announces: torrent and port name it.
    pub(crate) fn port(&self, peer: u64) -> u16 {
        (PORT_MIN + peer / self.hashes.len() as u64 % PORTS) as u16
    }

    /// Bytes that a peer still misses.
    pub(crate) fn left(&self, peer: u64) -> u64 {
        if Rng::new(peer).next_u64() % 100 < SEEDS_IN_100 {
            0
        } else {
            LEFT
        }
    }

    /// What a peer calls itself.
    pub(crate) fn peer_id(&self, peer: u64) -> [u8; 20] {
        let mut id = *b"-BE0001-............";
        id[8..16].copy_from_slice(&peer.to_be_bytes());
        id
    }
}
