//! Magnet links (BEP 9, BEP 53): a content named by its info-hash, with hints where to find it.
//!
//! Owns the form of the link: what is read from one, what is left out, and the one canonical spelling that is written.
//! Resolves nothing: a peer that is named by its host name is left out.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::torrent::{TRACKERS_COUNT_MAX, tracker_url};
use crate::base::{InfoHash, ParseHexError};

/// The longest link: room for the most trackers that anybody lists, and far more than any shell or browser hands on.
pub const LINK_BYTES_MAX: usize = 64 << 10;
/// The most peers that are taken from a link; those beyond it are left out.
pub const PEERS_COUNT_MAX: usize = 64;

const PREFIX: &str = "magnet:?";
const V1_TOPIC: &str = "urn:btih:";
const V2_TOPIC: &str = "urn:btmh:";
/// Digits of a SHA-1 in base32 (RFC 4648), which older clients write.
const BASE32_DIGITS: usize = 32;

/// Why a text is no magnet link that we can follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MagnetError {
    /// It does not begin with `magnet:?`.
    #[error("not a magnet link: it does not begin with magnet:?")]
    NotMagnet,
    /// It has more than [`LINK_BYTES_MAX`] bytes.
    #[error("a magnet link of more than 65536 bytes")]
    TooLong,
    /// It names no content.
    #[error("a magnet link without an info-hash (xt=urn:btih:…)")]
    NoHash,
    /// It names a content by its BitTorrent v2 hash only.
    #[error("a magnet link of a BitTorrent v2 hash alone (urn:btmh), which is not supported")]
    OnlyV2,
    /// Its info-hash is neither 40 hexadecimal nor 32 base32 digits.
    #[error("a magnet link whose info-hash is neither 40 hexadecimal nor 32 base32 digits")]
    BadHash,
    /// A `%` without two hexadecimal digits behind it.
    #[error("a magnet link with a % that no two hexadecimal digits follow")]
    BadEscape,
}

/// A content, and where it may be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Magnet {
    /// The content.
    pub info_hash: InfoHash,
    /// What it is called, until its own description says so.
    pub name: Option<String>,
    /// The trackers, each once, in the order of the link, at most [`TRACKERS_COUNT_MAX`].
    pub trackers: Vec<String>,
    /// Peers that may have it, at most [`PEERS_COUNT_MAX`].
    pub peers: Vec<SocketAddr>,
}

impl Magnet {
    /// The link of a content of which nothing else is known.
    pub const fn new(info_hash: InfoHash) -> Self {
        Self {
            info_hash,
            name: None,
            trackers: Vec::new(),
            peers: Vec::new(),
        }
    }

    /// Whether a text means to be a magnet link, right or wrong.
    pub fn is_meant(text: &str) -> bool {
        strip_prefix_ignoring_case(text, "magnet:").is_some()
    }

    /// Reads a link. Of several topics the first v1 info-hash counts; parameters of other kinds, trackers that are no
    /// URLs and peers that are no addresses are left out.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &str) -> Result<Self, MagnetError> {
        if text.len() > LINK_BYTES_MAX {
            return Err(MagnetError::TooLong);
        }
        let query =
            strip_prefix_ignoring_case(text.trim(), PREFIX).ok_or(MagnetError::NotMagnet)?;
        let (mut info_hash, mut has_v2) = (None, false);
        let mut link = Self::new(InfoHash([0; 20]));
        for parameter in query.split('&') {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match without_number(key) {
                "xt" => {
                    let topic = text_of(value)?.unwrap_or_default();
                    has_v2 |= strip_prefix_ignoring_case(&topic, V2_TOPIC).is_some();
                    if let Some(digits) = strip_prefix_ignoring_case(&topic, V1_TOPIC)
                        && info_hash.is_none()
                    {
                        info_hash = Some(hash_of(digits)?);
                    }
                }
                "dn" if link.name.is_none() => {
                    link.name = text_of(value)?.filter(|name| !name.is_empty());
                }
                "tr" => link.add_tracker(&unescaped(value)?),
                "x.pe" => link.add_peer(&text_of(value)?.unwrap_or_default()),
                _ => {}
            }
        }
        link.info_hash = match info_hash {
            Some(info_hash) => info_hash,
            None if has_v2 => return Err(MagnetError::OnlyV2),
            None => return Err(MagnetError::NoHash),
        };
        Ok(link)
    }

    fn add_tracker(&mut self, bytes: &[u8]) {
        if let Some(url) = tracker_url(bytes)
            && self.trackers.len() < TRACKERS_COUNT_MAX
            && !self.trackers.contains(&url)
        {
            self.trackers.push(url);
        }
    }

    fn add_peer(&mut self, text: &str) {
        if let Ok(addr) = text.parse::<SocketAddr>()
            && addr.port() != 0
            && !addr.ip().is_unspecified()
            && !addr.ip().is_multicast()
            && self.peers.len() < PEERS_COUNT_MAX
            && !self.peers.contains(&addr)
        {
            self.peers.push(addr);
        }
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    fn from_str(text: &str) -> Result<Self, MagnetError> {
        Self::parse(text)
    }
}

