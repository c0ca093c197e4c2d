//! The service behind the loop: hands what happens to the conns, the tracker's client and the jobs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::announce::is_announce_dial;
use super::errand::Done;
use super::job::{Context, Job, refusal};
use super::refuser::Refuser;
use super::shell::{NO_JOB, Shell, TRACKER_DIAL};
use super::summary::summary;
use super::tracker_client::{CountsChanged, Event as TrackerEvent, Failure as TrackerFailure};
use super::transfer::{News, Transfer};
use super::wire_link::Links;
use crate::base::Time;
use crate::cli::{self, ExitCode, Failure, Summary};
use crate::reactor::{
    Admission, Closed, Command, ConnId, Direction, Origin, Outbox, Service, Signal,
};
use crate::swarm::Input;

/// How long an orderly end may take after the first signal.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);

/// Everything that runs in one `shoal-peer`.
pub(super) struct PeerService {
    shell: Shell,
    links: Links,
    refuser: Refuser,
    jobs: Vec<Job>,
    /// One for each job.
    transfers: Vec<Option<Transfer>>,
    done: Vec<Done>,
    progress_at: Option<Time>,
    /// The user has asked for the end, which comes by then.
    stop_at: Option<Time>,
    is_over: bool,
}

impl PeerService {
    pub(super) fn new(now: Time, shell: Shell, links: Links, jobs: Vec<Job>) -> Self {
        let transfers = jobs.iter().map(|_| None).collect();
        let progress_at = shell.reporter.progress_at(now);
        let mut service = Self {
            shell,
            links,
            refuser: Refuser::new(),
            jobs,
            transfers,
            done: Vec::new(),
            progress_at,
            stop_at: None,
            is_over: false,
        };
        service.each_job(now, Job::start);
        service.advance(now);
        service
    }

    /// Ends everything, and says how it went.
    pub(super) fn finish(self, now: Time) -> ExitCode {
        let summary = summary(&self.jobs, &self.transfers);
        self.shell.close(now, &summary)
    }

