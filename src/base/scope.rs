//! How far an address reaches, and what one machine may be told of another's address.
//!
//! Owns the kinds of addresses, so that neither a tracker's list nor a peer's gossip turns into a port scan of places
//! that its reader alone can see. Knows neither contents nor peers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How far an address reaches, narrowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// This machine.
    Loopback,
    /// This link (169.254/16, fe80::/10).
    LinkLocal,
    /// This site (RFC 1918, RFC 6598, RFC 4193, and the deprecated fec0::/10).
    Private,
    /// Everywhere.
    Global,
}

impl Scope {
    /// The scope of an address, or `None` if nobody can be dialled at it.
    pub fn of(ip: IpAddr) -> Option<Self> {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    fn of_v4(ip: Ipv4Addr) -> Option<Self> {
        let [a, b, ..] = ip.octets();
        match a {
            0 | 224.. => None,
            127 => Some(Self::Loopback),
            169 if b == 254 => Some(Self::LinkLocal),
            10 => Some(Self::Private),
            172 if b & 0xf0 == 16 => Some(Self::Private),
            192 if b == 168 => Some(Self::Private),
            100 if b & 0xc0 == 64 => Some(Self::Private),
            _ => Some(Self::Global),
        }
    }

    fn of_v6(ip: Ipv6Addr) -> Option<Self> {
        let segments = ip.segments();
        match segments[0] {
            _ if ip == Ipv6Addr::LOCALHOST => Some(Self::Loopback),
            // The unspecified address and the obsolete v4-compatible ones, which would smuggle a v4 address past us.
            0 if segments[..6] == [0; 6] => None,
            0xff00.. => None,
            0xfe80..=0xfebf => Some(Self::LinkLocal),
            0xfc00..=0xfdff | 0xfec0..=0xfeff => Some(Self::Private),
            _ => Some(Self::Global),
        }
    }
}

/// A socket address with a v4-mapped address written as v4, and without flow label and zone.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// The address, if somebody can be dialled at it.
pub fn dialable(addr: SocketAddr) -> Option<SocketAddr> {
    (addr.port() != 0 && Scope::of(addr.ip()).is_some()).then_some(addr)
}

/// Whether one end of a link, seen by the other at `end`, may tell it or be told by it of an address `ip`: not of one
/// that reaches less far than the link does, since that would be another machine for each of them.
pub fn is_shared_over(end: IpAddr, ip: IpAddr) -> bool {
    match (Scope::of(end), Scope::of(ip)) {
        (Some(link), Some(named)) => named >= link,
        _ => false,
    }
}

/// How near two addresses are to each other by their prefixes, as BEP 40 looks at them: 3 for one host, 2 within a /24
/// (IPv6: /64), 1 within a /16 (/48), else 0.
pub fn nearness(a: IpAddr, b: IpAddr) -> u8 {
    let (same_bits, network_bits, site_bits) = match (a.to_canonical(), b.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ((a.to_bits() ^ b.to_bits()).leading_zeros(), 24, 16),
        (IpAddr::V6(a), IpAddr::V6(b)) => ((a.to_bits() ^ b.to_bits()).leading_zeros(), 64, 48),
        _ => return 0,
    };
    if a.to_canonical() == b.to_canonical() {
        3
    } else if same_bits >= network_bits {
        2
    } else {
        u8::from(same_bits >= site_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn addresses_are_near_by_their_prefixes() {
        let near = |a, b| nearness(ip(a), ip(b));
        assert_eq!(near("10.1.2.3", "::ffff:10.1.2.3"), 3);
        assert_eq!(near("10.1.2.3", "10.1.2.77"), 2);
        assert_eq!(near("10.1.2.3", "10.1.3.3"), 1);
        assert_eq!(near("10.1.2.3", "10.2.2.3"), 0);
        assert_eq!(near("2001:db8:1:2::1", "2001:db8:1:2::7"), 2);
        assert_eq!(near("2001:db8:1:2::1", "2001:db8:1:3::1"), 1);
        assert_eq!(near("2001:db8:1:2::1", "2001:db8:2:2::1"), 0);
        assert_eq!(near("10.1.2.3", "2001:db8::1"), 0);
    }

    #[test]
    fn every_kind_of_address_has_its_scope() {
        use Scope::{Global, LinkLocal, Loopback, Private};
        let table = [
            ("127.0.0.1", Some(Loopback)),
            ("127.255.255.254", Some(Loopback)),
            ("::1", Some(Loopback)),
            ("::ffff:127.0.0.1", Some(Loopback)),
            ("169.254.0.1", Some(LinkLocal)),
            ("169.253.0.1", Some(Global)),
            ("fe80::1", Some(LinkLocal)),
            ("febf::1", Some(LinkLocal)),
            ("10.0.0.1", Some(Private)),
            ("::ffff:10.0.0.1", Some(Private)),
            ("172.15.0.1", Some(Global)),
            ("172.16.0.1", Some(Private)),
            ("172.31.255.255", Some(Private)),
            ("172.32.0.1", Some(Global)),
            ("192.168.1.1", Some(Private)),
            ("192.169.1.1", Some(Global)),
            ("100.63.0.1", Some(Global)),
            ("100.64.0.1", Some(Private)),
            ("100.127.0.1", Some(Private)),
            ("100.128.0.1", Some(Global)),
            ("fc00::1", Some(Private)),
            ("fd12::1", Some(Private)),
            ("fec0::1", Some(Private)),
            ("8.8.8.8", Some(Global)),
            ("223.255.255.255", Some(Global)),
            ("2001:db8::1", Some(Global)),
            ("0.0.0.0", None),
            ("0.1.2.3", None),
            ("224.0.0.1", None),
            ("239.255.255.255", None),
            ("240.0.0.1", None),
            ("255.255.255.255", None),
            ("::", None),
            ("::127.0.0.1", None),
            ("::8.8.8.8", None),
            ("::ffff:255.255.255.255", None),
            ("::ffff:0.0.0.0", None),
            ("ff02::1", None),
            ("ff0e::1", None),
        ];
        for (text, scope) in table {
            assert_eq!(Scope::of(ip(text)), scope, "{text}");
        }
    }

    #[test]
    fn nobody_is_told_of_an_address_that_reaches_less_far_than_the_link() {
        let ends = ["127.0.0.1", "169.254.0.1", "10.0.0.1", "8.8.8.8"];
        for (link, end) in ends.iter().enumerate() {
            for (named, about) in ends.iter().enumerate() {
                assert_eq!(
                    is_shared_over(ip(end), ip(about)),
                    named >= link,
                    "{end} {about}"
                );
            }
            for nowhere in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"] {
                assert!(!is_shared_over(ip(end), ip(nowhere)));
                assert!(!is_shared_over(ip(nowhere), ip(end)));
            }
            assert!(
                is_shared_over(ip(end), ip("2001:db8::1")),
                "whatever the family"
            );
        }
    }
}
