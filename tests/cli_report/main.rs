//! What the reporter says: events that every form is fed with, and the forms' tests.
#![allow(clippy::unwrap_used)]

mod json;
mod pipe;
mod terminal;
mod torrent;

use std::time::Duration;

use shoal::base::{InfoHash, Time};
use shoal::cli::{
    Content, Event, FileRow, Fleet, HashPurpose, MemberRow, Output, OutputConfig, PeerTotal,
    Progress, Reporter, Screen, Seeding, Stream, Streams, Summary,
};

pub(crate) const PLAIN: OutputConfig = OutputConfig {
    json: false,
    quiet: false,
    verbosity: 0,
    progress: true,
    color: false,
    dumb: false,
};
pub(crate) const JSON: OutputConfig = OutputConfig {
    json: true,
    ..PLAIN
};
pub(crate) const PIPES: Streams = Streams {
    stdout_is_terminal: false,
    stderr: None,
};
pub(crate) const TERMINAL: Streams = Streams {
    stdout_is_terminal: true,
    stderr: Some(Screen {
        columns: 70,
        rows: 24,
    }),
};

pub(crate) fn at(seconds: f64) -> Time {
    Time::ZERO + Duration::from_secs_f64(seconds)
}

pub(crate) fn about(name: &str) -> Content {
    Content {
        name: name.to_owned(),
        info_hash: InfoHash([0x4f; 20]),
        size: 8 << 30,
        pieces: 2048,
        piece_bytes: 4 << 20,
        files: 1,
    }
}

pub(crate) fn start(content: usize, name: &str) -> Event {
    Event::Start {
        content,
        about: about(name),
        have: 0,
    }
}

/// A download that has `have` of 2048 pieces.
pub(crate) fn progress(content: usize, have: u32) -> Event {
    let progress = Progress {
        have,
        have_bytes: u64::from(have) << 22,
        down_bytes_per_s: 431_998_976,
        up_bytes_per_s: 406_847_488,
        eta_s: Some(8),
        peers: 14,
        peers_full: 2,
        min_avail: 3,
        links: Vec::new(),
    };
    Event::Progress { content, progress }
}

pub(crate) fn done(content: usize, path: &str) -> Event {
    Event::Done {
        content,
        path: path.into(),
        down_bytes: 8 << 30,
        sha256_checked: false,
    }
}

pub(crate) fn get_summary() -> Summary {
    Summary::Get {
        down_bytes: 8_589_934_592,
        up_bytes: 7_516_192_768,
        hash_fail: 0,
        peers: vec![PeerTotal {
            addr: "10.0.1.17:6881".parse().unwrap(),
            down_bytes: 5,
            up_bytes: 7,
            is_banned: false,
        }],
    }
}

pub(crate) fn hashing(done_bytes: u64) -> Event {
    Event::Hashing {
        content: 0,
        name: "vm.qcow2".to_owned(),
        purpose: HashPurpose::Share,
        done_bytes,
        size: 8 << 30,
        bytes_per_s: 1_503_238_553,
    }
}

pub(crate) fn seeding(up_bytes: u64) -> Event {
    let seeding = Seeding {
        up_bytes_per_s: 812 << 20,
        up_bytes,
        peers: 6,
        fleet: Some(Fleet {
            complete: 3,
            members: 40,
            mean_percent: 61.27,
        }),
    };
    Event::Seeding {
        content: 0,
        seeding,
    }
}

pub(crate) fn member(host: &str, have: u32) -> MemberRow {
    MemberRow {
        host: host.to_owned(),
        addrs: vec!["10.0.0.1:6881".parse().unwrap()],
        have,
        pieces: 2048,
        complete: have == 2048,
        completed_at: (have == 2048).then_some(86_400),
        connected: true,
    }
}

pub(crate) fn file(name: &str) -> FileRow {
    FileRow {
        about: about(name),
        seeds: 1,
        leechers: 2,
        min_avail: 3,
        sha256: Some([0xab; 32]),
        registered_at: 7,
    }
}

pub(crate) struct Run(pub(crate) Reporter);

impl Run {
    pub(crate) fn new(config: OutputConfig, streams: Streams) -> Self {
        Self(Reporter::new(
            Time::ZERO,
            "shoal-peer",
            &["what".to_owned()],
            &config,
            streams,
        ))
    }

    pub(crate) fn of_several(config: OutputConfig, streams: Streams) -> Self {
        Self(Reporter::new(
            Time::ZERO,
            "shoal-peer",
            &["a", "b", "c"].map(str::to_owned),
            &config,
            streams,
        ))
    }

    pub(crate) fn say(&mut self, seconds: f64, event: Event) -> &mut Self {
        self.0.handle_event(at(seconds), event);
        self
    }

    pub(crate) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.0.poll_output()).collect()
    }

    /// What waits on one stream; what waits on the other is thrown away.
    pub(crate) fn text(&mut self, stream: Stream) -> String {
        let outputs = self.outputs().into_iter();
        let bytes: Vec<u8> = outputs
            .filter(|output| output.stream == stream)
            .flat_map(|output| output.bytes)
            .collect();
        String::from_utf8(bytes).unwrap()
    }

    pub(crate) fn lines(&mut self, stream: Stream) -> Vec<String> {
        self.text(stream).lines().map(str::to_owned).collect()
    }
}
