//! The queries of announce and scrape.
//!
//! Percent-decodes into places of known size only. A parameter that is given twice counts as it was first, but two
//! contents in one announce are refused; unknown parameters are ignored.

use std::net::IpAddr;

use crate::base::{InfoHash, PeerId};
use crate::wire::announce::{Announce, AnnounceEvent, SCRAPE_HASHES_MAX};

/// Bytes of a value that is read as a text, decoded; the longest is an IPv6 address.
const TEXT_BYTES_MAX: usize = 48;

/// An announce, and how the reply is to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpAnnounce {
    /// What is announced.
    pub announce: Announce,
    /// Whether peers are listed as bytes (BEP 23); only `compact=0` asks for dictionaries.
    pub is_compact: bool,
    /// Whether dictionaries may leave out the peer id.
    pub omits_peer_ids: bool,
}

/// What an announce does not say as it must: the text is the failure reason of the reply.
pub type QueryError = &'static str;

impl HttpAnnounce {
    /// Reads the query of an announce.
    ///
    /// # Errors
    /// What is missing or malformed, in words that a client can show.
    pub fn parse(query: &str) -> Result<Self, QueryError> {
        let (mut info_hash, mut peer_id, mut port) = (None, None, None);
        let mut read = Optional::default();
        for (name, value) in parameters(query) {
            match name {
                "info_hash" if info_hash.is_some() => return Err("info_hash is given twice"),
                "info_hash" => {
                    info_hash = Some(decoded(value).ok_or("info_hash is not 20 bytes")?);
                }
                "peer_id" if peer_id.is_none() => {
                    peer_id = Some(decoded(value).ok_or("peer_id is not 20 bytes")?);
                }
                "port" if port.is_none() => {
                    port = Some(value.parse().map_err(|_| "port is no port")?);
                }
                _ => read.take(name, value)?,
            }
        }
        let announce = Announce {
            info_hash: InfoHash(info_hash.ok_or("info_hash is missing")?),
            peer_id: PeerId(peer_id.ok_or("peer_id is missing")?),
            port: port.ok_or("port is missing")?,
            uploaded: read.uploaded.unwrap_or(0),
            downloaded: read.downloaded.unwrap_or(0),
            left: read.left.unwrap_or(u64::MAX),
            event: read.event.unwrap_or_default(),
            want: read.want.flatten(),
            key: read.key.unwrap_or(0),
            ip: read.ip.flatten(),
        };
        Ok(Self {
            announce,
            is_compact: read.is_compact.unwrap_or(true),
            omits_peer_ids: read.omits_peer_ids.unwrap_or(false),
        })
    }
}

/// The parameters that an announce may leave out.
#[derive(Default)]
struct Optional {
    uploaded: Option<u64>,
    downloaded: Option<u64>,
    left: Option<u64>,
    event: Option<AnnounceEvent>,
    want: Option<Option<u32>>,
    key: Option<u32>,
    ip: Option<Option<IpAddr>>,
    is_compact: Option<bool>,
    omits_peer_ids: Option<bool>,
}

impl Optional {
    fn take(&mut self, name: &str, value: &str) -> Result<(), QueryError> {
        match name {
            "uploaded" => first(&mut self.uploaded, bytes(value)?),
            "downloaded" => first(&mut self.downloaded, bytes(value)?),
            "left" => first(&mut self.left, bytes(value)?),
            "event" => first(&mut self.event, event(value)),
            "numwant" => first(&mut self.want, value.parse().ok()),
            "key" => first(
                &mut self.key,
                u32::from_str_radix(value, 16).unwrap_or_default(),
            ),
            "ip" => first(&mut self.ip, address(value)),
            "compact" => first(&mut self.is_compact, value != "0"),
            "no_peer_id" => first(&mut self.omits_peer_ids, value != "0"),
            _ => {}
        }
        Ok(())
    }
}

fn first<T>(place: &mut Option<T>, value: T) {
    place.get_or_insert(value);
}

/// The contents that a scrape asks for.
///
/// # Errors
/// Without any, since nobody is told which contents there are; with more than [`SCRAPE_HASHES_MAX`], or a malformed one.
pub fn scrape_hashes(query: &str) -> Result<Vec<InfoHash>, QueryError> {
    let mut hashes = Vec::new();
    for (name, value) in parameters(query) {
        if name == "info_hash" {
            if hashes.len() == SCRAPE_HASHES_MAX {
                return Err("too many info_hash in one scrape");
            }
            hashes.push(InfoHash(decoded(value).ok_or("info_hash is not 20 bytes")?));
        }
    }
    if hashes.is_empty() {
        return Err("info_hash is missing");
    }
    Ok(hashes)
}

/// Names and values, still encoded.
fn parameters(query: &str) -> impl Iterator<Item = (&str, &str)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

