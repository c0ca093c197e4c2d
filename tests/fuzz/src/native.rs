//! The frames that Shoal's programs exchange, read by the tracker and by the peer.

use shoal::base::{InfoHash, PeerId};
use shoal::wire::WireError;
use shoal::wire::native::{
    Bitmap, FRAME_BYTES_MAX, FrameDecoder, HEAD_BYTES, HaveBatch, HaveItem, HaveState, Hello, Join,
    LookupBy, Push, Reply, Request, Role,
};

use super::at_every_split;

/// Frames are the same however they are cut, and what one means is written so that it means the same.
pub fn native(data: &[u8]) {
    at_every_split(data, frames);
    let Some((&[kind, flags], payload)) = data.split_first_chunk() else {
        return;
    };
    // The body alone, which a fuzzer finds sooner than a whole frame.
    check_payload(kind, flags, payload);
}

fn frames(chunks: &[&[u8]]) -> (Vec<Vec<u8>>, Option<WireError>) {
    let (mut decoder, mut frames) = (FrameDecoder::default(), Vec::new());
    for mut input in chunks.iter().copied() {
        loop {
            match decoder.decode(&mut input) {
                Ok(Some(frame)) => {
                    frames.push(frame.payload.to_vec());
                    check_payload(frame.head.kind, frame.head.flags, frame.payload);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        assert!(input.is_empty() && decoder.bytes_held() <= FRAME_BYTES_MAX + 4);
    }
    (frames, None)
}

fn check_payload(kind: u8, flags: u8, payload: &[u8]) {
    let mut out = Vec::new();
    if let Ok(request) = Request::decode(kind, flags, payload) {
        request.encode(1, &mut out);
        let again = Request::decode(out[4], out[5], &out[HEAD_BYTES..]);
        assert_eq!(again, Ok(request));
    }
    out.clear();
    if let Ok(reply) = Reply::decode(kind, flags, payload) {
        reply.encode(1, &mut out);
        let again = Reply::decode(out[4], out[5], &out[HEAD_BYTES..]);
        assert_eq!(again.as_ref(), Ok(&reply));
        assert_eq!(again.map(Reply::into_owned), Ok(reply.into_owned()));
    }
    out.clear();
    if let Ok(push) = Push::decode(kind, flags, payload) {
        push.encode(&mut out);
        let again = Push::decode(out[4], out[5], &out[HEAD_BYTES..]);
        assert_eq!(again, Ok(push));
    }
}

pub fn native_samples() -> Vec<Vec<u8>> {
    let info_hash = InfoHash([1; 20]);
    let addrs = ["10.0.0.1:6881".parse().expect("an address")];
    let requests = [
        Request::Hello(Hello::new(PeerId([2; 20]), &addrs)),
        Request::Register {
            total: 8,
            chunk: b"d1:ai1ee"[..].into(),
            more: false,
        },
        Request::Lookup {
            by: LookupBy::Name,
            key: "name".into(),
        },
        Request::GetInfo {
            info_hash,
            offset: 0,
        },
        Request::Join(Join {
            info_hash,
            left: 5,
            have: Bitmap::Bits(10, vec![0xc0, 0x40].into()),
            want: 50,
            role: Role::Leech,
        }),
        Request::HaveBatch(HaveBatch {
            slot: 1,
            up: 2,
            down: 3,
            items: vec![HaveItem {
                piece: 4,
                state: HaveState::Have,
            }]
            .into(),
            wants_reply: true,
        }),
        Request::Ping(7),
    ];
    let frame = |request: &Request<'_>| {
        let mut out = Vec::new();
        request.encode(1, &mut out);
        out
    };
    let all: Vec<u8> = requests.iter().flat_map(frame).collect();
    let mut samples: Vec<Vec<u8>> = requests.iter().map(frame).collect();
    let bodies: Vec<Vec<u8>> = samples
        .iter()
        .map(|frame| [&frame[4..6], &frame[HEAD_BYTES..]].concat())
        .collect();
    samples.extend(bodies);
    let reply = Reply::Error {
        code: shoal::wire::native::ErrorCode::NotFound,
        retry_ms: 1,
        text: "why".into(),
    };
    let mut out = Vec::new();
    reply.encode(1, &mut out);
    samples.extend([all, out]);
    samples
}
