//! What must always hold. Checking it costs pieces × links: the simulator does so after every step.

use super::Swarm;
use super::pieces::PieceState;

impl Swarm {
    /// Asserts the invariants that the module's text numbers.
    pub fn check(&self) {
        self.check_pieces();
        self.check_links();
        self.picker.check();
        self.contacts.check();
        self.suspects.check();
        let one_piece = (0..self.geometry.piece_count())
            .map(|p| self.geometry.piece_len(p))
            .map(|len| {
                if self.is_large(len) {
                    super::RUN_BYTES
                } else {
                    len
                }
            })
            .max();
        let arriving_max = self
            .config
            .arriving_bytes_max
            .max(one_piece.unwrap_or(0) as usize);
        assert!(
            self.arriving_bytes <= arriving_max,
            "too many bytes are arriving"
        );
        assert!(self.cache.bytes() <= self.config.cache_bytes_max.max(super::RUN_BYTES as usize));
    }

    fn check_pieces(&self) {
        let (mut unasked, mut bytes) = (0, 0);
        for (piece, state) in self.pieces.iter().enumerate() {
            let piece = piece as u32;
            assert_eq!(self.have.get(piece), matches!(state, PieceState::Have));
            assert_eq!(
                self.picker.is_wanted(piece),
                matches!(state, PieceState::Missing)
            );
            match state {
                PieceState::Arriving(arriving) => {
                    arriving.check();
                    assert_eq!(self.arriving[arriving.place as usize], piece);
                    unasked += arriving.unasked_count;
                    bytes += arriving.store.bytes_lent();
                    self.check_blocks(piece);
                }
                PieceState::Checking(_) if self.is_large(self.geometry.piece_len(piece)) => {}
                PieceState::Checking(_) => bytes += self.geometry.piece_len(piece) as usize,
                PieceState::Discarding(bytes_away) => bytes += bytes_away,
                PieceState::Missing | PieceState::Have => {}
            }
        }
        assert_eq!(unasked, self.unasked_count);
        assert_eq!(bytes, self.arriving_bytes);
    }

    fn check_blocks(&self, piece: u32) {
        let arriving = self.arriving(piece).expect("the caller saw it arriving");
        for (block, state) in arriving.blocks.iter().enumerate() {
            let names = |a: &&super::peer::Asked| a.is_for(piece, block as u32);
            let asked: usize = self
                .peers
                .iter()
                .map(|(_, peer)| peer.asked.iter().filter(names).count())
                .sum();
            assert_eq!(
                asked,
                usize::from(state.asked),
                "block {block} of piece {piece}"
            );
            let needs_home = !state.landed && (asked > 0 || state.landing.is_some());
            assert!(!needs_home || arriving.has_home(block as u32));
        }
        if let Some(owner) = arriving.owner {
            assert!(
                self.peer(owner).is_some(),
                "piece {piece} belongs to a link that is gone"
            );
        }
    }

    fn check_links(&self) {
        let mut whole = 0;
        let mut held = vec![0u16; self.geometry.piece_count() as usize];
        let mut ids = Vec::new();
        for (_, peer) in &self.peers {
            whole += u32::from(peer.counted_whole);
            if !peer.counted_whole {
                peer.has.ones().for_each(|piece| held[piece as usize] += 1);
            }
            let beyond = peer.has.count_beyond(&self.have);
            assert_eq!(
                beyond, peer.wanted_count,
                "what {} has for us",
                peer.hello.id
            );
            assert!(peer.requests.len() <= self.config.waiting_requests_max);
            ids.push(peer.hello.id);
        }
        assert_eq!(whole, self.whole_count);
        for (piece, &count) in held.iter().enumerate() {
            assert_eq!(
                count,
                self.picker.availability(piece as u32),
                "piece {piece}"
            );
        }
        ids.sort_unstable();
        assert!(
            ids.windows(2).all(|pair| pair[0] != pair[1]),
            "two links to one peer"
        );
        assert!(!ids.contains(&self.config.id), "a link to ourselves");
    }
}
