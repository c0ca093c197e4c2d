//! Conns on their way to become links: dials, handshakes, and the time that they may take.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Link, Links, Stage, link_of};
use crate::base::{InfoHash, Time};
use crate::peer::extensions::Extensions;
use crate::peer::shell::{Dial, Shell};
use crate::peer::transfer::Transfer;
use crate::reactor::{Closed, Command, ConnId};
use crate::swarm::{Hello, Input};
use crate::wire::peer::Handshake;
use crate::wire::peer_decoder::{Decoder, DecoderLimits, Event};

/// How long a conn may take until its handshake is whole, whatever it sends meanwhile (libtorrent: 10 s).
const HANDSHAKE_TIME_MAX: Duration = Duration::from_secs(10);
/// Conns that have not finished their handshake.
const GREETINGS_MAX: usize = 256;
/// Of these, how many from one IP address that is not loopback.
const GREETINGS_PER_IP_MAX: usize = 32;

impl Links {
    /// Notes a dial; the tag comes back with its outcome.
    pub(in crate::peer) fn begin_dial(&mut self, dial: Dial) -> u64 {
        let tag = self.next_dial;
        self.next_dial += 1;
        self.dials.insert(tag, dial);
        tag
    }

    /// A dial came to its end, good or bad.
    pub(in crate::peer) fn end_dial(&mut self, tag: u64) -> Option<Dial> {
        self.dials.remove(&tag)
    }

    /// A dial came to nothing, or the handshake after it.
    pub(in crate::peer) fn dial_failed(
        &mut self,
        now: Time,
        dial: Dial,
        transfers: &mut [Option<Transfer>],
    ) {
        let Dial { job, addr } = dial;
        match &mut transfers[job] {
            Some(transfer) => {
                let input = Input::DialFailed { addr };
                transfer.swarm.handle_input(now, input);
            }
            None => self.searches.dial_failed(now, job, addr),
        }
    }

    /// A conn is open. False if there are too many that have not finished their handshake, or if nobody needs it.
    pub(in crate::peer) fn opened(
        &mut self,
        now: Time,
        conn: ConnId,
        remote: SocketAddr,
        dial: Option<Dial>,
        transfers: &[Option<Transfer>],
        shell: &mut Shell,
    ) -> bool {
        if dial.is_none() && self.is_crowded(remote.ip()) {
            return false;
        }
        let mut link = Link::greeting(now, conn, remote, dial);
        if let Some(dial) = dial {
            // Nobody waits for it any more if the search is over that it was for.
            let Some(info_hash) = self.hash_of(dial.job, transfers) else {
                return false;
            };
            Handshake::new(info_hash, self.id).encode(&mut link.out);
            shell.touch(conn);
        }
        self.await_greeting(now, link);
        true
    }

    fn await_greeting(&mut self, now: Time, link: Link) {
        self.greetings
            .push_back((now + HANDSHAKE_TIME_MAX, link.conn));
        self.greeting_count += 1;
        let slot = link.conn.slot();
        if self.links.len() <= slot {
            self.links.resize_with(slot + 1, || None);
        }
        self.links[slot] = Some(link);
    }

    /// Takes in the other side's handshake; true when the conn is a link.
    pub(super) fn greet(
        &mut self,
        now: Time,
        conn: ConnId,
        bytes: &mut &[u8],
        transfers: &mut [Option<Transfer>],
        shell: &mut Shell,
    ) -> Result<bool, Closed> {
        let Some(link) = link_of(&mut self.links, conn) else {
            return Ok(false);
        };
        let Stage::Greeting(dial) = link.stage else {
            return Ok(true);
        };
        let event = link.decoder.decode(bytes);
        let event = event.map_err(|error| Closed::Fault(error.reason()))?;
        let Some(Event::Handshake(theirs)) = event else {
            return Ok(false);
        };
        let job = self.asked_for(dial, theirs.info_hash, transfers)?;
        let Some(link) = link_of(&mut self.links, conn) else {
            return Ok(false);
        };
        if dial.is_none() {
            Handshake::new(theirs.info_hash, self.id).encode(&mut link.out);
            shell.touch(conn);
        }
        link.extensions = theirs.supports_extended().then(Extensions::default);
        let hello = Hello {
            id: theirs.peer_id,
            remote: link.remote,
            dialled: dial.is_some(),
            fast: theirs.supports_fast(),
            // Who dials greets at once, who is dialled greets back.
            greeted_at: dial.map_or(now, |_| link.opened_at),
        };
        let key = match &mut transfers[job] {
            Some(transfer) => {
                link.decoder.limits_mut().piece_count = Some(transfer.meta.piece_count());
                let connected = transfer.swarm.connect(now, hello);
                let key = connected.map_err(|reason| Closed::Local(reason.text()))?;
                link.stage = Stage::Linked { job, key };
                key
            }
            None => {
                let is_of_use = link.extensions.is_some();
                let key = self.searches.connect(now, job, hello, is_of_use)?;
                link.stage = Stage::Asking { job, key };
                self.searches.introduce(hello, &mut link.out);
                shell.touch(conn);
                key
            }
        };
        self.greeting_count -= 1;
        self.enter(job, key, conn);
        if let Some(transfer) = &mut transfers[job] {
            transfer.drain(now, shell, self);
        }
        Ok(true)
    }

