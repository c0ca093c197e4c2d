//! Trackers of others, as threads: they name the peers that the test gives them, and tell the test what they heard.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use shoal::wire::announce::{Announce, AnnounceEvent, AnnouncedPeer};
use shoal::wire::http::head::{Head, HeadDecoder};
use shoal::wire::http::query::HttpAnnounce;
use shoal::wire::http::reply::{AnnounceReply, PeerForm, Response};
use shoal::wire::udp::{self, Reply, ReplyBody, Request, RequestBody};

/// As long as other waits of these tests.
const PATIENCE: Duration = Duration::from_secs(60);
const INTERVAL_S: u32 = 600;

/// An announce, and the path with which it came.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) announce: Announce,
    pub(crate) path: String,
}

/// A tracker that runs for as long as the test does.
pub(crate) struct Scripted {
    pub(crate) addr: SocketAddr,
    heard: Receiver<Heard>,
}

impl Scripted {
    /// One that speaks HTTP at a free port of `ip`.
    pub(crate) fn http(ip: &str, peers: &[SocketAddr]) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("a free port");
        let addr = listener.local_addr().expect("bound");
        let (tell, heard) = channel();
        let peers = peers.to_vec();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, &peers, &tell);
            }
        });
        Self { addr, heard }
    }

    /// One that speaks UDP at a free port of `ip`. What comes without the id that it gave is not answered.
    pub(crate) fn udp(ip: &str, peers: &[SocketAddr]) -> Self {
        let socket = UdpSocket::bind((ip, 0)).expect("a free port");
        let addr = socket.local_addr().expect("bound");
        let (tell, heard) = channel();
        let peers = peers.to_vec();
        std::thread::spawn(move || serve(&socket, &peers, &tell));
        Self { addr, heard }
    }

    /// The next announce.
    pub(crate) fn next(&self) -> Heard {
        self.heard.recv_timeout(PATIENCE).expect("an announce")
    }

    /// The next announce, which must have this event, with what is left.
    #[track_caller]
    pub(crate) fn hears(&self, event: AnnounceEvent, left: u64) -> Heard {
        let heard = self.next();
        let announce = heard.announce;
        assert_eq!((announce.event, announce.left), (event, left), "{heard:?}");
        heard
    }

    /// Asserts that nothing more was heard.
    #[track_caller]
    pub(crate) fn heard_all(&self) {
        let more = self.heard.try_recv();
        assert!(more.is_err(), "{more:?}");
    }
}

fn listed(peers: &[SocketAddr], announce: &Announce) -> Vec<AnnouncedPeer> {
    let is_leaving = announce.event == AnnounceEvent::Stopped;
    let of = |&addr: &SocketAddr| AnnouncedPeer {
        addr,
        peer_id: None,
    };
    peers.iter().filter(|_| !is_leaving).map(of).collect()
}

/// Answers one request and closes.
fn answer(mut stream: TcpStream, peers: &[SocketAddr], tell: &Sender<Heard>) {
    let (mut decoder, mut buffer) = (HeadDecoder::default(), [0; 4096]);
    loop {
        let count = stream.read(&mut buffer).unwrap_or(0);
        if count == 0 {
            return;
        }
        let mut input = &buffer[..count];
        let Some(head) = decoder.decode(&mut input).expect("a request") else {
            continue;
        };
        let head = Head::parse(head).expect("a request");
        let announce = HttpAnnounce::parse(head.query)
            .expect("an announce")
            .announce;
        let mut body = Vec::new();
        let reply = AnnounceReply {
            interval_s: INTERVAL_S,
            peers: listed(peers, &announce),
            ..AnnounceReply::default()
        };
        reply.put(PeerForm::Compact, &mut body);
        let mut out = Vec::new();
        let response = Response {
            status: "200 OK",
            body: &body,
            keeps_alive: false,
            is_old: false,
        };
        response.put(&mut out);
        let path = head.path.to_owned();
        // The test may be over.
        let _ = tell.send(Heard { announce, path });
        let _ = stream.write_all(&out);
        return;
    }
}

fn serve(socket: &UdpSocket, peers: &[SocketAddr], tell: &Sender<Heard>) {
    const CONNECTION_ID: u64 = 0x5eed;
    let mut buffer = [0; 4096];
    while let Ok((count, from)) = socket.recv_from(&mut buffer) {
        let request = Request::decode(&buffer[..count]).expect("a request");
        let body = match request.body {
            RequestBody::Connect => ReplyBody::Connect {
                connection_id: CONNECTION_ID,
            },
            RequestBody::Announce {
                connection_id,
                announce,
                options,
            } if connection_id == CONNECTION_ID => {
                let path = String::from_utf8(options.url_data()).expect("a path");
                let _ = tell.send(Heard { announce, path });
                ReplyBody::Announce(udp::AnnounceReply {
                    interval_s: INTERVAL_S,
                    leechers: 0,
                    seeders: 0,
                    peers: listed(peers, &announce),
                })
            }
            _ => continue,
        };
        let (mut out, transaction) = (Vec::new(), request.transaction);
        Reply { transaction, body }.put(&mut out);
        let _ = socket.send_to(&out, from);
    }
}
