//! The values that options and operands take, each read by one function that says what is wrong with a bad one.
//!
//! Errors complete the sentence `"VALUE" is …`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::units::{parse_digits, parse_duration, parse_size};
use crate::base::{Digest32, InfoHash};
use crate::wire::magnet::{Magnet, MagnetError};
use crate::wire::torrent::{COMMENT_BYTES_MAX, tracker_url};

/// The port of a tracker that names none.
pub const TRACKER_PORT: u16 = 6969;
/// The longest host name (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// The longest file name on the file systems that matter.
const NAME_BYTES_MAX: usize = 255;
/// The longest zone; the protocol allows more than anyone needs.
const ZONE_BYTES_MAX: usize = 255;
/// The fewest digits of an info-hash that can stand for it.
const PREFIX_DIGITS_MIN: usize = 8;
/// The smallest piece: one block.
const PIECE_BYTES_MIN: u64 = 16 << 10;
/// The largest piece.
const PIECE_BYTES_MAX: u64 = 512 << 20;

/// What the name of a `.torrent` file ends with.
const TORRENT_SUFFIX: &str = ".torrent";

/// Which content is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The newest of that name.
    Name(String),
    /// The one with that info-hash.
    Hash(InfoHash),
    /// 8 to 39 hexadecimal digits, as typed: the newest of that name if there is one, else the only one whose
    /// info-hash begins so.
    PrefixOrName(String),
    /// The one that this `.torrent` file describes.
    Torrent(PathBuf),
    /// The one that this link names.
    Magnet(Magnet),
}

impl What {
    /// Reads a non-empty operand. Whatever ends in `.torrent` is a file: a content of such a name is meant by its
    /// info-hash.
    ///
    /// # Errors
    /// A text that means to be a magnet link, and is none.
    pub fn parse(text: &str) -> Result<Self, MagnetError> {
        if Magnet::is_meant(text) {
            return Magnet::parse(text).map(Self::Magnet);
        }
        if text.ends_with(TORRENT_SUFFIX) {
            return Ok(Self::Torrent(text.into()));
        }
        if let Ok(hash) = text.parse() {
            return Ok(Self::Hash(hash));
        }
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Ok(if is_hex && (PREFIX_DIGITS_MIN..40).contains(&text.len()) {
            Self::PrefixOrName(text.to_owned())
        } else {
            Self::Name(text.to_owned())
        })
    }

    /// Whether it says by itself what its content is, and who may have it: no native tracker is needed then.
    pub fn is_self_contained(&self) -> bool {
        matches!(self, Self::Torrent(_) | Self::Magnet(_))
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(text) | Self::PrefixOrName(text) => f.write_str(text),
            Self::Hash(hash) => hash.fmt(f),
            Self::Torrent(path) => path.display().fmt(f),
            Self::Magnet(magnet) => match &magnet.name {
                Some(name) => f.write_str(name),
                None => magnet.info_hash.fmt(f),
            },
        }
    }
}

/// Where the tracker is: a host name or address, not resolved, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackerAddr {
    /// A host name, or an address without brackets.
    pub host: String,
    /// Its port, not zero.
    pub port: u16,
}

impl TrackerAddr {
    /// Where other BitTorrent clients find it: a Shoal tracker speaks HTTP and UDP at the port of its native front.
    pub fn announce_urls(&self) -> Vec<String> {
        vec![format!("http://{self}/announce"), format!("udp://{self}")]
    }
}

impl FromStr for TrackerAddr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "not HOST or HOST:PORT";
        if text.parse::<Ipv6Addr>().is_ok() {
            return Ok(Self {
                host: text.to_owned(),
                port: TRACKER_PORT,
            });
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(WRONG)?;
                host.parse::<Ipv6Addr>().map_err(|_| WRONG)?;
                let port = match rest {
                    "" => None,
                    _ => Some(rest.strip_prefix(':').ok_or(WRONG)?),
                };
                (host, port)
            }
            None => {
                let (host, port) = match text.split_once(':') {
                    Some((host, port)) => (host, Some(port)),
                    None => (text, None),
                };
                let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(is_plain) {
                    return Err(WRONG);
                }
                (host, port)
            }
        };
        Ok(Self {
            host: host.to_owned(),
            port: match port {
                Some(port) => parse_port(port).filter(|port| *port != 0).ok_or(WRONG)?,
                None => TRACKER_PORT,
            },
        })
    }
}

impl fmt::Display for TrackerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// An address that others are told to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The address.
    pub ip: IpAddr,
    /// The port, if it is not the one that we listen on.
    pub port: Option<u16>,
}

