//! What a `.torrent` file says, as it is shown: as lines of text, and as fields of JSON.

use serde::Serialize;

use super::event::Content;
use super::units::{exact_size, size};
use crate::base::{Digest32, Escaped, hex};

/// What a `.torrent` file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorrentRow {
    /// The content.
    pub about: Content,
    /// Whether peers are to be had from its trackers only.
    pub is_private: bool,
    /// The trackers in their tiers.
    pub tiers: Vec<Vec<String>>,
    /// A word of the one who made it.
    pub comment: Option<String>,
    /// The SHA-256 of the only file, if it is known.
    pub sha256: Option<Digest32>,
    /// The magnet link of the same content.
    pub magnet: String,
    /// The files of a folder, where they are to be shown.
    pub entries: Vec<TorrentEntry>,
}

/// One file of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TorrentEntry {
    /// Its path below the folder.
    pub path: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256, if it is known.
    pub sha256: Option<Digest32>,
}

/// The fields of a JSON object.
#[derive(Serialize)]
pub(super) struct TorrentFields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    name: &'a str,
    info_hash: String,
    size: u64,
    pieces: u32,
    piece_length: u32,
    files: u32,
    private: bool,
    trackers: &'a [Vec<String>],
    comment: Option<&'a str>,
    sha256: Option<String>,
    magnet: &'a str,
}

/// The fields of the JSON object of one file of a folder.
#[derive(Serialize)]
pub(super) struct EntryFields<'a> {
    path: &'a str,
    size: u64,
    sha256: Option<String>,
}

impl TorrentRow {
    /// The JSON fields; `path`: the file, where it was written.
    pub(super) fn fields(&self, path: Option<String>) -> TorrentFields<'_> {
        TorrentFields {
            path,
            name: &self.about.name,
            info_hash: self.about.info_hash.to_string(),
            size: self.about.size,
            pieces: self.about.pieces,
            piece_length: self.about.piece_bytes,
            files: self.about.files,
            private: self.is_private,
            trackers: &self.tiers,
            comment: self.comment.as_deref(),
            sha256: self.sha256.map(|digest| hex(&digest)),
            magnet: &self.magnet,
        }
    }

    /// The lines of text, with everything escaped.
    pub(super) fn lines(&self) -> Vec<String> {
        let about = &self.about;
        let line = |key: &str, value: &str| format!("{key:<10} {}", Escaped(value));
        let mut lines = vec![
            line("name", &about.name),
            line("info-hash", &about.info_hash.to_string()),
            line(
                "size",
                &format!("{} ({} bytes)", size(about.size), about.size),
            ),
            line(
                "pieces",
                &format!(
                    "{} × {}",
                    about.pieces,
                    exact_size(about.piece_bytes.into())
                ),
            ),
        ];
        lines.extend(self.sha256.map(|digest| line("sha256", &hex(&digest))));
        if !self.entries.is_empty() {
            lines.push(line("files", &about.files.to_string()));
            let entry = |entry: &TorrentEntry| {
                let shown = format!("{}  {}", entry.path, size(entry.size));
                line("", &shown)
            };
            lines.extend(self.entries.iter().map(entry));
        }
        for (at, tier) in self.tiers.iter().enumerate() {
            let key = if at == 0 { "trackers" } else { "" };
            lines.push(line(key, &tier.join("  ")));
        }
        if self.tiers.is_empty() {
            lines.push(line("trackers", "none"));
        }
        lines.push(line("private", if self.is_private { "yes" } else { "no" }));
        let comment = self.comment.as_ref();
        lines.extend(comment.map(|comment| line("comment", comment)));
        lines.push(line("magnet", &self.magnet));
        lines
    }
}

impl TorrentEntry {
    pub(super) fn fields(&self) -> EntryFields<'_> {
        EntryFields {
            path: &self.path,
            size: self.size,
            sha256: self.sha256.map(|digest| hex(&digest)),
        }
    }
}
