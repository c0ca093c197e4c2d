//! Limits that the user sets on how much is moved, and how they are written.

use super::Failure;
use super::args::Args;
use super::units::parse_amount;

/// The lowest rate at which a block still moves before its asker gives up.
const RATE_BYTES_MIN: u64 = 1 << 10;

/// What all conns to peers may move together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// Towards others, in bytes per second, if there is a limit.
    pub up_bytes_per_s: Option<u64>,
    /// From others, likewise.
    pub down_bytes_per_s: Option<u64>,
}

/// Reads `--up` and `--down`, as far as the command has them.
pub(super) fn rate_limits(args: &Args) -> Result<RateLimits, Failure> {
    Ok(RateLimits {
        up_bytes_per_s: args.option("up", parse_rate)?,
        down_bytes_per_s: args.option("down", parse_rate)?,
    })
}

/// Bytes per second.
fn parse_rate(text: &str) -> Result<u64, &'static str> {
    parse_amount(text.strip_suffix("/s").unwrap_or(text))
        .filter(|rate| *rate >= RATE_BYTES_MIN)
        .ok_or("not a rate like 512K, 20M or 1.5MiB (bytes per second, at least 1K)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_bytes_per_second() {
        for (text, rate) in [
            ("1024", 1 << 10),
            ("512K", 512 << 10),
            ("20M", 20 << 20),
            ("20m/s", 20 << 20),
            ("1.5MiB", 3 << 19),
            ("1.5MiB/s", 3 << 19),
            ("0.25G", 1 << 28),
            ("10GiB", 10 << 30),
        ] {
            assert_eq!(parse_rate(text), Ok(rate), "{text}");
        }
        for text in [
            "",
            "0",
            "0M",
            "1023",
            "M",
            "/s",
            "-1M",
            "1.M",
            ".5M",
            "1.5.5M",
            "1e6",
            "20 M",
            "20Mb",
            "20MB",
            "unlimited",
            "99999999999G",
            "1.0000000000000000000001M",
        ] {
            assert!(parse_rate(text).is_err(), "{text}");
        }
    }
}
