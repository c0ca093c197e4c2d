//! The heads of HTTP requests: cutting a stream into them, and reading one.
//!
//! Whatever leaves room for doubt about where a request ends is refused, and its stream has no further heads to find: a
//! bare CR or LF, a folded header, a second Host, a body announced in any way (RFC 9112, sections 2.2, 5.2, 6.3 and 11).

use std::fmt;

/// Bytes of one head, with the empty line.
pub const HEAD_BYTES_MAX: usize = 8 << 10;
/// Header lines of one head.
pub const HEADERS_MAX: usize = 64;

/// Why a request is not answered with what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// It is no request, or not a safe one: the rule that it breaks.
    Bad(&'static str),
    /// Its head is longer than [`HEAD_BYTES_MAX`], or has more than [`HEADERS_MAX`] lines.
    TooLarge,
    /// It is no GET.
    Method,
    /// It speaks neither HTTP/1.0 nor HTTP/1.1.
    Version,
}

impl HeadError {
    /// The status that answers it, with its phrase.
    pub const fn status(self) -> &'static str {
        match self {
            Self::Bad(_) => "400 Bad Request",
            Self::TooLarge => "431 Request Header Fields Too Large",
            Self::Method => "405 Method Not Allowed",
            Self::Version => "505 HTTP Version Not Supported",
        }
    }

    /// What is wrong, as a text that needs no allocation.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Bad(why) => why,
            Self::TooLarge => "the head of the request is too long",
            Self::Method => "only GET is served",
            Self::Version => "only HTTP/1.0 and HTTP/1.1 are served",
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for HeadError {}

const BARE: HeadError = HeadError::Bad("a line does not end with CR LF");

/// Cuts the bytes of one connection into heads.
#[derive(Debug, Default)]
pub struct HeadDecoder {
    /// The start of a head whose end has not arrived, or the head that was lent last.
    partial: Vec<u8>,
    lent: bool,
}

impl HeadDecoder {
    /// Takes the next head, with its empty line, from the front of `input`. `None` means that all of `input` was taken
    /// and no head is whole. After an error the stream has no further heads to find: close it.
    ///
    /// # Errors
    /// [`HeadError::TooLarge`], and [`HeadError::Bad`] for a line that does not end with CR LF.
    #[expect(single_use_lifetimes, reason = "a lifetime is named to be bounded")]
    pub fn decode<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<&'a [u8]>, HeadError> {
        if self.lent {
            self.lent = false;
            self.partial = Vec::new();
        }
        let held = self.partial.len();
        if held == 0 {
            let bytes = *input;
            return match head_len(bytes, 0)? {
                Some(len) => {
                    *input = &bytes[len..];
                    Ok(Some(&bytes[..len]))
                }
                None => {
                    self.partial.extend_from_slice(bytes);
                    *input = &[];
                    Ok(None)
                }
            };
        }
        let taken = input.len().min(HEAD_BYTES_MAX + 1 - held);
        self.partial.extend_from_slice(&input[..taken]);
        match head_len(&self.partial, held)? {
            Some(len) => {
                self.partial.truncate(len);
                *input = &input[len - held..];
                self.lent = true;
                Ok(Some(&self.partial))
            }
            None => {
                *input = &[];
                Ok(None)
            }
        }
    }

    /// Whether a head has begun that is not whole.
    pub fn is_inside(&self) -> bool {
        !self.lent && !self.partial.is_empty()
    }

    /// Bytes of memory that the decoder holds.
    pub fn bytes_held(&self) -> usize {
        self.partial.capacity()
    }
}

/// Bytes that are looked at together for a line's end.
const LOOKED_AT_ONCE: usize = 16;

/// The length of the head that `bytes` start with, if it is whole. The first `known` bytes were looked at before, and no
/// head ended in them.
fn head_len(bytes: &[u8], known: usize) -> Result<Option<usize>, HeadError> {
    let within = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    // The byte before may be a CR that was waiting for its LF.
    let mut at = known.saturating_sub(1);
    loop {
        at += bytes_before_line_end(&within[at..]);
        match within.get(at) {
            None => break,
            Some(b'\n') if at == 0 || within[at - 1] != b'\r' => return Err(BARE),
            Some(b'\n') if within[..at].ends_with(b"\r\n\r") => return Ok(Some(at + 1)),
            Some(b'\n') if at == 1 => {
                return Err(HeadError::Bad("a request begins with an empty line"));
            }
            Some(b'\r') if within.get(at + 1).is_some_and(|&next| next != b'\n') => {
                return Err(BARE);
            }
            Some(_) => at += 1,
        }
    }
    if bytes.len() > HEAD_BYTES_MAX {
        return Err(HeadError::TooLarge);
    }
    Ok(None)
}

