//! The one thread that writes stdout and stderr, so that a slow terminal or a full pipe never stops the reactor.
//!
//! Owns the queue of lines, which has a limit in bytes. Progress is dropped long before that limit; what must not be lost
//! is handed back when the limit is reached. Only `wait_for_room` and `finish` wait for the reader at the other end.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// With this many bytes waiting, progress is dropped.
const DROPPABLE_BYTES_MAX: usize = 64 << 10;
/// With this many bytes waiting, everything is refused.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output: data.
    Out,
    /// Standard error: talk.
    Err,
}

/// The writer. Dropped without `finish`, it leaves its thread to write what is waiting, for as long as the process lives.
#[derive(Debug)]
pub struct LineWriter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl LineWriter {
    /// Starts the thread that writes to this process' stdout and stderr.
    pub fn start() -> io::Result<Self> {
        Self::start_with(Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// Starts a thread that writes to `out` and `err` in the place of stdout and stderr.
    pub fn start_with(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let served = Arc::clone(&shared);
        let thread = Builder::new().name("writer".into());
        let thread = Some(thread.spawn(move || served.write_all(out, err))?);
        Ok(Self { shared, thread })
    }

    /// Queues `line`, which brings its own line end, or gives it back if too much is waiting.
    pub fn send(&self, stream: Stream, line: Vec<u8>) -> Result<(), Vec<u8>> {
        self.queue(stream, line, WAITING_BYTES_MAX)
    }

    /// Queues `line` if next to nothing is waiting, and drops it otherwise: for progress, which the next line supersedes.
    pub fn send_droppable(&self, stream: Stream, line: Vec<u8>) {
        let _ = self.queue(stream, line, DROPPABLE_BYTES_MAX);
    }

    /// Waits until what was queued is all but written. Not for the reactor's thread.
    pub fn wait_for_room(&self) {
        let mut queue = self.shared.lock();
        while queue.bytes >= DROPPABLE_BYTES_MAX {
            queue = self.shared.wait(queue);
        }
    }

    /// Waits until what was queued is written, for `limit` at most, and says whether it is. Not for the reactor's thread.
    pub fn wait_until_written(&self, limit: Duration) -> bool {
        let queue = self.shared.lock();
        let wait = self
            .shared
            .changed
            .wait_timeout_while(queue, limit, |queue| queue.bytes > 0);
        let (queue, _) = wait.unwrap_or_else(PoisonError::into_inner);
        queue.bytes == 0
    }

    /// Whether the reader of stdout is gone (EPIPE): what is sent there is dropped from now on.
    pub fn is_out_closed(&self) -> bool {
        self.shared.out_closed.load(Ordering::Relaxed)
    }

    /// Waits until all that was queued is written. The error is the first that stdout met; what failed on stderr could
    /// be told to nobody.
    pub fn finish(mut self) -> io::Result<()> {
        self.shared.close();
        let thread = self
            .thread
            .take()
            .expect("finish is the only one to take it");
        thread.join().expect("the writer does not panic")
    }

    fn queue(&self, stream: Stream, line: Vec<u8>, bytes_max: usize) -> Result<(), Vec<u8>> {
        let mut queue = self.shared.lock();
        if queue.bytes >= bytes_max {
            return Err(line);
        }
        queue.bytes += line.len();
        queue.lines.push_back((stream, line));
        drop(queue);
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        self.shared.close();
    }
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signalled when a line is queued or written, and at the end.
    changed: Condvar,
    out_closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<(Stream, Vec<u8>)>,
    /// Bytes of the lines that wait and of the one that is being written.
    bytes: usize,
    closing: bool,
}

impl Shared {
    fn write_all(
        &self,
        mut out: Box<dyn Write + Send>,
        mut err: Box<dyn Write + Send>,
    ) -> io::Result<()> {
        let mut outcome = Ok(());
        while let Some((stream, line)) = self.next() {
            match stream {
                Stream::Out if outcome.is_ok() => {
                    outcome = out.write_all(&line).and_then(|()| out.flush());
                    let error = outcome.as_ref().err().map(io::Error::kind);
                    if error == Some(io::ErrorKind::BrokenPipe) {
                        self.out_closed.store(true, Ordering::Relaxed);
                    }
                }
                Stream::Out => {}
                // There is nowhere left to complain.
                Stream::Err => _ = err.write_all(&line).and_then(|()| err.flush()),
            }
            self.lock().bytes -= line.len();
            self.changed.notify_all();
        }
        outcome
    }

    fn next(&self) -> Option<(Stream, Vec<u8>)> {
        let mut queue = self.lock();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                return Some(line);
            }
            if queue.closing {
                return None;
            }
            queue = self.wait(queue);
        }
    }

    fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, queue: MutexGuard<'a, Queue>) -> MutexGuard<'a, Queue> {
        self.changed
            .wait(queue)
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Writes into a shared vector, once it may.
    struct Sink {
        written: Arc<Mutex<Vec<u8>>>,
        began: Sender<()>,
        may: Receiver<()>,
    }

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.began.send(());
            // An error means that the gate is open for good.
            let _ = self.may.recv();
            self.written
                .lock()
                .expect("no panic")
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    type Written = Arc<Mutex<Vec<u8>>>;

    /// A stdout that writes nothing before the sender is dropped; the receiver hears of each attempt.
    fn stuck() -> (LineWriter, Written, Receiver<()>, Sender<()>) {
        let (written, (began, begins), (gate, may)) = (Written::default(), channel(), channel());
        let sink = Sink {
            written: Arc::clone(&written),
            began,
            may,
        };
        let writer = LineWriter::start_with(Box::new(sink), Box::new(io::sink()));
        (writer.expect("a thread"), written, begins, gate)
    }

    #[test]
    fn everything_that_is_kept_is_written_in_order() {
        let (writer, written, _begins, gate) = stuck();
        drop(gate);
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        for line in &lines {
            writer
                .send(Stream::Out, line.clone().into_bytes())
                .expect("room");
        }
        writer.finish().expect("written");
        let written = written.lock().expect("no panic");
        assert_eq!(String::from_utf8_lossy(&written), lines.concat());
    }

    #[test]
    fn a_stuck_reader_costs_progress_first_and_memory_never() {
        let (writer, written, begins, gate) = stuck();
        writer.send(Stream::Out, b"first\n".to_vec()).expect("room");
        begins.recv().expect("the writer is stuck in it now");
        let progress = vec![b'p'; 1000];
        for _ in 0..1000 {
            writer.send_droppable(Stream::Out, progress.clone());
        }
        let queued = writer.shared.lock().bytes;
        assert!(queued < DROPPABLE_BYTES_MAX + progress.len(), "{queued}");
        let mut kept = 0;
        while writer.send(Stream::Out, vec![b'k'; 1000]).is_ok() {
            kept += 1000;
            assert!(kept <= WAITING_BYTES_MAX);
        }
        drop(gate);
        writer.wait_for_room();
        writer
            .send(Stream::Out, b"last\n".to_vec())
            .expect("room again");
        writer.finish().expect("written");
        let written = written.lock().expect("no panic");
        assert_eq!(written.iter().filter(|&&byte| byte == b'k').count(), kept);
        assert!(written.ends_with(b"last\n"));
    }

    #[test]
    fn a_reader_of_stdout_that_left_is_told_of_and_stderr_goes_on() {
        let (written, (began, _begins), (gate, may)) = (Written::default(), channel(), channel());
        drop(gate);
        let err = Sink {
            written: Arc::clone(&written),
            began,
            may,
        };
        let writer = LineWriter::start_with(Box::new(Broken), Box::new(err)).expect("a thread");
        assert!(!writer.is_out_closed());
        let big = vec![b'x'; DROPPABLE_BYTES_MAX];
        writer.send(Stream::Out, big.clone()).expect("room");
        writer.wait_for_room();
        assert!(writer.is_out_closed());
        writer.send(Stream::Out, big).expect("dropped, not refused");
        writer.send(Stream::Err, b"talk\n".to_vec()).expect("room");
        let error = writer.finish().expect_err("stdout failed");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(*written.lock().expect("no panic"), b"talk\n");
    }
}
