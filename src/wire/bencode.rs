//! Bencode (BEP 3): one checking pass, then values that are spans of the input.
//!
//! Owns the grammar and its limits. Allocates nothing per value: a [`Value`] is the raw span that [`decode`] found
//! well-formed, so reading it again cannot fail. Never recurses, whatever the nesting.

use std::fmt;
use std::ops::Range;

/// How deep, how long and how exact an input has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Lists and dictionaries inside one another.
    pub depth_max: usize,
    /// Integers, texts, keys and the two ends of each list or dictionary.
    pub tokens_max: usize,
    /// Whether only the canonical form is accepted: integers and lengths without leading zeros or `-0`, keys in
    /// ascending order and each once. Otherwise the first of equal keys counts.
    pub strict: bool,
}

impl Limits {
    /// For metainfo, whose hash is taken over its bytes: canonical, and as deep as libtorrent allows. A million files
    /// fit into the tokens.
    pub const METAINFO: Self = Self {
        depth_max: 100,
        tokens_max: 16 << 20,
        strict: true,
    };

    /// For messages of peers and trackers, which real clients spell in several ways.
    pub const MESSAGE: Self = Self {
        depth_max: 32,
        tokens_max: 64 << 10,
        strict: false,
    };
}

/// Why bytes are not bencode, or not within the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BencodeError {
    /// The input ends inside a value.
    Truncated,
    /// A byte that starts no value, or ends none.
    Unexpected,
    /// An integer without digits, beyond 64 bits or not canonical.
    Integer,
    /// A length of a text that is no number, or not canonical.
    Length,
    /// A dictionary key that is no text, or that has no value.
    Key,
    /// Keys that are not in ascending order, each once.
    KeyOrder,
    /// More than [`Limits::depth_max`].
    TooDeep,
    /// More than [`Limits::tokens_max`].
    TooManyTokens,
    /// Bytes after the value.
    Trailing,
}

impl BencodeError {
    /// What is wrong, as a text that needs no allocation.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Truncated => "bencode ends inside a value",
            Self::Unexpected => "bencode has a byte out of place",
            Self::Integer => "bencode has a malformed integer",
            Self::Length => "bencode has a malformed length",
            Self::Key => "bencode has a dictionary key that is no text or has no value",
            Self::KeyOrder => "bencode has keys out of order",
            Self::TooDeep => "bencode is nested too deeply",
            Self::TooManyTokens => "bencode has too many values",
            Self::Trailing => "bencode is followed by other bytes",
        }
    }
}

impl fmt::Display for BencodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

impl std::error::Error for BencodeError {}

/// A well-formed value: its span of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value<'a>(&'a [u8]);

/// The one value that `bytes` are.
pub fn decode(bytes: &[u8], limits: Limits) -> Result<Value<'_>, BencodeError> {
    let value = decode_prefix(bytes, limits)?;
    if value.0.len() < bytes.len() {
        return Err(BencodeError::Trailing);
    }
    Ok(value)
}

/// The value that `bytes` start with; the length of its [`Value::raw`] says where the rest begins (BEP 9).
pub fn decode_prefix(bytes: &[u8], limits: Limits) -> Result<Value<'_>, BencodeError> {
    checked_len(bytes, limits).map(|len| Value(&bytes[..len]))
}

impl<'a> Value<'a> {
    /// The bytes that spell it, as they were received.
    pub const fn raw(self) -> &'a [u8] {
        self.0
    }

    /// Its number, if it is an integer.
    pub fn as_int(self) -> Option<i64> {
        let (value, _) = integer(self.0.strip_prefix(b"i")?, false).expect(CHECKED);
        Some(value)
    }

    /// Its bytes, if it is a text.
    pub fn as_bytes(self) -> Option<&'a [u8]> {
        self.0[0]
            .is_ascii_digit()
            .then(|| text(self.0, false).expect(CHECKED).0)
    }

    /// Its elements, if it is a list.
    pub fn as_list(self) -> Option<List<'a>> {
        inside(self.0, b'l').map(List)
    }

    /// Its entries, if it is a dictionary.
    pub fn as_dictionary(self) -> Option<Dictionary<'a>> {
        inside(self.0, b'd').map(Dictionary)
    }
}

/// The elements of a list, in order.
#[derive(Clone, Debug)]
pub struct List<'a>(&'a [u8]);

