//! What clients ask of the registry, in the words of the wire.
//!
//! Changes nothing but the order in which members are chosen.

use super::clients::Known;
use super::completions::Serial;
use super::foreign::Foreigners;
use super::members::Member;
use super::rows::Foreigner;
use super::{
    BATCH_MS, BATCH_MS_SLOW, Client, Completion, Entry, Facts, MEMBERS_FAST_MAX, Reach, Refusal,
    Registry, naming,
};
use crate::base::{Bitfield, Digest32, InfoHash};
use crate::registry::availability::Holding;
use crate::wire::native::{
    AddrPair, Bitmap, ListEntry, LookupBy, LookupEntry, Member as Named, MemberEntry, Stats,
};

/// Cursors of MEMBERS from here on mean foreign members. A page can miss one that comes or goes meanwhile.
const FOREIGN: u32 = 1 << 30;
/// Cursors of MEMBERS from here on mean completions of members that are gone.
const GONE: u32 = 1 << 31;

impl Registry {
    /// How many contents are registered.
    pub fn content_count(&self) -> usize {
        self.catalogue.len()
    }

    /// What the info dictionary of a content says.
    pub fn facts(&self, hash: InfoHash) -> Option<&Facts> {
        let serial = self.catalogue.serial(hash)?;
        Some(&self.catalogue.entry(serial).facts)
    }