    /// The job that the other side's handshake is for.
    fn asked_for(
        &self,
        dial: Option<Dial>,
        info_hash: InfoHash,
        transfers: &[Option<Transfer>],
    ) -> Result<usize, Closed> {
        let Some(Dial { job, .. }) = dial else {
            let mut jobs = 0..transfers.len();
            let job = jobs.find(|job| self.hash_of(*job, transfers) == Some(info_hash));
            return job.ok_or(Closed::Fault("it asks for a content that is not here"));
        };
        match self.hash_of(job, transfers) {
            Some(wanted) if wanted == info_hash => Ok(job),
            Some(_) => Err(Closed::Fault(
                "it has another content than the one it was dialled for",
            )),
            None => Err(Closed::Local("what it was dialled for is over")),
        }
    }

    /// The content of a job, or the one that it searches for.
    fn hash_of(&self, job: usize, transfers: &[Option<Transfer>]) -> Option<InfoHash> {
        match &transfers[job] {
            Some(transfer) => Some(transfer.meta.info_hash()),
            None => self.searches.hash_of(job),
        }
    }

    /// Closes the conns that took too long over their handshake, or that a search waited for too long, and lets those go on
    /// that waited for a limit.
    pub(in crate::peer) fn expire(
        &mut self,
        now: Time,
        transfers: &mut [Option<Transfer>],
        shell: &mut Shell,
    ) {
        self.searches.handle_timeout(now);
        self.let_go_on(now, transfers, shell);
        while let Some(&(at, conn)) = self.greetings.front() {
            let greeting = matches!(self.link(conn).map(|l| l.stage), Some(Stage::Greeting(_)));
            if greeting && at > now {
                return;
            }
            if greeting {
                let why = Closed::Fault("its handshake took too long");
                shell.commands.push_back(Command::Close(conn, why));
            }
            self.greetings.pop_front();
        }
    }

    /// When [`Links::expire`] is due.
    pub(in crate::peer) fn poll_timeout(&self) -> Option<Time> {
        let greeting = self.greetings.front().map(|&(at, _)| at);
        greeting
            .into_iter()
            .chain(self.searches.poll_timeout())
            .chain(self.throttle.poll_timeout())
            .min()
    }

    /// Whether there are as many conns that have not finished their handshake as there may be, of all or of one address.
    fn is_crowded(&self, ip: IpAddr) -> bool {
        if self.greeting_count >= GREETINGS_MAX {
            return true;
        }
        let from_it =
            |link: &&Link| link.remote.ip() == ip && matches!(link.stage, Stage::Greeting(None));
        let links = self.links.iter().flatten();
        !ip.is_loopback() && links.filter(from_it).count() >= GREETINGS_PER_IP_MAX
    }
}

impl Link {
    fn greeting(now: Time, conn: ConnId, remote: SocketAddr, dial: Option<Dial>) -> Self {
        Self {
            conn,
            remote,
            stage: Stage::Greeting(dial),
            decoder: Decoder::new(DecoderLimits::default()),
            out: Vec::new(),
            extensions: None,
            opened_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::PeerId;
    use crate::cli::RateLimits;

    /// Conns from `remote` that were let in although they say nothing, of so many as could ever be.
    fn admitted(links: &mut Links, remote: SocketAddr) -> usize {
        let mut count = 0;
        while count <= GREETINGS_MAX && !links.is_crowded(remote.ip()) {
            let conn = ConnId::for_test(links.links.len() as u32, 0);
            links.await_greeting(Time::ZERO, Link::greeting(Time::ZERO, conn, remote, None));
            count += 1;
        }
        count
    }

    #[test]
    fn one_address_has_only_so_many_conns_that_say_nothing_and_so_have_all() {
        let mut links = Links::new(PeerId([1; 20]), 6881, RateLimits::default());
        for last in 1..=2 {
            let remote = ([10, 0, 0, last], 40_000).into();
            assert_eq!(admitted(&mut links, remote), GREETINGS_PER_IP_MAX);
        }
        let rest = GREETINGS_MAX - 2 * GREETINGS_PER_IP_MAX;
        let loopback = ([127, 0, 0, 1], 40_000).into();
        assert_eq!(admitted(&mut links, loopback), rest, "many may be there");
        assert_eq!(admitted(&mut links, ([10, 0, 0, 3], 1).into()), 0);
    }
}
