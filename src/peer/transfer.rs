//! One content that is being fetched or shared: its swarm, its files, and its membership at the tracker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::announce::Totals;
use super::errand::{Files, Outcome, PieceWork, Work};
use super::job::is_busy;
use super::shell::{Dial, Shell};
use super::wire_link::Links;
use super::{Failure as TrackerFailure, OwnedReply, tag};
use crate::base::{Bitfield, PeerId, PieceBuf, Time, Verdict};
use crate::reactor::{Closed, Command};
use crate::storage::{Outflow, PartFiles};
use crate::swarm::{
    COUNTS_MAX, Config, Digests, Found, Geometry, Input, Output, Proof, Run, Swarm,
};
use crate::wire::metainfo::Metainfo;
use crate::wire::native::{
    AVAIL_PERIOD_MS_MIN, BadPeer, Bitmap, Evidence, HaveBatch, HaveItem, HaveState, Join,
    LeaveReason, Member, PeerChange, PushedMember, Request, Role, WANT_MAX,
};

/// The shortest pause before a busy tracker is asked again.
const JOIN_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What a transfer tells its command.
#[derive(Debug)]
pub(super) enum News {
    /// The first piece is verified.
    FirstPiece,
    /// Everything is verified and written.
    Complete,
    /// A piece could not be written.
    Unwritten(io::Error),
    /// All of it went to stdout, or stdout takes no more.
    Passed(io::Result<()>),
}

/// A content in transfer.
pub(super) struct Transfer {
    pub meta: Arc<Metainfo>,
    pub swarm: Swarm,
    pub files: Files,
    job: usize,
    /// Our membership on the present connection to the tracker.
    slot: Option<u32>,
    joining: bool,
    /// When to try to join again.
    join_at: Option<Time>,
    /// The tracker was told to forget the content.
    pub removed: bool,
    pub news: Vec<News>,
    had_first_piece: bool,
    /// Where it goes on to while it arrives.
    outflow: Option<Outflow>,
    report: Vec<u32>,
}

impl Transfer {
    pub(super) fn new(
        job: usize,
        meta: Arc<Metainfo>,
        files: Files,
        have: Bitfield,
        mut config: Config,
        shell: &mut Shell,
    ) -> Self {
        config.seed = shell.rng.next_u64();
        config.exchange &= !meta.is_private();
        let geometry = Geometry::new(meta.total_len(), meta.piece_length());
        Self {
            swarm: Swarm::new(config, geometry, have),
            meta,
            files,
            job,
            slot: None,
            joining: false,
            join_at: None,
            removed: false,
            news: Vec::new(),
            had_first_piece: false,
            outflow: None,
            report: Vec::new(),
        }
    }

    /// Has it written to stdout, in order, while it arrives.
    pub(super) fn pass_on(&mut self, shell: &Shell) -> io::Result<()> {
        let len = self.meta.total_len();
        let outflow = Outflow::to_stdout(self.files.content(), len, shell.wake())?;
        self.outflow = Some(outflow);
        Ok(())
    }

    /// Becomes a member, if the tracker is there.
    pub(super) fn join(&mut self, shell: &mut Shell) {
        if !shell.tracker.client.is_ready() || self.joining || self.removed {
            return;
        }
        self.joining = true;
        let have = self.swarm.have();
        let left: u64 = have
            .zeros()
            .map(|piece| u64::from(self.swarm.geometry().piece_len(piece)))
            .sum();
        // Whoever fetches is complete one day, be it from the start, and the tracker remembers that; a seed always was.
        let role = match self.files {
            Files::Part(_) => Role::Leech,
            Files::Shared(_) if left == 0 => Role::Seed,
            Files::Shared(_) => Role::UploadOnly,
        };
        let join = Join {
            info_hash: self.meta.info_hash(),
            left,
            have: Bitmap::of(have).into_owned(),
            want: WANT_MAX,
            role,
        };
        shell.ask(self.job, tag::JOIN, Request::Join(join));
    }

    /// The connection to the tracker is gone, and our membership with it.
    pub(super) fn lost_tracker(&mut self) {
        self.slot = None;
        self.joining = false;
        self.swarm.forget_counts();
    }

    /// Whether we are a member under `slot`.
    pub(super) fn is_member(&self, slot: u32) -> bool {
        self.slot == Some(slot)
    }

    /// Whether we are a member, or are about to be.
    pub(super) fn is_in_swarm(&self) -> bool {
        self.slot.is_some() || self.joining
    }

