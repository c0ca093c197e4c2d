//! The registry against a naive model: random operations, every answer compared. A failure prints its seed.

use std::net::{IpAddr, SocketAddr};

use shoal::base::{Bitfield, InfoHash, PeerId, Rng};
use shoal::registry::{
    COMPLETION_AGE_SECS_MAX, Caller, Client, Config, Facts, Joining, Refusal, Registry,
};
use shoal::wire::native::{Bitmap, HaveItem, HaveState, LookupBy, Role, Stats};

const SEEDS: u64 = 300;
const STEPS: usize = 250;

/// A client, as the model has it.
struct Known {
    key: Client,
    peer_id: PeerId,
    source: IpAddr,
    /// 0 = it does not listen.
    port: u16,
    slots: Vec<Option<InfoHash>>,
}

impl Known {
    fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.source, self.port)
    }

    fn may_be_given(&self, other: &Self) -> bool {
        other.port != 0 && other.source.is_loopback() == self.source.is_loopback()
    }

    fn reporter(&self) -> SocketAddr {
        let port = if self.source.is_loopback() {
            self.port
        } else {
            0
        };
        SocketAddr::new(self.source, port)
    }
}

struct Member {
    client: Client,
    slot: u32,
    pieces: Vec<bool>,
    is_upload_only: bool,
    down: u64,
}

impl Member {
    fn is_seed(&self) -> bool {
        self.pieces.iter().all(|&has| has)
    }
}

struct Content {
    facts: Facts,
    registered_at: u64,
    owners: Vec<IpAddr>,
    members: Vec<Member>,
    completions: Vec<(PeerId, u64)>,
    down: u64,
    accusations: Vec<(SocketAddr, SocketAddr)>,
    withheld: Vec<SocketAddr>,
}

impl Content {
    fn copies(&self) -> Vec<u16> {
        let count = |piece: usize| self.members.iter().filter(|m| m.pieces[piece]).count() as u16;
        (0..self.facts.piece_count as usize).map(count).collect()
    }

    fn seeds(&self) -> u32 {
        self.members
            .iter()
            .filter(|member| member.is_seed())
            .count() as u32
    }

    fn least(&self) -> u32 {
        self.copies()
            .iter()
            .min()
            .map_or(self.seeds(), |&least| u32::from(least))
    }

    fn stats(&self) -> Stats {
        let copies: u64 = self.copies().iter().map(|&n| u64::from(n)).sum();
        let mean = (copies * 256).checked_div(u64::from(self.facts.piece_count));
        Stats {
            seeds: self.seeds(),
            leechers: self.members.len() as u32 - self.seeds(),
            copies_min: self.least(),
            copies_mean_256: mean.map_or(self.seeds() * 256, |mean| mean as u32),
            bytes: self.down,
            completed: self.completions.len() as u32,
        }
    }
}

struct Model {
    rng: Rng,
    registry: Registry,
    now: u64,
    /// In the order of registration.
    contents: Vec<Content>,
    clients: Vec<Known>,
    made: u32,
}

fn bytes<const N: usize>(rng: &mut Rng) -> [u8; N] {
    std::array::from_fn(|_| rng.next_u64() as u8)
}

fn bitfield(pieces: &[bool]) -> Bitfield {
    let mut bits = Bitfield::none(pieces.len() as u32);
    for (index, _) in pieces.iter().enumerate().filter(|(_, has)| **has) {
        bits.set(index as u32);
    }
    bits
}

impl Model {
    fn new(seed: u64) -> Self {
        Self {
            rng: Rng::new(seed),
            registry: Registry::new(Config::new(seed)),
            now: 1_700_000_000,
            contents: Vec::new(),
            clients: Vec::new(),
            made: 0,
        }
    }

    fn step(&mut self) {
        match self.rng.below(40) {
            0..4 => self.connect(),
            4 => self.disconnect(),
            5..7 => self.register(),
            7 => self.unregister(),
            8..16 => self.join(),
            16..24 => self.have_batch(),
            24 => self.leave(),
            25..27 => self.accuse(),
            27 => self.pass_time(),
            28..31 => self.peers(),
            31..33 => self.lookup(),
            33 => self.list(),
            34..36 => self.members(),
            36..38 => self.counts(),
            _ => self.stats(),
        }
    }

