//! Which addresses a member is given for another: by scope and by family.
//!
//! Owns the rules that keep a hostile HELLO from turning peer lists into a port scan: what a client may declare, and who
//! may receive it. Never looks at a content.
//!
//! Invariants:
//! 1. Unspecified, multicast, broadcast and reserved addresses and port 0 are never kept, v4-mapped ones are kept as v4.
//! 2. A declared address is never narrower in scope than the source of its client; a global one equals the source.
//! 3. A loopback, link-local or private address is given only to clients in that scope.

use std::net::{IpAddr, SocketAddr};

use crate::base::{Scope, canonical, dialable};
use crate::wire::native::AddrPair;

/// What a client can dial: scopes, each in a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach(u8);

impl Reach {
    /// The reach of who is seen at `source`.
    pub fn of(source: IpAddr) -> Self {
        let source = source.to_canonical();
        Self(reach_of(source) | reach_bit(Scope::Global, source.is_ipv6()))
    }

    /// Whether `ip` is within.
    pub fn includes(self, ip: IpAddr) -> bool {
        reach_of(ip) & self.0 != 0
    }

    /// The scopes of addresses within, a bit each, narrowest first: those of IPv4, and those of IPv6.
    pub(super) fn scopes(self) -> [u8; 2] {
        let mut scopes = [0; 2];
        for scope in [
            Scope::Loopback,
            Scope::LinkLocal,
            Scope::Private,
            Scope::Global,
        ] {
            for (family, scopes) in scopes.iter_mut().enumerate() {
                let is_within = self.0 & reach_bit(scope, family == 1) != 0;
                *scopes |= u8::from(is_within) << scope as u8;
            }
        }
        scopes
    }

    fn extend(&mut self, ip: IpAddr) {
        self.0 |= reach_of(ip);
    }
}

/// Where a client can be dialled, and what it can dial itself.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Narrowest scope first, the source before what was declared.
    dialled_at: Box<[SocketAddr]>,
    /// The scopes and families of these.
    offered: Reach,
    reach: Reach,
}

impl Addresses {
    /// What is kept of the addresses that a client at `source` declares as its listening ones. With none it cannot be
    /// dialled; otherwise the source with the first declared port is added.
    pub fn new(source: IpAddr, declared: &[SocketAddr]) -> Self {
        let source = source.to_canonical();
        let mut reach = Reach::of(source);
        let mut kept = Vec::new();
        if let Some(first) = declared.iter().find(|addr| addr.port() != 0) {
            kept.extend(dialable(SocketAddr::new(source, first.port())));
        }
        for &addr in declared {
            let Some(addr) = dialable(canonical(addr)) else {
                continue;
            };
            if may_declare(source, addr.ip()) {
                reach.extend(addr.ip());
                if !kept.contains(&addr) {
                    kept.push(addr);
                }
            } else if Scope::of(addr.ip()) == Some(Scope::Global) {
                // Not believed as a place to dial, but it tells which family the client speaks.
                reach.extend(addr.ip());
            }
        }
        kept.sort_by_key(|addr| Scope::of(addr.ip()));
        let mut offered = Reach(0);
        kept.iter().for_each(|addr| offered.extend(addr.ip()));
        Self {
            dialled_at: kept.into(),
            offered,
            reach,
        }
    }

    /// What `receiver` is given to dial this client: the two best addresses.
    pub fn given_to(&self, receiver: &Self) -> AddrPair {
        self.within(receiver.reach).collect()
    }

    /// Whether `receiver` is given any.
    pub(super) fn are_given_to(&self, receiver: &Self) -> bool {
        self.offered.0 & receiver.reach.0 != 0
    }

    /// The addresses that someone of this reach is given, the best first.
    pub fn within(&self, reach: Reach) -> impl Iterator<Item = SocketAddr> {
        let addrs = self.dialled_at.iter().copied();
        addrs.filter(move |addr| reach.includes(addr.ip()))
    }

    /// What the client can dial.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// Every address at which the client can be dialled, by someone.
    pub fn all(&self) -> &[SocketAddr] {
        &self.dialled_at
    }
}

