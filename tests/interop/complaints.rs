//! What the logs of other programs say when a peer or a tracker does wrong.

use crate::programs::Program;

/// The lines of a log that complain, be it of us or of one another.
pub(crate) fn complaints(program: Program, lines: &[String]) -> Vec<&String> {
    let complains = match program {
        Program::Aria2 => aria2,
        Program::Libtorrent => libtorrent,
        Program::Transmission | Program::Daemon => transmission,
    };
    lines.iter().filter(|line| complains(line)).collect()
}

/// Whatever it does not like, it throws. These it throws in good order too.
fn aria2(line: &str) -> bool {
    let usual = [
        // Its own files, of which one is not there yet and the other is short.
        "DHTRoutingTableDeserializer",
        "IteratableChunkChecksumValidator",
        // We speak no encryption, and it comes again without.
        "MSEHandshake",
        // Neither needs anything.
        "Good Bye Seeder",
        // Two conns between one pair.
        "same Peer ID",
        "Same Peer ID",
        // It has the info dictionary of a magnet link by now, and has not begun with the content yet.
        "Unknown info hash",
        // The other one has closed the conn or left.
        "Got EOF from peer",
        "Connection reset by peer",
        "Connection refused",
    ];
    line.contains("Exception: ") && !usual.iter().any(|usual| line.contains(usual))
}

/// Alerts about what a peer, a tracker or the disk did, and the end of every conn but for a good reason.
fn libtorrent(line: &str) -> bool {
    let kinds = [
        "peer_error_alert",
        "peer_ban_alert",
        "invalid_request_alert",
        "hash_failed_alert",
        "tracker_error_alert",
        "tracker_warning_alert",
        "scrape_failed_alert",
        "torrent_error_alert",
        "file_error_alert",
    ];
    let good = [
        "upload to upload connection",
        // We have everything, and it has asked another for all that it lacks.
        "uninteresting upload-only peer",
        "torrent finished",
        // By exchange of peers it may hear of itself.
        "connected to ourselves",
        "duplicate peer",
        "End of file",
        "Connection reset by peer",
        "Connection refused",
        "Broken pipe",
        // That is not us: we speak TCP only.
        "(uTP)",
    ];
    // What it calls us, and who did not come to say who it is.
    let is_us = line.contains("client: SH ") || line.contains("client: Unknown ");
    let Some((kind, rest)) = line.split_once(' ') else {
        return false;
    };
    kinds.contains(&kind)
        || kind == "peer_disconnected_alert"
            && is_us
            && !good.iter().any(|good| rest.contains(good))
}

/// It closes the conn and says why; and of pieces and trackers.
fn transmission(line: &str) -> bool {
    let phrases = [
        "bad packet",
        "bad piece",
        "bad handshake",
        "failed its checksum",
        "banning",
        "Tracker error",
        "Tracker warning",
        "Announce response was in an unrecognized format",
        "peer is an unknown message",
        "rejecting",
    ];
    phrases.iter().any(|phrase| line.contains(phrase))
}