    /// The tracker answered JOIN or PEERS.
    pub(super) fn replied(&mut self, now: Time, batch: Duration, reply: &OwnedReply) {
        match reply {
            OwnedReply::Join(reply) => {
                self.joining = false;
                self.slot = Some(reply.slot);
                let (index, of) = (reply.partition_index, reply.partition_of);
                self.swarm.set_part(index, of);
                self.swarm.handle_input(now, Input::Joined { batch });
                let found: Vec<Found> = reply.members.iter().map(|m| found(&m)).collect();
                self.swarm.handle_input(now, Input::Found { peers: &found });
            }
            OwnedReply::Peers(members) => {
                let found: Vec<Found> = members.iter().map(|m| found(&m)).collect();
                self.swarm.handle_input(now, Input::Found { peers: &found });
            }
            OwnedReply::Avail(reply) => {
                let counts: Vec<u16> = reply.counts.iter().collect();
                let (version, counts) = (reply.version, &counts);
                self.swarm
                    .handle_input(now, Input::Counted { version, counts });
            }
            _ => {}
        }
    }

    /// The tracker does not tell how many copies there are; an older one cannot.
    pub(super) fn not_told(&mut self) {
        log::debug!("the tracker does not tell how many copies of pieces there are");
        self.swarm.forget_counts();
    }

    /// Asks the tracker how many copies of each piece there are, and to be told how that changes; or to be told no longer.
    fn watch(&self, is_on: bool, shell: &mut Shell) {
        let Some(slot) = self.slot else { return };
        let mut ask = |request| shell.ask(self.job, tag::AVAIL, request);
        if is_on {
            log::debug!("asking the tracker for the copies of each piece, and how they change");
            for first in (0..self.swarm.have().len()).step_by(COUNTS_MAX as usize) {
                let count = COUNTS_MAX;
                ask(Request::AvailQuery { slot, first, count });
            }
        } else {
            log::debug!("telling the tracker that its counts are of no use any more");
        }
        // Nothing changes between the answers to two requests that come together, so what is told next begins there.
        let period_ms = if is_on { AVAIL_PERIOD_MS_MIN } else { 0 };
        ask(Request::AvailSub { slot, period_ms });
    }

    /// JOIN was refused, or the REGISTER that should lead to one; if the tracker is only busy, it is asked again.
    pub(super) fn join_failed(&mut self, now: Time, why: &TrackerFailure) {
        self.joining = false;
        if let TrackerFailure::Refused { retry_ms, .. } = why
            && is_busy(why)
        {
            let pause = Duration::from_millis(u64::from(*retry_ms)).max(JOIN_AGAIN_AFTER);
            self.join_at = Some(now + pause);
        }
    }

    /// Time has passed.
    pub(super) fn handle_timeout(&mut self, now: Time, shell: &mut Shell) {
        if self.join_at.take_if(|at| *at <= now).is_some() {
            self.join(shell);
        }
        if self.swarm.poll_timeout().is_some_and(|at| at <= now) {
            self.swarm.handle_timeout(now);
        }
    }

