//! How long a complete content is served, and why no longer.

use std::time::Duration;

use super::units::parse_digits;
use super::value::parse_span;

/// How long to serve a complete content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedMode {
    /// Leave at once.
    None,
    /// For as long as it helps others, and not for long.
    Auto,
    /// Until stopped.
    Forever,
    /// Until so many thousandths of its size were sent.
    Ratio(u32),
    /// For so long.
    Time(Duration),
}

/// Why a complete content is served no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedEnd {
    /// Nobody fetches it.
    NobodyFetches,
    /// Others hold every piece twice.
    CopiesEnough,
    /// The time is over.
    TimeOver,
    /// As much was sent as was to be.
    RatioReached,
    /// As many others are complete as were to be.
    OthersComplete,
}

impl SeedEnd {
    /// One word, for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::NobodyFetches => "nobody_fetches",
            Self::CopiesEnough => "copies",
            Self::TimeOver => "time",
            Self::RatioReached => "ratio",
            Self::OthersComplete => "until",
        }
    }

    /// Some words, for people.
    pub fn text(self) -> &'static str {
        match self {
            Self::NobodyFetches => "nobody fetches it",
            Self::CopiesEnough => "others hold every piece twice",
            Self::TimeOver => "its time is over",
            Self::RatioReached => "enough of it was sent",
            Self::OthersComplete => "enough others are complete",
        }
    }
}

/// Reads the value of `--seed`.
pub(super) fn parse_seed_mode(text: &str) -> Result<SeedMode, &'static str> {
    let read = match text.split_once(':') {
        None => match text {
            "none" => Some(SeedMode::None),
            "auto" => Some(SeedMode::Auto),
            "forever" => Some(SeedMode::Forever),
            _ => None,
        },
        Some(("ratio", ratio)) => thousandths(ratio).map(SeedMode::Ratio),
        Some(("time", span)) => parse_span(span).ok().map(SeedMode::Time),
        Some(_) => None,
    };
    read.ok_or("not none, auto, forever, ratio:R (like 1.5) or time:DUR (like 10m)")
}

/// A positive number with at most three digits after its point, in thousandths.
fn thousandths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    if part.len() > 3 {
        return None;
    }
    let of_part = parse_digits(part)? * 10u64.pow(3 - part.len() as u32);
    let all = parse_digits(whole)?
        .checked_mul(1000)?
        .checked_add(of_part)?;
    u32::try_from(all).ok().filter(|all| *all > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_stay_can_be_said() {
        for (text, mode) in [
            ("none", SeedMode::None),
            ("auto", SeedMode::Auto),
            ("forever", SeedMode::Forever),
            ("ratio:1", SeedMode::Ratio(1000)),
            ("ratio:1.5", SeedMode::Ratio(1500)),
            ("ratio:0.05", SeedMode::Ratio(50)),
            ("time:90", SeedMode::Time(Duration::from_secs(90))),
            ("time:2h", SeedMode::Time(Duration::from_secs(7200))),
        ] {
            assert_eq!(parse_seed_mode(text), Ok(mode), "{text}");
        }
        for text in [
            "",
            "ever",
            "1h",
            "ratio",
            "ratio:",
            "ratio:0",
            "ratio:-1",
            "ratio:1.",
            "ratio:.5",
            "ratio:1.0005",
            "ratio:9999999",
            "time:",
            "time:0",
            "time:1d",
            "auto:1",
        ] {
            assert!(parse_seed_mode(text).is_err(), "{text}");
        }
    }
}