    fn connect(&mut self) {
        let rng = &mut self.rng;
        let mut peer_id = PeerId(bytes(rng));
        let mut source = match rng.below(2) {
            0 => IpAddr::from([127, 0, 0, 1 + rng.below(2) as u8]),
            _ => IpAddr::from([10, 0, 0, 1 + rng.below(5) as u8]),
        };
        let mut port = match rng.below(4) {
            0 => 0,
            _ => 1000 + rng.below(50_000) as u16,
        };
        if let Some(old) = self.clients.get(rng.below(20)) {
            // The same peer comes back before its old connection is known to be dead.
            (peer_id, source, port) = (old.peer_id, old.source, old.port);
        }
        let listens_at = [SocketAddr::new(source, port)];
        let key = self.registry.connect(Caller {
            peer_id,
            source,
            listens_at: if port == 0 { &[] } else { &listens_at },
            host: "host",
        });
        self.clients.push(Known {
            key,
            peer_id,
            source,
            port,
            slots: Vec::new(),
        });
    }

    fn disconnect(&mut self) {
        if let Some(at) = self.random_client() {
            let gone = self.clients.swap_remove(at);
            self.registry.disconnect(gone.key);
            for content in &mut self.contents {
                content.members.retain(|member| member.client != gone.key);
            }
        }
    }

    fn random_client(&mut self) -> Option<usize> {
        (!self.clients.is_empty()).then(|| self.rng.below(self.clients.len()))
    }

    fn random_content(&mut self) -> Option<usize> {
        (!self.contents.is_empty()).then(|| self.rng.below(self.contents.len()))
    }

    /// A random membership: the places of its client, of its content, and of the member in it.
    fn random_member(&mut self) -> Option<(usize, usize, usize)> {
        let at = self.random_content()?;
        let count = self.contents[at].members.len();
        let member = (count > 0).then(|| self.rng.below(count))?;
        let key = self.contents[at].members[member].client;
        let client = self.clients.iter().position(|known| known.key == key);
        Some((client.expect("a member is a client"), at, member))
    }

    fn register(&mut self) {
        let from = IpAddr::from([10, 0, 0, 1 + self.rng.below(3) as u8]);
        let again = if self.rng.below(4) == 0 {
            self.random_content()
        } else {
            None
        };
        let facts = match again {
            Some(at) => self.contents[at].facts.clone(),
            None => self.new_facts(),
        };
        if self.rng.below(20) == 0 && again.is_some() {
            let mut other = facts;
            other.info_sha256[0] ^= 1;
            let refused = self.registry.register(other, from, self.now);
            return assert_eq!(refused, Err(Refusal::HashConflict));
        }
        assert_eq!(self.registry.may_register(&facts), Ok(again.is_some()));
        let exists = self.registry.register(facts.clone(), from, self.now);
        assert_eq!(exists, Ok(again.is_some()));
        match again {
            Some(at) => self.contents[at].owners.push(from),
            None => self.contents.push(Content {
                facts,
                registered_at: self.now,
                owners: vec![from],
                members: Vec::new(),
                completions: Vec::new(),
                down: 0,
                accusations: Vec::new(),
                withheld: Vec::new(),
            }),
        }
    }

    fn new_facts(&mut self) -> Facts {
        self.made += 1;
        let rng = &mut self.rng;
        let piece_count = [0, 1, 7, 8, 9, 40][rng.below(6)];
        let piece_len = 16;
        let last = if piece_count == 0 {
            0
        } else {
            rng.below(16) as u64
        };
        let mut hash: [u8; 20] = bytes(rng);
        if rng.below(3) == 0 {
            // A prefix that several have.
            hash[..5].fill(0xab);
        }
        let file_count = rng.below(3) as u32 + 1;
        Facts {
            hash: InfoHash(hash),
            info_sha256: bytes(rng),
            info_bytes: 100,
            name: format!("name{}.{}", rng.below(3), ["iso", "img"][rng.below(2)]).into(),
            size: u64::from(piece_count * piece_len) - last,
            piece_len,
            piece_count,
            file_count,
            sha256: (0..rng.below(file_count as usize + 1))
                .map(|_| [rng.below(4) as u8; 32])
                .collect(),
        }
    }

