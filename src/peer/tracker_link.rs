//! The way to the tracker: its name resolved anew at every attempt, its addresses tried in turn, its client fed.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::tracker_client::{HelloConfig, TrackerClient};
use crate::base::{Rng, Time};
use crate::cli::TrackerAddr;
use crate::reactor::ConnId;

/// Attempts without success after which a command fails that depends on them.
const ATTEMPTS_MAX: u32 = 3;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Have the name resolved.
    Resolve { host: String, port: u16 },
    /// Dial this address.
    Dial(SocketAddr),
}

/// The link to the one native tracker, if there is one: without an address nothing is ever due.
#[derive(Debug)]
pub(super) struct TrackerLink {
    pub addr: Option<TrackerAddr>,
    /// The command can do nothing without it.
    is_required: bool,
    /// It was told that the command goes on without it.
    is_absence_told: bool,
    pub client: TrackerClient,
    pub conn: Option<ConnId>,
    /// Addresses that are left to try in this attempt.
    untried: Vec<SocketAddr>,
    /// How long reports are collected.
    pub batch: Duration,
    /// The tracker has answered once.
    pub was_ready: bool,
    /// Attempts since it last answered.
    attempt_count: u32,
    /// Why the last attempt failed.
    pub last_error: Option<io::Error>,
    /// The last failure was of the name, not of the network.
    pub unresolved: bool,
}

impl TrackerLink {
    /// A link to the tracker at `addr`, without which the command can do nothing if it is required.
    pub(super) fn new(
        addr: Option<TrackerAddr>,
        is_required: bool,
        hello: HelloConfig,
        rng: Rng,
    ) -> Self {
        let client = TrackerClient::new(hello, rng);
        Self {
            addr,
            is_required,
            is_absence_told: false,
            client,
            conn: None,
            untried: Vec::new(),
            batch: Duration::from_millis(250),
            was_ready: false,
            attempt_count: 0,
            last_error: None,
            unresolved: false,
        }
    }

    /// What is due: an attempt begins with the name.
    pub(super) fn poll(&mut self, now: Time) -> Option<Step> {
        let addr = self.addr.as_ref()?;
        let (host, port) = (addr.host.clone(), addr.port);
        self.client
            .poll_connect(now)
            .then_some(Step::Resolve { host, port })
    }

    /// The name was resolved, or not.
    pub(super) fn resolved(
        &mut self,
        now: Time,
        result: io::Result<Vec<SocketAddr>>,
    ) -> Option<Step> {
        match result {
            Ok(mut addrs) => {
                addrs.reverse();
                self.untried = addrs;
                self.unresolved = self.untried.is_empty();
                self.next_addr(now, io::ErrorKind::NotFound.into())
            }
            Err(error) => {
                self.unresolved = true;
                self.failed(now, error);
                None
            }
        }
    }

    /// A dial failed: the next address, or the end of this attempt.
    pub(super) fn dial_failed(&mut self, now: Time, error: io::Error) -> Option<Step> {
        self.next_addr(now, error)
    }

    fn next_addr(&mut self, now: Time, error: io::Error) -> Option<Step> {
        match self.untried.pop() {
            Some(addr) => Some(Step::Dial(addr)),
            None => {
                self.failed(now, error);
                None
            }
        }
    }

    fn failed(&mut self, now: Time, error: io::Error) {
        self.attempt_count += 1;
        self.last_error = Some(error);
        self.client.disconnected(now);
    }

    /// The conn is open.
    pub(super) fn connected(&mut self, now: Time, conn: ConnId) {
        self.conn = Some(conn);
        self.untried.clear();
        self.client.connected(now);
    }

    /// The conn is gone.
    pub(super) fn disconnected(&mut self, now: Time, error: io::Error) {
        self.conn = None;
        self.failed(now, error);
    }

    /// The tracker has answered, and says how long reports are to be collected.
    pub(super) fn ready(&mut self, batch: Duration) {
        self.batch = batch;
        self.was_ready = true;
        self.attempt_count = 0;
    }

    /// Whether there is no sense in further attempts: the tracker was never there, or it is gone and nothing goes on
    /// without it.
    pub(super) fn is_hopeless(&self, is_needed: bool) -> bool {
        self.is_required && (is_needed || !self.was_ready) && self.attempt_count >= ATTEMPTS_MAX
    }