    /// The contents that a key means, newest first; none, if the key is no key.
    ///
    /// # Errors
    /// [`Refusal::Ambiguous`] for the beginning of more than one hash.
    pub fn lookup(&self, by: LookupBy, key: &str) -> Result<Vec<LookupEntry<'_>>, Refusal> {
        let found: Vec<Serial> = match by {
            LookupBy::Name => self.catalogue.named(key),
            LookupBy::Hash => self.catalogue.hashed(key)?.into_iter().collect(),
            LookupBy::Sha256 => match digest(key) {
                Some(digest) => self.catalogue.with_sha256(digest),
                None => Vec::new(),
            },
        };
        let entries = found.into_iter().map(|serial| self.catalogue.entry(serial));
        Ok(entries.map(lookup_entry).collect())
    }

    /// The cursor of the next page (0 = the end), and a page of contents whose name fits `glob` (empty = all), newest
    /// first, each with the cursor at which it stands. A page can be short, even empty, before the end.
    pub fn list(&self, cursor: u32, limit: usize, glob: &str) -> (u32, Vec<(u32, ListEntry<'_>)>) {
        let (next, found) = self.catalogue.list(cursor, limit, glob);
        let entries = found.into_iter().map(|serial| {
            let stats = self.stats_of(serial);
            let entry = ListEntry {
                entry: lookup_entry(self.catalogue.entry(serial)),
                seeds: stats.seeds,
                leechers: stats.leechers,
                copies_min: stats.copies_min,
            };
            (serial, entry)
        });
        (next, entries.collect())
    }

    /// Members of a content, native ones first, then those that completed and are gone, from `cursor` on (0 = the first); each with the
    /// cursor at which it stands. `client` is whoever asks: it is told addresses that it may be given.
    pub fn members_of(
        &self,
        client: Client,
        hash: InfoHash,
        cursor: u32,
        with_bitmaps: bool,
    ) -> Result<impl Iterator<Item = (u32, MemberEntry<'_>)>, Refusal> {
        let serial = self.serial(hash)?;
        let (key, place, number) = match cursor {
            GONE.. => (GONE, usize::MAX, cursor - GONE),
            FOREIGN.. => (GONE, (cursor - FOREIGN) as usize, 0),
            _ => (cursor.saturating_sub(1), 0, 0),
        };
        let piece_count = self.catalogue.entry(serial).facts.piece_count;
        let swarm = &self.swarms[&serial];
        let here = swarm.starting_at(key).map(move |(key, member)| {
            let row = self.here(client, serial, member, piece_count, with_bitmaps);
            (key + 1, row)
        });
        let reach = self.known(client).addresses.reach();
        let foreign = self.foreign.get(hash).into_iter();
        let foreign = foreign.flat_map(move |swarm| swarm.members.starting_at(place));
        let foreign = foreign.map(move |(place, member)| {
            let row = foreign_row(&member, reach, piece_count, with_bitmaps);
            (FOREIGN | place as u32, row)
        });
        let gone = self.completions.of(serial, number.saturating_sub(1));
        let gone = gone
            .filter(|(_, completion)| swarm.of_peer(completion.peer_id).next().is_none())
            .map(move |(number, completion)| (GONE | number, gone_row(completion, piece_count)));
        Ok(here.chain(foreign).chain(gone))
    }

    /// The row of a member that is connected.
    fn here<'a>(
        &'a self,
        asker: Client,
        serial: Serial,
        member: &'a Member,
        piece_count: u32,
        with_bitmaps: bool,
    ) -> MemberEntry<'a> {
        let known = &self.clients[member.client as usize];
        let addrs = known.addresses.given_to(&self.known(asker).addresses);
        let completed_at = self.completions.completed_at(serial, known.peer_id);
        let bitmap = match &member.holding {
            Holding::None => Bitmap::None,
            Holding::Some(pieces) => Bitmap::of(pieces),
            Holding::All => Bitmap::All,
        };
        MemberEntry {
            member: named(known, member, addrs, piece_count),
            host: (&*known.host).into(),
            pieces_had: member.holding.count(piece_count),
            completed_at: completed_at.unwrap_or(0),
            connected: true,
            bitmap: with_bitmaps.then_some(bitmap),
        }
    }

    /// How many members hold each of up to `count` pieces from `first` on, and the version of these figures.
    pub fn counts(
        &self,
        client: Client,
        slot: u32,
        first: u32,
        count: u32,
    ) -> Result<(u32, Vec<u16>), Refusal> {
        let (serial, _) = self.place(client, slot)?;
        let piece_count = self.catalogue.entry(serial).facts.piece_count;
        let availability = self.swarms[&serial].availability();
        let foreign = self.foreign_of(serial);
        let seeds = foreign.map_or(0, |foreign| foreign.seed_count() as u16);
        let end = first.saturating_add(count).min(piece_count);
        let counts = (first..end).map(|piece| availability.count(piece).saturating_add(seeds));
        Ok((availability.version(), counts.collect()))
    }

    /// How many members of the content of a slot may hold any piece: foreign ones that are no seeds.
    pub fn unknown(&self, client: Client, slot: u32) -> Result<u32, Refusal> {
        let (serial, _) = self.place(client, slot)?;
        let foreign = self.foreign_of(serial);
        Ok(foreign.map_or(0, |foreign| (foreign.len() - foreign.seed_count()) as u32))
    }

    fn foreign_of(&self, serial: Serial) -> Option<&Foreigners> {
        let swarm = self.foreign.get(self.catalogue.entry(serial).facts.hash);
        swarm.map(|swarm| &swarm.members)
    }

    /// Names up to `want` other members, those that hold one of the pieces in `missing` first.
    pub fn peers(
        &mut self,
        client: Client,
        slot: u32,
        want: u16,
        missing: Option<&Bitmap<'_>>,
    ) -> Result<Vec<Named>, Refusal> {
        let (serial, _) = self.place(client, slot)?;
        let piece_count = self.catalogue.entry(serial).facts.piece_count;
        let urgent: Option<Bitfield> = match missing {
            Some(bitmap) => {
                let pieces = bitmap.to_bitfield(piece_count);
                Some(pieces.ok_or(Refusal::Invalid("a bitmap of another length"))?)
            }
            None => None,
        };
        let chosen = self.choose(client, slot, usize::from(want), urgent.as_ref())?;
        Ok(chosen.into_iter().map(|choice| choice.named).collect())
    }

    /// The figures of the swarm of a slot; of everything, for slot 0.
    pub fn stats(&self, client: Client, slot: u32) -> Result<Stats, Refusal> {
        if slot == 0 {
            return Ok(self.stats_of_all());
        }
        let (serial, _) = self.place(client, slot)?;
        Ok(self.stats_of(serial))
    }

    /// The figures of one content, foreign members included.
    fn stats_of(&self, serial: Serial) -> Stats {
        let swarm = &self.swarms[&serial];
        let mut stats = Stats {
            seeds: swarm.seed_count() as u32,
            leechers: (swarm.len() - swarm.seed_count()) as u32,
            copies_min: swarm.availability().least(),
            copies_mean_256: swarm.availability().mean_x256(),
            bytes: swarm.down_bytes(),
            completed: self.completions.count(serial),
        };
        if let Some(foreign) = self.foreign_of(serial) {
            let seeds = foreign.seed_count() as u32;
            stats.seeds += seeds;
            stats.leechers += foreign.len() as u32 - seeds;
            stats.copies_min += seeds;
            stats.copies_mean_256 += seeds * 256;
            stats.completed = stats.completed.saturating_add(foreign.downloads());
        }
        stats
    }

    fn stats_of_all(&self) -> Stats {
        let mut all = Stats::default();
        for &serial in self.swarms.keys() {
            let stats = self.stats_of(serial);
            all.seeds += stats.seeds;
            all.leechers += stats.leechers;
            all.completed = all.completed.saturating_add(stats.completed);
            all.bytes = all.bytes.saturating_add(stats.bytes);
        }
        all
    }

    /// Milliseconds that a member should let pass between two batches of HAVE.
    pub fn batch_ms(&self) -> u32 {
        if self.members > MEMBERS_FAST_MAX {
            BATCH_MS_SLOW
        } else {
            BATCH_MS
        }
    }

    /// Changes with every completion that is remembered or forgotten.
    pub fn completions_version(&self) -> u64 {
        self.completions.version()
    }

    /// Changes with every completion of a foreign member that [`Self::downloads`] counts.
    pub fn downloads_version(&self) -> u64 {
        self.downloads_version
    }

    /// How often foreign members fetched each registered content, to be saved.
    pub fn downloads(&self) -> impl Iterator<Item = (InfoHash, u32)> {
        let registered = self.foreign.iter().filter(|swarm| swarm.serial().is_some());
        let counted = registered.map(|swarm| (swarm.hash(), swarm.members.downloads()));
        counted.filter(|(_, count)| *count > 0)
    }

    /// Every completion that is remembered, to be saved.
    pub fn completions(&self) -> impl Iterator<Item = (InfoHash, &Completion)> {
        self.completions
            .iter()
            .map(|(serial, completion)| (self.catalogue.entry(serial).facts.hash, completion))
    }
}

