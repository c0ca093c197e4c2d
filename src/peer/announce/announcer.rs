//! The machine that announces one content: whom it asks when, and what it makes of the answers.
//!
//! Invariants:
//! 1. One tracker at a time is asked, except on leaving, when all that know us are told at once.
//! 2. Of everything that was asked for, only the outcome of the last ask of a tracker counts.
//! 3. A tracker that answered `started` while something was missing hears `completed` until it answers that, and never
//!    again; one that heard `started` hears `stopped`.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::http::HttpAttempt;
use super::standing::Standing;
use super::tiers::Tiers;
use super::udp::{Connection, UdpAttempt};
use super::{Ask, Ended, Identity, Means, Output, Totals, Trouble, WANT};
use crate::base::{Escaped, InfoHash, Rng, Scope, Time, canonical, dialable};
use crate::wire::announce::{Announce, AnnounceEvent};
use crate::wire::http::reply::{AnnounceReply, Retry};
use crate::wire::url::TrackerUrl;

/// How long leaving may take, and how much of that what is to be said before.
const STOP_TIME_MAX: Duration = Duration::from_secs(2);
const LAST_NEWS_TIME_MAX: Duration = Duration::from_secs(1);
/// What is missing, for trackers, while that is not known: something (libtorrent says the same).
const LEFT_UNKNOWN: u64 = 16 << 10;
/// Peers that are taken from one answer.
const PEERS_MAX: usize = 200;
/// Characters of a tracker's text that are kept and shown.
const TEXT_CHARS_MAX: usize = 200;

/// See the module.
#[derive(Debug)]
pub(super) struct Announcer {
    identity: Identity,
    info_hash: InfoHash,
    totals: Totals,
    is_complete: bool,
    trackers: Vec<Tracker>,
    tiers: Tiers,
    /// Until when leaving may take, once it was begun.
    stop_by: Option<Time>,
    /// Until when trackers may still be told something else first.
    news_by: Option<Time>,
    external_ip: Option<IpAddr>,
    rng: Rng,
    serial: u32,
    outputs: VecDeque<Output>,
}

#[derive(Debug)]
struct Tracker {
    url: TrackerUrl,
    standing: Standing,
    attempt: Option<Attempt>,
    /// Where it was last heard over HTTP, and with what over UDP.
    addr: Option<SocketAddr>,
    connection: Option<Connection>,
}

#[derive(Debug)]
enum Attempt {
    Http(Box<HttpAttempt>),
    Udp(Box<UdpAttempt>),
}

impl Attempt {
    fn ask(&self) -> Ask {
        match self {
            Self::Http(http) => http.ask,
            Self::Udp(udp) => udp.ask,
        }
    }

    fn announce(&self) -> &Announce {
        match self {
            Self::Http(http) => &http.announce,
            Self::Udp(udp) => &udp.announce,
        }
    }

    fn is_sent(&self) -> bool {
        match self {
            Self::Http(http) => http.is_sent,
            Self::Udp(udp) => udp.is_sent,
        }
    }

    fn due_at(&self) -> Time {
        match self {
            Self::Http(http) => http.due_at,
            Self::Udp(udp) => udp.due_at,
        }
    }
}

impl Announcer {
    /// A machine that announces at once to what `tiers`, as a torrent has them, name.
    pub(super) fn new(
        now: Time,
        identity: Identity,
        info_hash: InfoHash,
        tiers: &[Vec<String>],
        totals: Totals,
        mut rng: Rng,
    ) -> Self {
        let read = Tiers::read(tiers, &mut rng);
        let tracker = |url| Tracker {
            url,
            standing: Standing::new(now),
            attempt: None,
            addr: None,
            connection: None,
        };
        Self {
            identity,
            info_hash,
            totals,
            is_complete: totals.left == Some(0),
            trackers: read.urls.into_iter().map(tracker).collect(),
            tiers: read.tiers,
            stop_by: None,
            news_by: None,
            external_ip: None,
            rng,
            serial: 0,
            outputs: read.warning.map(Output::Warn).into_iter().collect(),
        }
    }

    /// How far the transfer is by now.
    pub(super) fn set_totals(&mut self, totals: Totals) {
        if !self.is_complete && self.totals.left.is_none() && totals.left == Some(0) {
            // Everything lay here already when the content became known.
            self.is_complete = true;
            for tracker in &mut self.trackers {
                tracker.standing.was_complete();
            }
        }
        self.totals = totals;
    }

    /// The last piece is verified.
    pub(super) fn complete(&mut self, now: Time) {
        if !std::mem::replace(&mut self.is_complete, true) {
            for tracker in &mut self.trackers {
                tracker.standing.complete(now);
            }
        }
    }

