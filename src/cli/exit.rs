//! What a program's exit code means: aria2's numbers with aria2's meaning, so that wrappers port.
//!
//! A code says what to do next; the error line says why. An unknown code means failure.

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything that was asked for is done.
    Ok = 0,
    /// A failure that has no number of its own.
    Other = 1,
    /// `--timeout` ran out.
    Timeout = 2,
    /// The tracker knows no such content.
    NotFound = 3,
    /// Nothing arrived for as long as `--stall` allows.
    Stalled = 5,
    /// The network or the tracker failed.
    Network = 6,
    /// A signal ended a download before it was complete.
    Unfinished = 7,
    /// The disk is full; what is there is kept.
    DiskFull = 9,
    /// The same download already runs in this folder.
    AlreadyRunning = 11,
    /// The target exists.
    Exists = 13,
    /// A file or folder could not be read or written, or a shared file changed.
    Io = 17,
    /// A host name did not resolve.
    NameResolution = 19,
    /// The tracker refused the request.
    Refused = 24,
    /// A torrent could not be read.
    UnreadableTorrent = 25,
    /// A torrent is not acceptable: a hostile name, or too large.
    UnacceptableTorrent = 26,
    /// A magnet link could not be read.
    BadMagnet = 27,
    /// The command line is wrong.
    Usage = 28,
    /// Content does not match its digest.
    Checksum = 32,
    /// `status --expect` or `--hosts` is not met.
    ExpectationUnmet = 33,
    /// A second interrupt signal ended the program at once.
    Interrupted = 130,
    /// A second termination signal ended the program at once.
    Terminated = 143,
}

impl ExitCode {
    /// The number that the parent process sees.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Whether this is success.
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::Ok)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_that_wrappers_know() {
        let known = [
            (ExitCode::Ok, 0),
            (ExitCode::NotFound, 3),
            (ExitCode::Unfinished, 7),
            (ExitCode::DiskFull, 9),
            (ExitCode::AlreadyRunning, 11),
            (ExitCode::Exists, 13),
            (ExitCode::Usage, 28),
            (ExitCode::Checksum, 32),
            (ExitCode::ExpectationUnmet, 33),
            (ExitCode::Terminated, 143),
        ];
        for (code, number) in known {
            assert_eq!(code.number(), number, "{code:?}");
            assert_eq!(code.is_ok(), number == 0);
        }
    }
}
