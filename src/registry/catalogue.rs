//! What contents are registered, and how they are found.
//!
//! Owns the facts of each content and the orders in which they are searched. Knows no member. Every index is an ordered
//! map: no name or hash that others choose can slow one down, and no hasher decides an order.
//!
//! Invariants (`check`): every index names exactly the contents of `by_serial`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::Refusal;
use super::completions::Serial;
use crate::base::{Digest32, InfoHash};
use crate::wire::metainfo::Metainfo;

/// Contents that are kept.
pub const CONTENTS_MAX: usize = 100_000;
/// Files of all contents together whose SHA-256 is indexed.
pub(super) const FILES_MAX: usize = 4_000_000;
/// Bytes of one info dictionary (PROTOCOL.md: 32 MiB).
pub const INFO_BYTES_MAX: u32 = 32 << 20;
/// Bytes of a name: it must fit into a text of the protocol.
pub(super) const NAME_BYTES_MAX: usize = 1024;
/// Pieces of one content (PROTOCOL.md).
pub(super) const PIECES_MAX: u32 = 131_072;
/// Addresses per content that may unregister it.
pub(super) const OWNERS_MAX: usize = 16;
/// Fewest hexadecimal digits that stand for a hash.
pub(super) const PREFIX_DIGITS_MIN: usize = 8;
/// Entries that one look-up finds.
pub(super) const FOUND_MAX: usize = 64;
/// Steps of comparing names with a pattern in one call of `list`.
const GLOB_STEPS_MAX: usize = 1 << 20;

/// What the info dictionary of a content says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its SHA-1.
    pub hash: InfoHash,
    /// Its SHA-256, which tells it from another dictionary of the same SHA-1.
    pub info_sha256: Digest32,
    /// Its length in bytes.
    pub info_bytes: u32,
    /// The name of the file or folder.
    pub name: Arc<str>,
    /// Bytes of content.
    pub size: u64,
    /// Bytes of every piece but the last.
    pub piece_len: u32,
    /// How many pieces there are.
    pub piece_count: u32,
    /// How many files there are.
    pub file_count: u32,
    /// The SHA-256 of every file that has one.
    pub sha256: Box<[Digest32]>,
}

impl From<&Metainfo> for Facts {
    fn from(metainfo: &Metainfo) -> Self {
        let files = metainfo.files().iter().filter(|file| !file.is_padding);
        Self {
            hash: metainfo.info_hash(),
            info_sha256: Sha256::digest(metainfo.info()).into(),
            info_bytes: metainfo.info().len() as u32,
            name: metainfo.name().into(),
            size: metainfo.total_len(),
            piece_len: metainfo.piece_length(),
            piece_count: metainfo.piece_count(),
            file_count: files.clone().count() as u32,
            sha256: files.filter_map(|file| file.sha256).collect(),
        }
    }
}

impl Facts {
    /// Bytes of the piece `index`, which must be below the number of pieces.
    pub fn piece_bytes(&self, index: u32) -> u64 {
        let start = u64::from(index) * u64::from(self.piece_len);
        (self.size - start).min(u64::from(self.piece_len))
    }

    /// The SHA-256 of the one file, if there is one file and it has one.
    pub fn sole_sha256(&self) -> Option<Digest32> {
        match (self.file_count, &*self.sha256) {
            (1, &[digest]) => Some(digest),
            _ => None,
        }
    }

    fn check_limits(&self) -> Result<(), Refusal> {
        let pieces = self.size.div_ceil(u64::from(self.piece_len.max(1)));
        if self.info_bytes > INFO_BYTES_MAX
            || self.name.len() > NAME_BYTES_MAX
            || self.piece_count > PIECES_MAX
        {
            return Err(Refusal::TooLarge("the info dictionary"));
        }
        if pieces != u64::from(self.piece_count) || self.sha256.len() > self.file_count as usize {
            return Err(Refusal::Invalid("the info dictionary contradicts itself"));
        }
        Ok(())
    }
}

/// A registered content.
#[derive(Debug)]
pub struct Entry {
    /// What its info dictionary says.
    pub facts: Facts,
    /// When it was registered, in seconds since 1970.
    pub registered_at: u64,
    /// The addresses that registered it.
    pub owners: Vec<IpAddr>,
}

/// All registered contents.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    by_serial: BTreeMap<Serial, Entry>,
    by_hash: BTreeMap<InfoHash, Serial>,
    by_name: BTreeSet<(Arc<str>, Serial)>,
    by_sha256: BTreeSet<(Digest32, Serial)>,
    last: Serial,
}

impl Catalogue {
    /// The content of this hash.
    pub(super) fn serial(&self, hash: InfoHash) -> Option<Serial> {
        self.by_hash.get(&hash).copied()
    }

    /// The content of this serial, which must be registered.
    pub(super) fn entry(&self, serial: Serial) -> &Entry {
        &self.by_serial[&serial]
    }

    /// The content of this serial, to be changed.
    pub(super) fn entry_mut(&mut self, serial: Serial) -> Option<&mut Entry> {
        self.by_serial.get_mut(&serial)
    }

