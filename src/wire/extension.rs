//! The handshake of the extension protocol (BEP 10): a dictionary in which each end says what it can.
//!
//! Owns the keys that we know. Whatever else a peer writes is skipped, and a known key with a value that makes no sense
//! counts as absent: clients disagree too much to close a link over it.

use std::net::IpAddr;

use super::WireError;
use super::bencode::{Dictionary, Limits, decode_prefix, put_dictionary};
use super::metainfo::INFO_BYTES_MAX;
use super::peer::{BLOCK_LEN, Message};
use super::peer_decoder::BLOCK_BYTES_MAX;

/// The id of the extension handshake among extended messages.
pub const EXTENDED_HANDSHAKE: u8 = 0;
/// Characters that are kept of a client's name.
pub const VERSION_CHARS_MAX: usize = 64;

/// An extension that we know, in the order of the names on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extension {
    /// `lt_donthave`: a piece is no longer there (BEP 54).
    DontHave,
    /// `upload_only`: whether the sender still downloads, as one byte (libtorrent's; BEP 21 has it in the handshake).
    UploadOnly,
    /// `ut_metadata`: the info dictionary from peers (BEP 9).
    Metadata,
    /// `ut_pex`: addresses of peers from peers (BEP 11).
    PeerExchange,
}

impl Extension {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [
        Self::DontHave,
        Self::UploadOnly,
        Self::Metadata,
        Self::PeerExchange,
    ];

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DontHave => "lt_donthave",
            Self::UploadOnly => "upload_only",
            Self::Metadata => "ut_metadata",
            Self::PeerExchange => "ut_pex",
        }
    }

    /// The number by which we want to be sent it. Each side chooses its own.
    pub const fn id(self) -> u8 {
        self as u8 + 1
    }

    /// The extension that we gave the number `id`.
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|extension| extension.id() == id)
    }
}

/// What one end says about itself. A later handshake of the same link changes only what it mentions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtendedHandshake {
    /// Requests that the sender keeps queued (`reqq`).
    pub reqq: Option<u32>,
    /// Name and version of the sender (`v`), at most [`VERSION_CHARS_MAX`] characters, not safe to show as they are.
    pub version: Option<String>,
    /// The TCP port at which the sender listens (`p`).
    pub port: Option<u16>,
    /// The receiver's address as the sender sees it (`yourip`).
    pub your_ip: Option<IpAddr>,
    /// The longest request that the sender serves, in bytes (`sh_block`, our own): a power of two from [`BLOCK_LEN`] to
    /// [`BLOCK_BYTES_MAX`]. Without it that is one block.
    pub request_bytes_max: Option<u32>,
    /// Whether the sender wants nothing (`upload_only`, BEP 21).
    pub upload_only: Option<bool>,
    /// The length of the info dictionary in bytes (`metadata_size`, BEP 9); 1 to [`INFO_BYTES_MAX`].
    pub metadata_size: Option<u32>,
    /// The ids by which the sender wants to be sent these extensions (`m`), in order and each once; 0 means no longer.
    pub messages: Vec<(Extension, u8)>,
}

impl ExtendedHandshake {
    /// Appends it as a message. `messages` must be in order.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut payload = Vec::new();
        put_dictionary(&mut payload, |entries| {
            put_dictionary(entries.value(b"m"), |entries| {
                for (extension, id) in &self.messages {
                    entries.int(extension.name().as_bytes(), (*id).into());
                }
            });
            let mut int = |key: &[u8], value: Option<u32>| {
                if let Some(value) = value {
                    entries.int(key, value.into());
                }
            };
            int(b"metadata_size", self.metadata_size);
            int(b"p", self.port.map(u32::from));
            int(b"reqq", self.reqq);
            int(b"sh_block", self.request_bytes_max);
            int(b"upload_only", self.upload_only.map(u32::from));
            if let Some(version) = &self.version {
                entries.bytes(b"v", version.as_bytes());
            }
            match self.your_ip {
                Some(IpAddr::V4(ip)) => entries.bytes(b"yourip", &ip.octets()),
                Some(IpAddr::V6(ip)) => entries.bytes(b"yourip", &ip.octets()),
                None => {}
            }
        });
        let (id, payload) = (EXTENDED_HANDSHAKE, &payload[..]);
        Message::Extended { id, payload }.encode(out);
    }

    /// The id by which the sender wants to be sent this extension, if it mentions it.
    pub fn id_of(&self, extension: Extension) -> Option<u8> {
        let mut messages = self.messages.iter();
        messages
            .find(|(known, _)| *known == extension)
            .map(|&(_, id)| id)
    }

    /// Reads the payload of an extended message [`EXTENDED_HANDSHAKE`].
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let dictionary = decode_prefix(payload, Limits::MESSAGE)?
            .as_dictionary()
            .ok_or(WireError::BadValue)?;
        let mut handshake = Self::default();
        for (key, value) in dictionary.entries() {
            let int = value.as_int();
            match key {
                b"m" => handshake.messages = messages(value.as_dictionary()),
                b"metadata_size" => {
                    handshake.metadata_size = int
                        .filter(|size| (1..=INFO_BYTES_MAX as i64).contains(size))
                        .map(|size| size as u32);
                }
                b"p" => handshake.port = int.and_then(listening_port),
                b"reqq" => handshake.reqq = int.and_then(|reqq| reqq.try_into().ok()),
                b"sh_block" => handshake.request_bytes_max = int.and_then(request_bytes_max),
                b"upload_only" => handshake.upload_only = int.map(|flag| flag != 0),
                b"v" => handshake.version = value.as_bytes().map(version),
                b"yourip" => handshake.your_ip = value.as_bytes().and_then(address),
                _ => {}
            }
        }
        Ok(handshake)
    }
}