/// Whether a client that is seen at `source` is believed that it listens at `ip`.
fn may_declare(source: IpAddr, ip: IpAddr) -> bool {
    match (Scope::of(source), Scope::of(ip)) {
        (Some(_), Some(Scope::Global)) => source == ip,
        (Some(source), Some(declared)) => declared >= source,
        _ => false,
    }
}

fn reach_of(ip: IpAddr) -> u8 {
    Scope::of(ip).map_or(0, |scope| reach_bit(scope, ip.is_ipv6()))
}

/// The bit of a scope and a family. Loopback is one machine, whatever the family.
fn reach_bit(scope: Scope, is_v6: bool) -> u8 {
    let family = u8::from(is_v6 && scope != Scope::Loopback);
    1 << (scope as u8 * 2 + family)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address and a port")
    }

    fn client(source: &str, declared: &[&str]) -> Addresses {
        let declared: Vec<_> = declared.iter().map(|text| at(text)).collect();
        Addresses::new(ip(source), &declared)
    }

    fn given(member: &Addresses, receiver: &Addresses) -> Vec<String> {
        let given = member.given_to(receiver);
        given.iter().map(|addr| addr.to_string()).collect()
    }

    #[test]
    fn who_declares_nothing_cannot_be_dialled() {
        let silent = client("10.0.0.5", &[]);
        assert!(silent.all().is_empty());
        assert!(given(&silent, &client("10.0.0.6", &[])).is_empty());
    }

    #[test]
    fn the_source_with_the_declared_port_is_added() {
        let member = client("10.0.0.5", &["0.0.0.0:0", "0.0.0.0:6881"]);
        assert_eq!(member.all(), [at("10.0.0.5:6881")]);
        let mapped = client("::ffff:10.0.0.5", &["[::ffff:10.0.0.5]:6881"]);
        assert_eq!(mapped.all(), [at("10.0.0.5:6881")]);
    }

    #[test]
    fn hostile_declarations_are_dropped() {
        let hostile = [
            "127.0.0.1:22",
            "10.0.0.1:22",
            "169.254.169.254:80",
            "[fe80::1]:80",
            "[::]:80",
            "255.255.255.255:80",
            "224.0.0.1:80",
            "8.8.4.4:80",
        ];
        let mut declared = hostile.to_vec();
        declared.push("8.8.8.8:0");
        let global = client("8.8.8.8", &declared);
        assert_eq!(global.all(), [at("8.8.8.8:22")]);
        let private = client("192.168.0.2", &declared);
        assert_eq!(private.all(), [at("192.168.0.2:22"), at("10.0.0.1:22")]);
    }

    #[test]
    fn a_narrow_address_goes_only_to_receivers_in_its_scope() {
        let member = client("127.0.0.1", &["127.0.0.1:1", "10.0.0.5:1"]);
        assert_eq!(given(&member, &client("::1", &[])), ["127.0.0.1:1"]);
        assert_eq!(given(&member, &client("10.0.0.6", &[])), ["10.0.0.5:1"]);
        let both = client("127.0.0.2", &["10.0.0.5:9"]);
        assert_eq!(given(&member, &both), ["127.0.0.1:1", "10.0.0.5:1"]);
        assert!(given(&member, &client("8.8.8.8", &[])).is_empty());
        assert!(given(&member, &client("fd00::1", &[])).is_empty());
        let link = client("169.254.1.1", &["169.254.1.1:5"]);
        assert_eq!(given(&link, &client("169.254.9.9", &[])), ["169.254.1.1:5"]);
        assert!(given(&link, &client("10.0.0.6", &[])).is_empty());
    }

    #[test]
    fn a_global_address_goes_to_receivers_of_its_family() {
        let v4 = client("8.8.8.8", &["8.8.8.8:1"]);
        let v6 = client("2001:db8::1", &["[2001:db8::1]:1"]);
        let private = client("10.0.0.6", &[]);
        assert_eq!(given(&v4, &private), ["8.8.8.8:1"]);
        assert!(given(&v6, &private).is_empty());
        let dual = client("10.0.0.6", &["[2001:db8::77]:9"]);
        assert_eq!(given(&v6, &dual), ["[2001:db8::1]:1"]);
        assert_eq!(dual.all(), [at("10.0.0.6:9")]);
    }
}
