//! The client's side of HTTP: the request of an announce, and the response of a tracker, cut out of a stream.
//!
//! One connection carries one request. The reader takes bytes in whatever portions they come, keeps at most a head and a
//! body of [`REPLY_BYTES_MAX`], and never asks for more memory than has arrived.

use std::fmt::Write;

use super::reply::REPLY_BYTES_MAX;
use crate::wire::announce::{Announce, AnnounceEvent};
use crate::wire::url::Place;

/// Bytes of the head of a response, with the lines of those before it (1xx).
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Header lines of a response.
const HEADERS_MAX: usize = 100;
/// Bytes of the line before a chunk, and of the lines behind the last one.
const CHUNK_LINE_BYTES_MAX: usize = 256;
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Bytes of a tracker id that are sent back; a longer one is left out.
pub const TRACKER_ID_BYTES_MAX: usize = 256;

/// Appends the request that announces to `place`. `tracker_id` is what the tracker asked us to send along (BEP 3).
pub fn put_announce(
    place: &Place,
    announce: &Announce,
    tracker_id: Option<&[u8]>,
    out: &mut Vec<u8>,
) {
    let mut head = format!("GET {}", place.target);
    let joint = match place.target.split_once('?') {
        None => "?",
        Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
        Some(_) => "&",
    };
    head += joint;
    put_query(announce, tracker_id, &mut head);
    let host = place.http_host();
    let _ = write!(
        head,
        " HTTP/1.1\r\nHost: {host}\r\nUser-Agent: Shoal/{}\r\nAccept-Encoding: identity\r\nConnection: close\r\n\r\n",
        env!("CARGO_PKG_VERSION")
    );
    out.extend_from_slice(head.as_bytes());
}

fn put_query(announce: &Announce, tracker_id: Option<&[u8]>, query: &mut String) {
    query.push_str("info_hash=");
    put_escaped(&announce.info_hash.0, query);
    query.push_str("&peer_id=");
    put_escaped(&announce.peer_id.0, query);
    let _ = write!(
        query,
        "&port={}&uploaded={}&downloaded={}&left={}&compact=1",
        announce.port, announce.uploaded, announce.downloaded, announce.left
    );
    let event = match announce.event {
        AnnounceEvent::None => None,
        AnnounceEvent::Started => Some("started"),
        AnnounceEvent::Completed => Some("completed"),
        AnnounceEvent::Stopped => Some("stopped"),
        AnnounceEvent::Paused => Some("paused"),
    };
    if let Some(event) = event {
        let _ = write!(query, "&event={event}");
    }
    if let Some(want) = announce.want {
        let _ = write!(query, "&numwant={want}");
    }
    if announce.key != 0 {
        let _ = write!(query, "&key={:08x}", announce.key);
    }
    if let Some(id) = tracker_id.filter(|id| id.len() <= TRACKER_ID_BYTES_MAX) {
        query.push_str("&trackerid=");
        put_escaped(id, query);
    }
}

/// Percent-encodes all but the unreserved characters (RFC 3986, section 2.3).
fn put_escaped(bytes: &[u8], text: &mut String) {
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte.into());
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// What a tracker's web server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// Status 200, and this body.
    Body(Vec<u8>),
    /// The answer is elsewhere: the Location, as it was sent.
    Redirect(String),
}

/// Why a response is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// Neither success nor a redirect.
    #[error("it answers with HTTP status {0}")]
    Status(u16),
    /// A head that is no HTTP, or says two things about its body.
    #[error("it does not speak HTTP")]
    NotHttp,
    /// More than the limit on a head, a body or what frames it.
    #[error("its answer is too long")]
    TooLong,
    /// The body is compressed although that was not asked for.
    #[error("its answer is compressed")]
    Compressed,
    /// The connection ended before the answer did.
    #[error("it closed the connection before the answer was whole")]
    CutShort,
}

/// Reads one response out of the bytes of a connection.
#[derive(Debug, Default)]
pub struct ResponseReader {
    stage: Stage,
    /// The head as far as it came, or a line of what frames the body.
    line: Vec<u8>,
    /// Bytes of all heads, or of all trailers.
    line_bytes: usize,
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Head,
    /// So many bytes are left of the body, one at least.
    Counted(usize),
    /// The body ends with the connection.
    UntilEnd,
    ChunkSize,
    /// So many bytes are left of the chunk, one at least.
    Chunk(usize),
    ChunkEnd,
    Trailers,
    Whole,
}

