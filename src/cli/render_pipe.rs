//! The pipe form: plain lines, at most one per content in 10 s, and one whenever another 10 % are done.
//!
//! Serving has no per cent, and can go on for months: there a line is said in 10 s at most, and only if it says something
//! new.

use std::collections::BTreeMap;
use std::time::Duration;

use super::event::{Event, MemberRow};
use super::lines;
use super::output::{Outputs, Stream};
use super::report::Moment;
use super::units::percent;
use crate::base::{Escaped, Time};

/// The time after which a line is said although there are no 10 % more.
const LINE_INTERVAL: Duration = Duration::from_secs(10);
/// How often news should come in, so that a step of 10 % is told when it is taken.
pub(super) const NEWS_INTERVAL: Duration = Duration::from_millis(250);

/// What the pipe form remembers.
#[derive(Debug, Default)]
pub(super) struct PipeForm {
    contents: BTreeMap<usize, Said>,
    members: Option<Said>,
    /// Members were told of before: somebody watches.
    watching: bool,
}

/// What was said last of one content.
#[derive(Debug)]
struct Said {
    at: Time,
    /// What it was about: another subject is told at its first step.
    subject: &'static str,
    /// The tenth that was reached; nothing is said of a tenth twice.
    tenth: u32,
    text: String,
}

impl PipeForm {
    /// Takes news of a content, and says a line if one is due.
    pub(super) fn standing(
        &mut self,
        at: &Moment<'_>,
        content: usize,
        event: &Event,
        out: &mut Outputs,
    ) {
        let said = self.contents.remove(&content);
        let said = match event {
            Event::Progress { progress, .. } => {
                let size = at.size(content);
                let text = format!(
                    "{}  {}%  {}  {}",
                    Escaped(at.name(content)),
                    percent(progress.have_bytes, size),
                    lines::download(size, progress),
                    lines::peers(progress)
                );
                let tenth = percent(progress.have_bytes, size) / 10;
                step(at, said, "progress", tenth, text, out)
            }
            Event::Hashing {
                name,
                purpose,
                done_bytes,
                size,
                bytes_per_s,
                ..
            } => {
                let text = format!(
                    "{}  {}  {}%  {}",
                    lines::purpose(*purpose),
                    Escaped(name),
                    percent(*done_bytes, *size),
                    lines::hashing(*done_bytes, *size, *bytes_per_s)
                );
                let tenth = percent(*done_bytes, *size) / 10;
                step(at, said, lines::purpose(*purpose), tenth, text, out)
            }
            Event::Seeding { seeding, .. } => {
                let text = format!(
                    "seeding  {}  {}",
                    Escaped(at.name(content)),
                    lines::seeding(at.size(content), seeding)
                );
                change(at, said, "seeding", text, out)
            }
            other => unreachable!("{other:?} is no standing"),
        };
        self.contents.insert(content, said);
    }

    /// Takes news of the members, and says a line if they changed. The first news may be the only one, and then the
    /// closing table tells it.
    pub(super) fn members(&mut self, at: &Moment<'_>, rows: &[MemberRow], out: &mut Outputs) {
        if !std::mem::replace(&mut self.watching, true) {
            return;
        }
        let complete = rows.iter().filter(|row| row.complete).count();
        let text = format!("{complete}/{} complete", rows.len());
        self.members = Some(change(at, self.members.take(), "members", text, out));
    }
}

/// Says `text` if 10 s have passed or another tenth is reached since something was said.
fn step(
    at: &Moment<'_>,
    said: Option<Said>,
    subject: &'static str,
    tenth: u32,
    text: String,
    out: &mut Outputs,
) -> Said {
    let new = |text| Said {
        at: at.now,
        subject,
        tenth,
        text,
    };
    match said {
        Some(said) if said.subject == subject => {
            if tenth > said.tenth || at.now.since(said.at) >= LINE_INTERVAL {
                say(at, &text, out);
                new(text)
            } else {
                said
            }
        }
        _ => new(text),
    }
}

/// Says `text` if it is the first of its subject, or new and 10 s have passed.
fn change(
    at: &Moment<'_>,
    said: Option<Said>,
    subject: &'static str,
    text: String,
    out: &mut Outputs,
) -> Said {
    let due = said.as_ref().is_none_or(|said| {
        let later = at.now.since(said.at) >= LINE_INTERVAL;
        said.subject != subject || later && said.text != text
    });
    match said {
        Some(said) if !due => said,
        _ => {
            say(at, &text, out);
            Said {
                at: at.now,
                subject,
                tenth: 0,
                text,
            }
        }
    }
}

fn say(at: &Moment<'_>, text: &str, out: &mut Outputs) {
    if at.progress() {
        out.push(Stream::Stderr, format!("{text}\n").into_bytes(), true);
    }
}