/// How many bytes come before the first CR or LF.
fn bytes_before_line_end(bytes: &[u8]) -> usize {
    let ends = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let (chunks, _) = bytes.as_chunks::<LOOKED_AT_ONCE>();
    let is_plain =
        |chunk: &[u8; LOOKED_AT_ONCE]| chunk.iter().fold(true, |none, byte| none & !ends(byte));
    let plain = chunks.iter().position(|chunk| !is_plain(chunk));
    let from = plain.unwrap_or(chunks.len()) * LOOKED_AT_ONCE;
    let rest = &bytes[from..];
    from + rest.iter().position(ends).unwrap_or(rest.len())
}

/// What one head says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The target up to the question mark, as it was sent.
    pub path: &'a str,
    /// The target behind the question mark, as it was sent; empty without one.
    pub query: &'a str,
    /// Whether the connection goes on after the reply.
    pub keeps_alive: bool,
    /// Whether the client speaks HTTP/1.0, which has to be told that the connection goes on.
    pub is_old: bool,
}

impl<'a> Head<'a> {
    /// Reads one head, with its empty line.
    ///
    /// # Errors
    /// Whatever [`HeadError`] names; the connection is to be closed after the reply that says so.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, HeadError> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(httparse::Status::Complete(len)) if len == bytes.len() => {}
            Ok(_) => return Err(HeadError::Bad("the head is not whole")),
            Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
            Err(httparse::Error::Version) => return Err(HeadError::Version),
            Err(_) => return Err(HeadError::Bad("the head is malformed")),
        }
        let is_old = request.version == Some(0);
        let connection = check_headers(request.headers, is_old)?;
        if request.method != Some("GET") {
            return Err(HeadError::Method);
        }
        let target = request.path.unwrap_or_default();
        if !target.starts_with('/') {
            return Err(HeadError::Bad("the target is no path"));
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Ok(Self {
            path,
            query,
            keeps_alive: match connection {
                Connection::Unsaid => !is_old,
                Connection::KeepAlive => true,
                Connection::Close => false,
            },
            is_old,
        })
    }
}

/// What the Connection headers ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    Unsaid,
    KeepAlive,
    Close,
}

fn check_headers(headers: &[httparse::Header<'_>], is_old: bool) -> Result<Connection, HeadError> {
    let (mut hosts, mut lengths, mut connection) = (0, 0, Connection::Unsaid);
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("Transfer-Encoding") {
            return Err(HeadError::Bad("a request may not have a body"));
        } else if is("Content-Length") {
            lengths += 1;
            if header.value != b"0" || lengths > 1 {
                return Err(HeadError::Bad("a request may not have a body"));
            }
        } else if is("Host") {
            hosts += 1;
        } else if is("Connection") {
            for token in header.value.split(|&byte| byte == b',') {
                let token = token.trim_ascii();
                if token.eq_ignore_ascii_case(b"close") {
                    connection = Connection::Close;
                } else if token.eq_ignore_ascii_case(b"keep-alive")
                    && connection == Connection::Unsaid
                {
                    connection = Connection::KeepAlive;
                }
            }
        }
    }
    match hosts {
        0 if !is_old => Err(HeadError::Bad("a request needs a Host")),
        0 | 1 => Ok(connection),
        _ => Err(HeadError::Bad("a request may have one Host only")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(chunks: &[&[u8]]) -> Result<Vec<Vec<u8>>, HeadError> {
        let (mut decoder, mut found) = (HeadDecoder::default(), Vec::new());
        for chunk in chunks {
            let mut input = *chunk;
            while let Some(head) = decoder.decode(&mut input)? {
                found.push(head.to_vec());
            }
            assert!(input.is_empty());
            assert!(decoder.bytes_held() <= 4 * HEAD_BYTES_MAX);
        }
        Ok(found)
    }

    #[test]
    fn a_stream_is_cut_into_the_same_heads_however_it_arrives() {
        let one = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
        let two = b"GET /bc HTTP/1.0\r\n\r\n";
        let bytes = [&one[..], two, one].concat();
        let expected = vec![one.to_vec(), two.to_vec(), one.to_vec()];
        for cut in 0..=bytes.len() {
            let (first, rest) = bytes.split_at(cut);
            assert_eq!(heads(&[first, rest]), Ok(expected.clone()), "{cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(heads(&single), Ok(expected));
    }

    #[test]
    fn a_head_that_is_too_long_is_refused_before_it_is_kept() {
        let head = |filler: usize| {
            let path = "x".repeat(filler);
            format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes()
        };
        let fixed = head(0).len();
        let longest = head(HEAD_BYTES_MAX - fixed);
        assert_eq!(heads(&[&longest]).map(|found| found.len()), Ok(1));
        let longer = head(HEAD_BYTES_MAX - fixed + 1);
        assert_eq!(heads(&[&longer]), Err(HeadError::TooLarge));
        let chunks: Vec<&[u8]> = longer.chunks(1000).collect();
        assert_eq!(heads(&chunks), Err(HeadError::TooLarge));
        assert_eq!(heads(&[&[b'x'; 100_000]]), Err(HeadError::TooLarge));
    }
}
