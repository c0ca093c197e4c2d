//! What the last line of a command says.

use super::job::Job;
use super::transfer::Transfer;
use crate::cli::{PeerTotal, Summary};

/// What the last line says: of the job where there is one kind, summed up where there are several.
pub(super) fn summary(jobs: &[Job], transfers: &[Option<Transfer>]) -> Summary {
    let mut moved = Moved::default();
    for transfer in transfers.iter().flatten() {
        let counts = transfer.swarm.counts();
        moved.down_bytes += counts.down_bytes;
        moved.up_bytes += counts.up_bytes;
        moved.hash_fail += counts.hash_fail_count as u32;
        let ledger = transfer.swarm.ledger();
        for account in ledger.accounts() {
            let total = PeerTotal {
                addr: account.addr,
                down_bytes: account.down_bytes,
                up_bytes: account.up_bytes,
                is_banned: ledger.is_banned(None, account.addr),
            };
            add_total(&mut moved.peers, total);
        }
    }
    jobs.first()
        .map_or(Summary::Plain, |job| job.summary(moved))
}

/// What all transfers of a command moved.
#[derive(Debug, Default)]
struct Moved {
    down_bytes: u64,
    up_bytes: u64,
    hash_fail: u32,
    peers: Vec<PeerTotal>,
}

impl Job {
    /// What the last line says of it; of `get`, `share` and `seed` it sums up `moved`.
    fn summary(&self, moved: Moved) -> Summary {
        match self {
            Self::Get(_) => Summary::Get {
                down_bytes: moved.down_bytes,
                up_bytes: moved.up_bytes,
                hash_fail: moved.hash_fail,
                peers: moved.peers,
            },
            Self::Share(_) | Self::Seed(_) => Summary::Share {
                up_bytes: moved.up_bytes,
                peers: moved.peers,
            },
            Self::Create(create) => create.summary(),
            Self::Export(export) => export.summary(),
            Self::Status(status) => status.summary(),
            Self::Verify(verify) => verify.summary(),
            Self::Show(_) | Self::List(_) | Self::Remove(_) => Summary::Plain,
        }
    }
}

fn add_total(peers: &mut Vec<PeerTotal>, total: PeerTotal) {
    if total.down_bytes + total.up_bytes == 0 {
        return;
    }
    match peers.iter_mut().find(|peer| peer.addr == total.addr) {
        Some(peer) => {
            peer.down_bytes += total.down_bytes;
            peer.up_bytes += total.up_bytes;
            peer.is_banned |= total.is_banned;
        }
        None => peers.push(total),
    }
}
