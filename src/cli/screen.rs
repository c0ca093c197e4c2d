//! What is known of the terminal, and lines that fit it.
//!
//! indicatif formats each line; it draws into memory, never onto the terminal: where lines go is decided by the form that
//! shows them, because a frame may be lost on the way to a slow terminal and the next one must not rely on it.

use std::io::{self, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use console::{Term, measure_text_width, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

/// The widest that a bar grows.
const BAR_COLUMNS_MAX: usize = 40;
/// Below this a bar tells nothing and is left out.
const BAR_COLUMNS_MIN: usize = 5;

/// The size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Characters per line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

impl Screen {
    /// The terminal behind stderr as it is now, if there is one.
    pub fn of_stderr() -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let (rows, columns) = Term::stderr().size();
        Some(Self { columns, rows })
    }
}

/// Which of the two streams are terminals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Whether stdout is one.
    pub stdout_is_terminal: bool,
    /// The one behind stderr.
    pub stderr: Option<Screen>,
}

impl Streams {
    /// The streams of this process.
    pub fn of_process() -> Self {
        Self {
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr: Screen::of_stderr(),
        }
    }
}

/// `text` cut to `columns`, with a mark where something is missing.
pub(super) fn fit(text: &str, columns: usize) -> String {
    truncate_str(text, columns, "…").into_owned()
}

/// `before`, a bar that shows `done` of `whole`, `after`: in at most `columns`, the bar in what they leave.
pub(super) fn bar_line(
    before: &str,
    (done, whole): (u64, u64),
    after: &str,
    columns: usize,
    color: bool,
) -> String {
    let taken = measure_text_width(before) + measure_text_width(after) + 2;
    let bar_columns = columns.saturating_sub(taken).min(BAR_COLUMNS_MAX);
    if bar_columns < BAR_COLUMNS_MIN {
        return fit(&format!("{before} {after}"), columns);
    }
    let (paint, plain) = if color {
        ("\u{1b}[36m", "\u{1b}[0m")
    } else {
        ("", "")
    };
    let template = format!("{{prefix}} {paint}{{bar:{bar_columns}}}{plain} {{msg}}");
    let style = ProgressStyle::with_template(&template)
        .expect("a template of three keys and colours is well-formed")
        .progress_chars("━╸─");
    let paper = Paper::new(columns);
    let target = ProgressDrawTarget::term_like(Box::new(paper.clone()));
    let bar = ProgressBar::with_draw_target(Some(whole.max(1)), target)
        .with_style(style)
        .with_prefix(before.to_owned())
        .with_message(after.to_owned())
        .with_position(if whole == 0 { 1 } else { done });
    bar.force_draw();
    paper.first_line()
}

/// A terminal that only remembers the first thing written on it: the line.
#[derive(Clone, Debug)]
struct Paper {
    columns: u16,
    line: Arc<Mutex<Option<String>>>,
}

impl Paper {
    fn new(columns: usize) -> Self {
        Self {
            columns: columns.try_into().unwrap_or(u16::MAX),
            line: Arc::default(),
        }
    }

    fn first_line(&self) -> String {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.take().unwrap_or_default()
    }
}

impl TermLike for Paper {
    fn width(&self) -> u16 {
        self.columns
    }

    fn move_cursor_up(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_down(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_right(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn move_cursor_left(&self, _: usize) -> io::Result<()> {
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.write_str(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        line.get_or_insert_with(|| text.to_owned());
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_takes_what_the_text_leaves() {
        for (columns, shown) in [
            (32, " 63% ━━━━━━━━━━━╸────── ETA 0:07"),
            (22, " 63% ━━━━━╸── ETA 0:07"),
        ] {
            let line = bar_line(" 63%", (63, 100), "ETA 0:07", columns, false);
            assert_eq!(line, shown, "{columns}");
        }
        assert_eq!(
            bar_line(" 63%", (63, 100), "ETA 0:07", 13, false),
            " 63% ETA 0:07"
        );
        assert_eq!(
            bar_line(" 63%", (63, 100), "ETA 0:07", 9, false),
            " 63% ETA…"
        );
    }

    #[test]
    fn a_bar_is_full_only_when_all_is_done() {
        assert_eq!(bar_line("", (0, 10), "", 8, false), " ────── ");
        assert_eq!(bar_line("", (10, 10), "", 8, false), " ━━━━━━ ");
        assert_eq!(bar_line("", (0, 0), "", 8, false), " ━━━━━━ ");
    }

    #[test]
    fn colour_takes_no_columns() {
        let plain = bar_line("a", (1, 2), "b", 40, false);
        let painted = bar_line("a", (1, 2), "b", 40, true);
        assert!(painted.contains("\u{1b}[36m"));
        assert_eq!(measure_text_width(&painted), measure_text_width(&plain));
    }
}
