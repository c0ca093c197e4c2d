//! The URLs of trackers, as torrents and magnet links write them (BEP 3, 12, 15; RFC 3986).
//!
//! Owns which of them we can announce to. Reads a URL into parts that can be put into a request without a second look:
//! a target has no space, no control character and nothing that is not ASCII.

use std::fmt;
use std::net::Ipv6Addr;

/// Bytes of a URL; what is longer is no tracker's.
pub const URL_BYTES_MAX: usize = 2048;
/// Bytes of path and query that the options of a UDP announce have room for (BEP 41).
const UDP_TARGET_BYTES_MAX: usize = 1000;
/// The longest host name (RFC 1035).
const HOST_BYTES_MAX: usize = 253;
/// The port of `http` (RFC 9110).
const HTTP_PORT: u16 = 80;

/// Why a text is not the URL of a tracker that we can announce to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has another scheme than `http` and `udp`: `https`, `wss` and the like.
    #[error("only http:// and udp:// trackers are supported")]
    NotSupported,
    /// It is no URL.
    #[error("it is no URL")]
    NoUrl,
    /// It is longer than [`URL_BYTES_MAX`], or has more path than a UDP announce carries.
    #[error("it is too long")]
    TooLong,
    /// A control character, or a space inside.
    #[error("it has a control character or a space")]
    BadCharacter,
    /// A user name or a password; no tracker asks for one.
    #[error("it has a user name")]
    UserInfo,
    /// The host is neither a name nor an address.
    #[error("its host is malformed")]
    BadHost,
    /// The port is no port, or it is missing where it has to be given.
    #[error("its port is missing or malformed")]
    BadPort,
}

/// Where a tracker is, and how it is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackerUrl {
    /// Over HTTP (BEP 3).
    Http(Place),
    /// Over UDP (BEP 15).
    Udp(Place),
}

/// The parts of a URL behind its scheme.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// A name in lower case, or an address without brackets.
    pub host: String,
    /// Its port, not zero.
    pub port: u16,
    /// Path and query as a request carries them. Over HTTP it starts with `/`; over UDP it may be empty.
    pub target: String,
}

impl TrackerUrl {
    /// Reads a URL. White space around it does not count, and a fragment is dropped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let text = text.trim_ascii();
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        if text.chars().any(|c| c.is_control() || c == ' ') {
            return Err(UrlError::BadCharacter);
        }
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoUrl)?;
        if scheme.eq_ignore_ascii_case("http") {
            let mut place = Place::parse(rest, Some(HTTP_PORT))?;
            if place.target.is_empty() {
                place.target.push('/');
            }
            Ok(Self::Http(place))
        } else if scheme.eq_ignore_ascii_case("udp") {
            let place = Place::parse(rest, None)?;
            if place.target.len() > UDP_TARGET_BYTES_MAX {
                return Err(UrlError::TooLong);
            }
            Ok(Self::Udp(place))
        } else if is_scheme(scheme) {
            Err(UrlError::NotSupported)
        } else {
            Err(UrlError::NoUrl)
        }
    }

    /// Where it is.
    pub const fn place(&self) -> &Place {
        match self {
            Self::Http(place) | Self::Udp(place) => place,
        }
    }

    /// The URL without path and query, which on some trackers are a user's secret: what messages show.
    pub const fn origin(&self) -> Origin<'_> {
        Origin(self)
    }
}

impl Place {
    fn parse(rest: &str, default_port: Option<u16>) -> Result<Self, UrlError> {
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        let (host, port) = split_authority(authority)?;
        let port = match port {
            None | Some("") => default_port.ok_or(UrlError::BadPort)?,
            Some(digits) => parse_port(digits).ok_or(UrlError::BadPort)?,
        };
        let target = escaped(target);
        if target.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        Ok(Self { host, port, target })
    }

