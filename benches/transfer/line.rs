//! Lines that take their time: what goes in at one end comes out at the other end so much later, whatever the kernel can.
//!
//! A line is a relay of TCP connections. It takes what comes at once and keeps as much as comes in that time, so it limits
//! no rate; connecting itself takes no time.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// What is read at once, and how many such parts may be under way.
const PART_BYTES: usize = 64 << 10;
const PARTS_MAX: usize = 1024;

/// A line; no further connections are relayed once it is dropped.
pub(crate) struct Line {
    /// Who connects here reaches the other end.
    pub(crate) addr: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Line {
    /// A line to that address.
    pub(crate) fn to(target: SocketAddr, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let addr = listener.local_addr().expect("bound");
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // Where nobody listens, the connection ends at once.
                let _ = TcpStream::connect(target).and_then(|far| relay(near, far, delay));
            }
        });
        Self { addr, is_over }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // So that whoever accepts looks.
        let _ = TcpStream::connect(self.addr);
    }
}

/// Carries bytes both ways until an end closes.
fn relay(near: TcpStream, far: TcpStream, delay: Duration) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let (sender, receiver) = sync_channel(PARTS_MAX);
        thread::spawn(move || take(from, &sender, delay));
        thread::spawn(move || give(to, &receiver));
    }
    Ok(())
}

/// Bytes and when they arrive.
type Part = (Instant, Vec<u8>);

fn take(mut from: TcpStream, to: &SyncSender<Part>, delay: Duration) {
    let mut bytes = vec![0; PART_BYTES];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let part = (Instant::now() + delay, bytes[..count].to_vec());
        if to.send(part).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Read);
}

fn give(mut to: TcpStream, from: &Receiver<Part>) {
    for (at, bytes) in from {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