    /// The swarm has fewer peers than it could use.
    pub(super) fn lack_peers(&mut self) {
        for tracker in &mut self.trackers {
            tracker.standing.lack_peers();
        }
    }

    /// Leaves: every tracker that knows us is told, and before that whether we have completed the content.
    pub(super) fn stop(&mut self, now: Time) {
        if self.stop_by.is_some() {
            return;
        }
        self.stop_by = Some(now + STOP_TIME_MAX);
        self.news_by = Some(now + LAST_NEWS_TIME_MAX);
        let is_complete = self.is_complete;
        // What is on its way to a tracker may be all that it ever hears of our completion.
        let is_news = |attempt: &Attempt| {
            is_complete
                && (attempt.is_sent() || attempt.announce().event == AnnounceEvent::Completed)
        };
        for at in 0..self.trackers.len() {
            if !self.trackers[at].attempt.as_ref().is_some_and(is_news) {
                self.cancel(at);
                self.take_leave(now, at, true);
            }
        }
    }

    /// Takes leave of one tracker, or says first, `with_news`, what it has yet to hear.
    fn take_leave(&mut self, now: Time, at: usize, with_news: bool) {
        let standing = &self.trackers[at].standing;
        if !standing.is_told || standing.is_done {
            return;
        }
        let event = match standing.event(self.is_complete) {
            AnnounceEvent::Completed if with_news => AnnounceEvent::Completed,
            _ => AnnounceEvent::Stopped,
        };
        self.begin(now, at, event);
    }

    /// There is no time for other news any more.
    fn hurry(&mut self, now: Time) {
        for at in 0..self.trackers.len() {
            let is_news = |attempt: &Attempt| attempt.announce().event != AnnounceEvent::Stopped;
            if self.trackers[at].attempt.as_ref().is_some_and(is_news) {
                self.cancel(at);
                self.take_leave(now, at, false);
            }
        }
    }

    /// Trackers that are being asked.
    #[cfg(test)]
    pub(super) fn busy_count(&self) -> usize {
        self.trackers.iter().filter(|t| t.attempt.is_some()).count()
    }

    /// Whether it has left, as far as it could.
    pub(super) fn is_over(&self) -> bool {
        self.stop_by.is_some()
            && self
                .trackers
                .iter()
                .all(|tracker| tracker.attempt.is_none())
    }

