//! What each address sent us and got from us, and who is banned; it outlives the links.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use crate::base::PeerId;

/// Accounts kept; beyond them everybody else shares the last one.
pub(super) const ACCOUNTS_MAX: usize = 10_000;
/// Bans remembered; the oldest is forgotten beyond them.
pub(super) const BANS_MAX: usize = 10_000;

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Payload bytes received.
    pub down_bytes: u64,
    /// Payload bytes handed out for sending.
    pub up_bytes: u64,
    /// Payload bytes received in vain.
    pub wasted_bytes: u64,
    /// Pieces that did not match their hash.
    pub hash_fail_count: u64,
    /// Times a peer let its requests wait too long.
    pub stall_count: u64,
}

/// Payload exchanged with one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Where the peer listens, or the far end of its conn if that is not known.
    pub addr: SocketAddr,
    /// Payload bytes that it sent us.
    pub down_bytes: u64,
    /// Payload bytes that we sent it.
    pub up_bytes: u64,
}

/// All accounts and bans of one swarm.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: Vec<Account>,
    by_addr: BTreeMap<SocketAddr, u32>,
    banned: Vec<(PeerId, SocketAddr)>,
}

impl Ledger {
    /// The account of `addr`, opened if need be.
    pub(super) fn open(&mut self, addr: SocketAddr) -> u32 {
        if let Some(&account) = self.by_addr.get(&addr) {
            return account;
        }
        if self.accounts.len() == ACCOUNTS_MAX {
            return ACCOUNTS_MAX as u32 - 1;
        }
        let account = self.accounts.len() as u32;
        self.accounts.push(Account {
            addr,
            down_bytes: 0,
            up_bytes: 0,
        });
        self.by_addr.insert(addr, account);
        account
    }

    /// The account at index `account`.
    pub(super) fn account_mut(&mut self, account: u32) -> &mut Account {
        &mut self.accounts[account as usize]
    }

    /// Every account, in the order in which they were opened.
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// Bans the peer that calls itself `id`, at `addr`.
    pub(super) fn ban(&mut self, id: PeerId, addr: SocketAddr) {
        if self.banned.len() == BANS_MAX {
            self.banned.remove(0);
        }
        self.banned.push((id, addr));
    }

    /// Whether the peer at this address is banned, or the one of this name on this host. Behind a loopback address
    /// there may be many peers, so there the port or the name counts as well. A name alone bans nobody: anybody can
    /// take another's.
    pub fn is_banned(&self, id: Option<PeerId>, addr: SocketAddr) -> bool {
        self.banned.iter().any(|&(banned_id, banned)| {
            let same_name = id == Some(banned_id) && banned.ip() == addr.ip();
            same_name || banned == addr || same_host(banned.ip(), addr.ip())
        })
    }

    /// How many peers were banned.
    pub fn ban_count(&self) -> usize {
        self.banned.len()
    }
}

fn same_host(a: IpAddr, b: IpAddr) -> bool {
    a == b && !a.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_holds_for_the_name_and_the_host_but_not_for_all_of_loopback() {
        let mut ledger = Ledger::default();
        let (liar, other) = (PeerId([1; 20]), PeerId([2; 20]));
        ledger.ban(liar, ([127, 0, 0, 1], 7).into());
        assert!(ledger.is_banned(Some(liar), ([127, 0, 0, 1], 8).into()));
        assert!(ledger.is_banned(None, ([127, 0, 0, 1], 7).into()));
        assert!(!ledger.is_banned(Some(other), ([127, 0, 0, 1], 8).into()));
        assert!(!ledger.is_banned(Some(liar), ([10, 0, 0, 2], 7).into()));
        ledger.ban(liar, ([10, 0, 0, 1], 7).into());
        assert!(ledger.is_banned(Some(other), ([10, 0, 0, 1], 9).into()));
    }

    #[test]
    fn accounts_are_limited() {
        let mut ledger = Ledger::default();
        for port in 0..=ACCOUNTS_MAX as u16 {
            ledger.open(([10, 0, 0, 1], port).into());
        }
        assert_eq!(ledger.accounts().len(), ACCOUNTS_MAX);
    }
}
