//! What is to be written, to which stream, and whether it may be lost.

use std::collections::VecDeque;

use log::LevelFilter;

/// One of the two streams that a program writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Data.
    Stdout,
    /// Talk.
    Stderr,
}

/// Bytes that belong on a stream, in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// The stream.
    pub stream: Stream,
    /// The bytes: whole lines, or a whole frame of a terminal.
    pub bytes: Vec<u8>,
    /// Whether it may be dropped where the reader is slow: newer output of its kind makes it worthless.
    pub droppable: bool,
}

/// How much the log says: warnings, and with every `-v` one level more.
pub const fn log_level(verbosity: usize) -> LevelFilter {
    match verbosity {
        0 => LevelFilter::Warn,
        1 => LevelFilter::Info,
        2 => LevelFilter::Debug,
        _ => LevelFilter::Trace,
    }
}

/// Outputs in order.
#[derive(Debug, Default)]
pub(super) struct Outputs(VecDeque<Output>);

impl Outputs {
    pub(super) fn push(&mut self, stream: Stream, bytes: Vec<u8>, droppable: bool) {
        self.0.push_back(Output {
            stream,
            bytes,
            droppable,
        });
    }

    /// A line that is not lost.
    pub(super) fn line(&mut self, stream: Stream, text: &str) {
        self.push(stream, format!("{text}\n").into_bytes(), false);
    }

    pub(super) fn pop(&mut self) -> Option<Output> {
        self.0.pop_front()
    }
}
