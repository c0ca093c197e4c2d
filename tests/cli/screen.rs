//! A terminal: a pseudo-terminal with a program behind it, and what its screen shows.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// After this long a program that does not show what it should is taken for hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// The escape sequences that a program may use here, and what they do. Anything else is a failure of the test.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    pub(crate) rows: Vec<Vec<char>>,
    pub(crate) row: usize,
    pub(crate) column: usize,
    columns: usize,
    pub(crate) painted: bool,
}

impl Screen {
    pub(crate) fn new(columns: usize) -> Self {
        Self {
            columns,
            ..Self::default()
        }
    }

    /// The lines that are not empty at the end.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |row: &Vec<char>| row.iter().collect::<String>().trim_end().to_owned();
        let mut lines: Vec<String> = self.rows.iter().map(line).collect();
        while lines.last().is_some_and(String::is_empty) {
            lines.pop();
        }
        lines
    }

    /// Shows whole sequences of `text`, and gives back what may be the beginning of one.
    pub(crate) fn show(&mut self, text: &str) -> String {
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            if character == '\u{1b}' {
                let Some(end) = rest[1..].find(|c: char| c.is_ascii_alphabetic()) else {
                    return rest.to_owned();
                };
                self.escape(&rest[1..end + 2]);
                rest = &rest[end + 2..];
                continue;
            }
            self.put(character);
            rest = &rest[character.len_utf8()..];
        }
        String::new()
    }

    fn put(&mut self, character: char) {
        while self.rows.len() <= self.row {
            self.rows.push(Vec::new());
        }
        match character {
            '\r' => self.column = 0,
            '\n' => self.row += 1,
            character if character.is_control() => panic!("{character:?} on a terminal"),
            character => {
                if self.column == self.columns {
                    (self.row, self.column) = (self.row + 1, 0);
                    self.rows
                        .resize_with(self.rows.len().max(self.row + 1), Vec::new);
                }
                let row = &mut self.rows[self.row];
                while row.len() <= self.column {
                    row.push(' ');
                }
                row[self.column] = character;
                self.column += 1;
            }
        }
    }

    fn escape(&mut self, sequence: &str) {
        let parameter = |end: char| sequence.strip_prefix('[')?.strip_suffix(end);
        if sequence == "[K" {
            if let Some(row) = self.rows.get_mut(self.row) {
                row.truncate(self.column);
            }
        } else if sequence == "[J" {
            self.rows.truncate(self.row + 1);
            self.escape("[K");
        } else if let Some(count) = parameter('A') {
            self.row -= count.parse::<usize>().expect("a number");
        } else if parameter('m').is_some() {
            self.painted = true;
        } else {
            panic!("{sequence:?} on a terminal");
        }
    }
}

/// A program on a terminal of its own; killed when it is dropped.
pub(crate) struct Shown {
    child: Child,
    coming: Receiver<Vec<u8>>,
    unshown: Vec<u8>,
    pub(crate) screen: Screen,
    _controller: OwnedFd,
}

impl Shown {
    /// Starts `command` with its three streams on a terminal of that many columns.
    pub(crate) fn start(mut command: Command, columns: u16) -> Self {
        let size = Winsize {
            ws_row: 30,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).expect("a pseudo-terminal");
        let end = || {
            Stdio::from(
                pty.slave
                    .as_fd()
                    .try_clone_to_owned()
                    .expect("a descriptor"),
            )
        };
        let child = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("built");
        // The command holds descriptors of the terminal as well, and as long as it does the terminal does not end.
        drop((command, pty.slave));
        let mut from = File::from(pty.master.try_clone().expect("a descriptor"));
        let (told, coming) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal that nobody holds any more answers with EIO.
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                let _ = told.send(bytes[..count].to_vec());
            }
        });
        Self {
            child,
            coming,
            unshown: Vec::new(),
            screen: Screen::new(usize::from(columns)),
            _controller: pty.master,
        }
    }

    /// Shows what comes until `is_there` is true of the lines on the screen.
    #[track_caller]
    pub(crate) fn wait_until(&mut self, is_there: impl Fn(&[String]) -> bool) -> Vec<String> {
        let patience = Instant::now() + PATIENCE;
        loop {
            let lines = self.screen.lines();
            if is_there(&lines) {
                return lines;
            }
            let left = patience.saturating_duration_since(Instant::now());
            let bytes = self.coming.recv_timeout(left);
            let bytes =
                bytes.unwrap_or_else(|_| panic!("not on the screen:\n{}", lines.join("\n")));
            self.show(&bytes);
        }
    }

    fn show(&mut self, bytes: &[u8]) {
        self.unshown.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.unshown) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let after = self.unshown.split_off(whole);
        let text = String::from_utf8(std::mem::replace(&mut self.unshown, after)).expect("text");
        let begun = self.screen.show(&text);
        self.unshown.splice(0..0, begun.into_bytes());
    }

    pub(crate) fn send(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// Waits for the end; gives the exit code, and what the screen shows then.
    #[track_caller]
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        let patience = Instant::now() + PATIENCE;
        loop {
            let left = patience.saturating_duration_since(Instant::now());
            match self.coming.recv_timeout(left) {
                Ok(bytes) => self.show(&bytes),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(_) => panic!("it does not end:\n{}", self.screen.lines().join("\n")),
            }
        }
        let status = self.child.wait().expect("it ended");
        // The cursor waits below everything, at the beginning of a line, for the shell.
        let lines = self.screen.lines();
        assert_eq!(
            (self.screen.column, self.screen.row),
            (0, lines.len()),
            "{lines:?}"
        );
        (status.code(), lines)
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
