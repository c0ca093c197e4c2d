//! What every command works with: the workers, the tracker, the reporter, and commands for the loop.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::announce::Desk;
use super::errand::{Done, Errand, Hashing, Outcome, Work};
use super::tracker_link::{Step, TrackerLink};
use super::{OwnedReply, OwnedRequest};
use crate::base::{BufferPool, PeerId, Rng, Time};
use crate::cli::{self, Event, ExitCode, Failure, Reporter};
use crate::reactor::{Command, ConnId, Signals};
use crate::storage::{LineWriter, Shutdown, Stream, Wake, Workers};
use crate::swarm::{Config, Policy};

/// The tag of a dial to the tracker; the dials to peers count up from 0.
pub(super) const TRACKER_DIAL: u64 = u64::MAX;
/// The job of errands that belong to none.
pub(super) const NO_JOB: usize = usize::MAX;
/// The number of the native tracker's name among those that are resolved.
const TRACKER_NAME: u64 = 0;

/// A dial to a peer: whose it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial {
    pub job: usize,
    pub addr: SocketAddr,
}

/// The shared means of all jobs.
pub(super) struct Shell {
    pub commands: VecDeque<Command>,
    workers: Workers<Errand>,
    /// Errands that found the queue full.
    backlog: VecDeque<Errand>,
    /// Hashing errands that wait until another one ends.
    hash_backlog: VecDeque<Errand>,
    /// Hashing errands under way, at most `hashing_max`.
    hashing: usize,
    hashing_max: usize,
    pub tracker: TrackerLink,
    /// What announces to other trackers.
    pub announces: Desk,
    pub reporter: Reporter,
    writer: LineWriter,
    /// What the writer had no room for.
    unwritten: VecDeque<cli::Output>,
    pub pool: BufferPool,
    pub rng: Rng,
    pub id: PeerId,
    /// Whom the user wants served.
    pub policy_wanted: Option<Policy>,
    /// Whom the tracker wants served; after a restart that may be others.
    policy_told: Policy,
    /// Contents that share the pool.
    pub content_count: usize,
}

impl Shell {
    /// `hashing_max`: fewer than there are workers, so that hashing, which keeps a worker for as long as the content is
    /// long, leaves one for uploads, names and records.
    pub(super) fn new(
        workers: Workers<Errand>,
        hashing_max: usize,
        tracker: TrackerLink,
        reporter: Reporter,
        writer: LineWriter,
        own: (PeerId, u16, Rng),
    ) -> Self {
        let (id, port, mut rng) = own;
        let announces = Desk::new(id, port, Rng::new(rng.next_u64()));
        Self {
            commands: VecDeque::new(),
            workers,
            backlog: VecDeque::new(),
            hash_backlog: VecDeque::new(),
            hashing: 0,
            hashing_max,
            tracker,
            announces,
            reporter,
            writer,
            unwritten: VecDeque::new(),
            pool: BufferPool::new(BUFFER_BYTES_MAX),
            rng,
            id,
            policy_wanted: None,
            policy_told: Policy::Fleet,
            content_count: 1,
        }
    }

    /// The tracker said whom peers are to serve.
    pub(super) fn told_policy(&mut self, policy: Policy) {
        self.policy_told = policy;
        let by = match self.policy_wanted {
            Some(_) => "--policy",
            None => "the tracker",
        };
        let name = match self.policy() {
            Policy::Fleet => "fleet",
            Policy::Fair => "fair",
        };
        log::info!("serving by the policy {name}, as {by} says");
    }

    /// Whom to serve: as the user wants it, else as the tracker says, else as a fleet.
    pub(super) fn policy(&self) -> Policy {
        self.policy_wanted.unwrap_or(self.policy_told)
    }

    /// What a swarm may use: its share of the pool, of which several contents leave one another enough to go on.
    pub(super) fn swarm_config(&self) -> Config {
        let mut config = Config::new(self.id, 0, self.pool.clone());
        let share = |bytes: usize, least: usize| (bytes / self.content_count).max(least);
        config.arriving_bytes_max = share(config.arriving_bytes_max, ARRIVING_BYTES_MIN);
        config.cache_bytes_max = share(config.cache_bytes_max, CACHE_BYTES_MIN);
        config.policy = self.policy();
        config.notes = log::log_enabled!(log::Level::Trace);
        config
    }

    /// Gives work to the workers; what finds the queue full goes when there is room.
    pub(super) fn submit(&mut self, job: usize, work: Work) {
        let errand = Errand { job, work };
        if matches!(errand.work, Work::Hash(_)) {
            if self.hashing == self.hashing_max {
                return self.hash_backlog.push_back(errand);
            }
            self.hashing += 1;
        }
        if let Err(errand) = self.workers.submit(errand) {
            self.backlog.push_back(errand);
        }
    }

    /// Has as many workers hash a content as may.
    pub(super) fn submit_hashing(&mut self, job: usize, hashing: &Hashing) {
        for _ in 0..self.hashing_max {
            self.submit(job, Work::Hash(hashing.clone()));
        }
    }

    /// What another thread calls to be looked after.
    pub(super) fn wake(&self) -> Wake {
        self.workers.wake()
    }

    /// The reader of what a command was to write is gone: nothing more is said.
    pub(super) fn hush(&mut self) {
        self.reporter.hush();
    }

    /// Takes what the workers have done.
    pub(super) fn take_done(&mut self, done: &mut Vec<Done>) {
        let before = done.len();
        self.workers.take_done(done);
        let is_hashed = |done: &&Done| matches!(done.result, Outcome::Hashed(_));
        self.hashing -= done[before..].iter().filter(is_hashed).count();
        while let Some(errand) = self.backlog.pop_front() {
            if let Err(errand) = self.workers.submit(errand) {
                self.backlog.push_front(errand);
                break;
            }
        }
        while self.hashing < self.hashing_max
            && let Some(errand) = self.hash_backlog.pop_front()
        {
            self.submit(errand.job, errand.work);
        }
    }