/// A number of bytes. Some clients send a negative one for what they do not know.
fn bytes(value: &str) -> Result<u64, QueryError> {
    match value.strip_prefix('-') {
        Some(digits) if is_digits(digits) => Ok(u64::MAX),
        None if is_digits(value) => Ok(value.parse().unwrap_or(u64::MAX)),
        _ => Err("uploaded, downloaded or left is no number"),
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn event(value: &str) -> AnnounceEvent {
    match value {
        "started" => AnnounceEvent::Started,
        "completed" => AnnounceEvent::Completed,
        "stopped" => AnnounceEvent::Stopped,
        "paused" => AnnounceEvent::Paused,
        _ => AnnounceEvent::None,
    }
}

/// An address; names and nonsense are none.
fn address(value: &str) -> Option<IpAddr> {
    let mut text = [0; TEXT_BYTES_MAX];
    let mut len = 0;
    for byte in percent_decoded(value) {
        *text.get_mut(len)? = byte?;
        len += 1;
    }
    std::str::from_utf8(&text[..len]).ok()?.parse().ok()
}

/// Exactly 20 bytes.
fn decoded(value: &str) -> Option<[u8; 20]> {
    let mut bytes = percent_decoded(value);
    let mut place = [0; 20];
    for byte in &mut place {
        *byte = bytes.next()??;
    }
    bytes.next().is_none().then_some(place)
}

/// The bytes that a value stands for; `None` at a `%` without its two digits. A `+` is a space, as forms write it.
fn percent_decoded(value: &str) -> impl Iterator<Item = Option<u8>> {
    let mut bytes = value.bytes();
    let digit = |bytes: &mut std::str::Bytes<'_>| {
        let value = (bytes.next()? as char).to_digit(16)?;
        u8::try_from(value).ok()
    };
    std::iter::from_fn(move || match bytes.next()? {
        b'%' => {
            let high = digit(&mut bytes);
            let low = digit(&mut bytes);
            Some(high.zip(low).map(|(high, low)| high << 4 | low))
        }
        b'+' => Some(Some(b' ')),
        byte => Some(Some(byte)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDED: &str = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881";

    fn parse(more: &str) -> Result<HttpAnnounce, QueryError> {
        HttpAnnounce::parse(&format!("{NEEDED}&{more}"))
    }

    #[test]
    fn what_is_left_out_has_a_meaning() {
        let parsed = parse("").expect("enough");
        assert_eq!(parsed.announce.info_hash, InfoHash([b'a'; 20]));
        assert_eq!(parsed.announce.left, u64::MAX);
        assert_eq!(parsed.announce.event, AnnounceEvent::None);
        assert_eq!((parsed.announce.want, parsed.announce.ip), (None, None));
        assert!(parsed.is_compact && !parsed.omits_peer_ids);
    }

    #[test]
    fn every_parameter_reaches_its_value() {
        let parsed = parse(
            "uploaded=1&downloaded=2&left=3&event=stopped&numwant=4&key=1A2b&ip=%3A%3a1&compact=0&no_peer_id=1&other=%zz&x",
        )
        .expect("valid");
        let announce = parsed.announce;
        assert_eq!(
            (announce.uploaded, announce.downloaded, announce.left),
            (1, 2, 3)
        );
        assert_eq!(announce.event, AnnounceEvent::Stopped);
        assert_eq!((announce.want, announce.key), (Some(4), 0x1a2b));
        assert_eq!(announce.ip, Some("::1".parse().expect("an address")));
        assert!(!parsed.is_compact && parsed.omits_peer_ids);
    }

    #[test]
    fn the_first_of_equal_parameters_counts_but_two_contents_are_refused() {
        let parsed = parse("left=1&left=2&port=9&numwant=3&numwant=-1").expect("valid");
        assert_eq!((parsed.announce.left, parsed.announce.port), (1, 6881));
        assert_eq!(parsed.announce.want, Some(3));
        let twice = parse("info_hash=aaaaaaaaaaaaaaaaaaaa");
        assert_eq!(twice, Err("info_hash is given twice"));
    }

    #[test]
    fn unknown_amounts_and_odd_values_are_tolerated() {
        let parsed = parse(
            "left=-1&uploaded=99999999999999999999999&numwant=-1&event=dance&ip=localhost&key=zzz",
        )
        .expect("valid");
        assert_eq!(
            (parsed.announce.left, parsed.announce.uploaded),
            (u64::MAX, u64::MAX)
        );
        assert_eq!(parsed.announce.want, None);
        assert_eq!((parsed.announce.ip, parsed.announce.key), (None, 0));
        for (odd, refused) in [("left=", true), ("left=1x", true), ("downloaded=-", true)] {
            assert_eq!(parse(odd).is_err(), refused, "{odd}");
        }
    }

    #[test]
    fn a_hash_is_exactly_twenty_bytes_once_decoded() {
        let hash = |text: &str| {
            HttpAnnounce::parse(&format!(
                "info_hash={text}&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1"
            ))
            .map(|parsed| parsed.announce.info_hash.0)
        };
        let spelt: String = (0..20).map(|byte| format!("%{byte:02X}")).collect();
        assert_eq!(hash(&spelt), Ok(std::array::from_fn(|at| at as u8)));
        let mut plus = [b'x'; 20];
        plus[0] = b' ';
        assert_eq!(hash(&format!("+{}", "x".repeat(19))), Ok(plus));
        for wrong in [
            "",
            &"x".repeat(19),
            &"x".repeat(21),
            &format!("%{}", "x".repeat(19)),
            &format!("{}%", "x".repeat(19)),
            &format!("{}%0", "x".repeat(19)),
            &format!("{}%+1", "x".repeat(19)),
            &format!("{}%00", "x".repeat(20)),
        ] {
            assert_eq!(hash(wrong), Err("info_hash is not 20 bytes"), "{wrong}");
        }
    }

    #[test]
    fn a_scrape_names_some_contents_but_not_too_many() {
        let one = format!("&info_hash={}", "a".repeat(20));
        assert_eq!(scrape_hashes("x=1"), Err("info_hash is missing"));
        assert_eq!(scrape_hashes(&one), Ok(vec![InfoHash([b'a'; 20])]));
        let many = |count: usize| scrape_hashes(&one.repeat(count)).map(|hashes| hashes.len());
        assert_eq!(many(SCRAPE_HASHES_MAX), Ok(SCRAPE_HASHES_MAX));
        assert!(many(SCRAPE_HASHES_MAX + 1).is_err());
        assert!(scrape_hashes("info_hash=short").is_err());
    }
}
