//! The terminal form: one block at the bottom, redrawn in place, with lines scrolling away above it.
//!
//! The cursor rests at the block's first column, and every frame both paints over what is there and clears what follows.
//! So a frame depends on no other: any of them may be lost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::columns;
use super::event::{Event, LinkRow, MemberRow, Progress};
use super::lines;
use super::output::{Outputs, Stream};
use super::report::Moment;
use super::screen::{Screen, bar_line, fit};
use super::units::rates;
use crate::base::{Escaped, Time};

/// The least time between two frames.
pub(super) const FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// The most peers that are shown.
const LINKS_SHOWN_MAX: usize = 10;
/// The most columns that a name takes in front of a bar.
const NAME_COLUMNS_MAX: usize = 24;

/// Begins a frame: to the first column.
const HOME: &str = "\r";
/// Clears the rest of a line.
const CLEAR_LINE: &str = "\u{1b}[K";
/// Clears the rest of the screen.
const CLEAR_BELOW: &str = "\u{1b}[J";

/// What the terminal form remembers.
#[derive(Debug)]
pub(super) struct TerminalForm {
    screen: Screen,
    color: bool,
    links: bool,
    several: bool,
    /// What was last heard of each content.
    standing: BTreeMap<usize, Event>,
    /// The members as last told, while watching.
    members: Vec<MemberRow>,
    /// When the last frame was drawn, if one may be on the screen.
    drawn_at: Option<Time>,
}

impl TerminalForm {
    /// `links`: whether peers get lines of their own; `several`: whether contents are named in front of their bars.
    pub(super) fn new(screen: Screen, color: bool, links: bool, several: bool) -> Self {
        Self {
            screen,
            color,
            links,
            several,
            standing: BTreeMap::new(),
            members: Vec::new(),
            drawn_at: None,
        }
    }

    pub(super) fn resize(&mut self, screen: Screen) {
        self.screen = screen;
    }

    /// Takes news of a content into the block.
    pub(super) fn standing(
        &mut self,
        at: &Moment<'_>,
        content: usize,
        event: &Event,
        out: &mut Outputs,
    ) {
        self.standing.insert(content, event.clone());
        self.draw_if_due(at, out);
    }

    /// Takes news of the members into the block.
    pub(super) fn members(&mut self, at: &Moment<'_>, rows: &[MemberRow], out: &mut Outputs) {
        self.members = rows.to_vec();
        self.draw_if_due(at, out);
    }

    /// Takes a content out of the block.
    pub(super) fn forget(&mut self, content: usize) {
        self.standing.remove(&content);
    }

    /// Puts a line above the block.
    pub(super) fn line(&mut self, at: &Moment<'_>, text: &str, out: &mut Outputs) {
        let mut bytes = String::new();
        if self.drawn_at.is_some() {
            bytes.push_str(HOME);
            bytes.push_str(CLEAR_BELOW);
        }
        bytes.push_str(text);
        bytes.push_str("\r\n");
        if self.drawn_at.is_some() {
            bytes.push_str(&self.frame(at));
        }
        out.push(Stream::Stderr, bytes.into_bytes(), false);
    }

    /// Takes the block away.
    pub(super) fn close(&mut self, out: &mut Outputs) {
        self.standing.clear();
        self.members.clear();
        if self.drawn_at.take().is_some() {
            let bytes = format!("{HOME}{CLEAR_BELOW}");
            out.push(Stream::Stderr, bytes.into_bytes(), false);
        }
    }

    fn draw_if_due(&mut self, at: &Moment<'_>, out: &mut Outputs) {
        let due = self
            .drawn_at
            .is_none_or(|drawn| at.now.since(drawn) >= FRAME_INTERVAL);
        if due {
            self.drawn_at = Some(at.now);
            out.push(Stream::Stderr, self.frame(at).into_bytes(), true);
        }
    }

    /// The block as a frame; where there is nothing to show, the frame that clears.
    fn frame(&self, at: &Moment<'_>) -> String {
        // The last column stays free: a cursor beyond it is in no defined place. So does the last row.
        let columns = usize::from(self.screen.columns.max(2) - 1);
        let rows = usize::from(self.screen.rows.max(2) - 1);
        let mut lines = Vec::new();
        for event in self.standing.values() {
            self.block(at, event, columns, &mut lines);
        }
        lines.extend(
            columns::members(&self.members)
                .iter()
                .map(|line| fit(line, columns)),
        );
        lines.truncate(rows);
        let mut frame = String::from(HOME);
        for (number, line) in lines.iter().enumerate() {
            frame.push_str(if number == 0 { "" } else { "\r\n" });
            frame.push_str(line);
            frame.push_str(CLEAR_LINE);
        }
        frame.push_str(CLEAR_BELOW);
        if lines.len() > 1 {
            frame.push_str(&format!("\u{1b}[{}A", lines.len() - 1));
        }
        frame.push_str(HOME);
        frame
    }

    fn block(&self, at: &Moment<'_>, event: &Event, columns: usize, lines: &mut Vec<String>) {
        match event {
            Event::Progress { content, progress } => {
                let size = at.size(*content);
                let label = self.label(at.name(*content));
                let before = format!("{label}{}", lines::share(progress.have_bytes, size));
                let after = format!(" {}", lines::download(size, progress));
                let done = (progress.have_bytes, size);
                lines.push(bar_line(&before, done, &after, columns, self.color));
                lines.push(fit(&format!(" {}", lines::peers(progress)), columns));
                if self.links {
                    lines.extend(links(progress).iter().map(|line| fit(line, columns)));
                }
            }
            Event::Hashing {
                name,
                purpose,
                done_bytes,
                size,
                bytes_per_s,
                ..
            } => {
                let before = format!("{}{}", self.label(name), lines::purpose(*purpose));
                let after = format!(
                    "{}  {}",
                    lines::share(*done_bytes, *size),
                    lines::hashing(*done_bytes, *size, *bytes_per_s)
                );
                lines.push(bar_line(
                    &before,
                    (*done_bytes, *size),
                    &after,
                    columns,
                    self.color,
                ));
            }
            Event::Seeding { content, seeding } => {
                let text = lines::seeding(at.size(*content), seeding);
                let line = format!("{}seeding {text}", self.label(at.name(*content)));
                lines.push(fit(&line, columns));
            }
            _ => {}
        }
    }

    /// The name in front of a line, where there are several.
    fn label(&self, name: &str) -> String {
        if !self.several {
            return String::new();
        }
        format!("{} ", fit(&Escaped(name).to_string(), NAME_COLUMNS_MAX))
    }
}

/// A line per peer, in columns.
fn links(progress: &Progress) -> Vec<String> {
    let shown = &progress.links[..progress.links.len().min(LINKS_SHOWN_MAX)];
    let width = shown.iter().map(|link| link.addr.to_string().len()).max();
    let line = |link: &LinkRow| {
        format!(
            " {:<width$}  {:>3}%  {}",
            link.addr.to_string(),
            link.percent,
            rates(link.down_bytes_per_s, link.up_bytes_per_s),
            width = width.unwrap_or(0)
        )
    };
    let mut lines: Vec<String> = shown.iter().map(line).collect();
    if progress.links.len() > shown.len() {
        lines.push(format!(" … {} more", progress.links.len() - shown.len()));
    }
    lines
}