    /// Asks the tracker; the reply comes to `job` with `tag`.
    pub(super) fn ask(&mut self, job: usize, tag: u8, request: OwnedRequest) {
        self.tracker
            .client
            .request((job as u64) << 8 | u64::from(tag), request);
        self.touch_tracker();
    }

    /// The tracker's conn may have something to send.
    pub(super) fn touch_tracker(&mut self) {
        if let Some(conn) = self
            .tracker
            .conn
            .filter(|_| self.tracker.client.has_output())
        {
            self.commands.push_back(Command::Dirty(conn));
        }
    }

    /// Marks a conn as having output.
    pub(super) fn touch(&mut self, conn: ConnId) {
        self.commands.push_back(Command::Dirty(conn));
    }

    /// Does the next step towards the tracker.
    pub(super) fn step(&mut self, step: Option<Step>) {
        let Some(step) = step else { return };
        match step {
            Step::Resolve { host, port } => {
                let number = TRACKER_NAME;
                self.submit(NO_JOB, Work::Resolve { host, port, number });
            }
            Step::Dial(addr) => {
                self.commands.push_back(Command::Connect {
                    addr,
                    tag: TRACKER_DIAL,
                });
            }
        }
    }

    /// A name was resolved, or not: gives it to whoever asked.
    pub(super) fn resolved(&mut self, now: Time, outcome: Outcome) {
        match outcome {
            Outcome::Resolved { number, result } if number == TRACKER_NAME => {
                let step = self.tracker.resolved(now, result);
                self.step(step);
            }
            Outcome::Resolved { number, result } => self.announces.resolved(now, number, result),
            _ => {}
        }
    }

    /// Tells the user.
    pub(super) fn tell(&mut self, now: Time, event: Event) {
        self.reporter.handle_event(now, event);
        self.write();
    }

    /// Tells the user of a failure, of one job or of everything.
    pub(super) fn fail(&mut self, now: Time, job: Option<usize>, failure: &Failure) {
        self.reporter.fail(now, job, failure);
        self.write();
    }

    /// Shows what was logged.
    pub(super) fn show_log(&mut self, now: Time) {
        self.reporter.show_log(now);
        self.write();
    }

    /// Hands what the reporter has to the writer; what finds no room there waits, unless it is progress.
    pub(super) fn write(&mut self) {
        while let Some(output) = self.reporter.poll_output() {
            if !output.droppable {
                self.unwritten.push_back(output);
            } else if self.unwritten.is_empty() {
                self.writer
                    .send_droppable(stream_of(output.stream), output.bytes);
            }
        }
        while let Some(mut output) = self.unwritten.pop_front() {
            if let Err(bytes) = self.writer.send(stream_of(output.stream), output.bytes) {
                output.bytes = bytes;
                return self.unwritten.push_front(output);
            }
        }
    }

    /// Whether the reader of stdout is gone.
    pub(super) fn is_output_closed(&self) -> bool {
        self.writer.is_out_closed()
    }

    /// Says the summary, and waits a moment for whoever reads it. Whether all is written.
    pub(super) fn say_last(&mut self, now: Time, summary: &cli::Summary) -> bool {
        self.reporter.show_log(now);
        self.reporter.finish(now, summary);
        self.write();
        self.writer.wait_until_written(LAST_WORDS_TIME_MAX) && self.unwritten.is_empty()
    }

    /// Ends everything in an orderly way: the summary, the workers, the writer. May wait: for a disk, and for whoever reads
    /// what is written; then a signal ends the program.
    pub(super) fn close(mut self, now: Time, summary: &cli::Summary) -> ExitCode {
        if !self.say_last(now, summary) {
            // Nothing reads them any more, and the default is what is wanted now.
            let _ = Signals::unblock();
        }
        let code = self.reporter.finish(now, summary);
        while !self.unwritten.is_empty() {
            self.writer.wait_for_room();
            self.write();
        }
        let _ = self.workers.shutdown(Shutdown::HandBack);
        match self.writer.finish() {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                // The writer is gone, and a script that gets no data must learn why.
                eprintln!("shoal-peer: stdout: {error} (check where the output goes)");
                if code.is_ok() { ExitCode::Io } else { code }
            }
            _ => code,
        }
    }
}

/// Writes what the reporter has, all of it at once.
pub(super) fn write_out(reporter: &mut Reporter, writer: &LineWriter) {
    while let Some(output) = reporter.poll_output() {
        let _ = writer.send(stream_of(output.stream), output.bytes);
    }
}

fn stream_of(stream: cli::Stream) -> Stream {
    match stream {
        cli::Stream::Stdout => Stream::Out,
        cli::Stream::Stderr => Stream::Err,
    }
}

/// How long the end waits for a reader before a signal may cut it short.
const LAST_WORDS_TIME_MAX: Duration = Duration::from_millis(500);

/// Least shares of the pool for one of many contents; the pool's own cap holds whatever their sum is.
const ARRIVING_BYTES_MIN: usize = 4 << 20;
const CACHE_BYTES_MIN: usize = 1 << 20;

/// Most bytes in arriving pieces, checked pieces and upload caches together.
const BUFFER_BYTES_MAX: usize = 64 << 20;

/// A reply that is not the one that belongs to the request.
pub(super) fn unexpected(what: &str, reply: &OwnedReply) -> Failure {
    let why = format!(
        "the tracker gave an answer of another kind ({:#04x})",
        reply.kind()
    );
    Failure::new(ExitCode::Other, what, why)
}