impl FromStr for Advertised {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let advertised = match text.parse::<SocketAddr>() {
            Ok(addr) => Some((addr.ip(), Some(addr.port()))),
            Err(_) => text.parse::<IpAddr>().ok().map(|ip| (ip, None)),
        };
        match advertised {
            Some((ip, port)) if !ip.is_unspecified() && !ip.is_multicast() && port != Some(0) => {
                Ok(Self { ip, port })
            }
            _ => Err("not an IP or IP:PORT that others can dial"),
        }
    }
}

/// A listening address: `[::]:6969`, `0.0.0.0:0`, `:7000` or `7000`.
pub(super) fn parse_listen(text: &str) -> Result<SocketAddr, &'static str> {
    if let Ok(addr) = text.parse() {
        return Ok(addr);
    }
    parse_port(text.strip_prefix(':').unwrap_or(text))
        .map(|port| SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)))
        .ok_or("not an address like [::]:7000, 0.0.0.0:7000, :7000 or 7000")
}

/// A piece length in bytes.
pub(super) fn parse_piece_size(text: &str) -> Result<u32, &'static str> {
    parse_size(text)
        .filter(|size| size.is_power_of_two())
        .filter(|size| (PIECE_BYTES_MIN..=PIECE_BYTES_MAX).contains(size))
        .map(|size| size as u32)
        .ok_or("not a power of two from 16K to 512M")
}

/// The trackers of one tier, separated by commas: URLs, or Shoal trackers by their addresses.
pub(super) fn parse_tier(text: &str) -> Result<Vec<String>, &'static str> {
    let mut tier = Vec::new();
    for word in text.split(',') {
        match tracker_url(word.as_bytes()) {
            Some(url) => tier.push(url),
            None => {
                let addr: Result<TrackerAddr, _> = word.parse();
                let addr = addr.map_err(|_| "not a URL like udp://HOST:PORT, nor HOST:PORT")?;
                tier.extend(addr.announce_urls());
            }
        }
    }
    Ok(tier)
}

/// A comment that fits into a `.torrent` file.
pub(super) fn parse_comment(text: &str) -> Result<String, &'static str> {
    match text.len() {
        1..=COMMENT_BYTES_MAX => Ok(text.to_owned()),
        0 => Err("no text"),
        _ => Err("longer than 4096 bytes"),
    }
}

/// The path of a file.
pub(super) fn parse_path(text: &str) -> Result<PathBuf, &'static str> {
    match text {
        "" | "-" => Err("not a path"),
        _ => Ok(text.into()),
    }
}

/// A time span that is not empty.
pub(super) fn parse_span(text: &str) -> Result<Duration, &'static str> {
    parse_duration(text)
        .filter(|span| !span.is_zero())
        .ok_or("not a duration like 90, 90s, 10m or 2h")
}

/// A SHA-256.
pub(super) fn parse_sha256(text: &str) -> Result<Digest32, &'static str> {
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8);
    let pairs: Option<Vec<u8>> = text
        .as_bytes()
        .chunks(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
        .collect();
    pairs
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or("not 64 hexadecimal digits")
}

/// The name of a content: one that can be a file's.
pub(super) fn parse_name(text: &str) -> Result<String, &'static str> {
    if matches!(text, "" | "." | "..") || text.contains(['/', '\0']) {
        return Err("not a name that a file can have");
    }
    if text.len() > NAME_BYTES_MAX {
        return Err("longer than 255 bytes");
    }
    Ok(text.to_owned())
}

/// A zone: free text, by custom `site/rack`.
pub(super) fn parse_zone(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("not a zone like SITE or SITE/RACK");
    }
    if text.len() > ZONE_BYTES_MAX {
        return Err("longer than 255 bytes");
    }
    Ok(text.to_owned())
}

/// A number of something, from one to a million.
pub(super) fn parse_count(text: &str) -> Result<u32, &'static str> {
    parse_digits(text)
        .filter(|count| (1..=1_000_000).contains(count))
        .map(|count| count as u32)
        .ok_or("not a number from 1 to 1000000")
}

