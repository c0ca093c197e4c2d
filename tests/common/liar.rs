//! A tracker that knows one content under every name, and describes it as a test wants.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use sha1::{Digest, Sha1};
use shoal::base::InfoHash;
use shoal::wire::native::{FrameDecoder, HelloReply, List, LookupEntry, Policy, Reply, Request};

/// Bytes of the description that go into one answer.
const CHUNK_BYTES: usize = 200_000;

/// Starts one that hands out `info` as the description of `hash`, or of its own; says where it listens.
pub(crate) fn start(info: Vec<u8>, hash: Option<InfoHash>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound").to_string();
    let hash = hash.unwrap_or_else(|| InfoHash(Sha1::digest(&info).into()));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            serve(stream, &info, hash);
        }
    });
    addr
}

fn serve(mut stream: TcpStream, info: &[u8], hash: InfoHash) {
    let mut decoder = FrameDecoder::default();
    let mut buffer = vec![0; 64 << 10];
    let seen_addr = stream.peer_addr().expect("it is connected");
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        let (mut bytes, mut out) = (&buffer[..count], Vec::new());
        while let Some(frame) = decoder.decode(&mut bytes).expect("our own protocol") {
            let head = frame.head;
            let request = Request::decode(head.kind, head.flags, frame.payload);
            let entry = [LookupEntry {
                info_hash: hash,
                size: 4,
                piece_len: 65536,
                n_pieces: 1,
                n_files: 1,
                name: "x".into(),
                sha256: None,
                registered_at: 1,
            }];
            let reply = match request.expect("our own protocol") {
                Request::Hello(_) => Reply::Hello(HelloReply {
                    batch_ms: 250,
                    interval_s: 60,
                    frame_bytes_max: 1 << 20,
                    policy: Policy::Fleet,
                    seen_addr,
                }),
                Request::Lookup { .. } => Reply::Lookup(List::lent(&entry)),
                Request::GetInfo { offset, .. } => {
                    let rest = &info[offset as usize..];
                    Reply::Info {
                        total: info.len() as u32,
                        bytes: rest[..rest.len().min(CHUNK_BYTES)].into(),
                    }
                }
                other => panic!("nothing else is asked of a liar: {other:?}"),
            };
            reply.encode(head.request_id, &mut out);
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}
