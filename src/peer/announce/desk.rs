//! The announcers of all jobs, and what of the outside belongs to which: conns, dials, names, datagrams.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::{Announcer, Ask, Identity, Output, Totals};
use crate::base::{InfoHash, PeerId, Rng, Time};
use crate::peer::errand::Work;
use crate::peer::job::Context;
use crate::peer::shell::{NO_JOB, Shell, TRACKER_DIAL};
use crate::peer::transfer::Transfer;
use crate::reactor::{Admission, Closed, Command, ConnId, Outbox};
use crate::wire::url::TrackerUrl;

/// Tags of dials from here on are the desk's, all but the native tracker's.
const DIALS_FROM: u64 = 1 << 63;

/// Whether a dial with this tag is the desk's.
pub(in crate::peer) const fn is_announce_dial(tag: u64) -> bool {
    tag >= DIALS_FROM && tag != TRACKER_DIAL
}

/// See the module.
#[derive(Debug)]
pub(in crate::peer) struct Desk {
    identity: Identity,
    rng: Rng,
    /// By job.
    announcers: BTreeMap<usize, Announcer>,
    /// Names and dials under way, by the number that comes back with their outcome; 0 is never one.
    under_way: BTreeMap<u64, (usize, Ask)>,
    last_number: u64,
    conns: Vec<Conn>,
}

#[derive(Debug)]
struct Conn {
    id: ConnId,
    job: usize,
    ask: Ask,
    /// What has yet to be sent.
    out: Vec<u8>,
}

impl Desk {
    /// For a peer that calls itself `id` and listens on `port`.
    pub(in crate::peer) fn new(id: PeerId, port: u16, mut rng: Rng) -> Self {
        let key = (rng.next_u64() as u32).max(1);
        Self {
            identity: Identity { id, port, key },
            rng,
            announcers: BTreeMap::new(),
            under_way: BTreeMap::new(),
            last_number: 0,
            conns: Vec::new(),
        }
    }

    /// Begins to announce for a job; a job announces one content once.
    fn begin(
        &mut self,
        now: Time,
        job: usize,
        info_hash: InfoHash,
        tiers: &[Vec<String>],
        totals: Totals,
    ) {
        if tiers.iter().all(Vec::is_empty) {
            return;
        }
        let rng = Rng::new(self.rng.next_u64());
        let identity = self.identity;
        self.announcers
            .entry(job)
            .or_insert_with(|| Announcer::new(now, identity, info_hash, tiers, totals, rng));
    }

    /// How far a job's transfer is.
    pub(in crate::peer) fn set_totals(&mut self, job: usize, totals: Totals) {
        if let Some(announcer) = self.announcers.get_mut(&job) {
            announcer.set_totals(totals);
        }
    }

    /// A job has everything.
    pub(in crate::peer) fn complete(&mut self, now: Time, job: usize) {
        if let Some(announcer) = self.announcers.get_mut(&job) {
            announcer.complete(now);
        }
    }

    /// A job has fewer peers than it could use.
    pub(in crate::peer) fn lack_peers(&mut self, job: usize) {
        if let Some(announcer) = self.announcers.get_mut(&job) {
            announcer.lack_peers();
        }
    }

    /// Leaves the trackers of a job.
    pub(in crate::peer) fn stop(&mut self, now: Time, job: usize) {
        if let Some(announcer) = self.announcers.get_mut(&job) {
            announcer.stop(now);
        }
    }

    /// Whether every tracker that is to hear that we leave has heard so, or its time is up.
    pub(in crate::peer) fn is_over(&self) -> bool {
        self.announcers.values().all(Announcer::is_over)
    }

    pub(in crate::peer) fn poll_timeout(&self) -> Option<Time> {
        self.announcers
            .values()
            .filter_map(Announcer::poll_timeout)
            .min()
    }

    /// Time has passed. `transfers`: of each job.
    pub(in crate::peer) fn handle_timeout(&mut self, now: Time, transfers: &[Option<Transfer>]) {
        for (&job, announcer) in &mut self.announcers {
            if announcer.poll_timeout().is_none_or(|at| at > now) {
                continue;
            }
            if let Some(transfer) = &transfers[job] {
                announcer.set_totals(transfer.totals());
            }
            announcer.handle_timeout(now);
        }
    }

    /// A name was resolved, or not.
    pub(in crate::peer) fn resolved(
        &mut self,
        now: Time,
        number: u64,
        result: io::Result<Vec<SocketAddr>>,
    ) {
        if let Some((announcer, ask)) = self.take_under_way(number) {
            announcer.resolved(now, ask, result);
        }
    }

    /// A conn is open.
    pub(in crate::peer) fn opened(&mut self, now: Time, id: ConnId, tag: u64) -> Admission {
        let Some(&(job, ask)) = self.under_way.get(&(tag - DIALS_FROM)) else {
            return Admission::Refuse;
        };
        // What the announcer wants sent finds the conn here.
        self.conns.push(Conn {
            id,
            job,
            ask,
            out: Vec::new(),
        });
        let is_wanted = self
            .take_under_way(tag - DIALS_FROM)
            .is_some_and(|(announcer, ask)| announcer.connected(now, ask));
        if is_wanted {
            return Admission::Accept;
        }
        self.conns.pop();
        Admission::Refuse
    }

    pub(in crate::peer) fn dial_failed(&mut self, now: Time, tag: u64, error: &io::Error) {
        if let Some((announcer, ask)) = self.take_under_way(tag - DIALS_FROM) {
            announcer.dial_failed(now, ask, error);
        }
    }

