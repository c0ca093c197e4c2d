//! How we stand with one tracker: what it was told, and when it is told again.

use std::time::Duration;

use super::Trouble;
use crate::base::{Rng, Time};
use crate::wire::announce::{Announce, AnnounceEvent};
use crate::wire::http::client::TRACKER_ID_BYTES_MAX;
use crate::wire::http::reply::{AnnounceReply, Retry};

/// The time between two announces if the tracker does not say, and the least and the longest that are believed.
const INTERVAL: Duration = Duration::from_secs(30 * 60);
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVAL_MAX: Duration = Duration::from_secs(60 * 60);
/// The least time between two announces if the tracker does not say (libtorrent: 30 s over HTTP, 60 s over UDP).
const INTERVAL_LEAST: Duration = Duration::from_secs(60);
/// The pause after a first failure, which doubles with each further one, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(30 * 60);
/// The longest pause that a tracker may ask for (BEP 31).
const RETRY_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module.
#[derive(Debug)]
pub(super) struct Standing {
    /// When it is announced to next.
    pub next_at: Time,
    /// The last announce was answered.
    pub works: bool,
    /// It wants no announces, ever.
    pub is_done: bool,
    /// Something was sent that made us a member, whether it was answered or not.
    pub is_told: bool,
    /// It answered `started`.
    has_started: bool,
    /// It believes that we miss something, and is to hear when that is over.
    owes_completed: bool,
    failure_count: u32,
    interval: Duration,
    interval_least: Duration,
    answered_at: Time,
    /// Announces in a row that were made early, because we lacked peers.
    early_count: u32,
    lacks_peers: bool,
    pub tracker_id: Option<Vec<u8>>,
    /// The last warning, so that none is shown twice.
    pub warning: Option<String>,
}

impl Standing {
    /// With a tracker that is to be told of us now.
    pub(super) fn new(now: Time) -> Self {
        Self {
            next_at: now,
            works: false,
            is_done: false,
            is_told: false,
            has_started: false,
            owes_completed: false,
            failure_count: 0,
            interval: INTERVAL,
            interval_least: INTERVAL_LEAST,
            answered_at: now,
            early_count: 0,
            lacks_peers: false,
            tracker_id: None,
            warning: None,
        }
    }

    /// What the next announce has to say.
    pub(super) const fn event(&self, is_complete: bool) -> AnnounceEvent {
        match (self.has_started, self.owes_completed && is_complete) {
            (false, _) => AnnounceEvent::Started,
            (true, true) => AnnounceEvent::Completed,
            (true, false) => AnnounceEvent::None,
        }
    }

    /// It answered `announce`. `is_complete`: as we are by now.
    pub(super) fn answered(
        &mut self,
        now: Time,
        announce: &Announce,
        reply: &AnnounceReply,
        is_complete: bool,
    ) {
        match announce.event {
            AnnounceEvent::Started => {
                self.has_started = true;
                self.owes_completed = announce.left > 0;
            }
            AnnounceEvent::Completed => self.owes_completed = false,
            _ => {}
        }
        let seconds = |count: u32| Duration::from_secs(count.into());
        let least = reply.interval_s_min.map(seconds);
        let interval = match reply.interval_s {
            0 => INTERVAL,
            count => seconds(count),
        };
        self.interval = interval
            .max(least.unwrap_or_default())
            .clamp(INTERVAL_MIN, INTERVAL_MAX);
        self.interval_least = least
            .unwrap_or(INTERVAL_LEAST)
            .clamp(INTERVAL_MIN, self.interval);
        let is_short = |id: &&Vec<u8>| id.len() <= TRACKER_ID_BYTES_MAX;
        if let Some(id) = reply.tracker_id.as_ref().filter(is_short) {
            self.tracker_id = Some(id.clone());
        }
        self.early_count = match std::mem::take(&mut self.lacks_peers) {
            true => self.early_count.saturating_add(1),
            false => 0,
        };
        (self.works, self.failure_count) = (true, 0);
        self.answered_at = now;
        self.next_at = now + self.interval;
        if is_complete && self.owes_completed {
            self.next_at = now;
        }
    }

    /// It did not answer, or refused. Returns whether that is news.
    pub(super) fn failed(&mut self, now: Time, trouble: &Trouble, rng: &mut Rng) -> bool {
        let is_news = self.works || self.failure_count == 0;
        self.works = false;
        let doublings = self.failure_count.min(16);
        self.failure_count += 1;
        let pause = (PAUSE_MIN * (1 << doublings)).min(PAUSE_MAX);
        // A quarter more or less, so that those who failed together do not come again together.
        let spread = pause.as_nanos() as usize / 2;
        let pause = pause * 3 / 4 + Duration::from_nanos(rng.below(spread) as u64);
        self.next_at = now
            + match trouble.retry {
                Some(Retry::Minutes(minutes)) => {
                    let asked = Duration::from_secs(60 * u64::from(minutes));
                    pause.max(asked.min(RETRY_MAX))
                }
                _ => pause,
            };
        self.is_done |= trouble.retry == Some(Retry::Never);
        is_news
    }

