//! What changes the registry, done to both.

use super::*;

impl Model {
    pub(crate) fn connect(&mut self) {
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
            peer_id = old.peer_id;
            if rng.below(3) > 0 {
                // The same peer comes back before its old connection is known to be dead.
                (source, port) = (old.source, old.port);
            }
        }
        let listens_at = [SocketAddr::new(source, port)];
        let key = self.registry.connect(Caller {
            peer_id,
            source,
            listens_at: if port == 0 { &[] } else { &listens_at },
            host: "host",
            zone: "",
        });
        self.clients.push(Known {
            key,
            peer_id,
            source,
            port,
            slots: Vec::new(),
        });
    }

    pub(crate) fn disconnect(&mut self) {
        if let Some(at) = self.random_client() {
            let gone = self.clients.swap_remove(at);
            self.registry.disconnect(gone.key);
            for content in &mut self.contents {
                content.members.retain(|member| member.client != gone.key);
            }
        }
    }

    pub(crate) fn register(&mut self) {
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

    pub(crate) fn new_facts(&mut self) -> Facts {
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
        if rng.below(8) == 0 {
            let hash_of_open = foreign::unregistered(rng).0;
            let is_taken = self.contents.iter().any(|c| c.facts.hash.0 == hash_of_open);
            hash = if is_taken { hash } else { hash_of_open };
        }
        let rng = &mut self.rng;
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

    pub(crate) fn unregister(&mut self) {
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
            self.foreign.remove(&hash);
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

    pub(crate) fn join(&mut self) {
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
        self.supersede(client, facts.hash);
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
    pub(crate) fn enter(
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

    pub(crate) fn complete(&mut self, client: usize, at: usize) {
        let (peer_id, completions) = (
            self.clients[client].peer_id,
            &mut self.contents[at].completions,
        );
        if !completions.iter().any(|(id, _)| *id == peer_id) {
            completions.push((peer_id, self.now));
        }
    }

    pub(crate) fn have_batch(&mut self) {
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

    pub(crate) fn leave(&mut self) {
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

    pub(crate) fn accuse(&mut self) {
        let (Some((client, at, member)), Some(accused)) =
            (self.random_member(), self.random_client())
        else {
            return;
        };
        let hash = self.contents[at].facts.hash;
        let accused = match self.foreign.get(&hash).and_then(|f| f.members.first()) {
            Some(member) if self.rng.below(2) == 0 => member.addr,
            _ => self.clients[accused].addr(),
        };
        let me = &self.clients[client];
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

    pub(crate) fn pass_time(&mut self) {
        let limit = [600, 2 * 24 * 3600][self.rng.below(2)];
        self.now += 60 + self.rng.below(limit) as u64;
        self.forget_foreigners();
        self.registry.expire_completions(self.now);
        for content in &mut self.contents {
            content
                .completions
                .retain(|(_, at)| at + COMPLETION_AGE_SECS_MAX > self.now);
        }
    }

    pub(crate) fn check_told(
        &self,
        client: usize,
        at: usize,
        is_new: bool,
        joined: &shoal::registry::Joined,
    ) {
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
        let natives = joined.members.iter().filter(|named| !named.foreign);
        let named: Vec<PeerId> = natives.map(|named| named.peer_id).collect();
        assert_eq!(told, if is_told_of { named } else { vec![] });
    }
}
