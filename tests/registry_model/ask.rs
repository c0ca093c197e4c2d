//! What is asked of the registry, compared.

use super::*;

/// A row of MEMBERS: who, how many pieces, when it completed, whether it is there, which pieces.
type Row = (PeerId, u32, u64, bool, Option<Bitfield>);

impl Model {
    /// Whom `member` of content `at` may be named.
    pub(crate) fn eligible(&self, client: usize, at: usize, member: usize) -> Vec<PeerId> {
        let (content, me) = (&self.contents[at], &self.clients[client]);
        let asker = &content.members[member];
        let fetches = !asker.is_seed() && !asker.is_upload_only;
        let known = |key: Client| {
            self.clients
                .iter()
                .find(|known| known.key == key)
                .expect("known")
        };
        let others = content
            .members
            .iter()
            .map(|member| (member, known(member.client)));
        let others = others.filter(|(member, other)| {
            other.peer_id != me.peer_id
                && me.may_be_given(other)
                && !content.withheld.contains(&other.addr())
                && (fetches || !member.is_seed() && !member.is_upload_only)
        });
        let natives = others.map(|(_, known)| known.peer_id);
        let foreign = self.foreign_of(content.facts.hash);
        let foreigners = foreign.members.iter().filter(|other| {
            other.addr != me.addr()
                && foreign::is_in_reach(me.source, other.addr.ip())
                && !content.withheld.contains(&other.addr)
                && (fetches || !other.is_content())
        });
        natives
            .chain(foreigners.map(|_| foreign::NO_PEER_ID))
            .collect()
    }

    pub(crate) fn check_named(
        &self,
        client: usize,
        at: usize,
        member: usize,
        want: usize,
        named: &[PeerId],
    ) {
        let mut rest = self.eligible(client, at, member);
        assert_eq!(
            named.len(),
            want.min(rest.len()),
            "as many as wanted and there"
        );
        for peer_id in named {
            let place = rest.iter().position(|id| id == peer_id);
            rest.swap_remove(place.expect("named once, and may be"));
        }
    }

    pub(crate) fn peers(&mut self) {
        let Some((client, at, member)) = self.random_member() else {
            return;
        };
        let want = self.rng.below(8);
        let urgent = bitfield(
            &(0..self.contents[at].facts.piece_count)
                .map(|_| self.rng.below(9) == 0)
                .collect::<Vec<_>>(),
        );
        let missing = (self.rng.below(2) == 0).then(|| Bitmap::of(&urgent));
        let slot = self.contents[at].members[member].slot;
        let key = self.clients[client].key;
        let named = self
            .registry
            .peers(key, slot, want as u16, missing.as_ref())
            .expect("a member");
        let ids: Vec<PeerId> = named.iter().map(|named| named.peer_id).collect();
        self.check_named(client, at, member, want, &ids);
        for named in named.iter().filter(|named| !named.foreign) {
            let known = self.clients.iter().find(|known| {
                known.peer_id == named.peer_id
                    && named.addrs.iter().any(|addr| addr == known.addr())
            });
            assert!(known.is_some_and(|known| known.port != 0));
        }
    }

    pub(crate) fn lookup(&mut self) {
        let Some(at) = self.random_content() else {
            let found = self.registry.lookup(LookupBy::Name, "name0.iso");
            return assert_eq!(found, Ok(Vec::new()));
        };
        let facts = self.contents[at].facts.clone();
        let digits = facts.hash.to_string();
        let len = 7 + self.rng.below(34);
        let digest = [self.rng.below(5) as u8; 32];
        let matching = |fits: &dyn Fn(&Facts) -> bool| -> Vec<InfoHash> {
            let newest = self.contents.iter().rev().map(|content| &content.facts);
            newest
                .filter(|facts| fits(facts))
                .map(|facts| facts.hash)
                .collect()
        };
        let mut by_prefix = matching(&|other| other.hash.to_string().starts_with(&digits[..len]));
        if len < 8 {
            by_prefix.clear();
        }
        let cases = [
            (
                LookupBy::Name,
                facts.name.to_string(),
                matching(&|other| other.name == facts.name),
            ),
            (LookupBy::Hash, digits[..len].to_owned(), by_prefix),
            (
                LookupBy::Sha256,
                shoal::base::hex(&digest),
                matching(&|other| other.sha256.contains(&digest)),
            ),
        ];
        for (by, key, mut expected) in cases {
            expected.truncate(64);
            let found = self.registry.lookup(by, &key);
            if by == LookupBy::Hash && expected.len() > 1 {
                assert!(matches!(found, Err(Refusal::Ambiguous(_))), "{found:?}");
                continue;
            }
            let found = found.expect("it is no beginning of two hashes");
            let hashes: Vec<InfoHash> = found.iter().map(|entry| entry.info_hash).collect();
            assert_eq!(hashes, expected, "{by:?} {key}");
        }
    }

