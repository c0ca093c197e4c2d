//! What is fuzzed: the readers of bytes that others send, each with what must hold whatever the bytes are.
//!
//! Every target is a function of bytes that panics when a rule is broken, and some samples from which a fuzzer starts.
//! cargo-fuzz runs them with coverage, and `tests/fuzz_small` runs each with a few thousand spoilt samples.

mod content;
mod link;
mod native;
mod session;
mod tracker;

/// One thing that is fuzzed.
#[derive(Clone, Copy)]
pub struct Target {
    /// The name of its file in `fuzz_targets`.
    pub name: &'static str,
    /// Reads bytes, and panics if a rule is broken.
    pub run: fn(&[u8]),
    /// Bytes to start from.
    pub samples: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 21] = [
    target("bencode", content::bencode, content::bencode_samples),
    target("metainfo", content::metainfo, content::info_samples),
    target("torrent", content::torrent, content::torrent_samples),
    target("names", content::names, content::name_samples),
    target("magnet", content::magnet, content::magnet_samples),
    target("resume", content::resume, content::resume_samples),
    target("handshake", link::handshake, link::handshake_samples),
    target("messages", link::messages, link::message_samples),
    target("extension", link::extension, link::extension_samples),
    target("metadata", link::metadata, link::metadata_samples),
    target("exchange", link::exchange, link::exchange_samples),
    target("session", session::session, session::session_samples),
    target("http_head", tracker::http_head, tracker::head_samples),
    target("http_query", tracker::http_query, tracker::query_samples),
    target("http_reply", tracker::http_reply, tracker::reply_samples),
    target(
        "http_response",
        tracker::http_response,
        tracker::response_samples,
    ),
    target("tracker_url", tracker::tracker_url, tracker::url_samples),
    target(
        "udp_request",
        tracker::udp_request,
        tracker::udp_request_samples,
    ),
    target("udp_reply", tracker::udp_reply, tracker::udp_reply_samples),
    target("announces", tracker::announces, tracker::announces_samples),
    target("native", native::native, native::native_samples),
];

const fn target(name: &'static str, run: fn(&[u8]), samples: fn() -> Vec<Vec<u8>>) -> Target {
    Target { name, run, samples }
}

/// Runs the target called `name`.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.expect("a target of this name").run)(data);
}

/// Calls `feed` with `bytes` whole, byte by byte, cut in two at many places, and in chunks; all outcomes must be equal.
fn at_every_split<T: PartialEq + std::fmt::Debug>(bytes: &[u8], feed: impl Fn(&[&[u8]]) -> T) {
    let whole = feed(&[bytes]);
    for len in [1, 3, 7] {
        let chunks: Vec<&[u8]> = bytes.chunks(len).collect();
        assert_eq!(feed(&chunks), whole, "in chunks of {len}");
    }
    let step = (bytes.len() / 32).max(1);
    for at in (0..bytes.len()).step_by(step) {
        let (first, second) = bytes.split_at(at);
        assert_eq!(feed(&[first, second]), whole, "cut at {at}");
    }
}
