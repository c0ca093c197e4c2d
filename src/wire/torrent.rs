//! `.torrent` files: an info dictionary, and beside it what is not part of the content: trackers, a comment, a date.
//!
//! Owns the file's outer dictionary, read and written; the info dictionary passes through unchanged and is
//! [`super::metainfo`]'s. Opens no file.

use super::bencode::{self, Dictionary, Limits, List, Value, put_bytes, put_dictionary, put_list};
use super::magnet::Magnet;
use super::metainfo::{Metainfo, MetainfoError};

/// The longest `.torrent` file: the longest info dictionary, and as much again for what others put beside it, such as
/// the piece layers of BEP 52.
pub const TORRENT_BYTES_MAX: usize = 64 << 20;
/// The most trackers that are taken from a `.torrent` file or a magnet link; those beyond it are left out.
pub const TRACKERS_COUNT_MAX: usize = 256;
/// The longest URL of a tracker; a longer one is left out.
pub const URL_BYTES_MAX: usize = 2048;
/// The longest comment; a longer one is left out.
pub const COMMENT_BYTES_MAX: usize = 4096;

/// A content, and the trackers that know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Torrent {
    /// The content.
    pub meta: Metainfo,
    /// The trackers in their tiers (BEP 12), each URL once; no tier is empty. At most [`TRACKERS_COUNT_MAX`] in all.
    pub tiers: Vec<Vec<String>>,
    /// A word of the one who made it.
    pub comment: Option<String>,
}

/// What stands beside the info dictionary in a `.torrent` file that we write.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras<'a> {
    /// The trackers in their tiers; empty ones are left out.
    pub tiers: &'a [Vec<String>],
    /// A word of the one who made it.
    pub comment: Option<&'a str>,
    /// The program that made it.
    pub created_by: Option<&'a str>,
    /// When it was made, in seconds since 1970.
    pub creation_date: Option<u32>,
}

impl Torrent {
    /// Reads a `.torrent` file. A list of tiers takes the place of the one tracker that stands beside it, unless no
    /// tracker in it is usable; what is no URL is left out.
    ///
    /// # Errors
    /// Why the file or its info dictionary is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MetainfoError> {
        if bytes.len() > TORRENT_BYTES_MAX {
            return Err(MetainfoError::NotAcceptable("the file exceeds 64 MiB"));
        }
        let dictionary = bencode::decode(bytes, Limits::METAINFO)?
            .as_dictionary()
            .ok_or(MetainfoError::Unreadable("it is no dictionary"))?;
        let beside = Beside::find(dictionary);
        Ok(Self {
            meta: Metainfo::from_dictionary(dictionary)?,
            tiers: beside.tiers(),
            comment: beside.comment(),
        })
    }

    /// All trackers, tier by tier.
    pub fn trackers(&self) -> impl Iterator<Item = &str> {
        self.tiers.iter().flatten().map(String::as_str)
    }

    /// The link that names the same content and the same trackers.
    pub fn magnet(&self) -> Magnet {
        Magnet {
            name: Some(self.meta.name().to_owned()),
            trackers: self.trackers().map(str::to_owned).collect(),
            ..Magnet::new(self.meta.info_hash())
        }
    }
}

/// A `.torrent` file of `info`, an info dictionary, which is in it as it is.
pub fn torrent_file(info: &[u8], extras: &Extras<'_>) -> Vec<u8> {
    let mut file = Vec::with_capacity(info.len() + 256);
    let tiers = || extras.tiers.iter().filter(|tier| !tier.is_empty());
    put_dictionary(&mut file, |entries| {
        if let Some(first) = tiers().flatten().next() {
            entries.bytes(b"announce", first.as_bytes());
        }
        if tiers().flatten().nth(1).is_some() {
            put_list(entries.value(b"announce-list"), |out| {
                for tier in tiers() {
                    put_list(out, |out| {
                        tier.iter().for_each(|url| put_bytes(out, url.as_bytes()));
                    });
                }
            });
        }
        if let Some(comment) = extras.comment {
            entries.bytes(b"comment", comment.as_bytes());
        }
        if let Some(program) = extras.created_by {
            entries.bytes(b"created by", program.as_bytes());
        }
        if let Some(seconds) = extras.creation_date {
            entries.int(b"creation date", seconds.into());
        }
        entries.value(b"info").extend_from_slice(info);
    });
    file
}