    /// Bytes came. Returns whether the conn is the desk's.
    pub(in crate::peer) fn received(&mut self, now: Time, id: ConnId, bytes: &[u8]) -> bool {
        let Some(conn) = self.conns.iter().find(|conn| conn.id == id) else {
            return false;
        };
        let (job, ask) = (conn.job, conn.ask);
        if let Some(announcer) = self.announcers.get_mut(&job) {
            announcer.received(now, ask, bytes);
        }
        true
    }

    /// Appends what a conn has to send. Returns whether the conn is the desk's.
    pub(in crate::peer) fn refill(&mut self, id: ConnId, out: &mut Outbox) -> bool {
        let Some(conn) = self.conns.iter_mut().find(|conn| conn.id == id) else {
            return false;
        };
        out.control(&std::mem::take(&mut conn.out));
        true
    }

    /// A conn is gone. Returns whether it was the desk's.
    pub(in crate::peer) fn closed(&mut self, now: Time, id: ConnId, why: &Closed) -> bool {
        let Some(at) = self.conns.iter().position(|conn| conn.id == id) else {
            return false;
        };
        let conn = self.conns.swap_remove(at);
        let error = match why {
            Closed::End => None,
            other => Some(other.to_string()),
        };
        if let Some(announcer) = self.announcers.get_mut(&conn.job) {
            announcer.closed(now, conn.ask, error);
        }
        true
    }

    /// A datagram came; whose it is, is told by what is in it.
    pub(in crate::peer) fn datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        for announcer in self.announcers.values_mut() {
            announcer.datagram(now, from, bytes);
        }
    }

    fn note(&mut self, job: usize, ask: Ask) -> u64 {
        self.last_number += 1;
        self.under_way.insert(self.last_number, (job, ask));
        self.last_number
    }

    fn take_under_way(&mut self, number: u64) -> Option<(&mut Announcer, Ask)> {
        let (job, ask) = self.under_way.remove(&number)?;
        self.announcers
            .get_mut(&job)
            .map(|announcer| (announcer, ask))
    }

    fn poll_output(&mut self) -> Option<(usize, Output)> {
        self.announcers
            .iter_mut()
            .find_map(|(&job, announcer)| Some((job, announcer.poll_output()?)))
    }

    fn conn_mut(&mut self, job: usize, ask: Ask) -> Option<&mut Conn> {
        self.conns
            .iter_mut()
            .find(|conn| (conn.job, conn.ask) == (job, ask))
    }
}

impl Shell {
    /// Does what the announcers want done: the one place where their outputs are drained. What is left for the caller
    /// are the peers that were found, and for which job.
    pub(in crate::peer) fn poll_found(&mut self) -> Option<(usize, Vec<SocketAddr>)> {
        while let Some((job, output)) = self.announces.poll_output() {
            match output {
                Output::Resolve { ask, host, port } => {
                    let number = self.announces.note(job, ask);
                    self.submit(NO_JOB, Work::Resolve { host, port, number });
                }
                Output::Connect { ask, addr } => {
                    let tag = DIALS_FROM + self.announces.note(job, ask);
                    self.commands.push_back(Command::Connect { addr, tag });
                }
                Output::Send { ask, bytes } => {
                    if let Some(conn) = self.announces.conn_mut(job, ask) {
                        conn.out.extend_from_slice(&bytes);
                        let id = conn.id;
                        self.touch(id);
                    }
                }
                Output::Close { ask } => {
                    if let Some(conn) = self.announces.conn_mut(job, ask) {
                        let close = Command::Close(conn.id, Closed::Local("it was asked"));
                        self.commands.push_back(close);
                    }
                }
                Output::Datagram { to, bytes } => {
                    self.commands.push_back(Command::SendTo { to, bytes });
                }
                Output::Found(peers) => return Some((job, peers)),
                Output::ExternalIp(ip) => log::info!("a tracker sees us at {ip}"),
                Output::Warn(text) => log::warn!("{text}"),
            }
        }
        None
    }
}

impl Context<'_> {
    /// Begins to announce the job's content to the trackers that a torrent or a magnet link names, tier by tier (BEP 12).
    /// The peers that they name go to the transfer, or to [`Job::found_peers`](crate::peer::job::Job::found_peers) as
    /// long as there is none.
    pub(in crate::peer) fn announce(
        &mut self,
        info_hash: InfoHash,
        tiers: &[Vec<String>],
        start: Totals,
    ) {
        let tiers: Vec<Vec<String>> = tiers
            .iter()
            .map(|tier| {
                tier.iter()
                    .filter(|url| !self.is_native(url))
                    .cloned()
                    .collect()
            })
            .collect();
        let desk = &mut self.shell.announces;
        desk.begin(self.now, self.job, info_hash, &tiers, start);
    }

    /// Whether this is the native tracker, which is told in its own way.
    fn is_native(&self, url: &str) -> bool {
        match (&self.shell.tracker.addr, TrackerUrl::parse(url)) {
            (Some(native), Ok(url)) => {
                let place = url.place();
                place.host.eq_ignore_ascii_case(&native.host) && place.port == native.port
            }
            _ => false,
        }
    }

    /// The same for the job's transfer, which has just begun.
    pub(in crate::peer) fn announce_transfer(&mut self, tiers: &[Vec<String>]) {
        if let Some(transfer) = self.transfer {
            let (hash, totals) = (transfer.meta.info_hash(), transfer.totals());
            self.announce(hash, tiers, totals);
        }
    }

    /// Tells the trackers that we leave; the program waits for them, but not for long. The service does so when the job
    /// is over.
    pub(in crate::peer) fn announce_stop(&mut self) {
        if let Some(transfer) = self.transfer {
            let totals = transfer.totals();
            self.shell.announces.set_totals(self.job, totals);
        }
        self.shell.announces.stop(self.now, self.job);
    }
}