/// The canonical link: hash, name, trackers, peers, with everything escaped that is not unreserved (RFC 3986). Peers are
/// written as they are, because other clients do not unescape them.
impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}xt={V1_TOPIC}{}", self.info_hash)?;
        if let Some(name) = &self.name {
            write!(f, "&dn={}", PercentEscaped(name))?;
        }
        for url in &self.trackers {
            write!(f, "&tr={}", PercentEscaped(url))?;
        }
        for addr in &self.peers {
            write!(f, "&x.pe={addr}")?;
        }
        Ok(())
    }
}

struct PercentEscaped<'a>(&'a str);

impl fmt::Display for PercentEscaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                f.write_char(byte.into())?;
            } else {
                write!(f, "%{byte:02X}")?;
            }
        }
        Ok(())
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// `tr` of `tr.1`: several values of one kind may be numbered.
fn without_number(key: &str) -> &str {
    match key.rsplit_once('.') {
        Some((head, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => head,
        _ => key,
    }
}

/// The bytes of a value: `%` and two hexadecimal digits are a byte, `+` is a space.
fn unescaped(value: &str) -> Result<Vec<u8>, MagnetError> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => match (digit(rest.next()), digit(rest.next())) {
                (Some(high), Some(low)) => (high << 4 | low) as u8,
                _ => return Err(MagnetError::BadEscape),
            },
            other => other,
        });
    }
    Ok(bytes)
}

/// The text of a value; `None` if it is not UTF-8.
fn text_of(value: &str) -> Result<Option<String>, MagnetError> {
    unescaped(value).map(|bytes| String::from_utf8(bytes).ok())
}

fn hash_of(digits: &str) -> Result<InfoHash, MagnetError> {
    let hash = if digits.len() == BASE32_DIGITS {
        base32(digits).ok_or(ParseHexError(40))
    } else {
        digits.parse()
    };
    hash.map_err(|_| MagnetError::BadHash)
}