fn parse_port(text: &str) -> Option<u16> {
    u16::try_from(parse_digits(text)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_hash_from_a_prefix_from_a_name() {
        let digits = "4F1C09AA".repeat(5);
        assert_eq!(
            What::parse(&digits),
            Ok(What::Hash(digits.parse().expect("valid")))
        );
        for text in ["4f1c09aa", "cafebabe00", &digits[..39]] {
            assert_eq!(What::parse(text), Ok(What::PrefixOrName(text.to_owned())));
        }
        for text in ["4f1c09a", "vm.qcow2", "cafebabeX", &format!("{digits}0")] {
            assert_eq!(What::parse(text), Ok(What::Name(text.to_owned())));
        }
    }

    #[test]
    fn a_torrent_file_and_a_magnet_link_say_by_themselves_what_they_are() {
        for text in ["a.torrent", "/tmp/x y.torrent", "./.torrent"] {
            let what = What::parse(text).expect("valid");
            assert_eq!(what, What::Torrent(text.into()));
            assert!(what.is_self_contained() && what.to_string() == text);
        }
        let digits = "4f1c09aa".repeat(5);
        let link = format!("Magnet:?xt=urn:btih:{digits}");
        let what = What::parse(&link).expect("valid");
        assert_eq!(what.to_string(), digits);
        let named = What::parse(&format!("{link}&dn=a.torrent")).expect("valid");
        assert!(named.is_self_contained() && named.to_string() == "a.torrent");
        assert_eq!(What::parse("magnet:?dn=x"), Err(MagnetError::NoHash));
        assert_eq!(What::parse("magnet:"), Err(MagnetError::NotMagnet));
    }

    #[test]
    fn reads_every_form_of_a_tracker() {
        for (text, host, port) in [
            ("tr", "tr", 6969),
            ("tr.example.org:7000", "tr.example.org", 7000),
            ("10.0.0.5", "10.0.0.5", 6969),
            ("[::1]:7000", "::1", 7000),
            ("[fe80::1]", "fe80::1", 6969),
            ("::1", "::1", 6969),
        ] {
            let addr: TrackerAddr = text.parse().expect("valid");
            assert_eq!((addr.host.as_str(), addr.port), (host, port), "{text}");
            assert_eq!(addr.to_string().parse(), Ok(addr));
        }
        for text in [
            "",
            ":6969",
            "tr:",
            "tr:0",
            "tr:65536",
            "tr:+1",
            "http://tr",
            "t r",
            "[::1",
            "[tr]:1",
            "[::1]1",
            "tr:1:2",
        ] {
            assert!(text.parse::<TrackerAddr>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_tier_holds_urls_and_shoal_trackers() {
        assert_eq!(
            parse_tier("http://a/announce,tr,udp://b:1,[::1]:7000"),
            Ok([
                "http://a/announce",
                "http://tr:6969/announce",
                "udp://tr:6969",
                "udp://b:1",
                "http://[::1]:7000/announce",
                "udp://[::1]:7000",
            ]
            .map(str::to_owned)
            .to_vec())
        );
        for text in ["", ",", "udp://", "tr,", "a b", "http://a b"] {
            assert!(parse_tier(text).is_err(), "{text}");
        }
    }

    #[test]
    fn reads_every_form_of_a_listening_address() {
        for (text, shown) in [
            ("[::]:6969", "[::]:6969"),
            ("0.0.0.0:0", "0.0.0.0:0"),
            ("127.0.0.1:7000", "127.0.0.1:7000"),
            (":7000", "[::]:7000"),
            ("7000", "[::]:7000"),
            ("0", "[::]:0"),
        ] {
            assert_eq!(parse_listen(text).expect("valid").to_string(), shown);
        }
        for text in ["", ":", "tr:1", "70000", "0.0.0.0", "::", "-1"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn advertises_only_what_can_be_dialled() {
        let addr: Advertised = "192.0.2.1".parse().expect("valid");
        assert_eq!(addr.port, None);
        let addr: Advertised = "[2001:db8::1]:7000".parse().expect("valid");
        assert_eq!(addr.port, Some(7000));
        for text in ["0.0.0.0", "[::]:1", "192.0.2.1:0", "224.0.0.1", "tr", ""] {
            assert!(text.parse::<Advertised>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_piece_is_a_power_of_two_within_limits() {
        assert_eq!(parse_piece_size("16K"), Ok(16 << 10));
        assert_eq!(parse_piece_size("512M"), Ok(512 << 20));
        for text in ["8K", "1G", "3M", "0", "x"] {
            assert!(parse_piece_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_sha256_has_64_digits() {
        assert_eq!(parse_sha256(&"aB".repeat(32)), Ok([0xab; 32]));
        for text in [
            "",
            "ab",
            &"ab".repeat(33),
            &"0g".repeat(32),
            &"a".repeat(63),
        ] {
            assert!(parse_sha256(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_one_that_a_file_can_have() {
        assert!(parse_name("Grüße 世界.iso").is_ok());
        for text in ["", ".", "..", "a/b", "/", "a\0", &"x".repeat(256)] {
            assert!(parse_name(text).is_err(), "{text}");
        }
        assert!(parse_zone("site/rack 7").is_ok());
        assert!(parse_zone("").is_err());
        assert!(parse_zone("a\u{1b}").is_err());
    }
}
