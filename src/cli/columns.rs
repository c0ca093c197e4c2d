//! Tables in aligned columns, the same on a terminal and in a pipe.

use console::measure_text_width;

use super::event::{FileRow, MemberRow};
use super::units::{moment, percent, size};
use crate::base::Escaped;

/// How a column is aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Align {
    Left,
    Right,
}

/// The rows of `ls`, headed; nothing if there are none.
pub(super) fn files(rows: &[FileRow]) -> Vec<String> {
    let head = [
        ("NAME", Align::Left),
        ("SIZE", Align::Right),
        ("PIECES", Align::Right),
        ("INFO-HASH", Align::Left),
        ("SEEDS", Align::Right),
        ("LEECHERS", Align::Right),
        ("COPIES", Align::Right),
    ];
    let cells = rows.iter().map(|row| {
        [
            Escaped(&row.about.name).to_string(),
            size(row.about.size),
            row.about.pieces.to_string(),
            row.about.info_hash.to_string(),
            row.seeds.to_string(),
            row.leechers.to_string(),
            row.min_avail.to_string(),
        ]
    });
    aligned(head, cells.collect())
}

/// The rows of `status`, headed; nothing if there are none.
pub(super) fn members(rows: &[MemberRow]) -> Vec<String> {
    let head = [
        ("HOST", Align::Left),
        ("HAS", Align::Right),
        ("PIECES", Align::Right),
        ("STATE", Align::Left),
        ("COMPLETE SINCE", Align::Left),
        ("ADDRESS", Align::Left),
    ];
    let cells = rows.iter().map(|row| {
        let addrs: Vec<String> = row.addrs.iter().map(ToString::to_string).collect();
        [
            Escaped(&row.host).to_string(),
            format!("{}%", percent(row.have.into(), row.pieces.into())),
            format!("{}/{}", row.have, row.pieces),
            state(row).to_owned(),
            row.completed_at.map_or_else(|| "-".to_owned(), moment),
            addrs.join(" "),
        ]
    });
    aligned(head, cells.collect())
}

fn state(row: &MemberRow) -> &'static str {
    match (row.complete, row.connected) {
        (true, true) => "complete",
        (true, false) => "complete, gone",
        (false, true) => "fetching",
        (false, false) => "gone",
    }
}

fn aligned<const N: usize>(head: [(&str, Align); N], rows: Vec<[String; N]>) -> Vec<String> {
    if rows.is_empty() {
        return Vec::new();
    }
    let titles = head.map(|(title, _)| title.to_owned());
    let mut all = vec![titles];
    all.extend(rows);
    let widths: [usize; N] = std::array::from_fn(|column| {
        let widths = all.iter().map(|row| measure_text_width(&row[column]));
        widths.max().unwrap_or(0)
    });
    let line = |row: &[String; N]| {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let padding = " ".repeat(widths[column] - measure_text_width(cell));
            let gap = if column == 0 { "" } else { "  " };
            line.push_str(gap);
            match head[column].1 {
                Align::Left => line.extend([cell, padding.as_str()]),
                Align::Right => line.extend([padding.as_str(), cell]),
            }
        }
        line.truncate(line.trim_end().len());
        line
    };
    all.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::InfoHash;
    use crate::cli::event::Content;

    fn file(name: &str, size: u64) -> FileRow {
        FileRow {
            about: Content {
                name: name.to_owned(),
                info_hash: InfoHash([0x4f; 20]),
                size,
                pieces: 7,
                piece_bytes: 1 << 16,
                files: 1,
            },
            seeds: 1,
            leechers: 12,
            min_avail: 3,
            sha256: None,
            registered_at: 0,
        }
    }

    #[test]
    fn columns_line_up_whatever_the_script() {
        let hash = "4f".repeat(20);
        let shown = files(&[file("世界", 8 << 30), file("a\u{1b}[2J", 12)]);
        assert_eq!(
            shown,
            [
                "NAME            SIZE  PIECES  INFO-HASH                                 SEEDS  LEECHERS  COPIES".to_owned(),
                format!("世界        8.00 GiB       7  {hash}      1        12       3"),
                format!("a\\u{{1b}}[2J      12 B       7  {hash}      1        12       3"),
            ]
        );
        assert_eq!(files(&[]), Vec::<String>::new());
    }

    #[test]
    fn members_show_what_they_have_and_since_when() {
        let row = MemberRow {
            host: "node-1".to_owned(),
            addrs: vec!["10.0.0.1:6881".parse().expect("valid")],
            have: 2047,
            pieces: 2048,
            complete: false,
            completed_at: None,
            connected: true,
        };
        let gone = MemberRow {
            host: "node-2".to_owned(),
            addrs: Vec::new(),
            have: 2048,
            complete: true,
            completed_at: Some(0),
            connected: false,
            ..row.clone()
        };
        assert_eq!(
            members(&[row, gone]),
            [
                "HOST     HAS     PIECES  STATE           COMPLETE SINCE        ADDRESS",
                "node-1   99%  2047/2048  fetching        -                     10.0.0.1:6881",
                "node-2  100%  2048/2048  complete, gone  1970-01-01 00:00:00Z",
            ]
        );
    }
}