    /// When [`Transfer::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Time> {
        [self.swarm.poll_timeout(), self.join_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// The tracker told of newcomers, or which seeds share the pieces among them: of nobody, if each offers all.
    pub(super) fn members_changed(&mut self, now: Time, id: PeerId, members: &[PushedMember]) {
        let (joined, seeds): (Vec<&PushedMember>, Vec<_>) = members
            .iter()
            .partition(|pushed| pushed.change == PeerChange::Joined);
        if joined.is_empty() {
            let ours = seeds.iter().position(|seed| seed.member.peer_id == id);
            let (index, of) = ours.map_or((0, 1), |index| (index, seeds.len()));
            return self.swarm.set_part(index as u16, of as u16);
        }
        let found: Vec<Found> = joined.iter().map(|pushed| found(&pushed.member)).collect();
        self.swarm
            .handle_input(now, Input::Newcomers { peers: &found });
    }

    /// Other trackers named these peers.
    pub(super) fn found(&mut self, now: Time, addrs: &[SocketAddr]) {
        let found = |&addr: &SocketAddr| Found {
            addrs: vec![addr],
            ..Found::default()
        };
        let peers: Vec<Found> = addrs.iter().map(found).collect();
        self.swarm.handle_input(now, Input::Found { peers: &peers });
    }

    /// How far it is, as trackers are told.
    pub(super) fn totals(&self) -> Totals {
        let counts = self.swarm.counts();
        Totals {
            uploaded: counts.up_bytes,
            downloaded: counts.down_bytes,
            left: Some(self.swarm.geometry().total_len() - self.swarm.have_bytes()),
        }
    }

    /// Asks for the figures of the swarm, if we are a member.
    pub(super) fn ask_stats(&self, shell: &mut Shell) {
        if let Some(slot) = self.slot {
            shell.ask(self.job, tag::STATS, Request::Stats { slot });
        }
    }

    /// Leaves the swarm at the tracker. Returns whether there will be an answer: to LEAVE, or to the JOIN that is under
    /// way, after which it is time to leave again.
    pub(super) fn leave(&mut self, now: Time, shell: &mut Shell) -> bool {
        self.send_report(now, shell);
        if let Some(slot) = self.slot.take() {
            let reason = if self.swarm.is_complete() {
                LeaveReason::Done
            } else {
                LeaveReason::Stopped
            };
            shell.ask(self.job, tag::LEAVE, Request::Leave { slot, reason });
            return true;
        }
        self.joining
    }

    /// Does everything that the swarm asks for: the one place where its outputs are drained.
    pub(super) fn drain(&mut self, now: Time, shell: &mut Shell, links: &mut Links) {
        while let Some(output) = self.swarm.poll_output() {
            match output {
                Output::Open { peer } => {
                    let swarm = &self.swarm;
                    let info_len = self.meta.info().len();
                    links.open_message(self.job, peer, (swarm, info_len), shell);
                }
                Output::Send { peer, message } => links.send(self.job, peer, &message, shell),
                Output::Exchange { peer, message } => {
                    links.send_exchange(self.job, peer, &message, shell);
                }
                Output::Broadcast { piece } => self.broadcast(piece, shell, links),
                Output::Upload { peer } => links.touch(self.job, peer, shell),
                Output::Check {
                    piece,
                    buffer,
                    digests,
                } => self.check(piece, buffer, digests, shell),
                Output::Write { run, buffer } => self.write(run, buffer, shell),
                Output::Verify { piece, digests } => self.verify(piece, digests, shell),
                Output::Load { run, buffer } => self.load(run, buffer, shell),
                Output::Connect { addr } => {
                    let tag = links.begin_dial(Dial {
                        job: self.job,
                        addr,
                    });
                    shell.commands.push_back(Command::Connect { addr, tag });
                }
                Output::Disconnect { peer, reason } => {
                    if let Some(conn) = links.conn_of(self.job, peer) {
                        log::debug!("{}: closing: {reason}", links.remote_of(conn));
                        let why = Closed::Local(reason.text());
                        shell.commands.push_back(Command::Close(conn, why));
                    }
                }
                Output::Report => self.send_report(now, shell),
                Output::WantPeers => {
                    shell.announces.lack_peers(self.job);
                    if let Some(slot) = self.slot {
                        let request = Request::Peers {
                            slot,
                            want: WANT_MAX,
                            missing: None,
                        };
                        shell.ask(self.job, tag::PEERS, request);
                    }
                }
                Output::Watch { is_on } => self.watch(is_on, shell),
                Output::Accuse { addr, piece, proof } => self.accuse(addr, piece, proof, shell),
                Output::Complete => {
                    let info_len = self.meta.info().len();
                    links.introduce_again(self.job, (&self.swarm, info_len), shell);
                    self.news.push(News::Complete);
                }
                Output::Failed(error) => self.news.push(News::Unwritten(error)),
            }
        }
        if let Some(outflow) = &self.outflow
            && let Some(passed) = outflow.take_outcome()
        {
            self.outflow = None;
            self.news.push(News::Passed(passed));
        }
        while let Some(note) = self.swarm.poll_note() {
            log::trace!("{note}");
        }
    }

    /// A worker is done: what belongs to the swarm goes to it, and what the command is to know comes back.
    pub(super) fn worked(&mut self, now: Time, outcome: Outcome) -> Outcome {
        let is_good = |verdict: &Verdict| matches!(verdict, Verdict::Good);
        let (input, outcome) = match outcome {
            Outcome::Checked {
                piece,
                buffer,
                verdict,
                digests,
            } => {
                let good = is_good(&verdict);
                let checked = Input::Checked {
                    piece,
                    verdict,
                    digests,
                    buffer,
                };
                (checked, Outcome::Judged { good })
            }
            Outcome::Verified {
                piece,
                verdict,
                digests,
            } => {
                let good = is_good(&verdict);
                let verified = Input::Verified {
                    piece,
                    verdict,
                    digests,
                };
                (verified, Outcome::Judged { good })
            }
            Outcome::Written {
                run,
                buffer,
                result,
            } => {
                let written = Input::Written {
                    run,
                    buffer,
                    result,
                };
                (written, Outcome::Stored)
            }
            Outcome::Loaded {
                run,
                buffer,
                result,
            } => {
                let ok = result.is_ok();
                (Input::Loaded { run, buffer, ok }, Outcome::Read(result))
            }
            other => return other,
        };
        self.swarm.handle_input(now, input);
        outcome
    }

    fn check(&self, piece: u32, buffer: PieceBuf, digests: Digests, shell: &mut Shell) {
        let work = PieceWork::Check {
            piece,
            buffer,
            expected: self.meta.piece_hash(piece),
            digests,
            offset: self.swarm.geometry().piece_offset(piece),
            files: self.part_files(),
        };
        shell.submit(self.job, Work::Piece(work));
    }

    fn write(&self, run: Run, buffer: PieceBuf, shell: &mut Shell) {
        let work = PieceWork::Write {
            run,
            buffer,
            offset: self.run_offset(run),
            files: self.part_files(),
        };
        shell.submit(self.job, Work::Piece(work));
    }

    fn verify(&self, piece: u32, digests: Digests, shell: &mut Shell) {
        let work = PieceWork::Verify {
            piece,
            len: self.swarm.geometry().piece_len(piece),
            expected: self.meta.piece_hash(piece),
            digests,
            offset: self.swarm.geometry().piece_offset(piece),
            files: self.part_files(),
        };
        shell.submit(self.job, Work::Piece(work));
    }

    fn load(&self, run: Run, buffer: PieceBuf, shell: &mut Shell) {
        let work = PieceWork::Load {
            run,
            buffer,
            offset: self.run_offset(run),
            files: self.files.clone(),
        };
        shell.submit(self.job, Work::Piece(work));
    }

    fn part_files(&self) -> Arc<PartFiles> {
        match &self.files {
            Files::Part(files) => files.clone(),
            Files::Shared(_) => {
                unreachable!("nothing is asked for of a content that is only shared")
            }
        }
    }

    fn run_offset(&self, run: Run) -> u64 {
        self.swarm.geometry().piece_offset(run.piece) + u64::from(run.begin)
    }

    fn broadcast(&mut self, piece: u32, shell: &mut Shell, links: &mut Links) {
        if !std::mem::replace(&mut self.had_first_piece, true) {
            self.news.push(News::FirstPiece);
        }
        if let Some(outflow) = &self.outflow {
            let front = self.swarm.front();
            let ready = self.swarm.geometry().piece_offset(front);
            outflow.advance(ready.min(self.meta.total_len()));
        }
        let message = crate::wire::peer::Message::Have { piece };
        for link in self.swarm.links() {
            links.send(self.job, link.key, &message, shell);
        }
    }

    /// Says that a peer is banned; the tracker as well, if there is proof.
    fn accuse(&self, addr: SocketAddr, piece: u32, proof: Proof, shell: &mut Shell) {
        let (block, evidence, digest) = match proof {
            Proof::SoleSender => {
                log::warn!("{addr} sent a corrupt piece ({piece}) and is banned");
                (0, Evidence::SoleSender, [0; 20])
            }
            Proof::Block { block, digest } => {
                log::warn!("{addr} sent a corrupt block ({block} of piece {piece}) and is banned");
                (block, Evidence::BlockDigest, digest)
            }
            Proof::Record => {
                return log::warn!("{addr} had a part in too many corrupt pieces and is banned");
            }
        };
        if let Some(slot) = self.slot {
            let accusation = BadPeer {
                slot,
                addr,
                piece,
                block,
                evidence,
                digest,
            };
            shell.ask(self.job, tag::BAD_PEER, Request::BadPeer(accusation));
        }
    }

    /// Reports verified pieces. Without a membership there is nothing to report: a JOIN will carry all of them.
    fn send_report(&mut self, now: Time, shell: &mut Shell) {
        self.report.clear();
        self.swarm.take_report(now, &mut self.report);
        let Some(slot) = self.slot.filter(|_| !self.report.is_empty()) else {
            return;
        };
        let counts = self.swarm.counts();
        let item = |&piece: &u32| HaveItem {
            piece,
            state: HaveState::Have,
        };
        let batch = HaveBatch {
            slot,
            up: counts.up_bytes,
            down: counts.down_bytes,
            items: self.report.iter().map(item).collect(),
            wants_reply: false,
        };
        shell.ask(self.job, tag::HAVE_BATCH, Request::HaveBatch(batch));
    }
}

fn found(member: &Member) -> Found {
    Found {
        // The tracker does not know what foreign members call themselves.
        id: (!member.foreign).then_some(member.peer_id),
        addrs: member.addrs.iter().collect(),
        is_seed: member.seed,
        proximity: member.proximity,
        share: member.share,
    }
}
