//! The tracker: the registry behind its fronts, which are the native protocol and HTTP on TCP, and UDP.
//!
//! Owns the service that runs on the loop, and the one helper thread, which is the only one to touch the disk once the
//! loop runs. Decides nothing about contents and members: that is the registry's.

mod conns;
mod durable;
mod http;
mod native;
mod newcomers;
mod store;
mod udp;

use std::fmt::Write;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::base::Time;
use crate::cli::{ExitCode, Failure, TrackerConfig, UdpFront};
use crate::reactor::{
    Admission, Closed, Command, ConnId, Direction, Limits, Origin, Outbox, Reactor, Service,
    Signal, raise_nofile_limit,
};
use crate::registry::{Announced, Config, Families, Refusal, Registry};
use crate::storage::{KeptFolder, Shutdown, Wake, Workers};
use crate::wire::announce::{Announce, PeerList};
use crate::wire::native::{Policy, PushedMember};
use crate::wire::udp::announced_hash;
use conns::{Conns, Front};
use durable::{Infos, RESIDENT_BYTES_MAX};
use newcomers::Newcomers;
use store::{Completed, Done, Job, StoreTask};
use udp::ConnectionIds;

/// Jobs that wait for the helper.
const JOBS_MAX: usize = 1024;
/// From a completion to its saving, so that many are saved at once.
const SAVE_AFTER: Duration = Duration::from_secs(2);
/// The same of foreign members, who are only counted: there may be many of them all the time.
const SAVE_DOWNLOADS_AFTER: Duration = Duration::from_secs(60);
/// The same after the disk failed.
const SAVE_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// How often old completions are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(3600);

/// A tracker that listens.
#[derive(Debug)]
pub struct Tracker {
    reactor: Reactor,
    service: TrackerService,
    listens_at: Vec<SocketAddr>,
    udp_at: Vec<SocketAddr>,
}

impl Tracker {
    /// Opens the state folder, loads what it keeps, and binds the addresses. Call it before other threads are started: they
    /// would receive the signals that are meant for the loop.
    ///
    /// # Errors
    /// 17 if the state folder cannot be used, 6 if an address cannot be bound.
    pub fn start(config: &TrackerConfig) -> Result<Self, Failure> {
        if let Err(error) = raise_nofile_limit() {
            log::warn!("the limit on open files stays as it is: {error}");
        }
        let failed = |error: io::Error| Failure::new(ExitCode::Other, "start", error.to_string());
        let mut reactor = Reactor::new(Limits::default()).map_err(failed)?;
        let folder = match &config.state {
            Some(path) => Some(open_state(path)?),
            None => None,
        };
        let wake = reactor.wake_handle();
        let mut service = TrackerService::start(config, folder, wake).map_err(failed)?;
        service.load().map_err(state_failure)?;
        let (listens_at, udp_at) = listen(&mut reactor, config)?;
        Ok(Self {
            reactor,
            service,
            listens_at,
            udp_at,
        })
    }

    /// What is said once at the start.
    pub fn start_line(&self) -> String {
        let mut line = format!("shoal-tracker {} native+http", env!("CARGO_PKG_VERSION"));
        for addr in &self.listens_at {
            let _ = write!(line, " {addr}");
        }
        if !self.udp_at.is_empty() {
            line += " udp";
        }
        for addr in &self.udp_at {
            let _ = write!(line, " {addr}");
        }
        let count = self.service.registry.content_count();
        let files = if count == 1 { "file" } else { "files" };
        let _ = match &self.service.folder {
            Some(folder) => write!(line, " state {} ({count} {files})", folder.path().display()),
            None => write!(line, " state none (kept in memory only, lost at exit)"),
        };
        line
    }

    /// Serves until a signal asks for a stop, then saves what is not saved.
    ///
    /// # Errors
    /// 1 if the loop itself fails, 17 if the completions cannot be saved.
    pub fn run(mut self) -> Result<(), Failure> {
        let outcome = self.reactor.run(&mut self.service);
        let saved = self.service.finish();
        outcome.map_err(|error| Failure::new(ExitCode::Other, "run", error.to_string()))?;
        saved.map_err(state_failure)
    }
}