    /// Where `location`, the answer of a redirect, leads to from here; it may be relative (RFC 3986, section 5.2).
    ///
    /// # Errors
    /// Those of [`TrackerUrl::parse`]; what is not HTTP is not supported.
    pub fn redirected(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.trim_ascii();
        let has_scheme = location
            .split_once(':')
            .is_some_and(|(scheme, _)| is_scheme(scheme));
        let absolute = if has_scheme {
            location.to_owned()
        } else if location.starts_with("//") {
            format!("http:{location}")
        } else {
            let path = self.target.split('?').next().unwrap_or_default();
            let folder = &path[..path.rfind('/').map_or(0, |slash| slash + 1)];
            let kept = match location.chars().next() {
                Some('/') => "",
                Some('?') => path,
                _ => folder,
            };
            let bare = Self {
                target: format!("{kept}{location}"),
                ..self.clone()
            };
            TrackerUrl::Http(bare).to_string()
        };
        match TrackerUrl::parse(&absolute)? {
            TrackerUrl::Http(place) => Ok(place),
            TrackerUrl::Udp(_) => Err(UrlError::NotSupported),
        }
    }

    /// Host and port as a Host header has them: a port that goes without saying is left out.
    pub fn authority(&self, default_port: Option<u16>) -> String {
        let host: &dyn fmt::Display = if self.host.contains(':') {
            &format_args!("[{}]", self.host)
        } else {
            &self.host
        };
        if default_port == Some(self.port) {
            host.to_string()
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// Host and port as the Host header of HTTP has them.
    pub fn http_host(&self) -> String {
        self.authority(Some(HTTP_PORT))
    }
}

/// Shows scheme, host and port: see [`TrackerUrl::origin`].
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a>(&'a TrackerUrl);

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            TrackerUrl::Http(place) => write!(f, "http://{}", place.http_host()),
            TrackerUrl::Udp(place) => write!(f, "udp://{}", place.authority(None)),
        }
    }
}

impl fmt::Display for TrackerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.place().target)
    }
}

/// A scheme starts with a letter (RFC 3986, section 3.1).
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

/// The host, and what stands behind its colon.
fn split_authority(authority: &str) -> Result<(String, Option<&str>), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(UrlError::BadHost)?;
        let ip: Ipv6Addr = host.parse().map_err(|_| UrlError::BadHost)?;
        let port = match rest {
            "" => None,
            _ => Some(rest.strip_prefix(':').ok_or(UrlError::BadHost)?),
        };
        return Ok((ip.to_string(), port));
    }
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if host.is_empty() || host.len() > HOST_BYTES_MAX || !host.bytes().all(is_plain) {
        return Err(UrlError::BadHost);
    }
    Ok((host.to_ascii_lowercase(), port))
}

