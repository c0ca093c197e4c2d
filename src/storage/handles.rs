//! Open files of a content, a bounded number at a time: the one used longest ago is closed first.
//!
//! Shared by threads. Its mutex covers the look-up only: files are opened, used and closed outside it, so two threads
//! may open one file at the same time, and the later handle wins.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

use super::paths::errno_of;

/// Open files kept at most, where the limit of the process allows it.
const OPEN_FILES_MAX: usize = 128;

#[derive(Debug)]
pub(super) struct Handles {
    open_max: usize,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    entries: Vec<Entry>,
    /// Counts uses.
    now: u64,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    used: u64,
    handle: Arc<File>,
}

impl Handles {
    /// A cache that leaves most of what the process may open to others.
    pub(super) fn new() -> Self {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft);
        let share = usize::try_from(limit / 8).unwrap_or(usize::MAX);
        Self {
            open_max: share.clamp(2, OPEN_FILES_MAX),
            cache: Mutex::default(),
        }
    }

    /// The handle of `file`, opened by `open` if it is not at hand.
    ///
    /// If the process has no descriptor left, what is kept here is closed first.
    pub(super) fn handle(
        &self,
        file: usize,
        open: impl Fn() -> io::Result<File>,
    ) -> io::Result<Arc<File>> {
        if let Some(handle) = self.lock().find(file) {
            return Ok(handle);
        }
        let handle = loop {
            match open() {
                Ok(handle) => break Arc::new(handle),
                Err(error) if is_out_of_descriptors(&error) => {
                    let idle = self.lock().take_half();
                    if idle.is_empty() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        };
        let evicted = self.lock().insert(file, &handle, self.open_max);
        drop(evicted);
        Ok(handle)
    }

    fn lock(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cache {
    fn find(&mut self, file: usize) -> Option<Arc<File>> {
        self.now += 1;
        let entry = self.entries.iter_mut().find(|entry| entry.file == file)?;
        entry.used = self.now;
        Some(Arc::clone(&entry.handle))
    }

    /// Keeps `handle` and returns what had to go for it, to be closed outside the lock.
    fn insert(&mut self, file: usize, handle: &Arc<File>, open_max: usize) -> Option<Entry> {
        self.now += 1;
        let entry = Entry {
            file,
            used: self.now,
            handle: Arc::clone(handle),
        };
        let same = self.entries.iter().position(|entry| entry.file == file);
        let oldest = || {
            let used = |at: &usize| self.entries[*at].used;
            (0..self.entries.len()).min_by_key(used)
        };
        let replaced = same.or_else(|| oldest().filter(|_| self.entries.len() >= open_max));
        if let Some(at) = replaced {
            return Some(std::mem::replace(&mut self.entries[at], entry));
        }
        self.entries.push(entry);
        None
    }

    /// Gives up the half that was used longest ago, at least one.
    fn take_half(&mut self) -> Vec<Entry> {
        self.entries.sort_unstable_by_key(|entry| entry.used);
        let half = self.entries.len().div_ceil(2);
        self.entries.drain(..half).collect()
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let errno = errno_of(error).map(Errno::from_raw);
    matches!(errno, Some(Errno::EMFILE | Errno::ENFILE))
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    fn some_file() -> io::Result<File> {
        File::open("/dev/null")
    }

    fn cache(open_max: usize) -> Handles {
        Handles {
            open_max,
            cache: Mutex::default(),
        }
    }

    #[test]
    fn closes_the_file_that_was_used_longest_ago() {
        let handles = cache(2);
        let opened = Cell::new(0);
        let get = |file| {
            let open = || {
                opened.set(opened.get() + 1);
                some_file()
            };
            handles.handle(file, open).expect("opens");
            opened.get()
        };
        assert_eq!((get(1), get(2), get(1)), (1, 2, 2));
        assert_eq!(get(3), 3, "2 goes");
        assert_eq!((get(1), get(3)), (3, 3));
        assert_eq!(get(2), 4);
        assert_eq!(handles.lock().entries.len(), 2);
    }

    #[test]
    fn gives_up_its_own_files_when_descriptors_run_out() {
        let handles = cache(8);
        for file in 0..8 {
            handles.handle(file, some_file).expect("opens");
        }
        let open = || {
            if handles.lock().entries.len() > 2 {
                return Err(Errno::EMFILE.into());
            }
            some_file()
        };
        handles.handle(9, open).expect("opens in the end");
        let none_left = handles.handle(10, || Err(Errno::EMFILE.into()));
        assert!(none_left.is_err());
        assert!(handles.lock().entries.is_empty());
    }
}