impl<'a> Iterator for List<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.0.is_empty() {
            return None;
        }
        let (value, rest) = self.0.split_at(known_len(self.0));
        self.0 = rest;
        Some(Value(value))
    }
}

/// The entries of a dictionary.
#[derive(Clone, Copy, Debug)]
pub struct Dictionary<'a>(&'a [u8]);

impl<'a> Dictionary<'a> {
    /// The value of `key`. Looks at one entry after the other: to read many keys of a large dictionary, go through
    /// [`Self::entries`] once.
    pub fn get(self, key: &[u8]) -> Option<Value<'a>> {
        self.entries()
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value)
    }

    /// Keys and values, in the order of the input.
    pub fn entries(self) -> impl Iterator<Item = (&'a [u8], Value<'a>)> {
        let mut items = List(self.0);
        std::iter::from_fn(move || {
            let key = items.next()?.as_bytes().expect(CHECKED);
            Some((key, items.next().expect(CHECKED)))
        })
    }
}

/// Appends an integer.
pub fn put_int(out: &mut Vec<u8>, value: i64) {
    out.push(b'i');
    if value < 0 {
        out.push(b'-');
    }
    put_decimal(out, value.unsigned_abs());
    out.push(b'e');
}

/// Appends a text.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_decimal(out, bytes.len() as u64);
    out.push(b':');
    out.extend_from_slice(bytes);
}

/// Appends a list whose elements `fill` appends.
pub fn put_list(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'l');
    fill(out);
    out.push(b'e');
}

/// Appends a dictionary whose entries `fill` adds, in ascending order of their keys.
pub fn put_dictionary(out: &mut Vec<u8>, fill: impl FnOnce(&mut Entries<'_>)) {
    out.push(b'd');
    fill(&mut Entries { out, last: 0..0 });
    out.push(b'e');
}

/// The entries of a dictionary that is being written. A key that does not come after the one before it is our own bug.
#[derive(Debug)]
pub struct Entries<'a> {
    out: &'a mut Vec<u8>,
    /// Where the bytes of the last key are in `out`; empty at 0 before the first.
    last: Range<usize>,
}

impl Entries<'_> {
    /// Adds an integer.
    pub fn int(&mut self, key: &[u8], value: i64) {
        put_int(self.value(key), value);
    }

    /// Adds a text.
    pub fn bytes(&mut self, key: &[u8], value: &[u8]) {
        put_bytes(self.value(key), value);
    }

    /// Adds `key`; the caller appends exactly one value to what is returned.
    pub fn value(&mut self, key: &[u8]) -> &mut Vec<u8> {
        let is_first = self.last.start == 0;
        assert!(
            is_first || self.out[self.last.clone()] < *key,
            "keys out of order at {}",
            key.escape_ascii()
        );
        put_bytes(self.out, key);
        self.last = self.out.len() - key.len()..self.out.len();
        self.out
    }
}

const CHECKED: &str = "the span was checked";

/// What may come next inside the innermost open list or dictionary.
enum Level<'a> {
    /// An element of a list.
    Element,
    /// A key after this one.
    Key(Option<&'a [u8]>),
    /// The value of this key.
    ValueOf(&'a [u8]),
}

/// The length of the value that `bytes` start with.
fn checked_len(bytes: &[u8], limits: Limits) -> Result<usize, BencodeError> {
    let mut levels = Vec::new();
    let mut at = 0;
    for _ in 0..limits.tokens_max {
        let rest = &bytes[at..];
        let first = *rest.first().ok_or(BencodeError::Truncated)?;
        match levels.last_mut() {
            Some(Level::ValueOf(_)) if first == b'e' => return Err(BencodeError::Key),
            Some(_) if first == b'e' => {
                levels.pop();
                at += 1;
            }
            Some(level @ Level::Key(_)) => at += checked_key(rest, level, limits.strict)?,
            top => {
                if let Some(level) = top
                    && let Level::ValueOf(key) = *level
                {
                    *level = Level::Key(Some(key));
                }
                at += match first {
                    b'i' => 1 + integer(&rest[1..], limits.strict)?.1,
                    b'0'..=b'9' => text(rest, limits.strict)?.1,
                    b'l' | b'd' if levels.len() == limits.depth_max => {
                        return Err(BencodeError::TooDeep);
                    }
                    b'l' => open(&mut levels, Level::Element),
                    b'd' => open(&mut levels, Level::Key(None)),
                    _ => return Err(BencodeError::Unexpected),
                };
            }
        }
        if levels.is_empty() {
            return Ok(at);
        }
    }
    Err(BencodeError::TooManyTokens)
}

fn open<'a>(levels: &mut Vec<Level<'a>>, level: Level<'a>) -> usize {
    levels.push(level);
    1
}

