//! The sentences that the terminal and the pipe form share. Every name in them is escaped.

use std::time::Duration;

use super::event::{BadRow, Content, Fleet, HashPurpose, PeerTotal, Progress, Seeding, Summary};
use super::units::{clock, elapsed, exact_size, percent, rate, rates, size, size_of_size};
use super::value::What;
use crate::base::Escaped;

/// `vm.qcow2  8.00 GiB  2048 × 4 MiB  4f1c09aa…`
pub(super) fn content(about: &Content) -> String {
    let hash = about.info_hash.to_string();
    format!(
        "{}  {}  {} × {}  {}…",
        Escaped(&about.name),
        size(about.size),
        about.pieces,
        exact_size(about.piece_bytes.into()),
        &hash[..8]
    )
}

/// `get it: shoal-peer -t tr:6969 get vm.qcow2`
pub(super) fn get_it(about: &Content, tracker: &str) -> String {
    format!(
        "get it: shoal-peer -t {} get {}",
        Escaped(tracker),
        shell_word(about)
    )
}

/// `done vm.qcow2  8.00 GiB in 0:19 (431 MiB/s), verified`
pub(super) fn done(
    name: &str,
    size_bytes: u64,
    down_bytes: u64,
    took: Duration,
    sha256: bool,
) -> String {
    let speed = match took.as_secs_f64() {
        secs if down_bytes > 0 && secs > 0.0 => {
            format!(" ({})", rate((down_bytes as f64 / secs) as u64))
        }
        _ => String::new(),
    };
    let checked = if sha256 { ", SHA-256 matches" } else { "" };
    format!(
        "done {}  {} in {}{speed}, verified{checked}",
        Escaped(name),
        size(size_bytes),
        elapsed(took)
    )
}

/// `5.04/8.00 GiB  ↓412 ↑388 MiB/s  ETA 0:07`
pub(super) fn download(size_bytes: u64, progress: &Progress) -> String {
    format!(
        "{}  {}  {}",
        size_of_size(progress.have_bytes, size_bytes),
        rates(progress.down_bytes_per_s, progress.up_bytes_per_s),
        eta(progress.eta_s)
    )
}

/// `14 peers (2 full) · rarest piece ×3`
pub(super) fn peers(progress: &Progress) -> String {
    format!(
        "{} ({} full) · rarest piece ×{}",
        count(progress.peers, "peer"),
        progress.peers_full,
        progress.min_avail
    )
}

/// `↑812 MiB/s → 6 peers · fleet 3/40 complete, mean 61% · ratio 4.2`
pub(super) fn seeding(size_bytes: u64, seeding: &Seeding) -> String {
    let mut text = format!(
        "↑{} → {}",
        rate(seeding.up_bytes_per_s),
        count(seeding.peers, "peer")
    );
    if let Some(known) = &seeding.fleet {
        text.push_str(&format!(" · fleet {}", fleet(known)));
    }
    if size_bytes > 0 {
        let ratio = seeding.up_bytes as f64 / size_bytes as f64;
        text.push_str(&format!(" · ratio {ratio:.1}"));
    }
    text
}

/// `3/40 complete, mean 61%`
pub(super) fn fleet(fleet: &Fleet) -> String {
    format!(
        "{}/{} complete, mean {:.0}%",
        fleet.complete,
        fleet.members,
        fleet.mean_percent.floor()
    )
}

/// `1.4 GiB/s  ETA 0:02`
pub(super) fn hashing(done_bytes: u64, size_bytes: u64, bytes_per_s: u64) -> String {
    let left = size_bytes.saturating_sub(done_bytes);
    format!(
        "{}  {}",
        rate(bytes_per_s),
        eta((bytes_per_s > 0).then(|| left.div_ceil(bytes_per_s)))
    )
}

/// The word for what is going on while a file is read.
pub(super) fn purpose(purpose: HashPurpose) -> &'static str {
    match purpose {
        HashPurpose::Share => "hashing",
        HashPurpose::Resume => "resuming",
        HashPurpose::Check => "checking",
    }
}

/// ` 63%`, as wide for every share.
pub(super) fn share(part: u64, whole: u64) -> String {
    format!("{:>3}%", percent(part, whole))
}

/// Something that does not match.
pub(super) fn bad(row: &BadRow) -> String {
    match row {
        BadRow::Piece {
            piece,
            offset,
            bytes,
        } => format!("bad piece {piece} at {offset}, {bytes} bytes"),
        BadRow::File { path, why } => {
            format!(
                "bad file {}: {}",
                Escaped(&path.to_string_lossy()),
                Escaped(why)
            )
        }
    }
}

