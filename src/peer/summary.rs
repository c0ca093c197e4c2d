//! What the last line of a command says.

use std::net::SocketAddr;

use super::job::Job;
use super::transfer::Transfer;
use crate::cli::{PeerTotal, Summary};

/// What the last line says: of the job where there is one kind, summed up where there are several.
pub(super) fn summary(jobs: &[Job], transfers: &[Option<Transfer>]) -> Summary {
    let mut peers: Vec<PeerTotal> = Vec::new();
    let (mut down, mut up, mut hash_fail) = (0, 0, 0);
    for transfer in transfers.iter().flatten() {
        let counts = transfer.swarm.counts();
        down += counts.down_bytes;
        up += counts.up_bytes;
        hash_fail += counts.hash_fail_count as u32;
        for account in transfer.swarm.ledger().accounts() {
            add_total(
                &mut peers,
                account.addr,
                account.down_bytes,
                account.up_bytes,
            );
        }
    }
    match jobs.first() {
        Some(Job::Get(_)) => Summary::Get {
            down_bytes: down,
            up_bytes: up,
            hash_fail,
            peers,
        },
        Some(Job::Share(_) | Job::Seed(_)) => Summary::Share {
            up_bytes: up,
            peers,
        },
        Some(Job::Create(create)) => create.summary(),
        Some(Job::Export(export)) => export.summary(),
        Some(Job::Status(status)) => status.summary(),
        Some(Job::Verify(verify)) => verify.summary(),
        _ => Summary::Plain,
    }
}

fn add_total(peers: &mut Vec<PeerTotal>, addr: SocketAddr, down_bytes: u64, up_bytes: u64) {
    if down_bytes + up_bytes == 0 {
        return;
    }
    match peers.iter_mut().find(|peer| peer.addr == addr) {
        Some(peer) => {
            peer.down_bytes += down_bytes;
            peer.up_bytes += up_bytes;
        }
        None => peers.push(PeerTotal {
            addr,
            down_bytes,
            up_bytes,
        }),
    }
}
