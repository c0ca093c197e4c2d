//! Malformed inputs by the thousand, and what a program must be like after them.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes that mean something in a request.
pub(crate) const TELLING: &[u8] = b"\r\n :%&=?0/";
/// How many inputs each front is given: 10,000, or as many as this says.
const GARBAGE: &str = "SHOAL_TEST_GARBAGE";
/// Memory that a program may take on, once it has met every kind of input.
const GROWTH_KIB_MAX: u64 = 4096;
/// Longer than anything takes here.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a program is watched that has nothing to do.
const REST: Duration = Duration::from_millis(500);
/// What it may run in that time, in clock ticks of 10 ms.
const REST_TICKS_MAX: u64 = 5;

/// How many inputs a front is given.
pub(crate) fn inputs() -> u64 {
    let count = std::env::var(GARBAGE).ok();
    count.map_or(10_000, |count| count.parse().expect("a number"))
}

/// Sends `bytes` on a connection of its own, and reads until the other side closes. Returns how much came.
pub(crate) fn throw(addr: SocketAddr, bytes: &[u8]) -> usize {
    let mut stream = TcpStream::connect(addr).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let (mut sink, mut received) = ([0; 4096], 0);
    loop {
        match stream.read(&mut sink) {
            Ok(0) => return received,
            Ok(count) => received += count,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return received,
            Err(error) => panic!("it neither answers nor closes: {error}"),
        }
    }
}

/// Sends every input that `make` makes of its number, each on a connection of its own, and looks at the program before
/// and after. Returns how many bytes came back.
pub(crate) fn storm(pid: u32, addr: SocketAddr, mut make: impl FnMut(u64) -> Vec<u8>) -> usize {
    let mut watch = Watch::begin(pid);
    let (count, mut received) = (inputs(), 0);
    for seed in 0..count {
        received += throw(addr, &make(seed));
        if seed == count / 4 {
            watch.is_warm();
        }
    }
    watch.ends_well();
    received
}

/// A program that is watched while it is given malformed input.
pub(crate) struct Watch {
    pid: u32,
    descriptors: usize,
    kib: u64,
    begun: Instant,
}

impl Watch {
    pub(crate) fn begin(pid: u32) -> Self {
        Self {
            pid,
            descriptors: descriptors(pid),
            kib: resident_kib(pid),
            begun: Instant::now(),
        }
    }

    /// It has met every kind of input, and has no reason to take more memory.
    pub(crate) fn is_warm(&mut self) {
        self.kib = resident_kib(self.pid);
    }

    /// It holds as many descriptors as before, has not grown, and does nothing unless it is asked.
    pub(crate) fn ends_well(self) {
        let (pid, took) = (self.pid, self.begun.elapsed());
        let begun = Instant::now();
        while descriptors(pid) > self.descriptors {
            let (before, now) = (self.descriptors, descriptors(pid));
            assert!(
                begun.elapsed() < PATIENCE,
                "{before} descriptors became {now}"
            );
            std::thread::sleep(REST / 10);
        }
        let (before, after) = (self.kib, resident_kib(pid));
        println!("{took:?}; {before} KiB became {after} KiB");
        assert!(
            after < before + GROWTH_KIB_MAX,
            "{before} KiB became {after} KiB"
        );
        // Timers that were set before may still run out.
        let begun = Instant::now();
        while ticks_in(pid, REST) > REST_TICKS_MAX {
            assert!(begun.elapsed() < PATIENCE, "it does not come to rest");
        }
    }
}

fn descriptors(pid: u32) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd"));
    entries.expect("it runs").count()
}

fn resident_kib(pid: u32) -> u64 {
    let status = read(pid, "status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).expect("a number")
}

/// What all its threads ran while this time passed.
fn ticks_in(pid: u32, time: Duration) -> u64 {
    let before = ticks(pid);
    std::thread::sleep(time);
    ticks(pid) - before
}

/// User and system time: fields 14 and 15, counted from behind the name, which may have spaces.
fn ticks(pid: u32) -> u64 {
    let stat = read(pid, "stat");
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let fields = rest.split_whitespace().skip(11).take(2);
    fields
        .map(|field| field.parse::<u64>().expect("a number"))
        .sum()
}

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).expect("it runs")
}
