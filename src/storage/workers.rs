//! A fixed number of threads that run tasks from one bounded queue: what may block happens here, never on the reactor.
//!
//! Owns the threads, the queue and the list of what is done. Never runs a task on the caller's thread, and never holds
//! its mutex across a task: only to push and to pop.
//!
//! Invariants:
//! 1. A task that was taken in is, once and only once, run to its `Done`, or handed back by `shutdown`, or lost with a panic.
//! 2. A panic in a task ends neither its thread nor its pool; it goes on where the pool is served: in `take_done` or `shutdown`.
//! 3. The wake is called once for each time that the list of what is done stops being empty.

use std::any::Any;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// A piece of work that owns all it needs.
pub trait Task: Send + 'static {
    /// What comes of it.
    type Done: Send + 'static;

    /// Does the work; may block.
    fn run(self) -> Self::Done;
}

/// Called on a worker thread to say that something is done; must neither block nor panic.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// What `shutdown` does with tasks that no thread has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Run them all.
    Finish,
    /// Hand them back as they are.
    HandBack,
}

/// What a pool leaves behind.
#[derive(Debug)]
pub struct Remains<T: Task> {
    /// What was done and not yet taken.
    pub done: Vec<T::Done>,
    /// Tasks that were not begun, in their order; none after [`Shutdown::Finish`].
    pub unrun: Vec<T>,
}

/// The pool. Dropped without `shutdown`, it lets its threads end by themselves after the task that each is at.
#[derive(Debug)]
pub struct Workers<T: Task> {
    shared: Arc<Shared<T>>,
    threads: Vec<JoinHandle<()>>,
}

impl<T: Task> Workers<T> {
    /// Starts `threads` threads called `name-0`, `name-1`… that share a queue of at most `queue_max` waiting tasks.
    ///
    /// Both numbers must be at least 1. The error is the system's, if it refuses a thread.
    pub fn start(name: &str, threads: usize, queue_max: usize, wake: Wake) -> io::Result<Self> {
        assert!(threads > 0 && queue_max > 0, "a pool that could do nothing");
        let mut workers = Self {
            shared: Arc::new(Shared {
                board: Mutex::new(Board::new()),
                changed: Condvar::new(),
                queue_max,
                wake,
            }),
            threads: Vec::with_capacity(threads),
        };
        for number in 0..threads {
            let shared = Arc::clone(&workers.shared);
            let thread = Builder::new().name(format!("{name}-{number}"));
            workers.threads.push(thread.spawn(move || shared.work())?);
        }
        Ok(workers)
    }

    /// Queues `task`, or gives it back if `queue_max` tasks are waiting.
    pub fn submit(&self, task: T) -> Result<(), T> {
        let mut board = self.shared.lock();
        if board.closing || board.waiting.len() >= self.shared.queue_max {
            return Err(task);
        }
        board.waiting.push_back(task);
        drop(board);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Appends to `into` what was done since the last call, in the order in which it was done.
    ///
    /// If `into` is empty it trades places with the list inside, so that neither is ever allocated anew.
    /// Panics with the panic of a task, if one panicked.
    pub fn take_done(&mut self, into: &mut Vec<T::Done>) {
        let mut board = self.shared.lock();
        if into.is_empty() {
            std::mem::swap(&mut board.done, into);
        } else {
            into.append(&mut board.done);
        }
        let panic = board.panic.take();
        drop(board);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// What is called when something is done, for other threads that have something to say.
    pub fn wake(&self) -> Wake {
        Arc::clone(&self.shared.wake)
    }

    /// Tasks that wait for a thread.
    pub fn queued(&self) -> usize {
        self.shared.lock().waiting.len()
    }

    /// Tasks that wait for a thread or are being run.
    pub fn unfinished(&self) -> usize {
        let board = self.shared.lock();
        board.waiting.len() + board.running
    }

    /// Ends all threads and waits until they are gone: tasks that were begun are finished in either mode.
    ///
    /// Panics with the panic of a task, if one panicked.
    pub fn shutdown(mut self, mode: Shutdown) -> Remains<T> {
        let unrun = self.shared.close(mode);
        for thread in self.threads.drain(..) {
            thread.join().expect("a worker survives its tasks");
        }
        let mut done = Vec::new();
        self.take_done(&mut done);
        Remains { done, unrun }
    }
}

impl<T: Task> Drop for Workers<T> {
    fn drop(&mut self) {
        self.shared.close(Shutdown::HandBack);
    }
}

struct Shared<T: Task> {
    board: Mutex<Board<T>>,
    /// Signalled when a task is queued and when the pool closes.
    changed: Condvar,
    queue_max: usize,
    wake: Wake,
}

struct Board<T: Task> {
    waiting: VecDeque<T>,
    running: usize,
    done: Vec<T::Done>,
    panic: Option<Box<dyn Any + Send>>,
    closing: bool,
}

impl<T: Task> Board<T> {
    fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            running: 0,
            done: Vec::new(),
            panic: None,
            closing: false,
        }
    }
}