/// The URL of a tracker, without the blanks around it; `None` if it can be none. Which kinds of trackers can be asked is
/// for others to know.
pub fn tracker_url(bytes: &[u8]) -> Option<String> {
    let url = std::str::from_utf8(bytes).ok()?.trim();
    let is_plain = |byte: u8| byte.is_ascii_graphic() || !byte.is_ascii();
    let (scheme, rest) = url.split_once("://")?;
    let fits = url.len() <= URL_BYTES_MAX && !scheme.is_empty() && !rest.is_empty();
    (fits && url.bytes().all(is_plain)).then(|| url.to_owned())
}

/// The values of the keys beside the info dictionary that count, found in one pass.
#[derive(Default)]
struct Beside<'a> {
    announce: Option<Value<'a>>,
    announce_list: Option<Value<'a>>,
    comment: Option<Value<'a>>,
}

impl<'a> Beside<'a> {
    fn find(dictionary: Dictionary<'a>) -> Self {
        let mut keys = Self::default();
        for (key, value) in dictionary.entries() {
            let place = match key {
                b"announce" => &mut keys.announce,
                b"announce-list" => &mut keys.announce_list,
                b"comment" => &mut keys.comment,
                _ => continue,
            };
            *place = Some(value);
        }
        keys
    }

    fn tiers(&self) -> Vec<Vec<String>> {
        let list = self.announce_list.and_then(Value::as_list);
        let mut tiers = list.map_or_else(Vec::new, tiers_of_list);
        if tiers.is_empty() {
            let url = self.announce.and_then(Value::as_bytes);
            tiers.extend(url.and_then(tracker_url).map(|url| vec![url]));
        }
        tiers
    }

    fn comment(&self) -> Option<String> {
        let bytes = self.comment.and_then(Value::as_bytes)?;
        let fits = (1..=COMMENT_BYTES_MAX).contains(&bytes.len());
        let text = std::str::from_utf8(bytes).ok().filter(|_| fits)?;
        Some(text.to_owned())
    }
}

