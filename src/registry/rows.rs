//! One foreign member as a row of memory: address and port as they go over the wire, a byte of flags, a byte of time.
//!
//! Owns the two layouts, 8 bytes for IPv4 and 20 for IPv6, and what their last two bytes mean. Times are ticks modulo 256:
//! a tick is a minute, or longer where intervals are so long that minutes would run over.

use std::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use crate::base::Scope;

/// The shortest tick.
const TICK_S_MIN: u32 = 60;
/// Ticks that a member lives, at most: less than half of what a byte counts, so that past and future differ.
const LIFETIME_TICKS_MAX: u32 = 120;

const SEED: u8 = 1;
const UPLOAD_ONLY: u8 = 2;
const SCOPE_SHIFT: u32 = 2;

/// A foreign member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Foreigner {
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it holds everything.
    pub is_seed: bool,
    /// Whether it fetches nothing more (BEP 21).
    pub is_upload_only: bool,
}

impl Foreigner {
    fn flags(&self) -> u8 {
        let scope = Scope::of(self.addr.ip()).map_or(0, |scope| scope as u8);
        let flag = |is_set, bit| if is_set { bit } else { 0 };
        flag(self.is_seed, SEED) | flag(self.is_upload_only, UPLOAD_ONLY) | scope << SCOPE_SHIFT
    }
}

/// What is told of a member beside its address and its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    /// Whether it holds everything.
    pub(super) fn is_seed(self) -> bool {
        self.0 & SEED != 0
    }

    /// Whether it fetches nothing more.
    pub(super) fn is_content(self) -> bool {
        self.0 & (SEED | UPLOAD_ONLY) != 0
    }

    /// The number of its scope, narrowest first.
    pub(super) fn scope(self) -> u8 {
        self.0 >> SCOPE_SHIFT
    }

    fn foreigner(self, addr: SocketAddr) -> Foreigner {
        Foreigner {
            addr,
            is_seed: self.is_seed(),
            is_upload_only: self.0 & UPLOAD_ONLY != 0,
        }
    }
}

/// A layout of a member. The default is no member: nobody has port 0.
pub(super) trait Row: Copy + Default + PartialEq + std::fmt::Debug {
    /// The bytes of an address.
    type Ip: Copy + Eq + AsRef<[u8]>;
    /// Address and port.
    type Key: Copy + Eq;
    /// As many rows as fit into 120 bytes, if that is several: with its own 8 the system gives them 128.
    type Block: AsRef<[Self]> + AsMut<[Self]> + Default + std::fmt::Debug;
    /// Rows of a block.
    const BLOCK_ROWS: usize;

    /// The row of a member.
    fn new(ip: Self::Ip, member: &Foreigner, until: u8) -> Self;
    /// Address and port.
    fn key(self) -> Self::Key;
    /// Any 32 bits, always the same for the same key.
    fn hash(key: Self::Key, spread: Spread) -> u32;
    /// The address.
    fn ip(self) -> Self::Ip;
    /// The same as it is written elsewhere.
    fn addr(self) -> SocketAddr;
    /// The byte of flags.
    fn flags(self) -> Flags;
    /// The tick at which it is forgotten.
    fn until(self) -> u8;

    /// The member.
    fn foreigner(self) -> Foreigner {
        self.flags().foreigner(self.addr())
    }
}

/// A member of IPv4: its 8 bytes as one big-endian number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row4(u64);

impl Row4 {
    /// Bytes of an address with its port, as lists of peers have them (BEP 23).
    pub(super) const RECORD_BYTES: usize = 6;

    /// Address, port, flags and time, in this order.
    pub(super) fn bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    /// A number in the place of a row.
    pub(super) fn of_number(number: usize) -> Self {
        Self(number as u64)
    }

    /// The number that stands in the place of a row.
    pub(super) fn number(self) -> usize {
        self.0 as usize
    }

    /// Whether it is no member.
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is searched for to find an address and a port.
    pub(super) fn key_of(ip: [u8; 4], port: u16) -> u64 {
        u64::from(u32::from_be_bytes(ip)) << 16 | u64::from(port)
    }
}

impl Row for Row4 {
    type Ip = [u8; 4];
    type Key = u64;
    type Block = [Self; 15];
    const BLOCK_ROWS: usize = 15;

    fn new(ip: [u8; 4], member: &Foreigner, until: u8) -> Self {
        let key = Self::key_of(ip, member.addr.port());
        Self(key << 16 | u64::from(member.flags()) << 8 | u64::from(until))
    }

    fn key(self) -> u64 {
        self.0 >> 16
    }

    fn hash(key: u64, spread: Spread) -> u32 {
        spread.of(&key.to_be_bytes())
    }

    fn ip(self) -> [u8; 4] {
        ((self.0 >> 32) as u32).to_be_bytes()
    }

    fn addr(self) -> SocketAddr {
        SocketAddr::new(self.ip().into(), (self.0 >> 16) as u16)
    }

    fn flags(self) -> Flags {
        Flags((self.0 >> 8) as u8)
    }

    fn until(self) -> u8 {
        self.0 as u8
    }
}

/// A member of IPv6.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Row6 {
    ip: [u8; 16],
    port: [u8; 2],
    flags: u8,
    until: u8,
}