    fn with_job<T>(
        &mut self,
        now: Time,
        at: usize,
        call: impl FnOnce(&mut Job, &mut Context<'_>) -> T,
    ) -> T {
        let mut cx = Context {
            now,
            job: at,
            shell: &mut self.shell,
            links: &mut self.links,
            transfer: &mut self.transfers[at],
        };
        call(&mut self.jobs[at], &mut cx)
    }

    fn each_job(&mut self, now: Time, mut call: impl FnMut(&mut Job, &mut Context<'_>)) {
        for at in 0..self.jobs.len() {
            self.with_job(now, at, &mut call);
        }
    }

    /// Lets a swarm's outputs take effect, and its news reach its job.
    fn drain(&mut self, now: Time, at: usize) {
        if let Some(info) = self.links.drain_search(at, &mut self.shell) {
            self.with_job(now, at, |job, cx| job.found_info(cx, &info));
        }
        loop {
            let Some(transfer) = &mut self.transfers[at] else {
                return;
            };
            transfer.drain(now, &mut self.shell, &mut self.links);
            if transfer.news.is_empty() {
                return;
            }
            for news in std::mem::take(&mut transfer.news) {
                if matches!(news, News::Complete) {
                    self.shell.announces.complete(now, at);
                }
                self.with_job(now, at, |job, cx| job.news(cx, news));
            }
        }
    }

    /// Takes the steps that are due: towards the tracker, and to the end.
    fn advance(&mut self, now: Time) {
        let step = self.shell.tracker.poll(now);
        self.shell.step(step);
        while let Some(event) = self.shell.tracker.client.poll_event() {
            self.tracker_event(now, event);
        }
        for at in 0..self.jobs.len() {
            if self.jobs[at].is_over() {
                self.shell.announces.stop(now, at);
            }
            self.drain(now, at);
        }
        self.hand_out_found(now);
        let is_needed = self.jobs.iter().any(Job::needs_tracker);
        if self.shell.tracker.is_hopeless(is_needed) && !self.is_over {
            self.give_up_tracker(now);
        }
        if self.shell.tracker.is_newly_absent() {
            self.go_without_tracker(now);
        }
        let is_over = self.jobs.iter().all(Job::is_over) && self.shell.announces.is_over();
        if is_over && !self.is_over {
            self.end();
        }
        self.shell.touch_tracker();
        self.shell.show_log(now);
    }

    /// Gives the peers that other trackers named to whoever asked for them.
    fn hand_out_found(&mut self, now: Time) {
        while let Some((at, peers)) = self.shell.poll_found() {
            match &mut self.transfers[at] {
                Some(transfer) => {
                    transfer.found(now, &peers);
                    self.drain(now, at);
                }
                None => self.with_job(now, at, |job, cx| job.found_peers(cx, &peers)),
            }
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.shell.commands.push_back(Command::Stop);
    }

    /// The tracker was never there.
    fn give_up_tracker(&mut self, now: Time) {
        let failure = self.no_tracker();
        self.give_up(now, &failure);
    }

    /// The tracker was never there, and is not needed.
    fn go_without_tracker(&mut self, now: Time) {
        let why = self.no_tracker().why;
        let text = format!("{why}; going on without it");
        self.shell.tell(now, cli::Event::Warning(text));
        self.each_job(now, |job, cx| {
            if !job.is_over() {
                job.without_tracker(cx);
            }
        });
    }

    fn no_tracker(&self) -> Failure {
        let tracker = &self.shell.tracker;
        let error = tracker
            .last_error
            .as_ref()
            .map_or_else(String::new, |error| error.to_string().to_lowercase());
        let host = tracker.addr.as_ref().map_or("", |addr| &addr.host);
        let (code, why, remedy) = if tracker.unresolved {
            (
                ExitCode::NameResolution,
                format!("no such host: {host}: {error}"),
                "check the name in -t or SHOAL_TRACKER",
            )
        } else {
            (
                ExitCode::Network,
                format!("no tracker at {}: {error}", tracker.name()),
                "is shoal-tracker running? set -t or SHOAL_TRACKER",
            )
        };
        let what = self.jobs.first().map_or_else(String::new, Job::what);
        Failure::new(code, what, why).with_remedy(remedy)
    }

    /// Without a tracker there is nothing to do.
    fn give_up(&mut self, now: Time, failure: &Failure) {
        self.shell.fail(now, None, failure);
        self.jobs.iter().for_each(Job::abandon);
        self.end();
    }

    fn tracker_event(&mut self, now: Time, event: TrackerEvent) {
        match event {
            TrackerEvent::Ready(reply) => {
                self.shell
                    .tracker
                    .ready(Duration::from_millis(u64::from(reply.batch_ms)));
                self.shell.told_policy(reply.policy);
                for transfer in self.transfers.iter_mut().flatten() {
                    transfer.swarm.set_policy(now, self.shell.policy());
                }
                self.each_job(now, |job, cx| {
                    if !job.is_over() {
                        job.ready(cx);
                    }
                });
            }
            TrackerEvent::Refused {
                code,
                retry_ms,
                text,
            } => {
                self.close_tracker("the tracker refused us");
                // Whoever is asked to come again, or was welcome before, tries again.
                if retry_ms == 0 && !self.shell.tracker.was_ready && !self.is_over {
                    let why = TrackerFailure::Refused {
                        code,
                        retry_ms,
                        text,
                    };
                    let what = self.jobs.first().map_or_else(String::new, Job::what);
                    self.give_up(now, &refusal(&what, &why));
                }
            }
            TrackerEvent::Silent => self.close_tracker("the tracker is silent"),
            TrackerEvent::Reply { token, reply } => {
                let (at, tag) = ((token >> 8) as usize, token as u8);
                self.with_job(now, at, |job, cx| job.replied(cx, tag, &reply));
            }
            TrackerEvent::Failed { token, why } => {
                let (at, tag) = ((token >> 8) as usize, token as u8);
                log::debug!("request {tag} of job {at} failed: {why}");
                self.with_job(now, at, |job, cx| job.refused(cx, tag, &why));
            }
            TrackerEvent::PeersChanged { slot, members } => {
                for transfer in self
                    .transfers
                    .iter_mut()
                    .flatten()
                    .filter(|t| t.is_member(slot))
                {
                    transfer.members_changed(now, self.shell.id, &members);
                }
            }
            TrackerEvent::CountsChanged(changed) => self.counts_changed(now, &changed),
            TrackerEvent::Removed { slot } => {
                let member = |transfer: &Option<Transfer>| {
                    transfer.as_ref().is_some_and(|t| t.is_member(slot))
                };
                if let Some(at) = self.transfers.iter().position(member) {
                    if let Some(transfer) = &mut self.transfers[at] {
                        transfer.removed = true;
                        transfer.lost_tracker();
                    }
                    self.with_job(now, at, Job::removed);
                }
            }
        }
    }

    /// The tracker told how the numbers of copies changed.
    fn counts_changed(&mut self, now: Time, changed: &CountsChanged) {
        let mut transfers = self.transfers.iter_mut().flatten();
        if let Some(transfer) = transfers.find(|t| t.is_member(changed.slot)) {
            let input = Input::CountsChanged {
                base: changed.base,
                version: changed.version,
                deltas: &changed.deltas,
            };
            transfer.swarm.handle_input(now, input);
        }
    }

    /// The user does not want to wait for an orderly end: whatever is not on disk is lost.
    fn exit_now(&mut self, now: Time, code: ExitCode) -> ! {
        let what = self.jobs.first().map_or_else(String::new, Job::what);
        let failure = Failure::new(code, what, "stopped at once by a second signal");
        self.shell.fail(now, None, &failure);
        let summary = summary(&self.jobs, &self.transfers);
        self.shell.say_last(now, &summary);
        std::process::exit(i32::from(code.number()));
    }

    fn close_tracker(&mut self, why: &'static str) {
        if let Some(conn) = self.shell.tracker.conn {
            self.shell
                .commands
                .push_back(Command::Close(conn, Closed::Local(why)));
        }
    }

    fn done(&mut self, now: Time, done: Done) {
        if done.job == NO_JOB {
            return self.shell.resolved(now, done.result);
        }
        let at = done.job;
        let outcome = match &mut self.transfers[at] {
            Some(transfer) => transfer.worked(now, done.result),
            None => done.result,
        };
        self.with_job(now, at, |job, cx| job.done(cx, outcome));
    }

    fn progress(&mut self, now: Time) {
        if self.progress_at.is_none_or(|at| at > now) {
            return;
        }
        self.each_job(now, |job, cx| {
            if !job.is_over() {
                job.progress(cx);
            }
        });
        self.progress_at = self.shell.reporter.progress_at(now);
    }

    /// Something happens: how things stand is told again.
    fn stir(&mut self, now: Time) {
        if self.progress_at.is_none() {
            let interval = self.shell.reporter.progress_interval();
            self.progress_at = interval.map(|interval| now + interval);
        }
    }
}

impl Service for PeerService {
    fn opened(&mut self, now: Time, conn: ConnId, from: Origin) -> Admission {
        self.stir(now);
        let (remote, dial) = match from {
            Origin::Dialled {
                tag: TRACKER_DIAL, ..
            } => {
                self.shell.tracker.connected(now, conn);
                self.shell.touch_tracker();
                return Admission::Accept;
            }
            Origin::Dialled { tag, .. } if is_announce_dial(tag) => {
                return self.shell.announces.opened(now, conn, tag);
            }
            Origin::Dialled { remote, tag, .. } => match self.links.end_dial(tag) {
                Some(dial) => (remote, Some(dial)),
                None => return Admission::Refuse,
            },
            Origin::Accepted { remote } => (remote, None),
        };
        if self
            .links
            .opened(now, conn, remote, dial, &self.transfers, &mut self.shell)
        {
            Admission::Accept
        } else {
            Admission::Refuse
        }
    }

    fn dial_failed(&mut self, now: Time, addr: SocketAddr, tag: u64, error: io::Error) {
        if tag == TRACKER_DIAL {
            log::debug!("tracker {addr}: {error}");
            let step = self.shell.tracker.dial_failed(now, error);
            self.shell.step(step);
            return self.advance(now);
        }
        if is_announce_dial(tag) {
            self.shell.announces.dial_failed(now, tag, &error);
            return self.advance(now);
        }
        let Some(dial) = self.links.end_dial(tag) else {
            return;
        };
        log::debug!("{addr}: {error}");
        self.links.dial_failed(now, dial, &mut self.transfers);
        self.drain(now, dial.job);
    }

    fn landing(&mut self, conn: ConnId) -> Option<&mut [u8]> {
        self.links.landing(conn, &mut self.transfers)
    }

    fn landed(&mut self, now: Time, conn: ConnId, count: usize) -> Result<(), Closed> {
        if let Some(at) = self.links.landed(now, conn, count, &mut self.transfers) {
            self.drain(now, at);
        }
        Ok(())
    }

    fn received(&mut self, now: Time, conn: ConnId, bytes: &[u8]) -> Result<(), Closed> {
        if self.shell.tracker.conn == Some(conn) {
            let read = self.shell.tracker.client.received(now, bytes);
            self.advance(now);
            return read.map_err(|error| Closed::Fault(error.reason()));
        }
        if self.shell.announces.received(now, conn, bytes) {
            self.advance(now);
            return Ok(());
        }
        let received = self
            .links
            .received(now, conn, bytes, &mut self.transfers, &mut self.shell);
        if let Ok(Some(at)) = received {
            self.drain(now, at);
        }
        received.map(|_| ())
    }

    fn refill(&mut self, now: Time, conn: ConnId, out: &mut Outbox) {
        if self.shell.tracker.conn == Some(conn) {
            let mut frames = Vec::new();
            while out.wants_bulk() && self.shell.tracker.client.has_output() {
                self.shell.tracker.client.fill(now, &mut frames);
                out.control(&frames);
                frames.clear();
            }
            return;
        }
        if self.shell.announces.refill(conn, out) {
            return;
        }
        self.stir(now);
        self.links
            .refill(now, conn, out, &mut self.transfers, &mut self.shell);
    }

    fn closed(&mut self, now: Time, conn: ConnId, why: Closed) {
        if self.shell.tracker.conn == Some(conn) {
            if !self.is_over {
                log::info!("tracker {}: {why}", self.shell.tracker.name());
            }
            let error = match why {
                Closed::Failed(error) => error,
                other => io::Error::other(other.to_string()),
            };
            self.shell.tracker.disconnected(now, error);
            for transfer in self.transfers.iter_mut().flatten() {
                transfer.lost_tracker();
            }
            return self.advance(now);
        }
        if self.shell.announces.closed(now, conn, &why) {
            return self.advance(now);
        }
        self.stir(now);
        if let Some(at) = self.links.closed(now, conn, &why, &mut self.transfers) {
            self.drain(now, at);
        }
    }

    fn datagram(
        &mut self,
        now: Time,
        local: SocketAddr,
        from: SocketAddr,
        bytes: &[u8],
        reply: &mut Vec<u8>,
    ) {
        // What trackers answer comes to the sockets that ask them, which have no port of their own choice.
        if local.port() != 0 {
            return self.refuser.datagram(now, bytes, reply);
        }
        self.shell.announces.datagram(now, from, bytes);
        self.advance(now);
    }

    fn completions(&mut self, now: Time) {
        let mut done = std::mem::take(&mut self.done);
        self.shell.take_done(&mut done);
        for done in done.drain(..) {
            self.done(now, done);
        }
        self.done = done;
        self.advance(now);
    }

    fn signal(&mut self, now: Time, signal: Signal) {
        if self.stop_at.is_some() {
            let code = match signal {
                Signal::Interrupt => ExitCode::Interrupted,
                Signal::Terminate => ExitCode::Terminated,
            };
            self.exit_now(now, code);
        }
        self.stop_at = Some(now + STOP_TIME_MAX);
        self.each_job(now, Job::stop);
        self.advance(now);
    }

    fn handle_timeout(&mut self, now: Time) {
        self.shell.tracker.client.handle_timeout(now);
        self.links.expire(now, &mut self.transfers, &mut self.shell);
        for transfer in self.transfers.iter_mut().flatten() {
            transfer.handle_timeout(now, &mut self.shell);
        }
        self.shell.announces.handle_timeout(now, &self.transfers);
        self.each_job(now, |job, cx| {
            if !job.is_over() {
                job.handle_timeout(cx);
            }
        });
        self.progress(now);
        if self.shell.is_output_closed() && self.stop_at.is_none() {
            self.shell.reporter.hush();
            self.signal(now, Signal::Terminate);
        }
        if self.stop_at.is_some_and(|at| at <= now) && !self.is_over {
            self.end();
        }
        self.advance(now);
    }

    fn poll_timeout(&self) -> Option<Time> {
        let swarms = self
            .transfers
            .iter()
            .flatten()
            .filter_map(Transfer::poll_timeout)
            .min();
        let jobs = self
            .jobs
            .iter()
            .filter(|job| !job.is_over())
            .filter_map(Job::poll_timeout)
            .min();
        let stop = self.stop_at.filter(|_| !self.is_over);
        [
            swarms,
            jobs,
            stop,
            self.progress_at,
            self.links.poll_timeout(),
            self.shell.tracker.poll_timeout(),
            self.shell.announces.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn budget(&mut self, now: Time, conn: ConnId, direction: Direction) -> usize {
        self.links.budget(now, conn, direction, &mut self.transfers)
    }

    fn poll_command(&mut self) -> Option<Command> {
        self.shell.commands.pop_front()
    }
}

/// Where output goes when nothing could be started: one line, and in JSON the summary as well.
pub(super) fn report_only(reporter: &mut cli::Reporter, now: Time, failure: &Failure) -> ExitCode {
    reporter.fail(now, None, failure);
    reporter.finish(now, &Summary::Plain)
}
