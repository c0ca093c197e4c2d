//! The reporter: turns events into output, in one of three forms.
//!
//! Never writes and never asks what time it is: outputs queue up for the program's writer. Says exactly one summary, and
//! nothing after it. The first failure decides the exit code, unless a second signal does.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::Level;

use super::event::{Content, Event, FileRow, MemberRow, Summary};
use super::journal::take_log;
use super::output::{Output, Outputs, Stream};
use super::render_json::{self, JsonForm};
use super::render_pipe::{self, PipeForm};
use super::render_terminal::{self, TerminalForm};
use super::screen::{Screen, Streams};
use super::settled::Standings;
use super::{ExitCode, Failure, columns, lines};
use crate::base::{Escaped, Time};

/// What the command line and the environment say about output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputConfig {
    /// One JSON object per line on stdout.
    pub json: bool,
    /// Nothing but results, errors and warnings.
    pub quiet: bool,
    /// How much more is said than usual; from 1 a line per peer.
    pub verbosity: usize,
    /// Whether progress is shown.
    pub progress: bool,
    /// Whether a terminal may be coloured.
    pub color: bool,
    /// Whether the terminal understands no escape sequences.
    pub dumb: bool,
}

/// Tells the user, or the user's program, what a command does.
#[derive(Debug)]
pub struct Reporter {
    program: &'static str,
    form: Form,
    quiet: bool,
    verbose: bool,
    /// Whether stdout is for the final paths.
    paths_wanted: bool,
    /// Whether a terminal shows them.
    paths_escaped: bool,
    several: bool,
    facts: Facts,
    standings: Standings,
    /// Final paths, in the order of completion.
    paths: Vec<PathBuf>,
    files: Vec<FileRow>,
    members: Vec<MemberRow>,
    /// Rows that need no columns.
    rows: Vec<String>,
    /// Contents that were served.
    served: BTreeSet<usize>,
    failure: Option<(ExitCode, String)>,
    hushed: bool,
    finished: bool,
    out: Outputs,
}

#[derive(Debug)]
enum Form {
    Terminal(TerminalForm),
    Pipe(PipeForm),
    Json(JsonForm),
}

/// What every form needs to know.
#[derive(Debug)]
struct Facts {
    started: Time,
    /// Whether progress is shown.
    progress: bool,
    contents: BTreeMap<usize, Known>,
}

/// What is known of a content.
#[derive(Clone, Debug, Default)]
struct Known {
    name: String,
    size: u64,
}

impl From<&String> for Known {
    fn from(name: &String) -> Self {
        Self {
            name: name.clone(),
            size: 0,
        }
    }
}

/// When something is shown, and what is known then.
pub(super) struct Moment<'a> {
    pub(super) now: Time,
    facts: &'a Facts,
}

impl Facts {
    fn at(&self, now: Time) -> Moment<'_> {
        Moment { now, facts: self }
    }
}

impl<'a> Moment<'a> {
    /// Seconds since the start, in steps of a millisecond.
    pub(super) fn seconds(&self) -> f64 {
        self.elapsed().as_millis() as f64 / 1e3
    }

    /// Whether progress is shown.
    pub(super) fn progress(&self) -> bool {
        self.facts.progress
    }

    pub(super) fn name(&self, content: usize) -> &'a str {
        let known = self.facts.contents.get(&content);
        known.map_or("", |known| &known.name)
    }

    pub(super) fn size(&self, content: usize) -> u64 {
        let known = self.facts.contents.get(&content);
        known.map_or(0, |known| known.size)
    }

    fn elapsed(&self) -> Duration {
        self.now.since(self.facts.started)
    }
}

/// How a command ended.
pub(super) struct Outcome<'a> {
    pub(super) code: ExitCode,
    pub(super) error: Option<&'a str>,
    pub(super) path: Option<&'a Path>,
}