    fn unregister(&mut self) {
        let Some(at) = self.random_content() else {
            return;
        };
        let from = match self.rng.below(2) {
            0 => IpAddr::from([127, 0, 0, 9]),
            _ => IpAddr::from([10, 0, 0, 1 + self.rng.below(4) as u8]),
        };
        let hash = self.contents[at].facts.hash;
        let may = from.is_loopback() || self.contents[at].owners.contains(&from);
        let expected = if may {
            Ok(())
        } else {
            Err(Refusal::Unauthorised)
        };
        assert_eq!(self.registry.may_unregister(hash, from), expected);
        if may {
            let mut ended = self.registry.unregister(hash).expect("registered");
            let gone = self.contents.remove(at);
            let mut expected: Vec<_> = gone.members.iter().map(|m| (m.client, m.slot)).collect();
            ended.sort_unstable();
            expected.sort_unstable();
            assert_eq!(ended, expected);
            for known in &mut self.clients {
                known
                    .slots
                    .iter_mut()
                    .filter(|slot| **slot == Some(hash))
                    .for_each(|slot| *slot = None);
            }
            assert!(self.registry.unregister(hash).is_err());
        }
    }

    fn join(&mut self) {
        let (Some(client), Some(at)) = (self.random_client(), self.random_content()) else {
            return;
        };
        let facts = self.contents[at].facts.clone();
        let density = self.rng.below(5);
        let pieces: Vec<bool> = (0..facts.piece_count)
            .map(|_| self.rng.below(4) < density)
            .collect();
        let had = (0..facts.piece_count).filter(|&piece| pieces[piece as usize]);
        let missing = facts.size - had.map(|piece| facts.piece_bytes(piece)).sum::<u64>();
        let is_seed = pieces.iter().all(|&has| has);
        let left = match self.rng.below(8) {
            0 => missing + 1,
            1 => 0,
            2 if missing > 1 => missing - 1,
            _ => missing,
        };
        let bits = bitfield(&pieces);
        let joining = Joining {
            hash: facts.hash,
            left,
            have: Bitmap::of(&bits),
            want: self.rng.below(6) as u16,
            role: [Role::Leech, Role::Seed, Role::UploadOnly][self.rng.below(3)],
        };
        let key = self.clients[client].key;
        let joined = self.registry.join(key, &joining, self.now);
        if left > missing || (left == 0) != is_seed {
            assert!(matches!(joined, Err(Refusal::Invalid(_))), "{joined:?}");
            return;
        }
        let joined = joined.expect("valid");
        let is_new = self.enter(client, at, joined.slot, pieces, joining.role);
        if is_seed && joining.role == Role::Leech {
            self.complete(client, at);
        }
        let member = self.contents[at]
            .members
            .iter()
            .position(|m| m.client == key);
        let member = member.expect("just joined");
        let named = joined.members.iter().map(|named| named.peer_id);
        self.check_named(
            client,
            at,
            member,
            usize::from(joining.want),
            &named.collect::<Vec<_>>(),
        );
        self.check_told(client, at, is_new, &joined);
    }

    /// Makes a client a member in the model; says whether it was none.
    fn enter(
        &mut self,
        client: usize,
        at: usize,
        slot: u32,
        pieces: Vec<bool>,
        role: Role,
    ) -> bool {
        let (hash, is_upload_only) = (self.contents[at].facts.hash, role == Role::UploadOnly);
        let known = &self.clients[client];
        let key = known.key;
        if let Some(index) = known.slots.iter().position(|slot| *slot == Some(hash)) {
            assert_eq!(slot as usize, index + 1, "a membership keeps its slot");
            let members = &mut self.contents[at].members;
            let member = members
                .iter_mut()
                .find(|m| m.client == key)
                .expect("a member");
            (member.pieces, member.is_upload_only) = (pieces, is_upload_only);
            return false;
        }
        let free = known
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or(known.slots.len());
        assert_eq!(slot as usize, free + 1, "the lowest free slot");
        let same = |other: &Known| other.peer_id == known.peer_id && other.addr() == known.addr();
        let ghosts: Vec<Client> = self
            .clients
            .iter()
            .filter(|k| same(k))
            .map(|k| k.key)
            .collect();
        self.contents[at]
            .members
            .retain(|member| !ghosts.contains(&member.client));
        for ghost in self
            .clients
            .iter_mut()
            .filter(|known| ghosts.contains(&known.key))
        {
            ghost
                .slots
                .iter_mut()
                .filter(|slot| **slot == Some(hash))
                .for_each(|slot| *slot = None);
        }
        let slots = &mut self.clients[client].slots;
        slots.resize(slots.len().max(free + 1), None);
        slots[free] = Some(hash);
        self.contents[at].members.push(Member {
            client: key,
            slot,
            pieces,
            is_upload_only,
            down: 0,
        });
        true
    }

