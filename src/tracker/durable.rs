//! Requests that wait for the helper: REGISTER, UNREGISTER, and GET_INFO of what is not in memory.
//!
//! Owns the info dictionaries in memory and those on their way. A content is in the registry only once it is on disk, and
//! a REGISTER is answered only then; the helper is one thread, so what it did comes back in the order in which it was
//! asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::TrackerService;
use super::conns::Assembly;
use super::native::{RETRY_MS, Refused};
use super::store::{Asker, Done, InfoPlace, Job, NewContent, StoreTask};
use crate::base::{InfoHash, Time};
use crate::reactor::ConnId;
use crate::registry::{Facts, Refusal};
use crate::storage::is_disk_full;
use crate::wire::metainfo::MetainfoError;
use crate::wire::native::{CHUNK_BYTES_MAX, ErrorCode, Push, Reply};

/// Bytes of info dictionaries that are arriving or being saved (PROTOCOL.md).
const ARRIVING_BYTES_MAX: usize = 64 << 20;
/// Bytes of info dictionaries in memory (PROTOCOL.md).
pub(super) const RESIDENT_BYTES_MAX: usize = 256 << 20;

/// The info dictionaries.
#[derive(Debug, Default)]
pub(super) struct Infos {
    resident: BTreeMap<InfoHash, Arc<[u8]>>,
    resident_bytes: usize,
    /// Where the others lie in their files.
    on_disk: BTreeMap<InfoHash, InfoPlace>,
    /// Contents that the helper is about to remove.
    removing: BTreeSet<InfoHash>,
    arriving_bytes: usize,
}

impl Infos {
    /// Whether a dictionary of this length would stay in memory.
    fn has_room(&self, bytes: usize) -> bool {
        self.resident_bytes + bytes <= RESIDENT_BYTES_MAX
    }

    /// Keeps a dictionary in memory if there is room, and otherwise its place on disk.
    pub(super) fn keep(&mut self, hash: InfoHash, info: Option<Arc<[u8]>>, place: InfoPlace) {
        match info {
            Some(info) if self.has_room(info.len()) => {
                let bytes = info.len();
                if self.resident.insert(hash, info).is_none() {
                    self.resident_bytes += bytes;
                }
            }
            _ => {
                self.on_disk.insert(hash, place);
            }
        }
    }

    fn forget(&mut self, hash: InfoHash) {
        if let Some(info) = self.resident.remove(&hash) {
            self.resident_bytes -= info.len();
        }
        self.on_disk.remove(&hash);
    }

    /// A REGISTER that had begun is over.
    pub(super) fn release(&mut self, assembly: &Assembly) {
        self.arriving_bytes -= assembly.total as usize;
    }
}

impl TrackerService {
    /// Takes a chunk of a REGISTER; the last one is answered when the content is on disk.
    pub(super) fn register(
        &mut self,
        now: Time,
        id: ConnId,
        request_id: u32,
        total: u32,
        chunk: &[u8],
        more: bool,
    ) -> Result<(), Refused> {
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        if conn.refused == Some(request_id) {
            // Its ERROR is sent; the rest of it was on its way.
            conn.refused = more.then_some(request_id);
            return Ok(());
        }
        let infos = &mut self.infos;
        match &conn.assembly {
            None if infos.arriving_bytes + total as usize > ARRIVING_BYTES_MAX => {
                conn.refused = more.then_some(request_id);
                return Err(Refused::busy("too many contents are being registered"));
            }
            None => {
                infos.arriving_bytes += total as usize;
                conn.assembly = Some(Assembly::new(request_id, total, now));
            }
            Some(other) if other.request_id != request_id => {
                conn.refused = more.then_some(request_id);
                return Err(Refused::busy("one REGISTER at a time"));
            }
            Some(_) => {}
        }
        let assembly = conn.assembly.as_mut().expect("there is one by now");
        assembly.bytes.extend_from_slice(chunk);
        let arrived = assembly.bytes.len();
        let whole = assembly.total as usize;
        if total != assembly.total || arrived > whole || (arrived < whole) != more {
            let text = "the chunks of a REGISTER do not make up its length";
            return Err(Refusal::Invalid(text).into());
        }
        if more {
            self.conns.rearm(id);
            return Ok(());
        }
        self.examine(id)
    }