impl Row6 {
    /// Address and port, as lists of peers have them (BEP 7).
    pub(super) fn record(self) -> [u8; 18] {
        let mut record = [0; 18];
        record[..16].copy_from_slice(&self.ip);
        record[16..].copy_from_slice(&self.port);
        record
    }

    /// What is searched for to find an address and a port.
    pub(super) fn key_of(ip: [u8; 16], port: u16) -> (u128, u16) {
        (u128::from_be_bytes(ip), port)
    }
}

impl Row for Row6 {
    type Ip = [u8; 16];
    type Key = (u128, u16);
    type Block = [Self; 6];
    const BLOCK_ROWS: usize = 6;

    fn new(ip: [u8; 16], member: &Foreigner, until: u8) -> Self {
        Self {
            ip,
            port: member.addr.port().to_be_bytes(),
            flags: member.flags(),
            until,
        }
    }

    fn key(self) -> (u128, u16) {
        Self::key_of(self.ip, u16::from_be_bytes(self.port))
    }

    fn hash((ip, port): (u128, u16), spread: Spread) -> u32 {
        let mut bytes = [0; 18];
        bytes[..16].copy_from_slice(&ip.to_be_bytes());
        bytes[16..].copy_from_slice(&port.to_be_bytes());
        spread.of(&bytes)
    }

    fn ip(self) -> [u8; 16] {
        self.ip
    }

    fn addr(self) -> SocketAddr {
        SocketAddr::new(IpAddr::from(self.ip), u16::from_be_bytes(self.port))
    }

    fn flags(self) -> Flags {
        Flags(self.flags)
    }

    fn until(self) -> u8 {
        self.until
    }
}

const _: () = assert!(size_of::<Row4>() == 8 && size_of::<Row6>() == 20);

/// Turns seconds into ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks {
    tick_s: u32,
}

impl Ticks {
    /// Ticks that count lifetimes of up to `lifetime_s_max` seconds.
    pub(super) fn new(lifetime_s_max: u32) -> Self {
        Self {
            tick_s: TICK_S_MIN.max(lifetime_s_max.div_ceil(LIFETIME_TICKS_MAX)),
        }
    }

    /// The tick at the end of which `lifetime_s` from `now_s` on are over.
    pub(super) fn until(self, now_s: u32, lifetime_s: u32) -> u8 {
        now_s.saturating_add(lifetime_s).div_ceil(self.tick_s) as u8
    }

    /// The tick that it is.
    pub(super) fn now(self, now_s: u32) -> u8 {
        (now_s / self.tick_s) as u8
    }
}

/// Whether the tick `until` has come at the tick `now`.
pub(super) fn is_over(until: u8, now: u8) -> bool {
    now.wrapping_sub(until) < 128
}

/// Where keys lie in an index: a keyed hash, so that nobody outside can choose keys that meet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spread {
    key: (u64, u64),
}

impl Spread {
    /// The hash of this key.
    pub(super) fn new(key: (u64, u64)) -> Self {
        Self { key }
    }

    /// Any 32 bits, always the same for the same bytes.
    pub(super) fn of(self, bytes: &[u8]) -> u32 {
        self.wide(bytes) as u32
    }

    /// Any 64 bits, always the same for the same bytes.
    pub(super) fn wide(self, bytes: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.key.0, self.key.1).hash(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_the_member_and_begins_with_what_goes_over_the_wire() {
        for (text, record) in [
            ("10.1.2.3:6881", &[10, 1, 2, 3, 26, 225][..]),
            (
                "[fd00::1]:1",
                &[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1],
            ),
        ] {
            for bits in 0..4 {
                let member = Foreigner {
                    addr: text.parse().expect("an address"),
                    is_seed: bits & 1 != 0,
                    is_upload_only: bits & 2 != 0,
                };
                let (back, flags, until, start) = match member.addr.ip() {
                    IpAddr::V4(ip) => {
                        let row = Row4::new(ip.octets(), &member, 77);
                        (
                            row.foreigner(),
                            row.flags(),
                            row.until(),
                            row.bytes()[..6].to_vec(),
                        )
                    }
                    IpAddr::V6(ip) => {
                        let row = Row6::new(ip.octets(), &member, 77);
                        (
                            row.foreigner(),
                            row.flags(),
                            row.until(),
                            row.record().to_vec(),
                        )
                    }
                };
                assert_eq!((back, until, &start[..]), (member, 77, record));
                assert_eq!(flags.is_content(), bits != 0);
                assert_eq!(flags.scope(), Scope::Private as u8);
            }
        }
    }

    #[test]
    fn a_member_lives_as_long_as_it_should_and_a_tick_more_at_most() {
        for lifetime_s in [60, 660, 3660, 172_860] {
            let ticks = Ticks::new(lifetime_s);
            let tick_s = ticks.tick_s;
            for began_s in (0..100_000).step_by(997) {
                let until = ticks.until(began_s, lifetime_s);
                for (after_s, is_gone) in [
                    (0, false),
                    (lifetime_s - 1, false),
                    (lifetime_s + tick_s, true),
                    (lifetime_s + 100 * tick_s, true),
                ] {
                    let now = ticks.now(began_s + after_s);
                    assert_eq!(
                        is_over(until, now),
                        is_gone,
                        "{lifetime_s} {began_s} {after_s}"
                    );
                }
            }
        }
    }
}