fn tiers_of_list(list: List<'_>) -> Vec<Vec<String>> {
    let mut tiers: Vec<Vec<String>> = Vec::new();
    let mut count = 0;
    for tier in list.filter_map(Value::as_list) {
        let mut urls: Vec<String> = Vec::new();
        for url in tier.filter_map(Value::as_bytes).filter_map(tracker_url) {
            if count == TRACKERS_COUNT_MAX {
                break;
            }
            if !tiers.iter().flatten().chain(&urls).any(|seen| *seen == url) {
                urls.push(url);
                count += 1;
            }
        }
        if !urls.is_empty() {
            tiers.push(urls);
        }
    }
    tiers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::info_builder::{Content, canonical_info};
    use proptest::prelude::*;

    fn info() -> Vec<u8> {
        let content = Content::Single {
            len: 5,
            sha256: None,
        };
        canonical_info("a b", 65536, &[b'h'; 20], content)
    }

    fn tiers(tiers: &[&[&str]]) -> Vec<Vec<String>> {
        let owned = |tier: &&[&str]| tier.iter().map(ToString::to_string).collect();
        tiers.iter().map(owned).collect()
    }

    fn file_of(tiers: &[Vec<String>]) -> Vec<u8> {
        let extras = Extras {
            tiers,
            ..Extras::default()
        };
        torrent_file(&info(), &extras)
    }

    #[test]
    fn what_stands_beside_the_info_comes_in_order_and_is_read_again() {
        let tiers = tiers(&[&["http://a/announce"], &["udp://b:1", "udp://c:1"]]);
        let extras = Extras {
            tiers: &tiers,
            comment: Some("a word"),
            created_by: Some("shoal"),
            creation_date: Some(7),
        };
        let file = torrent_file(&info(), &extras);
        let head = "d8:announce17:http://a/announce13:announce-listll17:http://a/announceel9:udp://b:19:udp://c:1ee\
                    7:comment6:a word10:created by5:shoal13:creation datei7e4:info";
        assert_eq!(file, [head.as_bytes(), &info(), b"e"].concat());
        let torrent = Torrent::from_bytes(&file).expect("valid");
        assert_eq!(torrent.tiers, tiers);
        assert_eq!(torrent.comment.as_deref(), Some("a word"));
        assert_eq!(torrent.meta.info()[..], info());
        assert_eq!(torrent.magnet().trackers.len(), 3);
        assert_eq!(torrent.magnet().name.as_deref(), Some("a b"));
    }

    #[test]
    fn one_tracker_needs_no_list_and_none_is_fine() {
        let file = file_of(&tiers(&[&["udp://a:1"]]));
        assert!(file.starts_with(b"d8:announce9:udp://a:14:info"));
        assert!(file_of(&[]).starts_with(b"d4:info"));
        assert_eq!(file_of(&[]), file_of(&[Vec::new()]));
        let read = Torrent::from_bytes(&file_of(&[])).expect("valid");
        assert!(read.tiers.is_empty());
    }

    #[test]
    fn a_list_takes_the_place_of_the_one_tracker_unless_nothing_in_it_is_usable() {
        for (list, expected) in [
            ("ll9:udp://b:1ee", "udp://b:1"),
            ("le", "udp://a:1"),
            ("llel1: eli5eee", "udp://a:1"),
            ("9:udp://b:1", "udp://a:1"),
        ] {
            let head = format!("d8:announce9:udp://a:113:announce-list{list}4:info");
            let file = [head.as_bytes(), &info(), b"e"].concat();
            let torrent = Torrent::from_bytes(&file);
            let torrent = torrent.unwrap_or_else(|error| panic!("{list}: {error}"));
            assert_eq!(torrent.trackers().collect::<Vec<_>>(), [expected], "{list}");
        }
    }

    #[test]
    fn the_same_tracker_counts_once_and_too_many_are_left_out() {
        let twice = tiers(&[&["udp://a:1", "udp://a:1"], &["udp://a:1"], &["udp://b:1"]]);
        let read = Torrent::from_bytes(&file_of(&twice)).expect("valid");
        assert_eq!(read.tiers, tiers(&[&["udp://a:1"], &["udp://b:1"]]));
        let many: Vec<Vec<String>> = (0..2 * TRACKERS_COUNT_MAX)
            .map(|n| vec![format!("udp://{n}:1")])
            .collect();
        let read = Torrent::from_bytes(&file_of(&many)).expect("valid");
        assert_eq!(read.tiers, many[..TRACKERS_COUNT_MAX]);
    }

    #[test]
    fn only_what_can_be_a_url_is_a_tracker() {
        let long = format!("udp://{}", "x".repeat(URL_BYTES_MAX));
        for text in [
            "",
            "tr:6969",
            "://x",
            "udp://",
            "udp://a b",
            "udp://a\r\n",
            &long,
        ] {
            assert_eq!(tracker_url(text.as_bytes()).filter(|url| url == text), None);
        }
        assert_eq!(tracker_url(b" udp://a:1\n").as_deref(), Some("udp://a:1"));
        assert_eq!(tracker_url(b"udp://\xff"), None);
        assert!(tracker_url(&long.as_bytes()[..URL_BYTES_MAX]).is_some());
    }

    #[test]
    fn what_is_no_torrent_is_refused() {
        for bytes in [&b""[..], b"le", b"de", b"d4:infodee", b"d8:announce3:urle"] {
            assert!(Torrent::from_bytes(bytes).is_err());
        }
        let long = vec![b'd'; TORRENT_BYTES_MAX + 1];
        let refused = Torrent::from_bytes(&long);
        assert!(matches!(refused, Err(MetainfoError::NotAcceptable(_))));
    }

    proptest! {
        #[test]
        fn writing_and_reading_is_a_fixpoint(
            tiers in prop::collection::vec(
                prop::collection::vec("(http|udp|https)://[a-z0-9.ü:/]{1,30}", 0..4),
                0..6,
            ),
        ) {
            let file = file_of(&tiers);
            let read = Torrent::from_bytes(&file).expect("valid");
            prop_assert_eq!(&read.meta.info()[..], info());
            let again = file_of(&read.tiers);
            prop_assert_eq!(Torrent::from_bytes(&again), Ok(read.clone()));
            prop_assert_eq!(file_of(&read.tiers), again);
            prop_assert_eq!(&read.magnet().to_string().parse::<Magnet>(), &Ok(read.magnet()));
        }
    }
}
