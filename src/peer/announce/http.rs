//! One announce over HTTP: name, dial, request, response, and wherever redirects lead.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Ask, Ended, Means, Output, Trouble, usable};
use crate::base::Time;
use crate::wire::announce::Announce;
use crate::wire::http::client::{Response, ResponseReader, put_announce};
use crate::wire::http::reply::AnnounceOutcome;
use crate::wire::url::Place;

/// How long one announce may take in all.
const TIME_MAX: Duration = Duration::from_secs(15);
/// Redirects that are followed.
const REDIRECTS_MAX: u32 = 3;

/// See the module.
#[derive(Debug)]
pub(super) struct HttpAttempt {
    place: Place,
    pub announce: Announce,
    tracker_id: Option<Vec<u8>>,
    /// What the next outcome belongs to.
    pub ask: Ask,
    stage: Stage,
    redirect_count: u32,
    /// Whom we speak to, or try to.
    pub addr: Option<SocketAddr>,
    /// The request has left.
    pub is_sent: bool,
    pub due_at: Time,
}

#[derive(Debug)]
enum Stage {
    Resolving,
    /// The addresses that are left, the next one last.
    Dialling(Vec<SocketAddr>),
    Open(ResponseReader),
}

impl HttpAttempt {
    /// Begins; a `known` address saves asking for the name.
    pub(super) fn new(
        means: &mut Means<'_>,
        place: &Place,
        announce: Announce,
        tracker_id: Option<Vec<u8>>,
        known: Option<SocketAddr>,
    ) -> Self {
        let ask = match known {
            Some(addr) => {
                let ask = means.next_ask();
                means.say(Output::Connect { ask, addr });
                ask
            }
            None => means.resolve(&place.host, place.port),
        };
        Self {
            place: place.clone(),
            announce,
            tracker_id,
            ask,
            stage: match known {
                Some(_) => Stage::Dialling(Vec::new()),
                None => Stage::Resolving,
            },
            redirect_count: 0,
            addr: known,
            is_sent: false,
            due_at: means.now + TIME_MAX,
        }
    }

    /// Whether its address is that of the tracker, and not of a place that it was redirected to.
    pub(super) const fn is_at_tracker(&self) -> bool {
        self.redirect_count == 0
    }

    pub(super) fn resolved(
        &mut self,
        means: &mut Means<'_>,
        result: io::Result<Vec<SocketAddr>>,
    ) -> Option<Ended> {
        if !matches!(self.stage, Stage::Resolving) {
            return None;
        }
        match result {
            Ok(addrs) => {
                let mut untried = usable(addrs);
                untried.reverse();
                let none = Trouble::new("its name has no address");
                self.dial(means, untried, none)
            }
            Err(error) => Some(Err(Trouble::new(error))),
        }
    }

    /// Dials the next address; without one, the attempt ends with `trouble`.
    fn dial(
        &mut self,
        means: &mut Means<'_>,
        mut untried: Vec<SocketAddr>,
        trouble: Trouble,
    ) -> Option<Ended> {
        let Some(addr) = untried.pop() else {
            return Some(Err(trouble));
        };
        self.ask = means.next_ask();
        self.addr = Some(addr);
        self.stage = Stage::Dialling(untried);
        means.say(Output::Connect {
            ask: self.ask,
            addr,
        });
        None
    }

    pub(super) fn connected(&mut self, means: &mut Means<'_>) {
        let mut bytes = Vec::new();
        let id = self.tracker_id.as_deref();
        put_announce(&self.place, &self.announce, id, &mut bytes);
        means.say(Output::Send {
            ask: self.ask,
            bytes,
        });
        self.stage = Stage::Open(ResponseReader::default());
        self.is_sent = true;
    }

    pub(super) fn dial_failed(
        &mut self,
        means: &mut Means<'_>,
        error: &io::Error,
    ) -> Option<Ended> {
        match &mut self.stage {
            Stage::Dialling(untried) => {
                let untried = std::mem::take(untried);
                self.dial(means, untried, Trouble::new(error))
            }
            _ => None,
        }
    }

    pub(super) fn received(&mut self, means: &mut Means<'_>, bytes: &[u8]) -> Option<Ended> {
        let Stage::Open(reader) = &mut self.stage else {
            return None;
        };
        match reader.received(bytes) {
            Ok(None) => None,
            Ok(Some(response)) => self.answered(means, response),
            Err(error) => Some(Err(Trouble::new(error))),
        }
    }

    /// The conn is gone; `error` if that was not in an orderly way.
    pub(super) fn closed(&mut self, means: &mut Means<'_>, error: Option<String>) -> Option<Ended> {
        let Stage::Open(reader) = &mut self.stage else {
            return None;
        };
        if let Some(error) = error {
            return Some(Err(Trouble::new(error)));
        }
        match reader.ended() {
            Ok(response) => self.answered(means, response),
            Err(error) => Some(Err(Trouble::new(error))),
        }
    }

    fn answered(&mut self, means: &mut Means<'_>, response: Response) -> Option<Ended> {
        let body = match response {
            Response::Body(body) => body,
            Response::Redirect(location) => return self.follow(means, &location),
        };
        Some(match AnnounceOutcome::decode(&body) {
            Ok(AnnounceOutcome::Taken(reply)) => Ok(reply),
            Ok(AnnounceOutcome::Refused { reason, retry }) => Err(Trouble { why: reason, retry }),
            Err(error) => Err(Trouble::new(format_args!(
                "its answer is malformed: {error}"
            ))),
        })
    }

    fn follow(&mut self, means: &mut Means<'_>, location: &str) -> Option<Ended> {
        self.redirect_count += 1;
        if self.redirect_count > REDIRECTS_MAX {
            return Some(Err(Trouble::new("it redirects too often")));
        }
        match self.place.redirected(location) {
            Ok(place) => {
                means.say(Output::Close { ask: self.ask });
                self.ask = means.resolve(&place.host, place.port);
                self.place = place;
                self.stage = Stage::Resolving;
                None
            }
            Err(error) => Some(Err(Trouble::new(format_args!(
                "it redirects to where we cannot follow: {error}"
            )))),
        }
    }

    /// Its time is up.
    pub(super) fn timed_out(&self) -> Ended {
        Err(Trouble::new(match self.stage {
            Stage::Resolving => "its name was not resolved in time",
            Stage::Dialling(_) => "no connection in time",
            Stage::Open(_) => "no answer in time",
        }))
    }
}