    /// We lack peers: it is asked earlier, but not before it allows it, and each time in a row less early.
    pub(super) fn lack_peers(&mut self) {
        if !self.works || std::mem::replace(&mut self.lacks_peers, true) {
            return;
        }
        let doublings = self.early_count.min(16);
        let after = (self.interval_least * (1 << doublings)).min(self.interval);
        self.next_at = self.next_at.min(self.answered_at + after);
    }

    /// Everything is here: whoever believes otherwise is told now.
    pub(super) fn complete(&mut self, now: Time) {
        if self.works && self.has_started && self.owes_completed {
            self.next_at = now;
        }
    }

    /// It turned out that everything was here from the start: there is nothing to tell.
    pub(super) const fn was_complete(&mut self) {
        self.owes_completed = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{InfoHash, PeerId};

    fn announce(event: AnnounceEvent, left: u64) -> Announce {
        Announce {
            info_hash: InfoHash([1; 20]),
            peer_id: PeerId([2; 20]),
            port: 1,
            uploaded: 0,
            downloaded: 0,
            left,
            event,
            want: None,
            key: 1,
            ip: None,
        }
    }

    /// Seconds until the next announce after an answer with these intervals.
    fn next_after(interval_s: u32, interval_s_min: Option<u32>) -> (u64, u64) {
        let reply = AnnounceReply {
            interval_s,
            interval_s_min,
            ..AnnounceReply::default()
        };
        let mut standing = Standing::new(Time::ZERO);
        standing.answered(
            Time::ZERO,
            &announce(AnnounceEvent::Started, 1),
            &reply,
            false,
        );
        let usual = standing.next_at;
        standing.lack_peers();
        let secs = |at: Time| at.since(Time::ZERO).as_secs();
        (secs(usual), secs(standing.next_at))
    }

    #[test]
    fn intervals_are_honoured_within_reason_and_lack_of_peers_never_breaks_them() {
        assert_eq!(next_after(90, Some(30)), (90, 30));
        assert_eq!(next_after(1800, None), (1800, 60));
        assert_eq!(next_after(20, None), (20, 20));
        assert_eq!(next_after(0, None), (1800, 60));
        assert_eq!(next_after(1, Some(0)), (1, 1));
        assert_eq!(next_after(60, Some(120)), (120, 120), "the least counts");
        assert_eq!(next_after(u32::MAX, Some(u32::MAX)), (3600, 3600));
    }

    #[test]
    fn whoever_lacks_peers_for_long_asks_ever_more_rarely() {
        let (mut standing, mut now) = (Standing::new(Time::ZERO), Time::ZERO);
        let reply = AnnounceReply {
            interval_s: 600,
            ..AnnounceReply::default()
        };
        let mut waits = Vec::new();
        for _ in 0..6 {
            standing.answered(now, &announce(AnnounceEvent::None, 1), &reply, false);
            (0..3).for_each(|_| standing.lack_peers());
            waits.push(standing.next_at.since(now).as_secs());
            now = standing.next_at;
        }
        assert_eq!(waits, [60, 120, 240, 480, 600, 600]);
        standing.answered(now, &announce(AnnounceEvent::None, 1), &reply, false);
        let now = standing.next_at;
        standing.answered(now, &announce(AnnounceEvent::None, 1), &reply, false);
        standing.lack_peers();
        assert_eq!(
            standing.next_at.since(now).as_secs(),
            60,
            "peers were found"
        );
    }

    #[test]
    fn pauses_double_with_a_spread_up_to_half_an_hour() {
        let (mut rng, mut standing) = (Rng::new(3), Standing::new(Time::ZERO));
        let mut expected = 5.0;
        for count in 0..40 {
            let is_news = standing.failed(Time::ZERO, &Trouble::new("x"), &mut rng);
            assert_eq!(is_news, count == 0);
            let pause = standing.next_at.as_secs_f64();
            assert!(
                (0.75 * expected..1.25 * expected).contains(&pause),
                "{pause}"
            );
            expected = f64::min(expected * 2.0, 1800.0);
        }
    }

    #[test]
    fn a_tracker_says_when_to_come_again() {
        let pause = |retry| {
            let (mut rng, mut standing) = (Rng::new(3), Standing::new(Time::ZERO));
            let why = String::new();
            let retry = Some(retry);
            standing.failed(Time::ZERO, &Trouble { why, retry }, &mut rng);
            (standing.next_at.as_secs_f64(), standing.is_done)
        };
        assert_eq!(pause(Retry::Minutes(5)), (300.0, false));
        assert!(pause(Retry::Minutes(0)).0 > 3.0);
        assert_eq!(pause(Retry::Minutes(u32::MAX)), (86_400.0, false));
        assert!(pause(Retry::Never).1);
    }
}
