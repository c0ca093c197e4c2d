//! SIGINT and SIGTERM as events of the poll.
//!
//! They are blocked in the calling thread and in those it starts later, so no handler ever runs. So is SIGXFSZ: a file
//! that may not grow is an error of a write, as a broken pipe is, whose SIGPIPE the Rust runtime ignores.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use nix::sys::signal::{self, SigSet};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::Signal;

/// The signals that ask for a stop.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Blocks the signals in this thread and in all that it starts from now on.
    ///
    /// [`Reactor::new`](super::Reactor::new) does it too; a program that starts threads earlier calls this first.
    pub fn block() -> io::Result<()> {
        let mut blocked = stop_signals();
        blocked.add(signal::Signal::SIGXFSZ);
        Ok(blocked.thread_block()?)
    }

    /// Lets the signals do what they do by default: for a thread that no loop serves any more.
    pub fn unblock() -> io::Result<()> {
        Ok(stop_signals().thread_unblock()?)
    }

    /// Blocks the signals, and opens the descriptor that they are read from.
    pub(super) fn open() -> io::Result<Self> {
        Self::block()?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&stop_signals(), flags)?))
    }

    /// The next signal that has come, if there is one.
    pub(super) fn next(&self) -> io::Result<Option<Signal>> {
        while let Some(info) = self.0.read_signal()? {
            match signal::Signal::try_from(info.ssi_signo as i32) {
                Ok(signal::Signal::SIGINT) => return Ok(Some(Signal::Interrupt)),
                Ok(signal::Signal::SIGTERM) => return Ok(Some(Signal::Terminate)),
                _ => {}
            }
        }
        Ok(None)
    }

    /// The descriptor, to be registered in the poll.
    pub(super) fn descriptor(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

fn stop_signals() -> SigSet {
    SigSet::from_iter([signal::Signal::SIGINT, signal::Signal::SIGTERM])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_to_this_thread_is_read_and_does_not_kill() {
        let signals = Signals::open().expect("signalfd");
        assert_eq!(signals.next().expect("readable"), None);
        signal::raise(signal::Signal::SIGTERM).expect("raised");
        signal::raise(signal::Signal::SIGINT).expect("raised");
        let mut seen = [signals.next(), signals.next()].map(|next| next.expect("readable"));
        seen.sort_by_key(|signal| *signal == Some(Signal::Terminate));
        assert_eq!(seen, [Some(Signal::Interrupt), Some(Signal::Terminate)]);
        assert_eq!(signals.next().expect("readable"), None);
    }
}
