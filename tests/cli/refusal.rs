//! What a tracker refuses: played by a tracker that refuses whatever it is told to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

use shoal::base::InfoHash;
use shoal::wire::native::{
    ErrorCode, FrameDecoder, HelloReply, List, LookupEntry, Policy, Reply, Request,
};

use crate::program::{peer, run};

/// What the tracker refuses, with what, and in which words.
type Refusing = (fn(&Request<'_>) -> bool, ErrorCode, &'static str);

/// A tracker that knows one content and refuses what it should; it lives as long as the test.
fn tracker_that_refuses(refusing: Refusing) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.expect("a client"), addr, refusing);
        }
    });
    addr.to_string()
}

/// Answers until the client is gone.
fn serve(mut stream: TcpStream, addr: SocketAddr, refusing: Refusing) {
    let (mut decoder, mut buffer) = (FrameDecoder::default(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let (mut input, mut out) = (&buffer[..count], Vec::new());
        while let Some(frame) = decoder.decode(&mut input).expect("frames") {
            let head = frame.head;
            let request = Request::decode(head.kind, head.flags, frame.payload);
            answer(&request.expect("a request"), addr, refusing).encode(head.request_id, &mut out);
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn answer(request: &Request<'_>, addr: SocketAddr, refusing: Refusing) -> Reply<'static> {
    let (refuses, code, text) = refusing;
    match request {
        request if refuses(request) => Reply::Error {
            code,
            retry_ms: 0,
            text: text.into(),
        },
        Request::Hello(_) => Reply::Hello(HelloReply {
            batch_ms: 250,
            interval_s: 60,
            frame_bytes_max: 1 << 20,
            policy: Policy::Fleet,
            seen_addr: addr,
        }),
        Request::Lookup { .. } => {
            let entry = LookupEntry {
                info_hash: InfoHash([7; 20]),
                size: 1,
                piece_len: 65536,
                n_pieces: 1,
                n_files: 1,
                name: "x".into(),
                sha256: None,
                registered_at: 0,
            };
            Reply::Lookup(List::lent(&[entry])).into_owned()
        }
        other => panic!("nobody asks for {other:?} here"),
    }
}

#[test]
fn what_others_registered_is_not_removed() {
    let refuses = |request: &Request<'_>| matches!(request, Request::Unregister { .. });
    let addr = tracker_that_refuses((refuses, ErrorCode::Unauthorised, "not\u{1b}yours"));
    let ended = run(peer(&addr), ["rm", "x"]).expect(24);
    let begin = "shoal-peer: rm x: ";
    let end =
        "not\\u{1b}yours (do it from the machine that registered it, or from the tracker's)\n";
    assert!(
        ended.err.starts_with(begin) && ended.err.ends_with(end),
        "{ended:?}"
    );
    assert_eq!(ended.out, "");
}

#[test]
fn a_tracker_of_another_version_is_not_asked_twice() {
    let refuses = |request: &Request<'_>| matches!(request, Request::Hello(_));
    let addr = tracker_that_refuses((refuses, ErrorCode::Version, "only version 9"));
    let ended = run(peer(&addr), ["get", "x", "--json"]).expect(24);
    let end = "only version 9 (bring shoal-peer and shoal-tracker to one version)\n";
    assert!(
        ended.err.starts_with("shoal-peer: get x: ") && ended.err.ends_with(end),
        "{ended:?}"
    );
    assert_eq!(
        (ended.err.lines().count(), ended.out.lines().count()),
        (1, 1),
        "{ended:?}"
    );
}

#[test]
fn a_content_that_went_or_comes_later_is_told_apart() {
    fn info(request: &Request<'_>) -> bool {
        matches!(request, Request::GetInfo { .. })
    }
    let addr = tracker_that_refuses((info, ErrorCode::NotFound, "gone by now"));
    let ended = run(peer(&addr), ["get", "x"]).expect(3);
    assert!(
        ended
            .err
            .starts_with("shoal-peer: get x: the tracker does not know it ("),
        "{ended:?}"
    );
    let addr = tracker_that_refuses((info, ErrorCode::RateLimited, "later"));
    let ended = run(peer(&addr), ["get", "x"]).expect(24);
    assert!(
        ended.err.ends_with(": later (try again later)\n"),
        "{ended:?}"
    );
}

#[test]
fn whoever_is_no_tracker_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream
                .expect("a client")
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let ended = run(peer(&addr), ["ls"]).expect(6);
    assert!(
        ended
            .err
            .starts_with(&format!("shoal-peer: ls: no tracker at {addr}: ")),
        "{ended:?}"
    );
}