/// A member, as one who is given `addrs` of it is told.
pub(super) fn named(known: &Known, member: &Member, addrs: AddrPair, piece_count: u32) -> Named {
    Named {
        peer_id: known.peer_id,
        addrs,
        seed: member.holding.is_all(),
        upload_only: member.is_upload_only,
        foreign: false,
        proximity: 0,
        share: Named::share_of(member.holding.count(piece_count), piece_count),
    }
}

/// The row of a foreign member.
fn foreign_row<'a>(
    member: &Foreigner,
    reach: Reach,
    piece_count: u32,
    with_bitmap: bool,
) -> MemberEntry<'a> {
    let addr = Some(member.addr).filter(|addr| reach.includes(addr.ip()));
    let (pieces_had, bitmap) = if member.is_seed {
        (piece_count, Bitmap::All)
    } else {
        (0, Bitmap::None)
    };
    MemberEntry {
        member: Named {
            addrs: addr.into_iter().collect(),
            ..naming::named(member)
        },
        host: "".into(),
        pieces_had,
        completed_at: 0,
        connected: true,
        bitmap: with_bitmap.then_some(bitmap),
    }
}

/// The row of a member that completed and is gone.
fn gone_row(completion: &Completion, piece_count: u32) -> MemberEntry<'_> {
    MemberEntry {
        member: Named::complete(completion.peer_id),
        host: (&*completion.host).into(),
        pieces_had: piece_count,
        completed_at: completion.completed_at,
        connected: false,
        bitmap: None,
    }
}

fn lookup_entry(entry: &Entry) -> LookupEntry<'_> {
    let facts = &entry.facts;
    LookupEntry {
        info_hash: facts.hash,
        size: facts.size,
        piece_len: facts.piece_len,
        n_pieces: facts.piece_count,
        n_files: facts.file_count,
        name: (&*facts.name).into(),
        sha256: facts.sole_sha256(),
        registered_at: entry.registered_at,
    }
}

/// A SHA-256 written as 64 hexadecimal digits.
fn digest(text: &str) -> Option<Digest32> {
    if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok()?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(digest)
}