/// Binds what is configured: the addresses of TCP, and those of UDP.
fn listen(
    reactor: &mut Reactor,
    config: &TrackerConfig,
) -> Result<(Vec<SocketAddr>, Vec<SocketAddr>), Failure> {
    let failed = |flag: &'static str| {
        move |error: io::Error| {
            Failure::new(ExitCode::Network, flag, error.to_string())
                .with_remedy(format!("give another address with {flag}"))
        }
    };
    let mut tcp = Vec::new();
    for &addr in &config.listen {
        let local = match config.udp {
            UdpFront::WithTcp => reactor.listen_both(addr),
            _ => reactor.listen(addr),
        };
        tcp.push(local.map_err(failed("--listen"))?);
    }
    let udp = match config.udp {
        UdpFront::Off => Vec::new(),
        UdpFront::WithTcp => tcp.clone(),
        UdpFront::At(mut addr) => {
            if let (0, Some(first)) = (addr.port(), tcp.first()) {
                addr.set_port(first.port());
            }
            vec![reactor.listen_udp(addr).map_err(failed("--udp"))?]
        }
    };
    Ok((tcp, udp))
}

fn open_state(path: &Path) -> Result<Arc<KeptFolder>, Failure> {
    store::open(path).map_err(|error| {
        let is_locked = error.kind() == io::ErrorKind::ResourceBusy;
        let failure = state_failure(error);
        if is_locked {
            return failure.with_remedy("is another shoal-tracker running on it?");
        }
        failure
    })
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn state_failure(error: io::Error) -> Failure {
    Failure::new(ExitCode::Io, "--state", error.to_string())
        .with_remedy("give a folder that shoal-tracker may write")
}

/// Seconds since 1970, for what people and files are told.
fn wall_secs() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// What runs on the loop.
#[derive(Debug)]
struct TrackerService {
    registry: Registry,
    conns: Conns,
    infos: Infos,
    connection_ids: ConnectionIds,
    /// Whom peers are told to serve.
    policy: Policy,
    /// Whom the announce that was taken last names; kept for its memory.
    peers: PeerList,
    /// What members are to be told of newcomers.
    newcomers: Newcomers,
    /// Those of the push that went out last; kept for its memory.
    pushed: Vec<PushedMember>,
    /// The body of the last answer by HTTP; kept for its memory.
    body: Vec<u8>,
    folder: Option<Arc<KeptFolder>>,
    workers: Workers<StoreTask>,
    done: Vec<Done>,
    /// The version of the completions that are on disk, or on their way there.
    saved_version: (u64, u64),
    /// Whether the last saving came to its end.
    is_disk_well: bool,
    save_at: Option<Time>,
    expire_at: Time,
}

impl TrackerService {
    fn start(
        config: &TrackerConfig,
        folder: Option<Arc<KeptFolder>>,
        wake: Wake,
    ) -> io::Result<Self> {
        let seed = getrandom::u64().map_err(io::Error::other)?;
        let secs = |span: Duration| span.as_secs() as u32;
        let (shortest, longest) = config.interval;
        let registry = Registry::new(Config {
            interval_s: (secs(shortest), secs(longest)),
            named_max: config.numwant as usize,
            is_open: config.is_open,
            ..Config::new(seed)
        });
        Ok(Self {
            registry,
            conns: Conns::new(config.conns_per_ip_max),
            infos: Infos::default(),
            connection_ids: ConnectionIds::new()?,
            policy: config.policy,
            peers: PeerList::default(),
            newcomers: Newcomers::default(),
            pushed: Vec::new(),
            body: Vec::new(),
            folder,
            workers: Workers::start("helper", 1, JOBS_MAX, wake)?,
            done: Vec::new(),
            saved_version: (0, 0),
            is_disk_well: true,
            save_at: None,
            expire_at: Time::ZERO,
        })
    }

    /// Takes back what the state folder keeps.
    fn load(&mut self) -> io::Result<()> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        for content in store::load_contents(&folder, RESIDENT_BYTES_MAX)? {
            let (hash, at) = (content.facts.hash, content.registered_at);
            match self.registry.restore(content.facts, content.owners, at) {
                Ok(()) => self.infos.keep(hash, content.info, content.place),
                Err(refusal) => log::warn!("{hash} is skipped: {refusal}"),
            }
        }
        store::load_completions(&folder, |hash, completed| match completed {
            Completed::Native(completion) => self.registry.restore_completion(hash, completion),
            Completed::Foreign(count) => self.registry.restore_downloads(hash, count),
        });
        self.registry.expire_completions(wall_secs());
        self.saved_version = self.completions_version();
        Ok(())
    }

    /// Answers what came on a connection, in the language that is spoken there.
    fn feed(&mut self, now: Time, id: ConnId, input: &[u8]) {
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };
        let mut front = conn.lend_front(input);
        let goes_on = match &mut front {
            Front::Native(decoder) => self.feed_native(now, id, decoder, input),
            Front::Http {
                decoder,
                head_since,
            } => {
                let goes_on = self.feed_http(now, id, decoder, input);
                *head_since = head_since.filter(|_| decoder.is_inside());
                if decoder.is_inside() {
                    head_since.get_or_insert(now);
                }
                goes_on
            }
            Front::Unknown => true,
            Front::Lent => unreachable!("it was given back"),
        };
        if goes_on {
            self.conns.keep_front(id, front);
        }
    }

    /// Takes an announce that came over HTTP or UDP; whom to dial is in `peers` then.
    fn announce(
        &mut self,
        now: Time,
        announce: &Announce,
        source: IpAddr,
        families: Families,
    ) -> Result<Announced, Refusal> {
        let mut announced =
            self.registry
                .announce(now, announce, source, families, &mut self.peers)?;
        self.tell(now, std::mem::take(&mut announced.told));
        Ok(announced)
    }

    /// Has completions saved soon, if there are new ones.
    fn note_completions(&mut self, now: Time) {
        let version = self.completions_version();
        if version == self.saved_version || self.folder.is_none() {
            return;
        }
        let after = if version.0 == self.saved_version.0 {
            SAVE_DOWNLOADS_AFTER
        } else {
            SAVE_AFTER
        };
        let at = *self.save_at.get_or_insert(now + after);
        self.save_at = Some(if self.is_disk_well {
            at.min(now + after)
        } else {
            at
        });
    }

    /// Changes with the completions of native members, and with those of foreign ones.
    fn completions_version(&self) -> (u64, u64) {
        (
            self.registry.completions_version(),
            self.registry.downloads_version(),
        )
    }

    fn save_completions(&mut self, now: Time) {
        let version = self.completions_version();
        self.save_at = match self.submit(self.completions_job()) {
            Ok(()) => None,
            Err(_) => return self.save_at = Some(now + SAVE_AFTER),
        };
        self.saved_version = version;
    }

    fn completions_job(&self) -> Job {
        let native = self.registry.completions();
        let native = native.map(|(hash, completion)| (hash, Completed::Native(completion.clone())));
        let foreign = self.registry.downloads();
        let foreign = foreign.map(|(hash, count)| (hash, Completed::Foreign(count)));
        Job::SaveCompletions(native.chain(foreign).collect())
    }

    /// The completions were saved, or not.
    fn saved_completions(&mut self, now: Time, outcome: io::Result<()>) {
        self.is_disk_well = outcome.is_ok();
        if let Err(error) = outcome {
            log::error!("completions are not saved: {error}");
            self.save_at = Some(now + SAVE_AGAIN_AFTER);
        }
    }

    /// Lets the helper finish, and saves the completions. What a client registered and was not told of is kept as well.
    fn finish(self) -> io::Result<()> {
        let is_news = self.completions_version() != self.saved_version;
        let is_unsaved = self.folder.is_some() && (is_news || self.save_at.is_some());
        let job = is_unsaved.then(|| self.completions_job());
        self.workers.shutdown(Shutdown::Finish);
        let Some(job) = job else {
            return Ok(());
        };
        let folder = self.folder;
        match crate::storage::Task::run(StoreTask { folder, job }) {
            Done::SavedCompletions(outcome) => outcome,
            _ => Ok(()),
        }
    }
}