impl<T: Task> Shared<T> {
    /// No code that can panic runs under this lock, so a poisoned one still guards whole data.
    fn lock(&self) -> MutexGuard<'_, Board<T>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some(task) = self.next() {
            let outcome = catch_unwind(AssertUnwindSafe(|| task.run()));
            if self.finished(outcome) {
                (self.wake)();
            }
        }
    }

    fn next(&self) -> Option<T> {
        let mut board = self.lock();
        loop {
            if let Some(task) = board.waiting.pop_front() {
                board.running += 1;
                return Some(task);
            }
            if board.closing {
                return None;
            }
            board = self
                .changed
                .wait(board)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Files an outcome and says whether it is the first since the last `take_done`.
    fn finished(&self, outcome: Result<T::Done, Box<dyn Any + Send>>) -> bool {
        let mut board = self.lock();
        board.running -= 1;
        let first = board.done.is_empty() && board.panic.is_none();
        match outcome {
            Ok(done) => board.done.push(done),
            Err(panic) => board.panic = Some(panic),
        }
        first
    }

    fn close(&self, mode: Shutdown) -> Vec<T> {
        let mut board = self.lock();
        board.closing = true;
        let unrun = match mode {
            Shutdown::Finish => Vec::new(),
            Shutdown::HandBack => board.waiting.drain(..).collect(),
        };
        drop(board);
        self.changed.notify_all();
        unrun
    }
}

impl<T: Task> std::fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// How many threads this machine can run at a time; 1 if it does not say.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    enum Job {
        Give(u32),
        /// Says that it began, then waits until it may end.
        Hold(Sender<()>, Receiver<()>),
        Panic,
    }

    impl Task for Job {
        type Done = u32;

        fn run(self) -> u32 {
            match self {
                Self::Give(number) => number,
                Self::Hold(began, may_end) => {
                    began.send(()).expect("the test listens");
                    may_end.recv().expect("the test speaks");
                    u32::MAX
                }
                Self::Panic => std::panic::panic_any("a task of the test fell"),
            }
        }
    }

    fn pool(threads: usize, queue_max: usize) -> (Workers<Job>, Receiver<()>, Arc<AtomicUsize>) {
        let (wakes, (told, woken)) = (Arc::new(AtomicUsize::new(0)), channel());
        let counter = Arc::clone(&wakes);
        let wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = told.send(());
        });
        let workers = Workers::start("test", threads, queue_max, wake).expect("threads");
        (workers, woken, wakes)
    }

    /// Keeps one thread of the pool busy until the sender speaks or is gone.
    fn hold(workers: &Workers<Job>) -> Sender<()> {
        let ((began, is_held), (release, may_end)) = (channel(), channel());
        assert!(workers.submit(Job::Hold(began, may_end)).is_ok());
        is_held.recv().expect("the task begins");
        release
    }

    #[test]
    fn every_task_of_many_is_done_exactly_once() {
        const TASKS: u32 = 100_000;
        let (mut workers, woken, wakes) = pool(4, 64);
        let (mut done, mut batch, mut next) = (Vec::new(), Vec::new(), 0);
        while done.len() < TASKS as usize {
            while next < TASKS && workers.submit(Job::Give(next)).is_ok() {
                next += 1;
            }
            woken
                .recv()
                .expect("a wake for each time that something is done");
            workers.take_done(&mut batch);
            done.append(&mut batch);
        }
        done.sort_unstable();
        assert!(done.iter().copied().eq(0..TASKS));
        assert!(wakes.load(Ordering::SeqCst) <= TASKS as usize);
        let remains = workers.shutdown(Shutdown::Finish);
        assert!(remains.done.is_empty() && remains.unrun.is_empty());
    }

    #[test]
    fn a_full_queue_gives_the_task_back() {
        let (workers, _woken, _) = pool(1, 2);
        let release = hold(&workers);
        assert!(workers.submit(Job::Give(1)).is_ok());
        assert!(workers.submit(Job::Give(2)).is_ok());
        assert!(matches!(workers.submit(Job::Give(3)), Err(Job::Give(3))));
        assert_eq!((workers.queued(), workers.unfinished()), (2, 3));
        release.send(()).expect("the task waits");
        let remains = workers.shutdown(Shutdown::Finish);
        assert_eq!(remains.done, [u32::MAX, 1, 2]);
        assert!(remains.unrun.is_empty());
    }

    #[test]
    fn shutdown_hands_back_what_was_not_begun() {
        let (workers, _woken, _) = pool(1, 10);
        let release = hold(&workers);
        for number in 0..5 {
            assert!(workers.submit(Job::Give(number)).is_ok());
        }
        let shared = Arc::clone(&workers.shared);
        let closer = std::thread::spawn(move || workers.shutdown(Shutdown::HandBack));
        while !shared.lock().closing {
            std::thread::yield_now();
        }
        release.send(()).expect("the task waits");
        let remains = closer.join().expect("an orderly end");
        assert_eq!(remains.done, [u32::MAX]);
        let unrun = remains.unrun.iter().map(|job| match job {
            Job::Give(number) => *number,
            _ => panic!("not what was queued"),
        });
        assert_eq!(unrun.collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn many_completions_between_two_takes_wake_once() {
        let (mut workers, woken, wakes) = pool(1, 100);
        let release = hold(&workers);
        for number in 0..50 {
            assert!(workers.submit(Job::Give(number)).is_ok());
        }
        release.send(()).expect("the task waits");
        while workers.unfinished() > 0 {
            std::thread::yield_now();
        }
        woken.recv().expect("a wake");
        let mut done = Vec::new();
        workers.take_done(&mut done);
        assert_eq!(done.len(), 51);
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        assert!(workers.submit(Job::Give(7)).is_ok());
        woken.recv().expect("a wake for the next completion");
        done.clear();
        workers.take_done(&mut done);
        assert_eq!(done, [7]);
    }

    #[test]
    fn a_panic_of_a_task_surfaces_where_the_pool_is_served() {
        let (mut workers, woken, _) = pool(1, 10);
        assert!(workers.submit(Job::Panic).is_ok());
        woken.recv().expect("a panic wakes as well");
        let mut done = Vec::new();
        let taken = catch_unwind(AssertUnwindSafe(|| workers.take_done(&mut done)));
        let payload = taken.expect_err("the panic goes on here");
        assert_eq!(payload.downcast_ref(), Some(&"a task of the test fell"));
        assert!(workers.submit(Job::Give(1)).is_ok());
        woken.recv().expect("the thread still works");
        workers.take_done(&mut done);
        assert_eq!(done, [1]);
        assert!(workers.submit(Job::Panic).is_ok());
        let end = catch_unwind(AssertUnwindSafe(|| workers.shutdown(Shutdown::Finish)));
        assert!(end.is_err(), "shutdown neither hangs nor hides it");
    }

    #[test]
    fn a_closed_pool_takes_nothing() {
        let (workers, _woken, _) = pool(2, 10);
        workers.shared.close(Shutdown::Finish);
        assert!(workers.submit(Job::Give(1)).is_err());
    }
}