    /// The next thing to do.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Announcer::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        if !self.outputs.is_empty() {
            return Some(Time::ZERO);
        }
        let attempts = self.trackers.iter().filter_map(|t| t.attempt.as_ref());
        let attempt = attempts.map(Attempt::due_at).min();
        match (attempt, self.stop_by) {
            (None, None) => self.next_round(),
            (None, Some(_)) => None,
            (due, stop_by) => [due, stop_by, self.news_by].into_iter().flatten().min(),
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Time) {
        for at in 0..self.trackers.len() {
            let is_due = |attempt: &Attempt| attempt.due_at() <= now;
            if self.trackers[at].attempt.as_ref().is_some_and(is_due) {
                let has_others = self
                    .others(at)
                    .any(|tracker| tracker.standing.next_at <= now);
                self.drive(now, at, |attempt, means| match attempt {
                    Attempt::Http(http) => Some(http.timed_out()),
                    Attempt::Udp(udp) => udp.timed_out(means, has_others),
                });
            }
        }
        if self.news_by.take_if(|by| *by <= now).is_some() {
            self.hurry(now);
        }
        if self.stop_by.is_some_and(|by| by <= now) {
            (0..self.trackers.len()).for_each(|at| self.cancel(at));
        }
        self.begin_round(now);
    }

    /// The trackers that could be asked instead of this one.
    fn others(&self, at: usize) -> impl Iterator<Item = &Tracker> {
        let others = self.trackers.iter().enumerate();
        others
            .filter(move |(other, tracker)| *other != at && !tracker.standing.is_done)
            .map(|(_, tracker)| tracker)
    }

    /// The trackers that may be asked next, in order: up to the first that works.
    fn candidates(&self) -> impl Iterator<Item = usize> + '_ {
        let mut is_served = false;
        self.tiers
            .iter()
            .filter(|&at| !self.trackers[at].standing.is_done)
            .take_while(move |&at| {
                let behind = is_served;
                is_served = self.trackers[at].standing.works;
                !behind
            })
    }

    fn next_round(&self) -> Option<Time> {
        self.candidates()
            .map(|at| self.trackers[at].standing.next_at)
            .min()
    }

    /// Asks the first tracker that is due, unless one is being asked.
    fn begin_round(&mut self, now: Time) {
        let is_busy = self.trackers.iter().any(|t| t.attempt.is_some());
        if is_busy || self.stop_by.is_some() {
            return;
        }
        let due = |&at: &usize| self.trackers[at].standing.next_at <= now;
        let next = self.candidates().find(due);
        if let Some(at) = next {
            let event = self.trackers[at].standing.event(self.is_complete);
            self.begin(now, at, event);
        }
    }

    fn begin(&mut self, now: Time, at: usize, event: AnnounceEvent) {
        let is_leaving = self.stop_by.is_some();
        let left = match self.is_complete {
            true => 0,
            false => self.totals.left.unwrap_or(LEFT_UNKNOWN),
        };
        let announce = Announce {
            info_hash: self.info_hash,
            peer_id: self.identity.id,
            port: self.identity.port,
            uploaded: self.totals.uploaded,
            downloaded: self.totals.downloaded,
            left,
            event,
            want: Some(if is_leaving { 0 } else { WANT }),
            key: self.identity.key,
            ip: None,
        };
        let mut means = Means {
            now,
            tracker: at,
            serial: &mut self.serial,
            outputs: &mut self.outputs,
            rng: &mut self.rng,
        };
        let tracker = &mut self.trackers[at];
        log::debug!("tracker {}: announcing, {event:?}", tracker.url.origin());
        let attempt = match &tracker.url {
            TrackerUrl::Http(place) => {
                let id = tracker.standing.tracker_id.clone();
                let known = tracker.addr.filter(|_| is_leaving);
                let attempt = HttpAttempt::new(&mut means, place, announce, id, known);
                Attempt::Http(Box::new(attempt))
            }
            TrackerUrl::Udp(place) => {
                let is_fresh = |known: &Connection| is_leaving || known.is_good(now);
                let known = tracker.connection.filter(is_fresh);
                let attempt = UdpAttempt::new(&mut means, place, announce, known);
                Attempt::Udp(Box::new(attempt))
            }
        };
        tracker.attempt = Some(attempt);
    }

    /// Gives an attempt up.
    fn cancel(&mut self, at: usize) {
        let tracker = &mut self.trackers[at];
        if let Some(attempt) = tracker.attempt.take() {
            tracker.standing.is_told |= attempt.is_sent();
            tracker.note_address(&attempt);
            if let Attempt::Http(http) = attempt {
                self.outputs.push_back(Output::Close { ask: http.ask });
            }
        }
    }

    /// A name was resolved, or not.
    pub(super) fn resolved(&mut self, now: Time, ask: Ask, result: io::Result<Vec<SocketAddr>>) {
        self.drive_asked(now, ask, |attempt, means| match attempt {
            Attempt::Http(http) => http.resolved(means, result),
            Attempt::Udp(udp) => udp.resolved(means, result),
        });
    }

    /// A conn is open. Returns whether it is still wanted.
    pub(super) fn connected(&mut self, now: Time, ask: Ask) -> bool {
        self.drive_asked(now, ask, |attempt, means| {
            if let Attempt::Http(http) = attempt {
                http.connected(means);
            }
            None
        })
    }

    /// A dial came to nothing.
    pub(super) fn dial_failed(&mut self, now: Time, ask: Ask, error: &io::Error) {
        self.drive_asked(now, ask, |attempt, means| match attempt {
            Attempt::Http(http) => http.dial_failed(means, error),
            Attempt::Udp(_) => None,
        });
    }

    /// Bytes came over a conn.
    pub(super) fn received(&mut self, now: Time, ask: Ask, bytes: &[u8]) {
        self.drive_asked(now, ask, |attempt, means| match attempt {
            Attempt::Http(http) => http.received(means, bytes),
            Attempt::Udp(_) => None,
        });
    }

    /// A conn is gone; `error` if that was not in an orderly way.
    pub(super) fn closed(&mut self, now: Time, ask: Ask, error: Option<String>) {
        self.drive_asked(now, ask, |attempt, means| match attempt {
            Attempt::Http(http) => http.closed(means, error),
            Attempt::Udp(_) => None,
        });
    }

    /// A datagram came, for whomever.
    pub(super) fn datagram(&mut self, now: Time, from: SocketAddr, bytes: &[u8]) {
        for at in 0..self.trackers.len() {
            if matches!(self.trackers[at].attempt, Some(Attempt::Udp(_))) {
                self.drive(now, at, |attempt, means| match attempt {
                    Attempt::Http(_) => None,
                    Attempt::Udp(udp) => udp.datagram(means, from, bytes),
                });
            }
        }
    }

    /// As [`Announcer::drive`], if `ask` is what the attempt waits for. Returns whether it is.
    fn drive_asked(
        &mut self,
        now: Time,
        ask: Ask,
        step: impl FnOnce(&mut Attempt, &mut Means<'_>) -> Option<Ended>,
    ) -> bool {
        let waits = self.trackers[ask.tracker]
            .attempt
            .as_ref()
            .is_some_and(|attempt| attempt.ask() == ask);
        if waits {
            self.drive(now, ask.tracker, step);
        }
        waits
    }

    /// Takes an attempt a step further, and draws the conclusions if that was its last.
    fn drive(
        &mut self,
        now: Time,
        at: usize,
        step: impl FnOnce(&mut Attempt, &mut Means<'_>) -> Option<Ended>,
    ) {
        let mut means = Means {
            now,
            tracker: at,
            serial: &mut self.serial,
            outputs: &mut self.outputs,
            rng: &mut self.rng,
        };
        let Some(attempt) = &mut self.trackers[at].attempt else {
            return;
        };
        let Some(ended) = step(attempt, &mut means) else {
            return;
        };
        let announce = *attempt.announce();
        self.cancel(at);
        if announce.event == AnnounceEvent::Stopped {
            return;
        }
        let is_answered = ended.is_ok();
        match ended {
            Ok(reply) => self.answered(now, at, &announce, reply),
            Err(trouble) => self.failed(now, at, &trouble),
        }
        if self.stop_by.is_none() {
            self.begin_round(now);
        } else {
            self.take_leave(now, at, is_answered);
        }
    }

    fn answered(&mut self, now: Time, at: usize, announce: &Announce, reply: AnnounceReply) {
        let tracker = &mut self.trackers[at];
        let origin = tracker.url.origin();
        log::debug!(
            "tracker {origin}: {} peers, again in {} s",
            reply.peers.len(),
            reply.interval_s
        );
        tracker
            .standing
            .answered(now, announce, &reply, self.is_complete);
        // A magnet link needs peers until one has told what the content is.
        if self.totals.left.is_none() {
            tracker.standing.lack_peers();
        }
        if let Some(warning) = reply.warning.as_deref().map(shortened)
            && tracker.standing.warning.as_ref() != Some(&warning)
        {
            let text = format!("tracker {origin}: {}", Escaped(&warning));
            self.outputs.push_back(Output::Warn(text));
            tracker.standing.warning = Some(warning);
        }
        let heard_at = tracker.heard_at();
        self.tiers.promote(at);
        if let Some(ip) = reply.external_ip.filter(|ip| self.external_ip != Some(*ip)) {
            self.external_ip = Some(ip);
            self.outputs.push_back(Output::ExternalIp(ip));
        }
        let peers = reply.peers.iter().map(|peer| peer.addr);
        let mut peers: Vec<SocketAddr> = peers
            .filter_map(|addr| dialable(canonical(addr)))
            .filter(|addr| is_its_business(heard_at, addr.ip()))
            .collect();
        peers.truncate(PEERS_MAX);
        if !peers.is_empty() {
            self.outputs.push_back(Output::Found(peers));
        }
    }

    fn failed(&mut self, now: Time, at: usize, trouble: &Trouble) {
        let tracker = &mut self.trackers[at];
        tracker.connection = None;
        let is_news = tracker.standing.failed(now, trouble, &mut self.rng);
        let why = shortened(&trouble.why);
        let (origin, why) = (tracker.url.origin(), Escaped(&why));
        let last = match trouble.retry {
            Some(Retry::Never) => ", and wants no more announces",
            _ => "",
        };
        if is_news || tracker.standing.is_done {
            let text = format!("tracker {origin}: {why}{last}");
            self.outputs.push_back(Output::Warn(text));
        } else {
            log::debug!("tracker {origin}: {why}");
        }
    }
}

impl Tracker {
    /// Remembers where the tracker is, to find it again without its name.
    fn note_address(&mut self, attempt: &Attempt) {
        match attempt {
            Attempt::Http(http) if http.is_sent && http.is_at_tracker() => self.addr = http.addr,
            Attempt::Http(_) => {}
            Attempt::Udp(udp) => self.connection = udp.connection().or(self.connection),
        }
    }

    fn heard_at(&self) -> Option<SocketAddr> {
        let connected = || self.connection.map(|known| known.addr);
        self.addr.or_else(connected)
    }
}

/// Whether a tracker may name peers at this address: not on our machine or our link, unless that is where it is too. A
/// private address is nobody's secret: it may be all that a tracker sees of its clients.
fn is_its_business(tracker: Option<SocketAddr>, ip: IpAddr) -> bool {
    let reach = tracker.and_then(|addr| Scope::of(addr.ip()));
    Scope::of(ip) >= Some(reach.unwrap_or(Scope::Global).min(Scope::Private))
}

fn shortened(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}