impl Service for TrackerService {
    fn opened(&mut self, now: Time, conn: ConnId, from: Origin) -> Admission {
        match from {
            Origin::Accepted { remote } if self.conns.open(conn, remote, now) => Admission::Accept,
            _ => Admission::Refuse,
        }
    }

    fn dial_failed(&mut self, _now: Time, _addr: SocketAddr, _tag: u64, _error: io::Error) {
        unreachable!("the tracker never dials");
    }

    fn received(&mut self, now: Time, conn: ConnId, bytes: &[u8]) -> Result<(), Closed> {
        self.conns.heard(conn, now);
        self.feed(now, conn, bytes);
        self.note_completions(now);
        Ok(())
    }

    fn refill(&mut self, _now: Time, conn: ConnId, out: &mut Outbox) {
        self.conns.refill(conn, out);
    }

    fn sent(&mut self, now: Time, conn: ConnId, count: usize) {
        if let Some(unread) = self.conns.sent(conn, count, now) {
            self.feed(now, conn, &unread);
            self.note_completions(now);
        }
    }

    fn foresee(&mut self, datagrams: &[&[u8]]) {
        let hashes = datagrams.iter().filter_map(|bytes| announced_hash(bytes));
        self.registry.foresee(hashes);
    }

    fn datagram(
        &mut self,
        now: Time,
        _local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        reply: &mut Vec<u8>,
    ) {
        self.take_datagram(now, from, bytes, reply);
        self.note_completions(now);
    }