impl ResponseReader {
    /// Takes bytes in; gives the response as soon as it is whole, and ignores what follows it.
    ///
    /// # Errors
    /// Whatever [`ResponseError`] names, as soon as it is known. Nothing may be taken in afterwards.
    pub fn received(&mut self, mut bytes: &[u8]) -> Result<Option<Response>, ResponseError> {
        loop {
            if self.stage == Stage::Whole {
                return Ok(Some(Response::Body(std::mem::take(&mut self.body))));
            }
            if bytes.is_empty() {
                return Ok(None);
            }
            match self.stage {
                Stage::Head => {
                    if let Some(location) = self.take_head(&mut bytes)? {
                        return Ok(Some(Response::Redirect(location)));
                    }
                }
                Stage::Counted(left) => {
                    self.stage = match self.take_body(&mut bytes, left)? {
                        0 => Stage::Whole,
                        left => Stage::Counted(left),
                    };
                }
                Stage::UntilEnd => {
                    self.take_body(&mut bytes, usize::MAX)?;
                }
                Stage::Chunk(left) => {
                    self.stage = match self.take_body(&mut bytes, left)? {
                        0 => Stage::ChunkEnd,
                        left => Stage::Chunk(left),
                    };
                }
                Stage::ChunkSize | Stage::ChunkEnd | Stage::Trailers => {
                    self.take_chunk_line(&mut bytes)?;
                }
                Stage::Whole => {}
            }
        }
    }

    /// The connection has ended.
    ///
    /// # Errors
    /// [`ResponseError::CutShort`], unless that is how the body was to end.
    pub fn ended(&mut self) -> Result<Response, ResponseError> {
        match self.stage {
            Stage::UntilEnd => Ok(Response::Body(std::mem::take(&mut self.body))),
            _ => Err(ResponseError::CutShort),
        }
    }

    /// Moves up to `left` bytes into the body, and returns what is left then.
    fn take_body(&mut self, bytes: &mut &[u8], left: usize) -> Result<usize, ResponseError> {
        let (taken, rest) = bytes.split_at(left.min(bytes.len()));
        if self.body.len() + taken.len() > REPLY_BYTES_MAX {
            return Err(ResponseError::TooLong);
        }
        self.body.extend_from_slice(taken);
        *bytes = rest;
        Ok(left - taken.len())
    }

    /// Moves bytes into `line`, up to and with the next line feed. Whether one came.
    fn take_line(&mut self, bytes: &mut &[u8], bytes_max: usize) -> Result<bool, ResponseError> {
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let (taken, rest) = bytes.split_at(end.map_or(bytes.len(), |at| at + 1));
        self.line_bytes += taken.len();
        if self.line_bytes > bytes_max {
            return Err(ResponseError::TooLong);
        }
        self.line.extend_from_slice(taken);
        *bytes = rest;
        Ok(end.is_some())
    }