/// What a command's end says beyond its rows, if anything.
pub(super) fn summary(summary: &Summary, took: Duration, failed: bool) -> Option<String> {
    match summary {
        // A failure has said why nothing was done.
        Summary::Share { peers, .. } if failed && peers.is_empty() => None,
        Summary::Status { fleet, .. } if failed && fleet.members == 0 => None,
        Summary::Verify { pieces: 0, .. } if failed => None,
        Summary::Share { up_bytes, peers } => Some(format!(
            "served {} to {} in {}",
            size(*up_bytes),
            count(served(peers), "peer"),
            elapsed(took)
        )),
        Summary::Status {
            fleet: all,
            missing,
        } if missing.is_empty() => Some(fleet(all)),
        Summary::Status {
            fleet: all,
            missing,
        } => Some(format!(
            "{}, missing: {}",
            fleet(all),
            Escaped(&missing.join(" "))
        )),
        Summary::Verify {
            pieces,
            pieces_bad: 0,
        } => Some(format!("all of {} match", count(*pieces, "piece"))),
        Summary::Verify { pieces, pieces_bad } => Some(format!(
            "{pieces_bad} of {} do not match",
            count(*pieces, "piece")
        )),
        Summary::Plain | Summary::Get { .. } | Summary::Torrent { .. } => None,
    }
}

/// `1 peer`, `2 peers`.
pub(super) fn count(number: u32, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}

fn served(peers: &[PeerTotal]) -> u32 {
    peers.iter().filter(|peer| peer.up_bytes > 0).count() as u32
}

fn eta(seconds: Option<u64>) -> String {
    match seconds {
        Some(seconds) => format!("ETA {}", clock(Duration::from_secs(seconds))),
        None => "ETA -:--".to_owned(),
    }
}

/// The content as one word of a shell's command line: by name where that can be typed and means a name, else by
/// info-hash.
fn shell_word(about: &Content) -> String {
    let name = &about.name;
    if !matches!(What::parse(name), Ok(What::Name(_) | What::PrefixOrName(_))) {
        return about.info_hash.to_string();
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._+,:@%/=".contains(&byte);
    let is_word = name.bytes().all(is_plain) && !name.starts_with('-') && !name.is_empty();
    if is_word {
        name.clone()
    } else if Escaped(name).to_string() == *name && !name.starts_with('-') {
        format!("'{}'", name.replace('\'', "'\\''"))
    } else {
        about.info_hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::InfoHash;

    fn about(name: &str) -> Content {
        Content {
            name: name.to_owned(),
            info_hash: InfoHash([0x4f; 20]),
            size: 8 << 30,
            pieces: 2048,
            piece_bytes: 4 << 20,
            files: 1,
        }
    }

    #[test]
    fn the_hint_can_be_pasted_into_a_shell() {
        let hash = "4f".repeat(20);
        for (name, word) in [
            ("vm.qcow2", "vm.qcow2"),
            ("two words", "'two words'"),
            ("it's", "'it'\\''s'"),
            ("$(reboot)", "'$(reboot)'"),
            ("-rf", &hash),
            ("a\u{1b}b", &hash),
            ("a.torrent", &hash),
            ("magnet:x", &hash),
        ] {
            let shown = format!("get it: shoal-peer -t tr:6969 get {word}");
            assert_eq!(get_it(&about(name), "tr:6969"), shown);
        }
    }

    #[test]
    fn a_download_without_news_still_says_how_it_stands() {
        let progress = Progress::default();
        assert_eq!(
            download(8 << 30, &progress),
            "0.00/8.00 GiB  ↓0 ↑0 B/s  ETA -:--"
        );
        assert_eq!(peers(&progress), "0 peers (0 full) · rarest piece ×0");
        assert_eq!(hashing(0, 10, 0), "0 B/s  ETA -:--");
    }

    #[test]
    fn done_tells_the_speed_only_if_something_came() {
        let took = Duration::from_secs(19);
        let (whole, moved) = (8 << 30, 8 << 30);
        assert_eq!(
            done("vm.qcow2", whole, moved, took, false),
            "done vm.qcow2  8.00 GiB in 0:19 (431 MiB/s), verified"
        );
        assert_eq!(
            done("x\u{1b}", 0, 0, Duration::ZERO, true),
            "done x\\u{1b}  0 B in 0.00 s, verified, SHA-256 matches"
        );
    }
}
