//! Identities: digests, info-hashes and peer ids.

use std::fmt;
use std::str::FromStr;

/// A SHA-1.
pub type Digest20 = [u8; 20];
/// A SHA-256.
pub type Digest32 = [u8; 32];

/// The SHA-1 of an info dictionary: the name of a content (BEP 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InfoHash(pub Digest20);

/// What a peer calls itself (BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 20]);

/// The text is not the expected number of hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not {0} hexadecimal digits")]
pub struct ParseHexError(pub usize);

/// `bytes` as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The client that we are (BEP 20), before its version.
const CLIENT: &[u8; 3] = b"-SH";

impl PeerId {
    /// Our peer ids: the client's mark (BEP 20), then twelve random bytes.
    pub fn from_random(random: [u8; 12]) -> Self {
        let mut id = *b"-SH0010-............";
        id[8..].copy_from_slice(&random);
        Self(id)
    }

    /// Whether it says that it is a program like ours. That is a hint: anybody may say so.
    pub fn is_native(&self) -> bool {
        self.0.starts_with(CLIENT)
    }
}

impl FromStr for InfoHash {
    type Err = ParseHexError;

    fn from_str(text: &str) -> Result<Self, ParseHexError> {
        let digits = text.as_bytes();
        if digits.len() != 40 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(ParseHexError(40));
        }
        let mut hash = [0; 20];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
            let nibble = |digit: u8| (digit as char).to_digit(16).map_or(0, |value| value as u8);
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_ids_say_what_we_are() {
        assert!(PeerId::from_random([7; 12]).is_native());
        assert!(!PeerId(*b"-TR3000-............").is_native());
    }

    #[test]
    fn an_info_hash_survives_its_own_text() {
        let hash = InfoHash(std::array::from_fn(|i| (i * 13) as u8));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!("4f1c".parse::<InfoHash>(), Err(ParseHexError(40)));
        assert!("zz".repeat(20).parse::<InfoHash>().is_err());
    }
}