    /// Takes in one line of a head, and reads the head if that was its last. Gives the Location of a redirect.
    fn take_head(&mut self, bytes: &mut &[u8]) -> Result<Option<String>, ResponseError> {
        let is_line = self.take_line(bytes, HEAD_BYTES_MAX)?;
        if !is_line || !(self.line.ends_with(b"\n\r\n") || self.line.ends_with(b"\n\n")) {
            return Ok(None);
        }
        let line = std::mem::take(&mut self.line);
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut head = httparse::Response::new(&mut headers);
        match head.parse(&line) {
            Ok(httparse::Status::Complete(len)) if len == line.len() => {}
            Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooLong),
            _ => return Err(ResponseError::NotHttp),
        }
        match head.code.unwrap_or_default() {
            // What is only on its way (RFC 9110, section 15.2); the head that counts follows.
            100 | 102..=199 => Ok(None),
            200 => {
                self.line_bytes = 0;
                self.stage = stage_of_body(head.headers)?;
                Ok(None)
            }
            status @ (301 | 302 | 303 | 307 | 308) => {
                let location = value(head.headers, "Location").and_then(|location| {
                    let location = std::str::from_utf8(location).ok()?;
                    (!location.is_empty()).then(|| location.to_owned())
                });
                location.map(Some).ok_or(ResponseError::Status(status))
            }
            status => Err(ResponseError::Status(status)),
        }
    }

    /// Takes in one line of what frames chunks (RFC 9112, section 7.1).
    fn take_chunk_line(&mut self, bytes: &mut &[u8]) -> Result<(), ResponseError> {
        let bytes_max = match self.stage {
            Stage::Trailers => TRAILER_BYTES_MAX,
            _ => CHUNK_LINE_BYTES_MAX,
        };
        if !self.take_line(bytes, bytes_max)? {
            return Ok(());
        }
        let line = std::mem::take(&mut self.line);
        let text = line.trim_ascii();
        self.stage = match self.stage {
            Stage::ChunkEnd if !text.is_empty() => return Err(ResponseError::NotHttp),
            Stage::ChunkEnd => Stage::ChunkSize,
            Stage::Trailers if text.is_empty() => Stage::Whole,
            // The limit is on all of them.
            Stage::Trailers => return Ok(()),
            _ => match chunk_len(text)? {
                0 => Stage::Trailers,
                len => Stage::Chunk(len),
            },
        };
        self.line_bytes = 0;
        Ok(())
    }
}

/// How the body behind these headers ends.
fn stage_of_body(headers: &[httparse::Header<'_>]) -> Result<Stage, ResponseError> {
    let is_plain = |value: &[u8]| value.is_empty() || value.eq_ignore_ascii_case(b"identity");
    if value(headers, "Content-Encoding").is_some_and(|coding| !is_plain(coding)) {
        return Err(ResponseError::Compressed);
    }
    match value(headers, "Transfer-Encoding") {
        Some(coding) if coding.eq_ignore_ascii_case(b"chunked") => return Ok(Stage::ChunkSize),
        Some(coding) if !is_plain(coding) => return Err(ResponseError::NotHttp),
        _ => {}
    }
    let mut stage = Stage::UntilEnd;
    for header in headers {
        if !header.name.eq_ignore_ascii_case("Content-Length") {
            continue;
        }
        let len = match number(header.value.trim_ascii(), 10)? {
            0 => Stage::Whole,
            len => Stage::Counted(len),
        };
        if stage != Stage::UntilEnd && stage != len {
            return Err(ResponseError::NotHttp);
        }
        stage = len;
    }
    Ok(stage)
}

/// The first header of this name.
fn value<'h>(headers: &[httparse::Header<'h>], name: &str) -> Option<&'h [u8]> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name))?;
    Some(header.value.trim_ascii())
}

/// The length of a chunk; an extension does not matter.
fn chunk_len(line: &[u8]) -> Result<usize, ResponseError> {
    let digits = line.split(|&byte| byte == b';').next().unwrap_or_default();
    number(digits.trim_ascii(), 16)
}