impl Reporter {
    /// A reporter for one command that starts `now`. `names`: its contents as they were given, WHATs or PATHs; events
    /// number them in this order.
    pub fn new(
        now: Time,
        program: &'static str,
        names: &[String],
        config: &OutputConfig,
        streams: Streams,
    ) -> Self {
        let several = names.len() > 1;
        let verbose = config.verbosity > 0;
        let progress = config.progress && !config.quiet;
        let form = match streams.stderr {
            _ if config.json => Form::Json(JsonForm::new(several)),
            Some(screen) if progress && !config.dumb => {
                Form::Terminal(TerminalForm::new(screen, config.color, verbose, several))
            }
            _ => Form::Pipe(PipeForm::default()),
        };
        Self {
            program,
            paths_wanted: !(config.json || streams.stdout_is_terminal && streams.stderr.is_some()),
            paths_escaped: streams.stdout_is_terminal,
            form,
            quiet: config.quiet,
            verbose,
            several,
            facts: Facts {
                started: now,
                progress,
                contents: names.iter().map(Known::from).enumerate().collect(),
            },
            standings: Standings::default(),
            paths: Vec::new(),
            files: Vec::new(),
            members: Vec::new(),
            rows: Vec::new(),
            served: BTreeSet::new(),
            failure: None,
            hushed: false,
            finished: false,
            out: Outputs::default(),
        }
    }

    /// When it is worth telling next how things stand: never if it is not shown, and not until something happens if
    /// nothing has changed for long.
    pub fn progress_at(&self, now: Time) -> Option<Time> {
        if self.standings.are_settled(now) {
            return None;
        }
        self.progress_interval().map(|interval| now + interval)
    }

    /// How often it is worth telling how things stand; `None` if it is not shown.
    pub fn progress_interval(&self) -> Option<Duration> {
        let interval = match self.form {
            Form::Terminal(_) => render_terminal::FRAME_INTERVAL,
            Form::Pipe(_) => render_pipe::NEWS_INTERVAL,
            Form::Json(_) => render_json::PROGRESS_INTERVAL,
        };
        self.facts.progress.then_some(interval)
    }

    /// Whether [`super::Progress::links`] are shown.
    pub fn wants_links(&self) -> bool {
        self.verbose && matches!(self.form, Form::Terminal(_))
    }

    /// The terminal has another size.
    pub fn resize(&mut self, screen: Screen) {
        if let Form::Terminal(form) = &mut self.form {
            form.resize(screen);
        }
    }

    /// Takes note of what happened. After the summary it is ignored.
    pub fn handle_event(&mut self, now: Time, event: Event) {
        if self.finished {
            return;
        }
        self.learn(&event);
        self.standings.note(now, &event);
        match &mut self.form {
            Form::Json(form) => {
                let at = self.facts.at(now);
                form.event(&at, &event, &mut self.out);
                if let Event::Warning(text) = &event {
                    self.warn(now, text);
                }
            }
            Form::Terminal(_) | Form::Pipe(_) => self.tell(now, event),
        }
    }

    /// The reader of stdout is gone: what comes now is said to nobody.
    pub fn hush(&mut self) {
        self.hushed = true;
        self.quiet = true;
    }

    /// Reports a failure, of one content or of everything. The first one decides how the command ends, unless a second
    /// signal does.
    pub fn fail(&mut self, now: Time, content: Option<usize>, failure: &Failure) {
        if self.finished {
            return;
        }
        let text = failure.to_string();
        if let (Form::Terminal(form), Some(content)) = (&mut self.form, content) {
            form.forget(content);
        }
        if !self.hushed {
            let line = format!("{}: {text}", self.program);
            self.stderr_line(now, &line);
        }
        if let (Form::Json(form), Some(content)) = (&mut self.form, content) {
            let at = self.facts.at(now);
            form.failed(&at, content, failure.code, &text, &mut self.out);
        }
        if matches!(failure.code, ExitCode::Interrupted | ExitCode::Terminated) {
            self.failure = None;
        }
        self.failure.get_or_insert((failure.code, text));
    }