fn checked_key<'a>(
    rest: &'a [u8],
    level: &mut Level<'a>,
    strict: bool,
) -> Result<usize, BencodeError> {
    if !rest[0].is_ascii_digit() {
        return Err(BencodeError::Key);
    }
    let (key, len) = text(rest, strict)?;
    if let Level::Key(Some(last)) = level
        && strict
        && *last >= key
    {
        return Err(BencodeError::KeyOrder);
    }
    *level = Level::ValueOf(key);
    Ok(len)
}

/// The length of the value that `bytes` start with, in a span that was checked.
fn known_len(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    loop {
        at += match bytes[at] {
            b'l' | b'd' => {
                depth += 1;
                1
            }
            b'e' => {
                depth -= 1;
                1
            }
            b'i' => 1 + integer(&bytes[at + 1..], false).expect(CHECKED).1,
            _ => text(&bytes[at..], false).expect(CHECKED).1,
        };
        if depth == 0 {
            return at;
        }
    }
}

/// What stands between the first byte, which has to be `opening`, and the last.
fn inside(raw: &[u8], opening: u8) -> Option<&[u8]> {
    (raw[0] == opening).then(|| &raw[1..raw.len() - 1])
}

/// An integer after its `i`, and the bytes that it takes with its `e`.
fn integer(bytes: &[u8], strict: bool) -> Result<(i64, usize), BencodeError> {
    let (negative, digits) = match bytes.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, bytes),
    };
    let (magnitude, len) = decimal(digits, b'e', strict, BencodeError::Integer)?;
    if strict && negative && magnitude == 0 {
        return Err(BencodeError::Integer);
    }
    let value = if negative {
        0i64.checked_sub_unsigned(magnitude)
    } else {
        0i64.checked_add_unsigned(magnitude)
    };
    let value = value.ok_or(BencodeError::Integer)?;
    Ok((value, usize::from(negative) + len))
}

/// The bytes of a text, and the bytes that it takes with its length.
fn text(bytes: &[u8], strict: bool) -> Result<(&[u8], usize), BencodeError> {
    let (len, start) = decimal(bytes, b':', strict, BencodeError::Length)?;
    let end = usize::try_from(len)
        .ok()
        .and_then(|len| start.checked_add(len))
        .ok_or(BencodeError::Truncated)?;
    let text = bytes.get(start..end).ok_or(BencodeError::Truncated)?;
    Ok((text, end))
}

/// A number up to `end`, and the bytes that both take.
fn decimal(
    bytes: &[u8],
    end: u8,
    strict: bool,
    malformed: BencodeError,
) -> Result<(u64, usize), BencodeError> {
    let mut value = 0u64;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte == end && at > 0 {
            let padded = at > 1 && bytes[0] == b'0';
            return if strict && padded {
                Err(malformed)
            } else {
                Ok((value, at + 1))
            };
        }
        if !byte.is_ascii_digit() {
            return Err(malformed);
        }
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_add(u64::from(byte - b'0')))
            .ok_or(malformed)?;
    }
    Err(BencodeError::Truncated)
}