/// A length, which must be one that a body may have.
fn number(digits: &[u8], radix: u32) -> Result<usize, ResponseError> {
    let mut number = 0;
    for &byte in digits {
        let digit = char::from(byte).to_digit(radix);
        number = number * radix as usize + digit.ok_or(ResponseError::NotHttp)? as usize;
        if number > REPLY_BYTES_MAX {
            return Err(ResponseError::TooLong);
        }
    }
    if digits.is_empty() {
        return Err(ResponseError::NotHttp);
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{InfoHash, PeerId};
    use crate::wire::http::head::Head;
    use crate::wire::http::query::HttpAnnounce;

    fn announce() -> Announce {
        Announce {
            info_hash: InfoHash(std::array::from_fn(|i| (i * 13) as u8)),
            peer_id: PeerId(*b"-SH0010-a~b c&d=e%f+"),
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: 3,
            event: AnnounceEvent::Started,
            want: Some(50),
            key: 0xab,
            ip: None,
        }
    }

    fn place(target: &str) -> Place {
        Place {
            host: "::1".to_owned(),
            port: 81,
            target: target.to_owned(),
        }
    }

    #[test]
    fn our_own_front_reads_the_request_as_it_was_meant() {
        for event in [
            AnnounceEvent::None,
            AnnounceEvent::Started,
            AnnounceEvent::Completed,
            AnnounceEvent::Stopped,
        ] {
            let (mut out, announce) = (
                Vec::new(),
                Announce {
                    event,
                    ..announce()
                },
            );
            put_announce(&place("/announce?key=secret"), &announce, None, &mut out);
            let head = Head::parse(&out).expect("a request");
            assert_eq!((head.path, head.keeps_alive), ("/announce", false));
            let query = head.query.strip_prefix("key=secret&").expect("it is kept");
            let read = HttpAnnounce::parse(query).expect("an announce");
            assert_eq!((read.announce, read.is_compact), (announce, true));
        }
    }

    #[test]
    fn a_request_names_its_host_and_goes_on_with_the_query_of_the_url() {
        let line = |target: &str, id: Option<&[u8]>| {
            let mut out = Vec::new();
            put_announce(&place(target), &announce(), id, &mut out);
            String::from_utf8(out).expect("a text")
        };
        assert!(line("/a", None).starts_with("GET /a?info_hash=%00%0D%1A"));
        assert!(line("/a?", None).starts_with("GET /a?info_hash="));
        assert!(line("/a?b=c&", None).starts_with("GET /a?b=c&info_hash="));
        assert!(line("/a", None).contains("\r\nHost: [::1]:81\r\n"));
        assert!(line("/a", None).contains("&peer_id=-SH0010-a~b%20c%26d%3De%25f%2B&"));
        assert!(line("/a", Some(b"x/y")).contains("&trackerid=x%2Fy HTTP/1.1\r\n"));
        assert!(!line("/a", Some(&[b'x'; TRACKER_ID_BYTES_MAX + 1])).contains("trackerid"));
    }

    /// What is read when the bytes come whole, in two parts and one by one; these must agree.
    fn read(bytes: &[u8]) -> Result<Response, ResponseError> {
        let in_parts = |parts: &[&[u8]]| {
            let mut reader = ResponseReader::default();
            for part in parts {
                if let Some(response) = reader.received(part)? {
                    return Ok(response);
                }
            }
            reader.ended()
        };
        let whole = in_parts(&[bytes]);
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(in_parts(&single), whole);
        for cut in 0..bytes.len().min(400) {
            let (first, rest) = bytes.split_at(cut);
            assert_eq!(in_parts(&[first, rest]), whole, "{cut}");
        }
        whole
    }

    fn read_text(text: &str) -> Result<Response, ResponseError> {
        read(text.as_bytes())
    }

    fn body(text: &str) -> Result<Response, ResponseError> {
        Ok(Response::Body(text.as_bytes().to_vec()))
    }

    #[test]
    fn a_body_ends_by_its_length_by_its_chunks_or_with_the_connection() {
        let ok = "HTTP/1.1 200 OK\r\n";
        let counted = format!("{ok}Content-Length: 2\r\n\r\ndemore");
        assert_eq!(read_text(&counted), body("de"));
        let chunked = format!(
            "{ok}Transfer-Encoding: chunked\r\n\r\n1;x=y\r\nd\r\n1\r\ne\r\n0\r\nA: b\r\n\r\n"
        );
        assert_eq!(read_text(&chunked), body("de"));
        assert_eq!(read_text("HTTP/1.0 200 OK\r\n\r\nde"), body("de"));
        assert_eq!(read_text("HTTP/1.0 200\n\nde"), body("de"));
        let empty = format!("{ok}Content-Length: 0\r\n\r\n");
        assert_eq!(read_text(&empty), body(""));
        let delayed = format!("HTTP/1.1 100 Continue\r\n\r\n{counted}");
        assert_eq!(read_text(&delayed), body("de"));
        for cut in [
            &counted[..counted.len() - 5],
            &chunked[..chunked.len() - 1],
            ok,
            "",
        ] {
            assert_eq!(read_text(cut), Err(ResponseError::CutShort), "{cut}");
        }
    }

    #[test]
    fn what_is_no_success_is_told_at_once() {
        let status = |text: &str| read_text(&format!("HTTP/1.1 {text}\r\n\r\n"));
        assert_eq!(status("404 Not Found"), Err(ResponseError::Status(404)));
        assert_eq!(status("204 None"), Err(ResponseError::Status(204)));
        assert_eq!(status("101 Other"), Err(ResponseError::Status(101)));
        assert_eq!(status("302 Found"), Err(ResponseError::Status(302)));
        let moved = status("307 Moved\r\nLocation: /there");
        assert_eq!(moved, Ok(Response::Redirect("/there".to_owned())));
        for text in ["SSH-2.0\r\n\r\n", "HTTP/1.1 200 OK\r\nA b\r\n\r\n"] {
            assert_eq!(read_text(text), Err(ResponseError::NotHttp), "{text}");
        }
    }

    #[test]
    fn two_lengths_and_unknown_codings_are_refused() {
        let with = |header: &str| read_text(&format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\nde"));
        assert_eq!(with("Content-Length: 2\r\nContent-Length: 2"), body("de"));
        for header in [
            "Content-Length: 2\r\nContent-Length: 1",
            "Content-Length: 0\r\nContent-Length: 2",
            "Content-Length: +2",
            "Content-Length:",
            "Transfer-Encoding: gzip, chunked",
        ] {
            assert_eq!(with(header), Err(ResponseError::NotHttp), "{header}");
        }
        let gzip = with("Content-Encoding: gzip");
        assert_eq!(gzip, Err(ResponseError::Compressed));
        assert_eq!(with("Content-Encoding: identity"), body("de"));
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_is_kept() {
        let refused = |bytes: &[u8]| {
            let mut reader = ResponseReader::default();
            let read = bytes
                .chunks(1000)
                .find_map(|part| match reader.received(part) {
                    Ok(response) => response.map(|_| ResponseError::CutShort),
                    Err(error) => Some(error),
                });
            assert!(reader.line.capacity() <= 4 * HEAD_BYTES_MAX);
            assert!(reader.body.capacity() <= 2 * REPLY_BYTES_MAX);
            assert_eq!(read, Some(ResponseError::TooLong));
        };
        let ok = "HTTP/1.1 200 OK\r\n";
        refused(format!("{ok}A: {}", "x".repeat(HEAD_BYTES_MAX)).as_bytes());
        refused(format!("{ok}{}", "A: b\r\n".repeat(HEAD_BYTES_MAX / 6)).as_bytes());
        refused("HTTP/1.1 100 Go\r\n\r\n".repeat(1000).as_bytes());
        refused(format!("{ok}Content-Length: {}\r\n\r\n", REPLY_BYTES_MAX + 1).as_bytes());
        refused(format!("{ok}Content-Length: {}\r\n\r\n", "9".repeat(40)).as_bytes());
        let endless = format!("{ok}\r\n{}", "x".repeat(REPLY_BYTES_MAX + 1));
        refused(endless.as_bytes());
        let chunked = format!("{ok}Transfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        refused(format!("{chunked}{}", chunk.repeat(17)).as_bytes());
        refused(format!("{chunked}fffffffff\r\n").as_bytes());
        refused(format!("{chunked}1;{}", "x".repeat(CHUNK_LINE_BYTES_MAX)).as_bytes());
        refused(format!("{chunked}0\r\n{}", "A: b\r\n".repeat(2000)).as_bytes());
        let many = format!("{ok}{}\r\n", "A:b\r\n".repeat(HEADERS_MAX + 1));
        refused(many.as_bytes());
    }

    #[test]
    fn garbage_never_panics() {
        let sample = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n";
        for seed in 0..20_000 {
            let mut rng = crate::base::Rng::new(seed);
            let mut bytes = sample.as_bytes().to_vec();
            for _ in 0..rng.below(4) {
                let at = rng.below(bytes.len());
                bytes[at] = *rng.pick(b"\r\n0:;f\xffA").expect("some");
            }
            let mut reader = ResponseReader::default();
            for part in bytes.chunks(1 + rng.below(30)) {
                if !matches!(reader.received(part), Ok(None)) {
                    break;
                }
            }
        }
    }
}