    /// Shows what the log has kept ([`super::keep_log`]). After the summary it is ignored.
    pub fn show_log(&mut self, now: Time) {
        for line in take_log() {
            let level = match line.level {
                Level::Error | Level::Warn => "warning",
                Level::Info => "info",
                Level::Debug => "debug",
                Level::Trace => "trace",
            };
            if !self.finished {
                let text = format!("{}: {level}: {}", self.program, Escaped(&line.text));
                self.stderr_line(now, &text);
            }
        }
    }

    /// Says the rest and the summary, and returns what the program exits with.
    pub fn finish(&mut self, now: Time, summary: &Summary) -> ExitCode {
        let code = self
            .failure
            .as_ref()
            .map_or(ExitCode::Ok, |(code, _)| *code);
        if std::mem::replace(&mut self.finished, true) {
            return code;
        }
        let at = self.facts.at(now);
        if let Form::Json(form) = &self.form {
            let outcome = Outcome {
                code,
                error: self.failure.as_ref().map(|(_, text)| text.as_str()),
                path: final_path(&self.paths, self.several),
            };
            form.summary(&at, &outcome, summary, &mut self.out);
            return code;
        }
        let closing = lines::summary(summary, at.elapsed(), !code.is_ok());
        if let Form::Terminal(form) = &mut self.form {
            form.close(&mut self.out);
        }
        let mut rows = std::mem::take(&mut self.rows);
        rows.extend(columns::files(&self.files));
        rows.extend(columns::members(&self.members));
        for row in rows {
            self.out.line(Stream::Stdout, &row);
        }
        if let Some(text) = closing {
            self.talk(now, &text);
        }
        code
    }