    /// Gives an info dictionary that has arrived to the helper.
    fn examine(&mut self, id: ConnId) -> Result<(), Refused> {
        let Some(assembly) = self.conns.get_mut(id).and_then(|conn| conn.assembly.take()) else {
            return Ok(());
        };
        let Assembly {
            request_id,
            bytes: info,
            ..
        } = *assembly;
        let bytes = info.len();
        let outcome = self.wait(id, request_id, |asker| Job::Examine { asker, info });
        if outcome.is_err() {
            self.infos.arriving_bytes -= bytes;
        }
        outcome
    }

    /// Lets a request wait for a job of the helper.
    fn wait(
        &mut self,
        id: ConnId,
        request_id: u32,
        job: impl FnOnce(Asker) -> Job,
    ) -> Result<(), Refused> {
        let Some(conn) = self.conns.get_mut(id) else {
            return Ok(());
        };
        if !conn.may_wait() {
            return Err(Refused::busy("too many requests in flight"));
        }
        let from = conn.remote.ip();
        self.submit(job(Asker {
            conn: id,
            request_id,
            from,
        }))
        .map_err(|_| Refused::busy("the disk is busy"))?;
        if let Some(conn) = self.conns.get_mut(id) {
            conn.in_flight += 1;
        }
        Ok(())
    }

    /// Queues a job, or gives it back if too many are waiting.
    pub(super) fn submit(&self, job: Job) -> Result<(), Job> {
        let folder = self.folder.clone();
        let task = StoreTask { folder, job };
        self.workers.submit(task).map_err(|task| task.job)
    }

    /// Answers GET_INFO, at once if the dictionary is in memory.
    pub(super) fn info(
        &mut self,
        id: ConnId,
        request_id: u32,
        hash: InfoHash,
        offset: u32,
    ) -> Result<(), Refused> {
        let facts = self.registry.facts(hash);
        let total = facts.ok_or(Refusal::NotFound("the content"))?.info_bytes;
        let len = (total.saturating_sub(offset) as usize).min(CHUNK_BYTES_MAX);
        if let Some(info) = self.infos.resident.get(&hash) {
            let bytes = match len {
                0 => &[],
                _ => &info[offset as usize..][..len],
            };
            let reply = Reply::Info {
                total,
                bytes: bytes.into(),
            };
            self.conns.send(id, |out| reply.encode(request_id, out));
            return Ok(());
        }
        let place = self.infos.on_disk.get(&hash).copied();
        let place = place.ok_or(Refusal::NotFound("the info dictionary"))?;
        self.wait(id, request_id, |asker| Job::Read {
            asker,
            hash,
            total,
            offset: place.offset + u64::from(offset),
            len,
        })
    }

    /// Forgets a content, first on disk.
    pub(super) fn unregister(
        &mut self,
        id: ConnId,
        request_id: u32,
        hash: InfoHash,
    ) -> Result<(), Refused> {
        let Some(conn) = self.conns.get(id) else {
            return Ok(());
        };
        let asker = Asker {
            conn: id,
            request_id,
            from: conn.remote.ip(),
        };
        self.registry.may_unregister(hash, asker.from)?;
        if self.folder.is_none() {
            self.removed(asker, hash);
            return Ok(());
        }
        self.wait(id, request_id, |asker| Job::Remove { asker, hash })?;
        self.infos.removing.insert(hash);
        Ok(())
    }

    /// Goes on with what the helper has done.
    pub(super) fn handle_done(&mut self, now: Time, done: Done) {
        match done {
            Done::Examined {
                asker,
                bytes,
                outcome,
            } => self.examined(asker, bytes, outcome),
            Done::Saved {
                asker,
                content,
                outcome,
            } => {
                self.infos.arriving_bytes -= content.info.len();
                let outcome = outcome.map_err(|error| disk_error("register", &error));
                let outcome = outcome.and_then(|place| self.admit(asker, *content, place));
                self.answer(asker, outcome);
            }
            Done::Removed {
                asker,
                hash,
                outcome,
            } => {
                self.infos.removing.remove(&hash);
                match outcome {
                    Ok(()) => self.removed(asker, hash),
                    Err(error) => self.send_outcome(asker, Err(disk_error("unregister", &error))),
                }
                self.answered(asker);
            }
            Done::Read {
                asker,
                total,
                outcome,
            } => {
                let reply = outcome.map(|bytes| Reply::Info {
                    total,
                    bytes: bytes.into(),
                });
                self.answer(asker, reply.map_err(|error| disk_error("read", &error)));
            }
            Done::SavedCompletions(outcome) => self.saved_completions(now, outcome),
        }
    }