    fn complete(&mut self, client: usize, at: usize) {
        let (peer_id, completions) = (
            self.clients[client].peer_id,
            &mut self.contents[at].completions,
        );
        if !completions.iter().any(|(id, _)| *id == peer_id) {
            completions.push((peer_id, self.now));
        }
    }

    /// Whom `member` of content `at` may be named.
    fn eligible(&self, client: usize, at: usize, member: usize) -> Vec<PeerId> {
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
        others.map(|(_, known)| known.peer_id).collect()
    }

    fn check_named(&self, client: usize, at: usize, member: usize, want: usize, named: &[PeerId]) {
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

    fn check_told(&self, client: usize, at: usize, is_new: bool, joined: &shoal::registry::Joined) {
        let (content, me) = (&self.contents[at], &self.clients[client]);
        let is_told_of = is_new && me.port != 0 && !content.withheld.contains(&me.addr());
        let told: Vec<PeerId> = joined
            .told
            .iter()
            .map(|told| {
                assert_eq!(told.newcomer.peer_id, me.peer_id);
                let member = content.members.iter().find(|m| m.client == told.client);
                assert_eq!(member.expect("a member").slot, told.slot);
                let known = self.clients.iter().find(|known| known.key == told.client);
                known.expect("known").peer_id
            })
            .collect();
        let named: Vec<PeerId> = joined.members.iter().map(|named| named.peer_id).collect();
        assert_eq!(told, if is_told_of { named } else { vec![] });
    }

    fn have_batch(&mut self) {
        let Some((client, at, member)) = self.random_member() else {
            return;
        };
        let piece_count = self.contents[at].facts.piece_count;
        let rng = &mut self.rng;
        let states = [
            HaveState::Have,
            HaveState::Have,
            HaveState::Lost,
            HaveState::Started,
        ];
        let is_wrong = rng.below(20) == 0 || piece_count == 0;
        let pieces = piece_count as usize + usize::from(is_wrong);
        let items: Vec<HaveItem> = (0..rng.below(60))
            .map(|_| HaveItem {
                piece: rng.below(pieces) as u32,
                state: states[rng.below(states.len())],
            })
            .collect();
        let down = self.rng.below(10_000) as u64;
        let slot = self.contents[at].members[member].slot;
        let key = self.clients[client].key;
        let outcome = self
            .registry
            .have_batch(key, slot, down, items.iter().copied(), self.now);
        if items.iter().any(|item| item.piece >= piece_count) {
            assert!(matches!(outcome, Err(Refusal::Invalid(_))));
            return;
        }
        assert_eq!(outcome, Ok(()));
        let content = &mut self.contents[at];
        let model = &mut content.members[member];
        let was_seed = model.is_seed();
        for item in items {
            match item.state {
                HaveState::Have => model.pieces[item.piece as usize] = true,
                HaveState::Lost => model.pieces[item.piece as usize] = false,
                HaveState::Started => {}
            }
        }
        content.down += down.saturating_sub(model.down);
        model.down = model.down.max(down);
        if !was_seed && model.is_seed() {
            self.complete(client, at);
        }
    }

    fn leave(&mut self) {
        let Some((client, at, member)) = self.random_member() else {
            return;
        };
        let slot = self.contents[at].members.swap_remove(member).slot;
        let known = &mut self.clients[client];
        known.slots[slot as usize - 1] = None;
        assert_eq!(self.registry.leave(known.key, slot), Ok(()));
        for gone in [slot, 0, 99] {
            assert!(matches!(
                self.registry.leave(known.key, gone),
                Err(Refusal::NotFound(_))
            ));
        }
    }

    fn accuse(&mut self) {
        let (Some((client, at, member)), Some(accused)) =
            (self.random_member(), self.random_client())
        else {
            return;
        };
        let (me, accused) = (&self.clients[client], self.clients[accused].addr());
        let slot = self.contents[at].members[member].slot;
        let outcome = self.registry.accuse(me.key, slot, accused);
        if me.port != 0 && accused == me.addr() {
            assert!(matches!(outcome, Err(Refusal::Invalid(_))));
            return;
        }
        let content = &mut self.contents[at];
        content.accusations.push((accused, me.reporter()));
        let mine =
            |(addr, by): &&(SocketAddr, SocketAddr)| *addr == accused && *by != me.reporter();
        if content
            .accusations
            .iter()
            .any(|accusation| mine(&accusation))
        {
            content.withheld.push(accused);
        }
        assert_eq!(outcome, Ok(content.withheld.contains(&accused)));
    }

    fn pass_time(&mut self) {
        self.now += self.rng.below(2 * 24 * 3600) as u64;
        self.registry.expire_completions(self.now);
        for content in &mut self.contents {
            content
                .completions
                .retain(|(_, at)| at + COMPLETION_AGE_SECS_MAX > self.now);
        }
    }

    fn peers(&mut self) {
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
        for named in named {
            let known = self.clients.iter().find(|known| {
                known.peer_id == named.peer_id
                    && named.addrs.iter().any(|addr| addr == known.addr())
            });
            assert!(known.is_some_and(|known| known.port != 0));
        }
    }

    fn lookup(&mut self) {
        let Some(at) = self.random_content() else {
            return assert!(self.registry.lookup(LookupBy::Name, "name0.iso").is_empty());
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
        if by_prefix.len() > 1 || len < 8 {
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
            let hashes: Vec<InfoHash> = found.iter().map(|entry| entry.info_hash).collect();
            assert_eq!(hashes, expected, "{by:?} {key}");
        }
    }

    fn list(&mut self) {
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
            let seeds = content.seeds();
            let leechers = content.members.len() as u32 - seeds;
            (
                content.facts.hash,
                content.registered_at,
                seeds,
                leechers,
                content.least(),
            )
        });
        assert_eq!(rows, expected.collect::<Vec<_>>());
    }