fn messages(dictionary: Option<Dictionary<'_>>) -> Vec<(Extension, u8)> {
    let id = |extension: &Extension| {
        let id = dictionary?.get(extension.name().as_bytes())?.as_int()?;
        Some((*extension, id.try_into().ok()?))
    };
    Extension::ALL.iter().filter_map(id).collect()
}

fn listening_port(value: i64) -> Option<u16> {
    value.try_into().ok().filter(|port| *port > 0)
}

fn request_bytes_max(value: i64) -> Option<u32> {
    let bytes: u32 = value.try_into().ok()?;
    let is_valid = bytes.is_power_of_two() && (BLOCK_LEN..=BLOCK_BYTES_MAX).contains(&bytes);
    is_valid.then_some(bytes)
}

fn version(bytes: &[u8]) -> String {
    // A character has at most four bytes, so the rest need not be looked at.
    let start = &bytes[..bytes.len().min(4 * VERSION_CHARS_MAX)];
    let text = String::from_utf8_lossy(start);
    text.chars().take(VERSION_CHARS_MAX).collect()
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_make_no_sense_count_as_absent() {
        let payload =
            b"d1:m3:xyz13:metadata_sizei33554433e1:pi65536e4:reqqi-1e1:vi1e6:yourip3:abce";
        let decoded = ExtendedHandshake::decode(payload);
        assert_eq!(decoded, Ok(ExtendedHandshake::default()));
        for bytes in ["-1", "0", "8192", "16385", "49152", "2097152", "4295032832"] {
            let payload = format!("d8:sh_blocki{bytes}ee");
            let decoded = ExtendedHandshake::decode(payload.as_bytes());
            assert_eq!(decoded, Ok(ExtendedHandshake::default()));
        }
        let payload = b"d1:md6:ut_pexi256e11:ut_metadatai-1e11:lt_donthavei0ee1:pi0eetrailing";
        let expected = ExtendedHandshake {
            messages: vec![(Extension::DontHave, 0)],
            ..Default::default()
        };
        assert_eq!(ExtendedHandshake::decode(payload), Ok(expected));
        assert_eq!(ExtendedHandshake::decode(b"le"), Err(WireError::BadValue));
        assert!(ExtendedHandshake::decode(b"").is_err());
    }

    #[test]
    fn every_extension_is_found_by_our_number_and_0_is_the_handshake() {
        for extension in Extension::ALL {
            assert_eq!(Extension::from_id(extension.id()), Some(extension));
        }
        assert_eq!(Extension::from_id(EXTENDED_HANDSHAKE), None);
        assert_eq!(Extension::from_id(255), None);
        assert!(Extension::ALL.map(Extension::name).is_sorted());
    }

    #[test]
    fn a_client_name_is_cut_to_what_is_kept() {
        let named = |name: &[u8]| {
            let mut payload = Vec::new();
            put_dictionary(&mut payload, |entries| entries.bytes(b"v", name));
            let handshake = ExtendedHandshake::decode(&payload).expect("valid");
            handshake.version.expect("present")
        };
        assert_eq!(named("ü".repeat(1000).as_bytes()), "ü".repeat(64));
        assert_eq!(named(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(named(b""), "");
    }

    #[test]
    fn survives_its_own_encoding() {
        let handshake = ExtendedHandshake {
            reqq: Some(512),
            version: Some("Shoal 0.1".into()),
            port: Some(6881),
            your_ip: Some("2001:db8::1".parse().expect("an address")),
            request_bytes_max: Some(BLOCK_BYTES_MAX),
            upload_only: Some(true),
            metadata_size: Some(INFO_BYTES_MAX as u32),
            messages: vec![(Extension::DontHave, 7), (Extension::PeerExchange, 255)],
        };
        let mut out = Vec::new();
        handshake.encode(&mut out);
        assert_eq!(ExtendedHandshake::decode(&out[6..]), Ok(handshake));
    }
}