    /// Goes on with a REGISTER whose dictionary has been read.
    fn examined(
        &mut self,
        asker: Asker,
        bytes: usize,
        outcome: Result<(Facts, Arc<[u8]>), MetainfoError>,
    ) {
        let next = outcome
            .map_err(metainfo_error)
            .and_then(|(facts, info)| self.save(asker, facts, info));
        match next {
            // Its bytes count until it is saved.
            Ok(None) => {}
            Ok(Some(reply)) => {
                self.infos.arriving_bytes -= bytes;
                self.answer(asker, Ok(reply));
            }
            Err(refused) => {
                self.infos.arriving_bytes -= bytes;
                self.answer(asker, Err(refused));
            }
        }
    }

    /// Has a new content saved; answers at once if it is known already, or if nothing is kept on disk.
    fn save(
        &mut self,
        asker: Asker,
        facts: Facts,
        info: Arc<[u8]>,
    ) -> Result<Option<Reply<'static>>, Refused> {
        let hash = facts.hash;
        let exists = self.registry.may_register(&facts)? && !self.infos.removing.contains(&hash);
        let content = NewContent {
            facts,
            info,
            registered_at: super::wall_secs(),
            owners: vec![asker.from],
        };
        if exists || self.folder.is_none() {
            if !exists && !self.infos.has_room(content.info.len()) {
                return Err(Refused::busy(
                    "no memory for more; --state would keep them on disk",
                ));
            }
            let nowhere = InfoPlace { offset: 0 };
            return self.admit(asker, content, nowhere).map(Some);
        }
        let content = Box::new(content);
        let job = Job::Save { asker, content };
        self.submit(job)
            .map(|()| None)
            .map_err(|_| Refused::busy("the disk is busy"))
    }

    /// Registers a content that is kept.
    fn admit(
        &mut self,
        asker: Asker,
        content: NewContent,
        place: InfoPlace,
    ) -> Result<Reply<'static>, Refused> {
        let (hash, at) = (content.facts.hash, content.registered_at);
        let exists = self.registry.register(content.facts, asker.from, at)?;
        if !exists {
            self.infos.keep(hash, Some(content.info), place);
        }
        Ok(Reply::Register {
            info_hash: hash,
            exists,
        })
    }

    /// Forgets a content that is no longer on disk, and tells its members.
    fn removed(&mut self, asker: Asker, hash: InfoHash) {
        self.infos.forget(hash);
        let reply = match self.registry.unregister(hash) {
            Ok(ended) => {
                for (client, slot) in ended {
                    let push = Push::Removed { slot };
                    self.conns.push(client, |out| push.encode(out));
                }
                Ok(Reply::Unregister)
            }
            Err(refusal) => Err(refusal.into()),
        };
        self.send_outcome(asker, reply);
    }

    /// Answers a request that waited for the helper.
    fn answer(&mut self, asker: Asker, outcome: Result<Reply<'_>, Refused>) {
        self.send_outcome(asker, outcome);
        self.answered(asker);
    }

    fn send_outcome(&mut self, asker: Asker, outcome: Result<Reply<'_>, Refused>) {
        match outcome {
            Ok(reply) => self.reply(asker.conn, asker.request_id, &reply),
            Err(refused) => self.refuse(asker.conn, asker.request_id, &refused),
        }
    }

    fn answered(&mut self, asker: Asker) {
        if let Some(conn) = self.conns.get_mut(asker.conn) {
            conn.in_flight -= 1;
        }
    }
}

fn metainfo_error(error: MetainfoError) -> Refused {
    let code = match error {
        MetainfoError::Unreadable(_) => ErrorCode::BadFrame,
        MetainfoError::NotAcceptable(_) => ErrorCode::TooLarge,
    };
    Refused::new(code, error.to_string())
}

/// What a client is told when the disk fails; the operator is told as well.
fn disk_error(what: &str, error: &std::io::Error) -> Refused {
    log::error!("cannot {what}: {error}");
    let why = if is_disk_full(error) {
        "its disk is full"
    } else {
        "its disk fails"
    };
    Refused {
        code: ErrorCode::Busy,
        retry_ms: 30 * RETRY_MS,
        text: format!("the tracker cannot {what}: {why}"),
    }
}