    fn members(&mut self) {
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
        let is_here = |id: PeerId| {
            content
                .members
                .iter()
                .any(|m| known(m.client).peer_id == id)
        };
        let gone = content.completions.iter().filter(|(id, _)| !is_here(*id));
        expected.extend(gone.map(|&(id, at)| (id, content.facts.piece_count, at, false, None)));
        let order = |row: &(PeerId, u32, u64, bool, Option<Bitfield>)| (!row.3, row.0, row.1);
        rows.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(rows, expected);
    }

    fn counts(&mut self) {
        let Some((client, at, member)) = self.random_member() else {
            return;
        };
        let (first, count) = (self.rng.below(12) as u32, self.rng.below(50) as u32);
        let slot = self.contents[at].members[member].slot;
        let (_, counts) = self
            .registry
            .counts(self.clients[client].key, slot, first, count)
            .expect("a member");
        let expected = self.contents[at].copies();
        let expected = expected
            .iter()
            .copied()
            .skip(first as usize)
            .take(count as usize);
        assert_eq!(counts, expected.collect::<Vec<_>>());
    }

    fn stats(&mut self) {
        let Some((client, at, member)) = self.random_member() else {
            return;
        };
        let (key, slot) = (
            self.clients[client].key,
            self.contents[at].members[member].slot,
        );
        assert_eq!(
            self.registry.stats(key, slot),
            Ok(self.contents[at].stats())
        );
        let all = self.registry.stats(key, 0).expect("always");
        let sum = |figure: fn(&Stats) -> u64| -> u64 {
            self.contents
                .iter()
                .map(|content| figure(&content.stats()))
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

#[test]
fn every_answer_is_that_of_the_model() {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| {
            let mut model = Model::new(seed);
            for _ in 0..STEPS {
                model.step();
                model.registry.check();
            }
        });
        assert!(outcome.is_ok(), "seed {seed}");
    }
}

#[test]
fn equal_seeds_name_equal_members() {
    let run = || {
        let mut model = Model::new(77);
        (0..STEPS).for_each(|_| model.step());
        let members = model
            .contents
            .iter()
            .map(|content| content.members.len())
            .sum::<usize>();
        let mut named = Vec::new();
        for known in &model.clients {
            for slot in 1..=known.slots.len() as u32 {
                named.extend(model.registry.peers(known.key, slot, 5, None));
            }
        }
        (members, named)
    };
    let first = run();
    assert!(!first.1.is_empty());
    assert_eq!(first, run());
}
