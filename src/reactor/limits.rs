//! How much the loop takes on, at most.

use std::io;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The limits of one [`Reactor`](super::Reactor).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Conns open or being dialled. At this many the listeners pause until one closes, and a dial fails.
    pub conns_max: usize,
    /// Conns accepted in one turn.
    pub accepts_max: usize,
    /// Bytes after which reading from one conn goes on in the next turn.
    pub read_bytes_max: usize,
    /// Bytes after which writing to one conn goes on in the next turn.
    pub write_bytes_max: usize,
    /// Datagrams taken from one socket in one turn.
    pub datagrams_max: usize,
    /// Control bytes queued for one conn; beyond them it is closed, because its other end does not read.
    pub control_bytes_max: usize,
    /// How long a dial may take.
    pub connect_timeout: Duration,
}

/// No limit on descriptors is taken for more conns than this.
const CONNS_MAX: u64 = 1 << 20;

impl Default for Limits {
    /// As many conns as the limit on open files allows after what files, pipes and the poll itself need.
    fn default() -> Self {
        let files_max = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
        Self {
            conns_max: conns_for(files_max),
            accepts_max: 64,
            read_bytes_max: 256 << 10,
            write_bytes_max: 1 << 20,
            datagrams_max: 256,
            control_bytes_max: 8 << 20,
            connect_timeout: Duration::from_secs(3),
        }
    }
}

/// Conns that fit into a limit of `files_max` descriptors: an eighth of them, 16 to 256, stays for other uses.
fn conns_for(files_max: u64) -> usize {
    let reserve = (files_max / 8).clamp(16, 256);
    files_max.saturating_sub(reserve).clamp(1, CONNS_MAX) as usize
}

/// Lifts the soft limit on open files to the hard one, and returns it.
///
/// # Errors
/// What the system says; the limit is then as it was.
pub fn raise_nofile_limit() -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_left_for_other_uses() {
        assert_eq!(conns_for(0), 1);
        assert_eq!(conns_for(64), 48);
        assert_eq!(conns_for(1024), 896);
        assert_eq!(conns_for(20_000), 19_744);
        assert_eq!(conns_for(u64::MAX), 1 << 20);
    }

    #[test]
    fn the_soft_limit_meets_the_hard_one() {
        let raised = raise_nofile_limit().expect("never more than allowed");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("known");
        assert_eq!((soft, hard), (raised, raised));
    }
}
