//! A content written to a stream in order while it arrives, by a thread of its own: a reader that does not read stops
//! nothing but this thread, and costs no memory, since what waits lies on disk.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

use super::tree::Content;
use super::workers::Wake;

/// Read and written at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// The thread's other end. Dropped, it makes the thread end after the write that it is at, for which nobody waits.
#[derive(Debug)]
pub struct Outflow {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// So many bytes from the start on are there.
    ready: u64,
    outcome: Option<io::Result<()>>,
    closing: bool,
}

impl Outflow {
    /// Starts a thread that writes the first `len` bytes of `content` to `out` as they become ready, and calls `wake` at
    /// its end.
    ///
    /// # Errors
    /// The system's, if it refuses a thread.
    pub fn start(
        content: Arc<dyn Content>,
        len: u64,
        mut out: Box<dyn Write + Send>,
        wake: Wake,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let served = Arc::clone(&shared);
        let thread = Builder::new().name("outflow".into());
        thread.spawn(move || {
            let outcome = served.write_all(&*content, len, &mut *out);
            served.lock().outcome = Some(outcome);
            wake();
        })?;
        Ok(Self { shared })
    }

    /// To this process' stdout.
    ///
    /// # Errors
    /// As [`Outflow::start`].
    pub fn to_stdout(content: Arc<dyn Content>, len: u64, wake: Wake) -> io::Result<Self> {
        Self::start(content, len, Box::new(io::stdout()), wake)
    }

    /// The first `bytes` of the content are there.
    pub fn advance(&self, bytes: u64) {
        let mut state = self.shared.lock();
        if bytes > state.ready {
            state.ready = bytes;
            drop(state);
            self.shared.changed.notify_all();
        }
    }

    /// How it ended, said once: all is written, or the stream takes no more.
    pub fn take_outcome(&self) -> Option<io::Result<()>> {
        self.shared.lock().outcome.take()
    }
}

impl Drop for Outflow {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn write_all(&self, content: &dyn Content, len: u64, out: &mut dyn Write) -> io::Result<()> {
        let mut chunk = vec![0; CHUNK_BYTES.min(usize::try_from(len).unwrap_or(CHUNK_BYTES))];
        let mut written = 0;
        while written < len {
            let Some(ready) = self.wait_for_more(written) else {
                return Ok(());
            };
            let count = (ready.min(len) - written).min(chunk.len() as u64) as usize;
            content.read_at(written, &mut chunk[..count])?;
            out.write_all(&chunk[..count])
                .map_err(|error| io::Error::new(error.kind(), format!("stdout: {error}")))?;
            written += count as u64;
        }
        out.flush()
    }

    /// How many bytes are ready, once there are more than `written`; nothing if nobody wants them any more.
    fn wait_for_more(&self, written: u64) -> Option<u64> {
        let mut state = self.lock();
        while state.ready <= written && !state.closing {
            let waited = self.changed.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
        (!state.closing).then_some(state.ready)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Bytes that say where they are.
    #[derive(Debug)]
    struct Numbers;

    fn byte_at(offset: u64) -> u8 {
        (offset % 251) as u8
    }

    impl Content for Numbers {
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            for (at, byte) in into.iter_mut().enumerate() {
                *byte = byte_at(offset + at as u64);
            }
            Ok(())
        }
        fn will_read(&self, _: u64, _: u64) {}
        fn check_unchanged(&self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A reader that may be gone.
    struct Pipe(Sender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let sent = self.0.send(bytes.to_vec());
            sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// An outflow of `len` bytes, what reads it, and what is told of its end.
    fn outflow(len: u64) -> (Outflow, Receiver<Vec<u8>>, Receiver<()>) {
        let ((out, read), (end, ended)) = (channel(), channel());
        let wake: Wake = Arc::new(move || {
            let _ = end.send(());
        });
        let outflow = Outflow::start(Arc::new(Numbers), len, Box::new(Pipe(out)), wake);
        (outflow.expect("a thread"), read, ended)
    }

    #[test]
    fn writes_what_is_ready_in_order_and_no_more() {
        let len = 3 * CHUNK_BYTES as u64 + 7;
        let (outflow, read, ended) = outflow(len);
        let mut bytes = Vec::new();
        for ready in [1, 1, CHUNK_BYTES as u64 + 1, 5, len - 1, len + 9] {
            outflow.advance(ready);
            while (bytes.len() as u64) < ready.min(len) {
                bytes.extend(read.recv().expect("more comes"));
            }
            assert!(bytes.len() as u64 <= len);
        }
        ended.recv().expect("it ends");
        assert!(matches!(outflow.take_outcome(), Some(Ok(()))));
        assert!(outflow.take_outcome().is_none(), "said once");
        assert!((0..len).all(|at| bytes[at as usize] == byte_at(at)));
        assert_eq!(bytes.len() as u64, len);
    }

    #[test]
    fn a_content_without_bytes_is_written_at_once() {
        let (outflow, _read, ended) = outflow(0);
        ended.recv().expect("it ends");
        assert!(matches!(outflow.take_outcome(), Some(Ok(()))));
    }

    #[test]
    fn a_reader_that_goes_ends_it_with_a_broken_pipe() {
        let (outflow, read, ended) = outflow(1 << 20);
        outflow.advance(10);
        assert_eq!(read.recv().expect("ten bytes").len(), 10);
        drop(read);
        outflow.advance(20);
        ended.recv().expect("it ends");
        let outcome = outflow.take_outcome().expect("it ended");
        let error = outcome.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn dropped_it_ends_without_the_rest() {
        let (outflow, read, ended) = outflow(1 << 20);
        drop(outflow);
        ended.recv().expect("it ends");
        assert!(read.recv().is_err(), "nothing was ready");
    }
}
