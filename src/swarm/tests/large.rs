//! Pieces that are written before they are checked.

use super::*;

const RUN_BLOCKS: usize = (RUN_BYTES / BLOCK_LEN) as usize;

/// Has nothing of pieces of eight runs each, and may hold so many runs.
fn large_getter(pieces: u32, runs_max: usize) -> Rig {
    let mut config = config();
    config.pool = BufferPool::new(16 << 20);
    config.arriving_bytes_max = runs_max * RUN_BYTES as usize;
    config.whole_piece_bytes_max = RUN_BYTES;
    let geometry = Geometry::new(u64::from(pieces * 8 * RUN_BYTES), 8 * RUN_BYTES);
    let mut rig = Rig::getter(pieces);
    rig.swarm = Swarm::new(config, geometry, Bitfield::none(pieces));
    rig
}

impl Rig {
    /// A worker writes what waits to be written, or cannot.
    fn write_all(&mut self, works: bool) -> usize {
        let mut count = 0;
        for output in std::mem::take(&mut self.rest) {
            if let Output::Write { run, buffer } = output {
                count += 1;
                let result = if works {
                    Ok(())
                } else {
                    Err(io::ErrorKind::StorageFull.into())
                };
                self.input(Input::Written {
                    run,
                    buffer,
                    result,
                });
            } else {
                self.rest.push(output);
            }
        }
        count
    }
}

#[test]
fn a_large_piece_counts_when_all_of_it_was_written_and_read_back() {
    let mut rig = large_getter(1, 100);
    let source = rig.source(1);
    let mut written = 0;
    for _ in 0..8 * RUN_BLOCKS {
        rig.land_all(source);
        written += rig.write_all(true);
    }
    assert_eq!(written, 8);
    let verify = |output: &Output| matches!(output, Output::Verify { piece: 0, .. });
    assert!(rig.wants(verify) && !rig.swarm.have().get(0));
    assert_eq!(rig.swarm.config.pool.bytes_lent(), 0);
    let (piece, verdict) = (0, Verdict::Good);
    rig.input(Input::Verified {
        piece,
        verdict,
        digests: Vec::new(),
    });
    assert!(rig.swarm.is_complete());
    assert!(rig.wants(|output| matches!(output, Output::Broadcast { piece: 0 })));
}

#[test]
fn no_more_is_asked_for_than_has_a_home_and_it_goes_on_when_runs_are_written() {
    let mut rig = large_getter(2, 2);
    let (first, second) = (rig.source(1), rig.source(2));
    let asked = rig.asked(first);
    assert_eq!(asked.len(), 2 * RUN_BLOCKS, "{asked:?}");
    assert_eq!(rig.asked(second).len(), 0);
    for block in asked {
        rig.land(first, block);
    }
    assert_eq!(rig.asked(first).len() + rig.asked(second).len(), 0);
    assert_eq!(rig.write_all(true), 2);
    let (first, second) = (rig.asked(first), rig.asked(second));
    assert_eq!(first.len() + second.len(), 2 * RUN_BLOCKS);
}

#[test]
fn a_block_that_comes_late_for_a_run_that_has_no_home_any_more_is_dropped() {
    let mut rig = large_getter(1, 100);
    let source = rig.source(1);
    let asked = rig.asked(source);
    for &block in &asked[..RUN_BLOCKS] {
        rig.land(source, block);
    }
    let late = *rig.asked(source).last().expect("the pipeline goes on");
    assert_eq!(rig.write_all(false), 1);
    assert!(rig.wants(|output| matches!(output, Output::Failed(_))));
    let again = rig.asked(source);
    assert_eq!(again[0].begin, 0, "it begins anew");
    assert!(again.iter().all(|block| block.begin < late.begin));
    rig.land(source, late);
    assert_eq!(rig.swarm.counts().wasted_bytes, u64::from(late.len));
}

#[test]
fn a_piece_that_is_given_up_begins_anew_only_when_its_runs_are_home() {
    let mut rig = large_getter(1, 100);
    let source = rig.source(1);
    for _ in 0..2 {
        for block in rig.asked(source).into_iter().take(2 * RUN_BLOCKS) {
            rig.land(source, block);
        }
    }
    let mut writes: Vec<Output> = std::mem::take(&mut rig.rest);
    writes.retain(|output| matches!(output, Output::Write { .. }));
    assert!(writes.len() >= 2);
    rig.asked(source);
    for (at, output) in writes.into_iter().enumerate() {
        assert_eq!(rig.asked(source), [], "a run of it is still under way");
        let Output::Write { run, buffer } = output else {
            unreachable!("only these were kept");
        };
        let result = if at == 0 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Ok(())
        };
        rig.input(Input::Written {
            run,
            buffer,
            result,
        });
    }
    assert_eq!(rig.asked(source)[0].begin, 0);
}
