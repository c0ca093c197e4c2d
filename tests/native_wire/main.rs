//! The native protocol from outside: whatever is written is read back, however it is cut; whatever is hostile is refused.

mod limits;
mod values;

use proptest::collection::vec;
use proptest::prelude::*;
use shoal::wire::WireError;
use shoal::wire::native::*;

use values::{push, reply, request};

/// The one frame that `bytes` are.
fn frame(bytes: &[u8]) -> (FrameHead, &[u8]) {
    let mut decoder = FrameDecoder::default();
    let mut input = bytes;
    let frame = decoder.decode(&mut input).expect("valid").expect("whole");
    assert!(input.is_empty());
    assert_eq!(bytes[0], FIRST_BYTE);
    (frame.head, &bytes[HEAD_BYTES..])
}

fn request_bytes(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(77, &mut bytes);
    bytes
}

/// Whether all that follows known fields belongs to the last field, so that nothing can be ignored.
fn is_open_ended(kind: u8) -> bool {
    kind == kind::REGISTER || kind == kind::GET_INFO | REPLY_BIT || kind == kind::PEERS
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_survives_the_wire(request in request(), id: u32, tail in vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        request.encode(id, &mut bytes);
        let (head, payload) = frame(&bytes);
        prop_assert_eq!((head.kind, head.request_id), (request.kind(), id));
        prop_assert_eq!(Request::decode(head.kind, head.flags, payload), Ok(request.clone()));
        let critical = Request::decode(head.kind, head.flags | FLAG_CRITICAL, payload);
        prop_assert_eq!(critical, Err(Refusal::CriticalFlag));
        if !is_open_ended(head.kind) {
            let longer = [payload, &tail].concat();
            prop_assert_eq!(Request::decode(head.kind, head.flags, &longer), Ok(request));
            for cut in 0..payload.len() {
                let refused = Request::decode(head.kind, head.flags, &payload[..cut]);
                prop_assert_eq!(refused, Err(Refusal::Malformed(WireError::Truncated)));
            }
        }
    }

    #[test]
    fn every_reply_survives_the_wire(reply in reply(), id: u32, tail in vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        reply.encode(id, &mut bytes);
        let (head, payload) = frame(&bytes);
        prop_assert_eq!((head.kind, head.request_id), (reply.kind(), id));
        let decoded = Reply::decode(head.kind, head.flags, payload).expect("valid");
        prop_assert_eq!(&decoded, &reply);
        prop_assert_eq!(decoded.into_owned(), reply.clone());
        if !is_open_ended(head.kind) {
            let longer = [payload, &tail].concat();
            prop_assert_eq!(Reply::decode(head.kind, head.flags, &longer), Ok(reply));
            for cut in 0..payload.len() {
                let refused = Reply::decode(head.kind, head.flags, &payload[..cut]);
                prop_assert_eq!(refused, Err(WireError::Truncated));
            }
        }
    }

    #[test]
    fn every_push_survives_the_wire(push in push(), tail in vec(any::<u8>(), 0..9)) {
        let mut bytes = Vec::new();
        push.encode(&mut bytes);
        let (head, payload) = frame(&bytes);
        prop_assert!(Push::is_kind(head.kind));
        prop_assert_eq!(head.request_id, 0);
        prop_assert_eq!(Push::decode(head.kind, head.flags, payload), Ok(push.clone()));
        let longer = [payload, &tail].concat();
        prop_assert_eq!(Push::decode(head.kind, head.flags, &longer), Ok(push));
    }

    #[test]
    fn any_chunking_gives_the_frames_of_the_whole(
        requests in vec(request(), 1..6),
        cuts in vec(any::<prop::sample::Index>(), 0..9),
    ) {
        let mut bytes = Vec::new();
        for (id, request) in requests.iter().enumerate() {
            request.encode(id as u32, &mut bytes);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let (mut decoder, mut decoded) = (FrameDecoder::default(), 0);
        for pair in cuts.windows(2) {
            let mut input = &bytes[pair[0]..pair[1]];
            while let Some(frame) = decoder.decode(&mut input).expect("valid") {
                prop_assert_eq!(frame.head.request_id as usize, decoded);
                let request = Request::decode(frame.head.kind, frame.head.flags, frame.payload);
                prop_assert_eq!(request.as_ref(), Ok(&requests[decoded]));
                decoded += 1;
            }
        }
        prop_assert_eq!(decoded, requests.len());
        prop_assert_eq!(decoder.bytes_held(), 0);
    }

    #[test]
    fn garbage_is_refused_or_means_something_but_never_panics(
        kind: u8,
        flags: u8,
        bytes in vec(prop_oneof![Just(0u8), 0..5u8, any::<u8>()], 0..300),
    ) {
        let known = kind % 17;
        for kind in [kind, known, known | REPLY_BIT, known | PUSH_BIT] {
            if let Ok(request) = Request::decode(kind, flags, &bytes) {
                request.encode(1, &mut Vec::new());
            }
            if let Ok(reply) = Reply::decode(kind, flags, &bytes) {
                reply.into_owned().encode(1, &mut Vec::new());
            }
            if let Ok(push) = Push::decode(kind, flags, &bytes) {
                push.encode(&mut Vec::new());
            }
        }
        let (mut decoder, mut input) = (FrameDecoder::default(), &bytes[..]);
        while let Ok(Some(_)) = decoder.decode(&mut input) {}
        prop_assert!(decoder.bytes_held() <= bytes.len());
    }

    #[test]
    fn a_damaged_frame_never_panics(request in request(), reply in reply(), at: prop::sample::Index, with: u8) {
        let mut bytes = request_bytes(&request);
        let at_request = HEAD_BYTES.min(bytes.len() - 1).max(at.index(bytes.len()));
        bytes[at_request] = with;
        if let Ok(request) = Request::decode(request.kind(), 0, &bytes[HEAD_BYTES..]) {
            request.encode(1, &mut Vec::new());
        }
        bytes.clear();
        reply.encode(1, &mut bytes);
        let at_reply = HEAD_BYTES.min(bytes.len() - 1).max(at.index(bytes.len()));
        bytes[at_reply] = with;
        if let Ok(reply) = Reply::decode(reply.kind(), 0, &bytes[HEAD_BYTES..]) {
            reply.encode(1, &mut Vec::new());
        }
    }
}