/// Five bits of each digit, in either case.
fn base32(digits: &str) -> Option<InfoHash> {
    let mut hash = [0; 20];
    let mut bits = 0u16;
    let mut count = 0;
    let mut bytes = hash.iter_mut();
    for digit in digits.bytes() {
        let value = match digit.to_ascii_lowercase() {
            letter @ b'a'..=b'z' => letter - b'a',
            number @ b'2'..=b'7' => number - b'2' + 26,
            _ => return None,
        };
        bits = bits << 5 | u16::from(value);
        count += 5;
        if count >= 8 {
            count -= 8;
            *bytes.next()? = (bits >> count) as u8;
            bits &= (1 << count) - 1;
        }
    }
    Some(InfoHash(hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Rng;

    const HASH: &str = "c9e15763f722f23e98a29decdfae341b98d53056";

    fn hash() -> InfoHash {
        HASH.parse().expect("a hash")
    }

    #[test]
    fn reads_hash_name_trackers_and_peers() {
        let link = format!(
            "magnet:?xt=urn:btih:{HASH}&dn=a%20b+c%C3%BC&tr=http%3A%2F%2Ftr%3A6969%2Fannounce\
             &tr.1=udp://tr:6969&x.pe=10.0.0.1:6881&x.pe=[::1]:7000&x.pe=host:1&ws=http://w&xl=5"
        );
        let magnet = Magnet::parse(&link).expect("valid");
        assert_eq!(magnet.info_hash, hash());
        assert_eq!(magnet.name.as_deref(), Some("a b cü"));
        assert_eq!(
            magnet.trackers,
            ["http://tr:6969/announce", "udp://tr:6969"]
        );
        let peers: Vec<String> = magnet.peers.iter().map(ToString::to_string).collect();
        assert_eq!(peers, ["10.0.0.1:6881", "[::1]:7000"]);
        assert_eq!(
            magnet.to_string(),
            format!(
                "magnet:?xt=urn:btih:{HASH}&dn=a%20b%20c%C3%BC&tr=http%3A%2F%2Ftr%3A6969%2Fannounce\
                 &tr=udp%3A%2F%2Ftr%3A6969&x.pe=10.0.0.1:6881&x.pe=[::1]:7000"
            )
        );
    }

    #[test]
    fn every_spelling_of_a_hash_is_the_same_content() {
        for topic in [
            format!("urn:btih:{HASH}"),
            format!("urn:btih:{}", HASH.to_uppercase()),
            "urn:btih:ZHQVOY7XELZD5GFCTXWN7LRUDOMNKMCW".to_owned(),
            "urn%3Abtih%3Azhqvoy7xelzd5gfctxwn7lrudomnkmcw".to_owned(),
            format!("URN:BTIH:{HASH}"),
        ] {
            for link in [
                format!("magnet:?xt={topic}"),
                format!("MAGNET:?dn=x&xt.1=urn:btmh:1220abcd&xt.2={topic}&xt=urn:btih:bad"),
            ] {
                let magnet = Magnet::parse(&link).expect(&link);
                assert_eq!(magnet.info_hash, hash(), "{link}");
            }
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_link() {
        for (link, error) in [
            ("", MagnetError::NotMagnet),
            ("http://x/?xt=urn:btih:1", MagnetError::NotMagnet),
            ("magnet:", MagnetError::NotMagnet),
            ("magnet:?", MagnetError::NoHash),
            ("magnet:?dn=x&xt=urn:sha1:abc", MagnetError::NoHash),
            ("magnet:?xt=urn:btmh:1220aa", MagnetError::OnlyV2),
            ("magnet:?xt=urn:btih:abc", MagnetError::BadHash),
            (
                "magnet:?xt=urn:btih:0HQVOY7XELZD5GFCTXWN7LRUDOMNKMCW",
                MagnetError::BadHash,
            ),
            ("magnet:?dn=%", MagnetError::BadEscape),
            ("magnet:?tr=%zz", MagnetError::BadEscape),
        ] {
            assert_eq!(Magnet::parse(link), Err(error), "{link}");
        }
    }

    #[test]
    fn a_link_has_bounds() {
        let start = format!("magnet:?xt=urn:btih:{HASH}");
        let filled = format!("{start}&dn={}", "x".repeat(LINK_BYTES_MAX));
        assert!(Magnet::parse(&filled[..LINK_BYTES_MAX]).is_ok());
        assert_eq!(
            Magnet::parse(&filled[..=LINK_BYTES_MAX]),
            Err(MagnetError::TooLong)
        );
        let many = (1..=2 * TRACKERS_COUNT_MAX).fold(start, |link, n| {
            format!("{link}&tr=udp://a:{n}&x.pe=1.2.3.4:{n}")
        });
        let magnet = Magnet::parse(&many).expect("valid");
        assert_eq!(magnet.trackers.len(), TRACKERS_COUNT_MAX);
        assert_eq!(magnet.peers.len(), PEERS_COUNT_MAX);
        assert_eq!(magnet.peers[0].port(), 1);
    }

    #[test]
    fn addresses_that_nobody_can_dial_are_no_peers() {
        let link = format!(
            "magnet:?xt=urn:btih:{HASH}&x.pe=1.2.3.4:0&x.pe=0.0.0.0:1&x.pe=[ff02::1]:1&x.pe=1.2.3.4"
        );
        assert_eq!(Magnet::parse(&link), Ok(Magnet::new(hash())));
    }

    #[test]
    fn garbage_is_refused_or_read_and_never_panics() {
        let pieces = [
            "magnet:?",
            "xt=",
            "urn:btih:",
            HASH,
            "&",
            "dn=",
            "%",
            "%4",
            "+",
            "ü",
            "tr=",
            "x.pe=",
            "[::1]:1",
            ".1",
            "=",
            "urn:btmh:",
            "zhqvoy7xelzd5gfctxwn7lrudomnkmcw",
        ];
        for seed in 0..20_000 {
            let mut rng = Rng::new(seed);
            let mut text = if seed % 2 == 0 { "magnet:?" } else { "" }.to_owned();
            for _ in 0..rng.below(12) {
                text.push_str(pieces[rng.below(pieces.len())]);
            }
            if let Ok(magnet) = Magnet::parse(&text) {
                let again = Magnet::parse(&magnet.to_string());
                assert_eq!(again, Ok(magnet), "seed {seed}: {text}");
            }
        }
    }
}