    pub(crate) fn list(&mut self) {
        let (limit, glob) = (
            1 + self.rng.below(5),
            ["", "*", "*.iso", "name1*", "x*"][self.rng.below(5)],
        );
        let (mut cursor, mut rows) = (0, Vec::new());
        loop {
            let (next, page) = self.registry.list(cursor, limit, glob);
            assert!(page.len() <= limit);
            rows.extend(page.into_iter().map(|(_, row)| {
                let entry = row.entry;
                (
                    entry.info_hash,
                    entry.registered_at,
                    row.seeds,
                    row.leechers,
                    row.copies_min,
                )
            }));
            if next == 0 {
                break;
            }
            cursor = next;
        }
        let fits = |content: &&Content| match glob {
            "*.iso" => content.facts.name.ends_with(".iso"),
            "name1*" => content.facts.name.starts_with("name1"),
            "x*" => false,
            _ => true,
        };
        let expected = self.contents.iter().rev().filter(fits).map(|content| {
            let stats = content.stats(self.foreign_of(content.facts.hash));
            (
                content.facts.hash,
                content.registered_at,
                stats.seeds,
                stats.leechers,
                stats.copies_min,
            )
        });
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }

    pub(crate) fn members(&mut self) {
        let (Some(client), Some(at)) = (self.random_client(), self.random_content()) else {
            return;
        };
        let (content, key) = (&self.contents[at], self.clients[client].key);
        let page = 1 + self.rng.below(4);
        let (mut cursor, mut rows) = (0, Vec::new());
        loop {
            let mut listed = self
                .registry
                .members_of(key, content.facts.hash, cursor, true)
                .expect("registered");
            rows.extend(listed.by_ref().take(page).map(|(_, row)| {
                let bits = row
                    .bitmap
                    .map(|bitmap| bitmap.to_bitfield(content.facts.piece_count));
                (
                    row.member.peer_id,
                    row.pieces_had,
                    row.completed_at,
                    row.connected,
                    bitmap_of(bits),
                )
            }));
            match listed.next() {
                Some((next, _)) => cursor = next,
                None => break,
            }
        }
        let known = |key: Client| {
            self.clients
                .iter()
                .find(|known| known.key == key)
                .expect("known")
        };
        let completed_at = |id: PeerId| {
            content
                .completions
                .iter()
                .find(|c| c.0 == id)
                .map_or(0, |c| c.1)
        };
        let here = content.members.iter().map(|member| {
            let id = known(member.client).peer_id;
            let had = member.pieces.iter().filter(|has| **has).count() as u32;
            (
                id,
                had,
                completed_at(id),
                true,
                Some(bitfield(&member.pieces)),
            )
        });
        let mut expected: Vec<_> = here.collect();
        expected.extend(self.foreign_rows(&content.facts));
        let is_here = |id: PeerId| {
            content
                .members
                .iter()
                .any(|m| known(m.client).peer_id == id)
        };
        let gone = content.completions.iter().filter(|(id, _)| !is_here(*id));
        expected.extend(gone.map(|&(id, at)| (id, content.facts.piece_count, at, false, None)));
        let order = |row: &Row| format!("{row:?}");
        rows.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(rows, expected);
    }

    fn foreign_rows(&self, facts: &Facts) -> impl Iterator<Item = Row> {
        let members = self.foreign_of(facts.hash).members.iter();
        members.map(|member| {
            let pieces = vec![member.is_seed; facts.piece_count as usize];
            let had = pieces.iter().filter(|has| **has).count() as u32;
            (foreign::NO_PEER_ID, had, 0, true, Some(bitfield(&pieces)))
        })
    }

    pub(crate) fn counts(&mut self) {
        let Some((client, at, member)) = self.random_member() else {
            return;
        };
        let (first, count) = (self.rng.below(12) as u32, self.rng.below(50) as u32);
        let slot = self.contents[at].members[member].slot;
        let (_, counts) = self
            .registry
            .counts(self.clients[client].key, slot, first, count)
            .expect("a member");
        let foreign = self.foreign_of(self.contents[at].facts.hash);
        let seeds = foreign.seeds();
        let copies = self.contents[at].copies();
        let copies = copies.iter().map(|copies| copies + seeds as u16);
        let expected = copies.skip(first as usize).take(count as usize);
        assert_eq!(counts, expected.collect::<Vec<_>>());
        let unknown = self.registry.unknown(self.clients[client].key, slot);
        assert_eq!(unknown, Ok(foreign.members.len() as u32 - seeds));
    }

    pub(crate) fn stats(&mut self) {
        let Some((client, at, member)) = self.random_member() else {
            return;
        };
        let (key, slot) = (
            self.clients[client].key,
            self.contents[at].members[member].slot,
        );
        let of = |content: &Content| content.stats(self.foreign_of(content.facts.hash));
        let expected = of(&self.contents[at]);
        assert_eq!(self.registry.stats(key, slot), Ok(expected));
        let all = self.registry.stats(key, 0).expect("always");
        let sum = |figure: fn(&Stats) -> u64| -> u64 {
            self.contents
                .iter()
                .map(|content| figure(&of(content)))
                .sum()
        };
        assert_eq!(u64::from(all.seeds), sum(|stats| stats.seeds.into()));
        assert_eq!(u64::from(all.leechers), sum(|stats| stats.leechers.into()));
        assert_eq!(
            u64::from(all.completed),
            sum(|stats| stats.completed.into())
        );
        assert_eq!(all.bytes, sum(|stats| stats.bytes));
    }
}

fn bitmap_of(bits: Option<Option<Bitfield>>) -> Option<Bitfield> {
    bits.map(|bits| bits.expect("of the content's length"))
}
