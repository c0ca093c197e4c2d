//! What comes before the transfer of a magnet link: peers that were named, and the info dictionary from one of them.

use std::net::SocketAddr;

use super::{Get, Stage};
use crate::peer::job::Context;
use crate::peer::seeder::tiers_beside;

/// Peers remembered until there is a transfer.
const KNOWN_PEERS_MAX: usize = 2_000;

impl Get {
    pub(in crate::peer) fn found_peers(&mut self, cx: &mut Context<'_>, peers: &[SocketAddr]) {
        if matches!(self.stage, Stage::Finding) {
            return cx.search_among(peers);
        }
        let room = KNOWN_PEERS_MAX.saturating_sub(self.known_peers.len());
        self.known_peers.extend(peers.iter().take(room));
    }

    pub(in crate::peer) fn found_info(&mut self, cx: &mut Context<'_>, info: &[u8]) {
        if matches!(self.stage, Stage::Finding) && !self.is_over {
            let found = self.finder.found_info(info);
            self.found(cx, Some(found));
        }
    }

    /// Announces the transfer that has just begun, and tells it of the peers that are known.
    pub(super) fn announce(&mut self, cx: &mut Context<'_>) {
        let tracker = cx.shell.tracker.addr.as_ref();
        let tiers = tiers_beside(tracker, &self.finder.tiers);
        cx.announce_transfer(&tiers);
        let peers = std::mem::take(&mut self.known_peers);
        if let Some(transfer) = cx.transfer {
            transfer.found(cx.now, &peers);
        }
        cx.drain();
    }
}
