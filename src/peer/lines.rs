//! What the reporter says, on its way to the writer.
//!
//! A reader that is slow for a while costs progress and nothing else: rows and the summary wait here, in order, when the
//! writer takes no more. Never waits for the reader before [`Lines::finish`].

use std::collections::VecDeque;
use std::io;

use crate::cli::{self, Reporter};
use crate::storage::{LineWriter, Stream};

/// With this much waiting here, a reader that still takes nothing gets no more: rows of a million files fit.
const WAITING_BYTES_MAX: usize = 512 << 20;

/// Lines for stdout and stderr.
#[derive(Debug)]
pub(super) struct Lines {
    writer: LineWriter,
    waiting: VecDeque<(Stream, Vec<u8>)>,
    waiting_bytes: usize,
}

impl Lines {
    pub(super) fn new(writer: LineWriter) -> Self {
        Self {
            writer,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        }
    }

    /// Takes what the reporter has to say.
    pub(super) fn take(&mut self, reporter: &mut Reporter) {
        while let Some(output) = reporter.poll_output() {
            let stream = match output.stream {
                cli::Stream::Stdout => Stream::Out,
                cli::Stream::Stderr => Stream::Err,
            };
            if output.droppable {
                self.writer.send_droppable(stream, output.bytes);
            } else {
                self.send(stream, output.bytes);
            }
        }
    }

    fn send(&mut self, stream: Stream, line: Vec<u8>) {
        while let Some((stream, line)) = self.waiting.pop_front() {
            let len = line.len();
            if let Err(line) = self.writer.send(stream, line) {
                self.waiting.push_front((stream, line));
                break;
            }
            self.waiting_bytes -= len;
        }
        let refused = if self.waiting.is_empty() {
            self.writer.send(stream, line).err()
        } else {
            Some(line)
        };
        if let Some(line) = refused
            && self.waiting_bytes + line.len() <= WAITING_BYTES_MAX
        {
            self.waiting_bytes += line.len();
            self.waiting.push_back((stream, line));
        }
    }

    /// Whether the reader of stdout is gone.
    pub(super) fn is_out_closed(&self) -> bool {
        self.writer.is_out_closed()
    }

    /// Waits until everything is written; the first error that stdout met.
    pub(super) fn finish(mut self) -> io::Result<()> {
        for (stream, line) in std::mem::take(&mut self.waiting) {
            self.writer.wait_for_room();
            let sent = self.writer.send(stream, line);
            debug_assert!(sent.is_ok(), "there is room");
        }
        self.writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Writes nothing until it may.
    struct Stuck {
        may: Receiver<()>,
        written: Sender<Vec<u8>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.may.recv();
            self.written.send(bytes.to_vec()).expect("the test reads");
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_slow_reader_gets_every_line_in_order() {
        let (gate, may) = channel();
        let (written, read) = channel();
        let out = Box::new(Stuck { may, written });
        let writer = LineWriter::start_with(out, Box::new(io::sink())).expect("a thread");
        let mut lines = Lines::new(writer);
        let line = |n: u32| format!("{n:01000}\n").into_bytes();
        (0..10_000).for_each(|n| lines.send(Stream::Out, line(n)));
        assert!(lines.waiting_bytes > 1 << 20, "{}", lines.waiting_bytes);
        drop(gate);
        lines.finish().expect("everything is written");
        let read: Vec<u8> = read.iter().flatten().collect();
        let all: Vec<u8> = (0..10_000).flat_map(line).collect();
        assert!(read == all, "{} of {} bytes", read.len(), all.len());
    }
}