    /// The next thing to write.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop()
    }

    /// Takes names and sizes from the events that carry them.
    fn learn(&mut self, event: &Event) {
        if let Event::Shared { content, .. } | Event::Seeding { content, .. } = event {
            self.served.insert(*content);
        }
        let (content, name, size) = match event {
            Event::Start { content, about, .. } | Event::Shared { content, about, .. } => {
                (*content, &about.name, about.size)
            }
            Event::Hashing {
                content,
                name,
                size,
                ..
            } => (*content, name, *size),
            Event::Done { path, .. } | Event::Written { path, .. } => {
                return self.paths.push(path.clone());
            }
            _ => return,
        };
        let name = name.clone();
        self.facts.contents.insert(content, Known { name, size });
    }

    /// Shows an event as text.
    fn tell(&mut self, now: Time, event: Event) {
        match event {
            Event::Progress { content, .. }
            | Event::Hashing { content, .. }
            | Event::Seeding { content, .. } => self.standing(now, content, &event),
            Event::Start { about, have, .. } => {
                let resumed = match have {
                    0 => String::new(),
                    _ => format!(", {} are here already", lines::count(have, "piece")),
                };
                if matches!(self.form, Form::Pipe(_)) {
                    self.talk(now, &format!("get  {}{resumed}", lines::content(&about)));
                }
            }
            Event::FirstPiece { .. } if self.verbose => {
                let took = now.since(self.facts.started).as_secs_f64();
                self.talk(now, &format!("first piece after {took:.3} s"));
            }
            Event::FirstPiece { .. } => {}
            Event::Shared {
                content,
                about,
                tracker,
                magnet,
                ..
            } => {
                self.forget(content);
                self.talk(now, &format!("shared  {}", lines::content(&about)));
                self.get_it(now, &about, tracker.as_deref(), &magnet);
            }
            Event::Written { content, path, row } => {
                self.forget(content);
                let about = lines::content(&row.about);
                let shown = path.to_string_lossy();
                self.talk(now, &format!("wrote {}  {about}", Escaped(&shown)));
                self.talk(now, &Escaped(&row.magnet).to_string());
                self.say_path(&path);
            }
            Event::Torrent(row) => self.rows.extend(row.lines()),
            Event::Done {
                content,
                path,
                down_bytes,
                sha256_checked,
            } => self.done(now, content, &path, down_bytes, sha256_checked),
            Event::Left { content, why } => {
                let name = self.facts.at(now).name(content);
                let text = format!("left {}: {}", Escaped(name), why.text());
                self.forget(content);
                // Who leaves as soon as it is done has nothing to explain.
                if self.served.contains(&content) {
                    self.talk(now, &text);
                }
            }
            Event::Note(text) => self.talk(now, &Escaped(&text).to_string()),
            Event::Warning(text) => self.warn(now, &text),
            Event::File(row) => self.files.push(row),
            Event::Members(rows) => self.watch(now, rows),
            Event::Bad(row) => self.rows.push(lines::bad(&row)),
            Event::Removed { name, info_hash } => {
                self.rows
                    .push(format!("removed {}  {info_hash}", Escaped(&name)));
            }
        }
    }

    fn standing(&mut self, now: Time, content: usize, event: &Event) {
        let at = self.facts.at(now);
        match &mut self.form {
            Form::Terminal(form) => form.standing(&at, content, event, &mut self.out),
            Form::Pipe(form) => form.standing(&at, content, event, &mut self.out),
            Form::Json(_) => unreachable!("JSON is not told in text"),
        }
    }

    fn watch(&mut self, now: Time, rows: Vec<MemberRow>) {
        let at = self.facts.at(now);
        match &mut self.form {
            Form::Terminal(form) => form.members(&at, &rows, &mut self.out),
            Form::Pipe(form) => form.members(&at, &rows, &mut self.out),
            Form::Json(_) => unreachable!("JSON is not told in text"),
        }
        self.members = rows;
    }

    fn done(&mut self, now: Time, content: usize, path: &Path, down_bytes: u64, sha256: bool) {
        self.forget(content);
        let known = self
            .facts
            .contents
            .get(&content)
            .cloned()
            .unwrap_or_default();
        let took = now.since(self.facts.started);
        let text = lines::done(&known.name, known.size, down_bytes, took, sha256);
        self.talk(now, &text);
        self.say_path(path);
    }

    /// How others get it: with Shoal, and with any client.
    fn get_it(&mut self, now: Time, about: &Content, tracker: Option<&str>, magnet: &str) {
        let magnet = Escaped(magnet);
        match tracker {
            Some(tracker) => {
                self.talk(now, &lines::get_it(about, tracker));
                self.talk(now, &format!("    or: {magnet}"));
            }
            None => self.talk(now, &format!("get it: {magnet}")),
        }
    }

    /// The final path on stdout, where a program waits for it.
    fn say_path(&mut self, path: &Path) {
        if self.paths_wanted && path != Path::new("-") {
            let mut bytes = if self.paths_escaped {
                Escaped(&path.to_string_lossy()).to_string().into_bytes()
            } else {
                path.as_os_str().as_encoded_bytes().to_vec()
            };
            bytes.push(b'\n');
            self.out.push(Stream::Stdout, bytes, false);
        }
    }

    fn forget(&mut self, content: usize) {
        if let Form::Terminal(form) = &mut self.form {
            form.forget(content);
        }
    }

    /// A line that `--quiet` silences.
    fn talk(&mut self, now: Time, text: &str) {
        if !self.quiet {
            self.stderr_line(now, text);
        }
    }

    fn warn(&mut self, now: Time, text: &str) {
        let line = format!("{}: warning: {}", self.program, Escaped(text));
        self.stderr_line(now, &line);
    }

    fn stderr_line(&mut self, now: Time, text: &str) {
        match &mut self.form {
            Form::Terminal(form) => {
                let at = self.facts.at(now);
                form.line(&at, text, &mut self.out);
            }
            Form::Pipe(_) | Form::Json(_) => self.out.line(Stream::Stderr, text),
        }
    }
}

/// The path of the only content, or the folder that all of several are in.
fn final_path(paths: &[PathBuf], several: bool) -> Option<&Path> {
    let (first, others) = paths.split_first()?;
    if !several {
        return Some(first);
    }
    let folder = first.parent()?;
    others
        .iter()
        .all(|path| path.parent() == Some(folder))
        .then_some(folder)
}
