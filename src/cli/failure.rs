//! A failure as its user meets it: one line, and an exit code.
//!
//! Never holds an escape sequence once it is shown: every part is escaped, wherever its text came from.

use std::fmt;

use super::ExitCode;
use crate::base::Escaped;

/// Something that was asked for and did not happen. Shows as `WHAT: WHY (REMEDY)`, on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the program exits with, if this is its first failure.
    pub code: ExitCode,
    /// What failed: the command and the name, path, address or option it failed on. May be empty.
    pub what: String,
    /// Why it failed.
    pub why: String,
    /// What the user can do about it, if we know.
    pub remedy: Option<String>,
}

impl Failure {
    /// A failure without a remedy. The numbers that `io::Error` adds to the system's words are left out.
    pub fn new(code: ExitCode, what: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            code,
            what: what.into(),
            why: without_errno(why.into()),
            remedy: None,
        }
    }

    /// The same failure with a remedy.
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.what.is_empty() {
            write!(f, "{}: ", Escaped(&self.what))?;
        }
        write!(f, "{}", Escaped(&self.why))?;
        match &self.remedy {
            Some(remedy) => write!(f, " ({})", Escaped(remedy)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Takes ` (os error 2)` off the end.
fn without_errno(mut text: String) -> String {
    let number = |rest: &str| {
        let digits = rest.strip_suffix(')')?;
        digits
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            .then_some(())
    };
    if let Some((begin, rest)) = text.rsplit_once(" (os error ")
        && number(rest).is_some()
    {
        text.truncate(begin.len());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_failed_why_and_what_helps() {
        let failure = Failure::new(
            ExitCode::Network,
            "get vm.qcow2",
            "no tracker at 10.0.0.5:6969: connection refused",
        );
        assert_eq!(
            failure.to_string(),
            "get vm.qcow2: no tracker at 10.0.0.5:6969: connection refused"
        );
        assert_eq!(
            failure
                .with_remedy("is shoal-tracker running? set -t or SHOAL_TRACKER")
                .to_string(),
            "get vm.qcow2: no tracker at 10.0.0.5:6969: connection refused (is shoal-tracker running? set -t or SHOAL_TRACKER)"
        );
        assert_eq!(Failure::new(ExitCode::Usage, "", "why").to_string(), "why");
    }

    #[test]
    fn the_systems_words_come_without_its_numbers() {
        for (why, shown) in [
            ("x: Is a directory (os error 21)", "x: Is a directory"),
            ("(os error 2) (os error 2) x", "(os error 2) (os error 2) x"),
            ("x (os error two)", "x (os error two)"),
        ] {
            assert_eq!(Failure::new(ExitCode::Io, "", why).to_string(), shown);
        }
    }

    #[test]
    fn stays_on_one_line_whatever_the_name_is() {
        let shown = Failure::new(ExitCode::Io, "get a\nb\u{1b}[2J", "bad\r")
            .with_remedy("\u{202e}")
            .to_string();
        assert_eq!(shown, "get a\\u{a}b\\u{1b}[2J: bad\\u{d} (\\u{202e})");
    }
}