    /// Whether the command can do nothing without it.
    pub(super) fn is_required(&self) -> bool {
        self.is_required
    }

    /// Whether nothing is to be expected of it for now: there is none, or it was never there.
    pub(super) fn is_absent(&self) -> bool {
        self.addr.is_none() || !self.was_ready && self.attempt_count >= ATTEMPTS_MAX
    }

    /// Whether that has just turned out, of a tracker that is not required: true only once.
    pub(super) fn is_newly_absent(&mut self) -> bool {
        let is_news =
            !self.is_required && !self.is_absence_told && self.addr.is_some() && self.is_absent();
        self.is_absence_told |= is_news;
        is_news
    }

    /// When something is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        self.addr.as_ref()?;
        self.client.poll_timeout()
    }

    /// The tracker, for messages.
    pub(super) fn name(&self) -> String {
        self.addr
            .as_ref()
            .map_or_else(String::new, ToString::to_string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerId;

    fn link(with_addr: bool) -> TrackerLink {
        let hello = HelloConfig {
            peer_id: PeerId([1; 20]),
            listen_addrs: Vec::new(),
            host: String::new(),
            zone: String::new(),
            token: String::new(),
        };
        let addr = TrackerAddr {
            host: "tr".to_owned(),
            port: 6969,
        };
        TrackerLink::new(with_addr.then_some(addr), with_addr, hello, Rng::new(1))
    }

    fn resolve() -> Option<Step> {
        let host = "tr".to_owned();
        Some(Step::Resolve { host, port: 6969 })
    }

    #[test]
    fn without_an_address_nothing_is_ever_due() {
        let mut link = link(false);
        for secs in 0..100 {
            assert_eq!(link.poll(Time::from_nanos(secs * 1_000_000_000)), None);
            assert_eq!(link.poll_timeout(), None);
        }
        assert!(!link.is_hopeless(true));
    }

    #[test]
    fn every_address_of_the_name_is_tried_before_the_attempt_fails() {
        let (mut link, now) = (link(true), Time::ZERO);
        let addrs: Vec<SocketAddr> = vec![([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 1).into()];
        assert_eq!(link.poll(now), resolve());
        assert_eq!(link.poll(now), None, "one attempt at a time");
        assert_eq!(
            link.resolved(now, Ok(addrs.clone())),
            Some(Step::Dial(addrs[0]))
        );
        let refused = || io::ErrorKind::ConnectionRefused.into();
        assert_eq!(link.dial_failed(now, refused()), Some(Step::Dial(addrs[1])));
        assert_eq!(link.dial_failed(now, refused()), None);
        let due = link.poll_timeout().expect("it tries again");
        assert!(due > now && due < now + Duration::from_secs(1));
        assert_eq!(link.poll(due), resolve(), "the name is resolved anew");
    }

    #[test]
    fn one_that_is_not_required_is_found_absent_once_and_never_hopeless() {
        let (mut link, mut now) = (link(true), Time::ZERO);
        link.is_required = false;
        for _ in 0..ATTEMPTS_MAX {
            assert!(!link.is_absent() && !link.is_newly_absent());
            link.poll(now);
            link.resolved(now, Err(io::ErrorKind::NotFound.into()));
            now += Duration::from_secs(20);
        }
        assert!(link.is_absent() && link.is_newly_absent());
        assert!(link.is_absent() && !link.is_newly_absent());
        assert!(!link.is_hopeless(true) && link.poll(now).is_some());
        link.ready(Duration::from_secs(1));
        assert!(!link.is_absent());
    }

    #[test]
    fn it_is_hopeless_if_the_tracker_never_answered_or_is_needed() {
        let (mut link, mut now) = (link(true), Time::ZERO);
        for _ in 0..ATTEMPTS_MAX {
            assert!(!link.is_hopeless(true));
            link.poll(now);
            link.resolved(now, Err(io::ErrorKind::NotFound.into()));
            now += Duration::from_secs(20);
        }
        assert!(link.is_hopeless(false) && link.unresolved);
        link.ready(Duration::from_secs(1));
        assert!(!link.is_hopeless(true));
        for _ in 0..ATTEMPTS_MAX {
            link.disconnected(now, io::ErrorKind::ConnectionReset.into());
        }
        assert!(link.is_hopeless(true) && !link.is_hopeless(false));
    }
}