fn parse_port(digits: &str) -> Option<u16> {
    let port = digits.parse().ok()?;
    (port != 0 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(port)
}

/// A target as a request may carry it: it starts with a slash unless it is empty, and what a URL may not have is
/// percent-encoded. Escapes that are there already stay what they are.
fn escaped(target: &str) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(target.len() + 1);
    if target.starts_with('?') {
        text.push('/');
    }
    for byte in target.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn http(text: &str) -> Place {
        match TrackerUrl::parse(text) {
            Ok(TrackerUrl::Http(place)) => place,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn place(host: &str, port: u16, target: &str) -> Place {
        Place {
            host: host.to_owned(),
            port,
            target: target.to_owned(),
        }
    }

    #[test]
    fn reads_what_torrents_have() {
        let secret = "http://Tracker.example.org/a1b2/announce?key=x&y=%20#top";
        let expected = place("tracker.example.org", 80, "/a1b2/announce?key=x&y=%20");
        assert_eq!(http(secret), expected);
        assert_eq!(http(" http://h\n"), place("h", 80, "/"));
        assert_eq!(http("HTTP://h:/x"), place("h", 80, "/x"));
        assert_eq!(http("http://h:6969?x=1"), place("h", 6969, "/?x=1"));
        assert_eq!(http("http://[::1]:1/a"), place("::1", 1, "/a"));
        assert_eq!(
            http("http://10.0.0.1/ü|"),
            place("10.0.0.1", 80, "/%C3%BC%7C")
        );
        let udp = |text| TrackerUrl::parse(text);
        assert_eq!(udp("udp://h:1"), Ok(TrackerUrl::Udp(place("h", 1, ""))));
        assert_eq!(
            udp("udp://[2001:db8::1]:1/announce"),
            Ok(TrackerUrl::Udp(place("2001:db8::1", 1, "/announce")))
        );
    }

    #[test]
    fn says_what_is_wrong_with_the_rest() {
        let long = format!("udp://h:1/{}", "x".repeat(UDP_TARGET_BYTES_MAX));
        let longer = format!("http://h/{}", "x".repeat(URL_BYTES_MAX));
        let swollen = format!("http://h/{}", "ü".repeat(URL_BYTES_MAX / 3));
        let cases = [
            ("https://h/announce", UrlError::NotSupported),
            ("wss://h/announce", UrlError::NotSupported),
            ("", UrlError::NoUrl),
            ("h:80/announce", UrlError::NoUrl),
            ("1http://h/", UrlError::NoUrl),
            ("http://", UrlError::BadHost),
            ("http:///announce", UrlError::BadHost),
            ("http://a b/", UrlError::BadCharacter),
            ("http://h/a\r\nHost: x", UrlError::BadCharacter),
            ("http://h/\u{7f}", UrlError::BadCharacter),
            ("http://user:pass@h/", UrlError::UserInfo),
            ("http://hö/", UrlError::BadHost),
            ("http://[::1/", UrlError::BadHost),
            ("http://[1.2.3.4]/", UrlError::BadHost),
            ("http://[fe80::1%25eth0]/", UrlError::BadHost),
            ("http://::1/", UrlError::BadHost),
            ("http://h:0/", UrlError::BadPort),
            ("http://h:65536/", UrlError::BadPort),
            ("http://h:+80/", UrlError::BadPort),
            ("udp://h/announce", UrlError::BadPort),
            ("udp://h:/announce", UrlError::BadPort),
            (&long, UrlError::TooLong),
            (&longer, UrlError::TooLong),
            (&swollen, UrlError::TooLong),
        ];
        for (text, expected) in cases {
            assert_eq!(TrackerUrl::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn messages_show_no_secret() {
        let url = TrackerUrl::parse("udp://[::1]:7/secret").expect("a URL");
        assert_eq!(url.origin().to_string(), "udp://[::1]:7");
        let url = TrackerUrl::parse("http://h/secret").expect("a URL");
        assert_eq!(url.origin().to_string(), "http://h");
    }

    #[test]
    fn a_redirect_may_be_relative() {
        let from = place("h", 81, "/a/b?c=1");
        let cases = [
            ("http://g/x", place("g", 80, "/x")),
            ("//g:5/x", place("g", 5, "/x")),
            ("/x?y", place("h", 81, "/x?y")),
            ("x", place("h", 81, "/a/x")),
            ("?d=2", place("h", 81, "/a/b?d=2")),
        ];
        for (location, expected) in cases {
            assert_eq!(from.redirected(location), Ok(expected), "{location}");
        }
        for location in ["https://g/x", "udp://g:1/x", "ftp://g"] {
            assert_eq!(
                from.redirected(location),
                Err(UrlError::NotSupported),
                "{location}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_url_survives_its_own_text(
            is_http: bool,
            v6: Option<u128>,
            name in "[a-z0-9][a-z0-9._-]{0,30}",
            port in 1u16..,
            target in "(/[!-~&&[^#]]{0,40})?",
        ) {
            let host = v6.map_or(name, |bits| Ipv6Addr::from_bits(bits).to_string());
            let authority = place(&host, port, "").authority(None);
            let scheme = if is_http { "http" } else { "udp" };
            let url = TrackerUrl::parse(&format!("{scheme}://{authority}{target}"));
            prop_assert!(url.is_ok(), "{:?}", url);
            let url = url.expect("just seen");
            prop_assert_eq!((&url.place().host, url.place().port), (&host, port));
            prop_assert_eq!(TrackerUrl::parse(&url.to_string()), Ok(url));
        }

        #[test]
        fn no_text_panics_and_every_target_can_be_sent(text in "(http|udp)://\\PC{0,40}") {
            if let Ok(url) = TrackerUrl::parse(&text) {
                let place = url.place();
                prop_assert!(place.target.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(place.port != 0 && !place.host.is_empty());
                let _ = place.redirected(&text);
            }
        }
    }
}
