//! The log of a program that has a reporter: its lines wait here until the reporter shows them.
//!
//! So none of them tears a block of progress, and none waits for a slow terminal. There is one log in a process, hence
//! the one static. Keeps a bounded number of lines, and counts what it had to drop.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record, SetLoggerError};

/// Lines that wait at most: many turns of the loop bring as many.
const LINES_MAX: usize = 1024;

/// A line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogLine {
    pub(super) level: Level,
    pub(super) text: String,
}

#[derive(Debug)]
struct Journal(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<LogLine>,
    lost_count: usize,
}

static JOURNAL: Journal = Journal(Mutex::new(Kept {
    lines: VecDeque::new(),
    lost_count: 0,
}));

/// Makes the log of this process wait for a reporter.
///
/// # Errors
/// There is a log already.
pub fn keep_log(level: LevelFilter) -> Result<(), SetLoggerError> {
    log::set_logger(&JOURNAL)?;
    log::set_max_level(level);
    Ok(())
}

/// Takes the lines that wait.
pub(super) fn take_log() -> VecDeque<LogLine> {
    JOURNAL.take()
}

impl Journal {
    fn keep(&self, level: Level, text: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.lines.len() < LINES_MAX {
            kept.lines.push_back(LogLine { level, text });
        } else {
            kept.lost_count += 1;
        }
    }

    fn take(&self) -> VecDeque<LogLine> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = std::mem::take(&mut kept.lines);
        let lost_count = std::mem::take(&mut kept.lost_count);
        if lost_count > 0 {
            let text = format!("{lost_count} more lines of the log are lost");
            lines.push_back(LogLine {
                level: Level::Warn,
                text,
            });
        }
        lines
    }
}

impl Log for Journal {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.keep(record.level(), record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let journal = Journal(Mutex::default());
        for number in 0..LINES_MAX + 3 {
            journal.keep(Level::Info, number.to_string());
        }
        let lines = journal.take();
        assert_eq!(lines.len(), LINES_MAX + 1);
        assert_eq!(lines[LINES_MAX - 1].text, (LINES_MAX - 1).to_string());
        assert_eq!(lines[LINES_MAX].text, "3 more lines of the log are lost");
        assert!(journal.take().is_empty());
    }
}