/// Appends the digits of a number.
pub(in crate::wire) fn put_decimal(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [0; 20];
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Limits = Limits::METAINFO;
    const LENIENT: Limits = Limits::MESSAGE;

    #[test]
    fn reads_every_kind_of_value() {
        let value = decode(b"d1:ai-5e1:bl0:3:xyzi7ee1:cdee", STRICT).expect("well-formed");
        let dictionary = value.as_dictionary().expect("dictionary");
        assert_eq!(dictionary.get(b"a").and_then(Value::as_int), Some(-5));
        let list: Vec<_> = dictionary
            .get(b"b")
            .and_then(Value::as_list)
            .expect("list")
            .collect();
        assert_eq!(list[0].as_bytes(), Some(&b""[..]));
        assert_eq!(list[1].as_bytes(), Some(&b"xyz"[..]));
        assert_eq!((list[2].as_int(), list[2].as_bytes()), (Some(7), None));
        assert_eq!(dictionary.get(b"c").map(Value::raw), Some(&b"de"[..]));
        assert_eq!(dictionary.get(b"d"), None);
        assert!(value.as_list().is_none() && value.as_int().is_none());
        assert_eq!(dictionary.entries().count(), 3);
    }

    #[test]
    fn says_how_much_it_took() {
        let value = decode_prefix(b"d1:ai1eerest", STRICT).expect("well-formed");
        assert_eq!(value.raw(), b"d1:ai1ee");
        assert_eq!(decode(b"i1ex", LENIENT), Err(BencodeError::Trailing));
    }

    #[test]
    fn names_what_is_wrong() {
        use BencodeError::*;
        let cases: [(&[u8], BencodeError); 22] = [
            (b"", Truncated),
            (b"i1", Truncated),
            (b"5:abc", Truncated),
            (b"l", Truncated),
            (b"99999999999:a", Truncated),
            (b"18446744073709551615:a", Truncated),
            (b"e", Unexpected),
            (b"x", Unexpected),
            (b"l-e", Unexpected),
            (b"i-e", Integer),
            (b"ie", Integer),
            (b"i-0e", Integer),
            (b"i03e", Integer),
            (b"i+1e", Integer),
            (b"i9223372036854775808e", Integer),
            (b"i-9223372036854775809e", Integer),
            (b"01:a", Length),
            (b"1a", Length),
            (b"di1ei2ee", Key),
            (b"d1:ae", Key),
            (b"d1:bi1e1:ai2ee", KeyOrder),
            (b"d1:ai1e1:ai2ee", KeyOrder),
        ];
        for (bytes, error) in cases {
            assert_eq!(
                decode(bytes, STRICT),
                Err(error),
                "{}",
                bytes.escape_ascii()
            );
        }
        for extreme in [i64::MIN, i64::MAX, 0] {
            let text = format!("i{extreme}e");
            let value = decode(text.as_bytes(), STRICT).expect("an i64");
            assert_eq!(value.as_int(), Some(extreme));
        }
    }

    #[test]
    fn tolerates_in_messages_what_real_clients_send() {
        for (bytes, value) in [(&b"i-0e"[..], 0), (b"i03e", 3), (b"i-012e", -12)] {
            let decoded = decode(bytes, LENIENT).expect("tolerated");
            assert_eq!(decoded.as_int(), Some(value));
        }
        let doubled = decode(b"d1:bi1e1:ai2e1:bi3ee", LENIENT).expect("tolerated");
        let dictionary = doubled.as_dictionary().expect("dictionary");
        assert_eq!(dictionary.get(b"b").and_then(Value::as_int), Some(1));
        assert_eq!(dictionary.get(b"a").and_then(Value::as_int), Some(2));
    }

    #[test]
    fn nesting_and_number_of_values_are_limited() {
        let nested = |depth: usize| [vec![b'l'; depth], vec![b'e'; depth]].concat();
        assert!(decode(&nested(100), STRICT).is_ok());
        assert_eq!(decode(&nested(101), STRICT), Err(BencodeError::TooDeep));
        assert_eq!(decode(&nested(33), LENIENT), Err(BencodeError::TooDeep));
        let lists = vec![b'l'; 1 << 20];
        let dictionaries = b"d1:a".repeat(1_000_000);
        for limits in [STRICT, LENIENT] {
            assert_eq!(decode(&lists, limits), Err(BencodeError::TooDeep));
            assert_eq!(decode(&dictionaries, limits), Err(BencodeError::TooDeep));
        }
        let many = |count: usize| [b"l".to_vec(), b"i0e".repeat(count), b"e".to_vec()].concat();
        let most = LENIENT.tokens_max - 2;
        assert!(decode(&many(most), LENIENT).is_ok());
        assert_eq!(
            decode(&many(most + 1), LENIENT),
            Err(BencodeError::TooManyTokens)
        );
    }

    #[test]
    fn writes_what_it_reads() {
        let mut out = Vec::new();
        put_dictionary(&mut out, |entries| {
            entries.int(b"", -1);
            entries.bytes(b"a", b"text");
            put_list(entries.value(b"b"), |out| {
                put_int(out, 0);
                put_bytes(out, b"");
            });
        });
        assert_eq!(out, b"d0:i-1e1:a4:text1:bli0e0:ee");
        assert!(decode(&out, STRICT).is_ok());
    }

    #[test]
    #[should_panic(expected = "keys out of order")]
    fn refuses_to_write_keys_out_of_order() {
        put_dictionary(&mut Vec::new(), |entries| {
            entries.int(b"b", 1);
            entries.int(b"a", 2);
        });
    }
}