    fn closed(&mut self, _now: Time, id: ConnId, why: Closed) {
        let Some(conn) = self.conns.remove(id) else {
            return;
        };
        log::debug!("{}: {why}", conn.remote);
        if let Some(assembly) = &conn.assembly {
            self.infos.release(assembly);
        }
        if let Some(client) = conn.client {
            self.registry.disconnect(client);
            self.tell_parts();
        }
    }

    fn completions(&mut self, now: Time) {
        let mut done = std::mem::take(&mut self.done);
        self.workers.take_done(&mut done);
        for done in done.drain(..) {
            self.handle_done(now, done);
        }
        self.done = done;
        self.note_completions(now);
    }

    fn signal(&mut self, _now: Time, signal: Signal) {
        log::info!("stopping: {signal:?}");
        self.conns.stop();
    }

    fn handle_timeout(&mut self, now: Time) {
        self.conns.handle_timeout(now);
        self.registry.handle_timeout(now);
        self.tell_counts(now);
        self.tell_newcomers(now);
        if self.expire_at <= now {
            self.expire_at = now + EXPIRE_EVERY;
            self.registry.expire_completions(wall_secs());
            self.note_completions(now);
        }
        if self.save_at.is_some_and(|at| at <= now) {
            self.save_completions(now);
        }
    }

    fn poll_timeout(&self) -> Option<Time> {
        let timers = [
            self.conns.next_deadline(),
            self.registry.poll_timeout(),
            self.newcomers.next_at(),
            self.save_at,
            Some(self.expire_at),
        ];
        timers.into_iter().flatten().min()
    }

    fn budget(&mut self, _: Time, conn: ConnId, direction: Direction) -> usize {
        match direction {
            Direction::In if self.conns.is_paused(conn) => 0,
            _ => usize::MAX,
        }
    }

    fn poll_command(&mut self) -> Option<Command> {
        self.conns.poll_command()
    }
}