    /// How many contents there are.
    pub(super) fn len(&self) -> usize {
        self.by_serial.len()
    }

    /// Whether `facts` may be added: `Ok(Some)` names the content that it already is.
    pub(super) fn admit(&self, facts: &Facts) -> Result<Option<Serial>, Refusal> {
        facts.check_limits()?;
        if let Some(serial) = self.serial(facts.hash) {
            let same = self.entry(serial).facts == *facts;
            return same.then_some(Some(serial)).ok_or(Refusal::HashConflict);
        }
        if self.len() >= CONTENTS_MAX || self.last == Serial::MAX {
            return Err(Refusal::Full(
                "the tracker holds as many contents as it can",
            ));
        }
        if self.by_sha256.len() + facts.sha256.len() > FILES_MAX {
            return Err(Refusal::Full("the tracker knows as many files as it can"));
        }
        Ok(None)
    }

    /// Adds a content that was admitted and is not there.
    pub(super) fn insert(&mut self, entry: Entry) -> Serial {
        self.last += 1;
        let (serial, facts) = (self.last, &entry.facts);
        self.by_hash.insert(facts.hash, serial);
        self.by_name.insert((facts.name.clone(), serial));
        for &digest in &facts.sha256 {
            self.by_sha256.insert((digest, serial));
        }
        self.by_serial.insert(serial, entry);
        serial
    }

    /// Removes a content.
    pub(super) fn remove(&mut self, serial: Serial) {
        let Some(Entry { facts, .. }) = self.by_serial.remove(&serial) else {
            return;
        };
        self.by_hash.remove(&facts.hash);
        for digest in facts.sha256 {
            self.by_sha256.remove(&(digest, serial));
        }
        self.by_name.remove(&(facts.name, serial));
    }

    /// The contents of this name, newest first.
    pub(super) fn named(&self, name: &str) -> Vec<Serial> {
        let name: Arc<str> = name.into();
        let range = (name.clone(), 0)..=(name, Serial::MAX);
        newest(self.by_name.range(range).map(|&(_, serial)| serial))
    }

    /// The contents that have a file of this SHA-256, newest first.
    pub(super) fn with_sha256(&self, digest: Digest32) -> Vec<Serial> {
        let range = (digest, 0)..=(digest, Serial::MAX);
        newest(self.by_sha256.range(range).map(|&(_, serial)| serial))
    }

    /// The content whose hash begins with these hexadecimal digits; none, if they are too few or no digits.
    ///
    /// # Errors
    /// [`Refusal::Ambiguous`] if several do.
    pub(super) fn hashed(&self, digits: &str) -> Result<Option<Serial>, Refusal> {
        let valid = (PREFIX_DIGITS_MIN..=40).contains(&digits.len())
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let bound = |filler: &str| format!("{digits}{}", filler.repeat(40 - digits.len()));
        let (Some(first), Some(last)) = (
            valid.then(|| bound("0").parse::<InfoHash>().ok()).flatten(),
            valid.then(|| bound("f").parse::<InfoHash>().ok()).flatten(),
        ) else {
            return Ok(None);
        };
        let mut found = self.by_hash.range(first..=last);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Refusal::Ambiguous(
                "more than one content begins so: give more digits",
            )),
            (found, None) => Ok(found.map(|(_, &serial)| serial)),
        }
    }

    /// Up to `limit` contents whose name fits `glob`, newest first, from `cursor` on (0 = the newest), and the cursor of
    /// the rest (0 = there is none). A pattern that is costly to compare ends the page early.
    pub(super) fn list(&self, cursor: Serial, limit: usize, glob: &str) -> (Serial, Vec<Serial>) {
        let start = if cursor == 0 { Serial::MAX } else { cursor };
        let mut steps_left = GLOB_STEPS_MAX;
        let mut found = Vec::new();
        for (&serial, entry) in self.by_serial.range(..=start).rev() {
            if found.len() == limit || steps_left == 0 {
                return (serial, found);
            }
            let name = &entry.facts.name;
            steps_left = steps_left.saturating_sub(1 + glob.len() * name.len());
            if glob.is_empty() || fits(name, glob) {
                found.push(serial);
            }
        }
        (0, found)
    }

    /// Asserts the invariants.
    pub(super) fn check(&self) {
        assert_eq!(self.by_hash.len(), self.by_serial.len());
        assert_eq!(self.by_name.len(), self.by_serial.len());
        let mut digests = 0;
        for (&serial, Entry { facts, .. }) in &self.by_serial {
            assert_eq!(self.by_hash[&facts.hash], serial);
            assert!(self.by_name.contains(&(facts.name.clone(), serial)));
            let mut own = facts.sha256.to_vec();
            own.sort_unstable();
            own.dedup();
            digests += own.len();
            assert!(own.iter().all(|d| self.by_sha256.contains(&(*d, serial))));
        }
        assert_eq!(self.by_sha256.len(), digests);
    }
}

fn newest(ascending: impl DoubleEndedIterator<Item = Serial>) -> Vec<Serial> {
    ascending.rev().take(FOUND_MAX).collect()
}

