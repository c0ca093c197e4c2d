//! A node's workers: each task takes its time and comes home, unless the node is gone by then.

use std::time::Duration;

use super::{Event, Simulation};
use crate::base::{Digest20, PieceBuf, Verdict};
use crate::swarm::{Input, Output, Run};

/// How long a worker takes to hash and write a piece.
const CHECK_TIME: Duration = Duration::from_micros(500);
/// How long a worker takes to write a run of a large piece.
const WRITE_TIME: Duration = Duration::from_micros(200);
/// How long a worker takes to read a run.
const LOAD_TIME: Duration = Duration::from_micros(100);

impl Simulation {
    /// A worker begins a task.
    pub(super) fn give_to_worker(&mut self, node: usize, output: Output) {
        let life = self.nodes[node].life;
        let (time, event) = match output {
            Output::Check { piece, buffer, .. } => {
                let checked = Event::Checked {
                    node,
                    life,
                    piece,
                    buffer,
                };
                (CHECK_TIME, checked)
            }
            Output::Write { run, buffer } => {
                let written = Event::Written {
                    node,
                    life,
                    run,
                    buffer,
                };
                (WRITE_TIME, written)
            }
            Output::Verify { piece, .. } => (CHECK_TIME, Event::Verified { node, life, piece }),
            Output::Load { run, buffer } => {
                let loaded = Event::Loaded {
                    node,
                    life,
                    run,
                    buffer,
                };
                (LOAD_TIME, loaded)
            }
            _ => unreachable!("this is no work"),
        };
        self.schedule(time, event);
    }

    pub(super) fn checked(&mut self, node: usize, life: u32, piece: u32, buffer: PieceBuf) {
        if self.nodes[node].life != life {
            return;
        }
        self.note_judged(node, piece, buffer.is_spoilt());
        let verdict = if buffer.is_spoilt() {
            Verdict::Wrong
        } else {
            Verdict::Good
        };
        let digests = self.digests(piece, buffer.spoilt());
        self.input(
            node,
            Input::Checked {
                piece,
                verdict,
                digests,
                buffer,
            },
        );
    }

    pub(super) fn written(&mut self, index: usize, life: u32, run: Run, buffer: PieceBuf) {
        let node = &mut self.nodes[index];
        if node.life != life {
            return;
        }
        if buffer.is_spoilt() {
            let offsets = buffer.spoilt().iter();
            let begins = offsets.map(|offset| run.begin + offset).collect();
            node.spoilt_runs.insert(run, begins);
        } else {
            node.spoilt_runs.remove(&run);
        }
        let result = Ok(());
        self.input(
            index,
            Input::Written {
                run,
                buffer,
                result,
            },
        );
    }

    /// A large piece is what its runs on disk are.
    pub(super) fn verified(&mut self, node: usize, life: u32, piece: u32) {
        if self.nodes[node].life != life {
            return;
        }
        let runs = self.nodes[node].spoilt_runs.iter();
        let of_piece = runs.filter(|(run, _)| run.piece == piece);
        let spoilt: Vec<u32> = of_piece.flat_map(|(_, begins)| begins).copied().collect();
        self.note_judged(node, piece, !spoilt.is_empty());
        let verdict = if spoilt.is_empty() {
            Verdict::Good
        } else {
            Verdict::Wrong
        };
        let digests = self.digests(piece, &spoilt);
        self.input(
            node,
            Input::Verified {
                piece,
                verdict,
                digests,
            },
        );
    }

    /// Stands for the digests of a piece's blocks, of which those that begin at `spoilt` are wrong.
    fn digests(&self, piece: u32, spoilt: &[u32]) -> Vec<Digest20> {
        if self.scenario.poisoner_count == 0 {
            return Vec::new();
        }
        let geometry = self.scenario.geometry();
        let digest = |block| {
            let begin = geometry.block(piece, block).begin;
            [u8::from(spoilt.contains(&begin)); 20]
        };
        (0..geometry.block_count(piece)).map(digest).collect()
    }

    pub(super) fn loaded(&mut self, node: usize, life: u32, run: Run, buffer: PieceBuf) {
        if self.nodes[node].life == life {
            let ok = true;
            self.input(node, Input::Loaded { run, buffer, ok });
        }
    }
}