/// Whether `name` fits a pattern in which `*` stands for any text and `?` for one character.
fn fits(name: &str, glob: &str) -> bool {
    let (mut name, mut glob) = (name.chars(), glob.chars());
    // Behind the last `*`: the rest of the pattern, and the rest of the name that was not tried with it.
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let (mut rest, mut pattern) = (name.clone(), glob.clone());
        match (pattern.next(), rest.next()) {
            (Some('*'), _) => {
                glob = pattern.clone();
                retry = Some((pattern, name.clone()));
            }
            (Some('?'), Some(_)) => (name, glob) = (rest, pattern),
            (Some(wanted), Some(found)) if wanted == found => (name, glob) = (rest, pattern),
            (None, None) => return true,
            _ => {
                let Some((pattern, untried)) = &mut retry else {
                    return false;
                };
                if untried.next().is_none() {
                    return false;
                }
                (name, glob) = (untried.clone(), pattern.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_a_shell_would_have_them() {
        for (name, glob, expected) in [
            ("vm.qcow2", "*", true),
            ("vm.qcow2", "vm.qcow2", true),
            ("vm.qcow2", "*.qcow2", true),
            ("vm.qcow2", "vm*", true),
            ("vm.qcow2", "v?.q*2", true),
            ("vm.qcow2", "VM*", false),
            ("vm.qcow2", "vm", false),
            ("vm.qcow2", "*.iso", false),
            ("vm.qcow2", "vm.qcow2?", false),
            ("", "*", true),
            ("", "?", false),
            ("aab", "*ab", true),
            ("abcabd", "*abd", true),
            ("müde", "m?de", true),
            ("a*b", "a*b", true),
            ("mississippi", "m*si*p*i", true),
            ("mississippi", "m*sx*p*i", false),
        ] {
            assert_eq!(fits(name, glob), expected, "{name} {glob}");
        }
    }

    fn entry(number: u8, name: &str) -> Entry {
        let facts = Facts {
            hash: InfoHash([number; 20]),
            info_sha256: [number; 32],
            info_bytes: 100,
            name: name.into(),
            size: 10,
            piece_len: 4,
            piece_count: 3,
            file_count: 1,
            sha256: Box::new([[7; 32]]),
        };
        Entry {
            facts,
            registered_at: 0,
            owners: Vec::new(),
        }
    }

    #[test]
    fn a_prefix_finds_only_what_it_alone_can_mean() {
        let mut catalogue = Catalogue::default();
        let one = catalogue.insert(entry(0x11, "a"));
        let mut near = entry(0x11, "b");
        near.facts.hash.0[10] = 0xAA;
        let two = catalogue.insert(near);
        let hashed = |digits: &str| catalogue.hashed(digits).expect("of one at most");
        let several = catalogue.hashed("11111111");
        assert!(matches!(several, Err(Refusal::Ambiguous(_))), "{several:?}");
        assert_eq!(hashed(&"1".repeat(40)), Some(one));
        let prefix = format!("{}aa", "1".repeat(20));
        assert_eq!(hashed(&prefix), Some(two));
        assert_eq!(hashed(&prefix.to_uppercase()), Some(two));
        assert_eq!(hashed(&prefix[..21]), Some(two));
        for bad in ["", "1111111", "1111111g", &"1".repeat(41), "ü1111111"] {
            assert_eq!(hashed(bad), None, "{bad}");
        }
        catalogue.check();
    }

    #[test]
    fn pages_of_a_list_hold_every_match_once() {
        let mut catalogue = Catalogue::default();
        for number in 0..100 {
            catalogue.insert(entry(number, &format!("file{number}")));
        }
        let (mut cursor, mut names) = (0, Vec::new());
        loop {
            let (next, page) = catalogue.list(cursor, 7, "file?5");
            names.extend(page.iter().map(|&s| catalogue.entry(s).facts.name.clone()));
            if next == 0 {
                break;
            }
            cursor = next;
        }
        assert_eq!(names.len(), 9);
        assert_eq!((&*names[0], &*names[8]), ("file95", "file15"));
    }

    #[test]
    fn a_pattern_that_costs_much_ends_the_page_early() {
        let mut catalogue = Catalogue::default();
        for number in 0..10 {
            catalogue.insert(entry(number, &"a".repeat(1000)));
        }
        let (mut cursor, mut pages) = (0, 0);
        loop {
            let (next, page) = catalogue.list(cursor, 256, &"*a".repeat(500));
            (cursor, pages) = (next, pages + 1);
            assert!(page.len() < 10);
            if next == 0 {
                break;
            }
        }
        assert!(pages > 1);
    }

    #[test]
    fn facts_that_contradict_themselves_are_refused() {
        let catalogue = Catalogue::default();
        let mut facts = entry(1, "x").facts;
        assert_eq!(catalogue.admit(&facts), Ok(None));
        assert_eq!(facts.piece_bytes(2), 2);
        facts.piece_count = 4;
        assert!(matches!(catalogue.admit(&facts), Err(Refusal::Invalid(_))));
        facts.info_bytes = INFO_BYTES_MAX + 1;
        assert!(matches!(catalogue.admit(&facts), Err(Refusal::TooLarge(_))));
    }
}
