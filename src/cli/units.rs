//! Sizes, rates, durations and shares: as people write them, and as people read them.
//!
//! K, M and G are powers of 1024. Shown sizes have three significant digits, shown rates two or more; a share shows as
//! 100 % only when it is whole.

use std::time::Duration;

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// Digits after the point that make a difference to nobody when there are more.
const FRACTION_DIGITS_MAX: usize = 9;

/// The bytes that `text` means (`512`, `64K`, `4M`, `1G`, in either case), or `None` if it means none.
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, shift) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    parse_digits(number)?.checked_mul(1 << shift)
}

/// The bytes that `text` means where it need not be exact: also `1.5M` and `20MiB`. `None` if it means none.
pub fn parse_amount(text: &str) -> Option<u64> {
    let text = text.strip_suffix("iB").unwrap_or(text);
    let Some((whole, rest)) = text.split_once('.') else {
        return parse_size(text);
    };
    let (digits, unit) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
    let unit_bytes = parse_size(&format!("1{unit}"))?;
    if digits.is_empty() || digits.len() > FRACTION_DIGITS_MAX {
        return None;
    }
    let of_unit = 10u64.pow(digits.len() as u32);
    let fraction = u128::from(parse_digits(digits)?) * u128::from(unit_bytes) / u128::from(of_unit);
    parse_size(&format!("{whole}{unit}"))?.checked_add(fraction as u64)
}

/// The time span that `text` means (`90`, `90s`, `10m`, `2h`), or `None` if it means none.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, seconds) = match text.as_bytes().last()? {
        b's' => (&text[..text.len() - 1], 1),
        b'm' => (&text[..text.len() - 1], 60),
        b'h' => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    parse_digits(number)?
        .checked_mul(seconds)
        .map(Duration::from_secs)
}

/// A number of nothing but decimal digits: no sign, no space.
pub(super) fn parse_digits(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// A size for people: `8.00 GiB`, `80.0 KiB`, `431 MiB`, `12 B`.
pub fn size(bytes: u64) -> String {
    let unit = unit_of(bytes);
    format!("{} {}", size_in(bytes, unit), UNITS[unit])
}

/// How much of a whole there is: `5.04/8.00 GiB`, or `512 MiB/8.00 GiB` where the units differ.
pub fn size_of_size(part: u64, whole: u64) -> String {
    let unit = unit_of(whole);
    if part == 0 || unit_of(part) == unit {
        format!(
            "{}/{} {}",
            size_in(part, unit),
            size_in(whole, unit),
            UNITS[unit]
        )
    } else {
        format!("{}/{}", size(part), size(whole))
    }
}

/// A size without rounding, in the largest unit that divides it: `4 MiB`, `65537 B`.
pub fn exact_size(bytes: u64) -> String {
    let unit = match bytes {
        0 => 0,
        _ => (bytes.trailing_zeros() as usize / 10).min(UNITS.len() - 1),
    };
    format!("{} {}", bytes >> (10 * unit), UNITS[unit])
}

/// A rate for people: `1.4 GiB/s`, `431 MiB/s`.
pub fn rate(bytes_per_s: u64) -> String {
    let unit = unit_of(bytes_per_s);
    format!("{} {}/s", rate_in(bytes_per_s, unit), UNITS[unit])
}

/// Both directions in one unit: `↓412 ↑388 MiB/s`.
pub fn rates(down_bytes_per_s: u64, up_bytes_per_s: u64) -> String {
    let unit = unit_of(down_bytes_per_s.max(up_bytes_per_s));
    format!(
        "↓{} ↑{} {}/s",
        rate_in(down_bytes_per_s, unit),
        rate_in(up_bytes_per_s, unit),
        UNITS[unit]
    )
}

/// A time span on a clock's face: `0:19`, `10:00`, `1:02:03`.
pub fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}

/// How long something took: `0.84 s`, `4.2 s`, then as on a clock.
pub fn elapsed(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{:.2} s", duration.as_secs_f64()),
        1..=9 => format!("{:.1} s", duration.as_secs_f64()),
        _ => clock(duration),
    }
}

/// `part` of `whole` in whole per cent, rounded down; all of nothing is 100.
pub fn percent(part: u64, whole: u64) -> u32 {
    match whole {
        0 => 100,
        _ => (u128::from(part.min(whole)) * 100 / u128::from(whole)) as u32,
    }
}

/// A moment in seconds since 1970 as UTC: `2025-11-22 00:24:05Z`.
pub fn moment(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    // Days to a civil date: years are counted from March, in eras of 400 years (146,097 days).
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}Z")
}

/// Index of the largest unit in which `bytes` is at least one; what would round up to 1024 is one of the next.
fn unit_of(bytes: u64) -> usize {
    let mut unit = 0;
    while unit + 1 < UNITS.len() && in_unit(bytes, unit) >= 1023.5 {
        unit += 1;
    }
    unit
}

fn in_unit(bytes: u64, unit: usize) -> f64 {
    bytes as f64 / (1u64 << (10 * unit)) as f64
}

fn size_in(bytes: u64, unit: usize) -> String {
    match (in_unit(bytes, unit), unit) {
        (_, 0) => bytes.to_string(),
        (value, _) if value < 9.995 => format!("{value:.2}"),
        (value, _) if value < 99.95 => format!("{value:.1}"),
        (value, _) => format!("{value:.0}"),
    }
}

fn rate_in(bytes_per_s: u64, unit: usize) -> String {
    match (in_unit(bytes_per_s, unit), unit) {
        (_, 0) => bytes_per_s.to_string(),
        (value, _) if value > 0.0 && value < 9.95 => format!("{value:.1}"),
        (value, _) => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_in_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("16K", 16 << 10),
            ("4m", 4 << 20),
            ("1G", 1 << 30),
        ] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in [
            "",
            "K",
            "4MiB",
            "-1",
            "+1",
            " 1",
            "1.5G",
            "4T",
            "ä",
            "99999999999G",
        ] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn reads_durations_in_seconds_minutes_and_hours() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("2h", 7200),
            ("0", 0),
        ] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_secs(seconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "s",
            "10 m",
            "1d",
            "-5",
            "1e3",
            "9999999999999999999h",
            "1ä",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn shows_sizes_with_three_digits() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (8 << 30, "8.00 GiB"),
            ((8 << 30) + (8 << 29), "12.0 GiB"),
            (431 << 20, "431 MiB"),
            ((1 << 20) - 1, "1.00 MiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
        assert_eq!(size_of_size(5_411_658_793, 8 << 30), "5.04/8.00 GiB");
        assert_eq!(size_of_size(512 << 20, 8 << 30), "512 MiB/8.00 GiB");
        assert_eq!(size_of_size(0, 8 << 30), "0.00/8.00 GiB");
        assert_eq!(exact_size(4 << 20), "4 MiB");
        assert_eq!(exact_size(65_537), "65537 B");
        assert_eq!(exact_size(0), "0 B");
    }

    #[test]
    fn shows_rates_with_two_digits_and_in_one_unit() {
        assert_eq!(rate(1_503_238_553), "1.4 GiB/s");
        assert_eq!(rate(431 << 20), "431 MiB/s");
        assert_eq!(rate(0), "0 B/s");
        assert_eq!(rates(412 << 20, 388 << 20), "↓412 ↑388 MiB/s");
        assert_eq!(rates(3 << 29, 1 << 28), "↓1.5 ↑0.2 GiB/s");
        assert_eq!(rates(0, 5 << 20), "↓0 ↑5.0 MiB/s");
    }

    #[test]
    fn shows_time_as_a_clock_does() {
        let seconds = Duration::from_secs;
        assert_eq!(clock(seconds(0)), "0:00");
        assert_eq!(clock(seconds(19)), "0:19");
        assert_eq!(clock(seconds(600)), "10:00");
        assert_eq!(clock(seconds(3723)), "1:02:03");
        assert_eq!(elapsed(Duration::from_millis(840)), "0.84 s");
        assert_eq!(elapsed(Duration::from_millis(4200)), "4.2 s");
        assert_eq!(elapsed(Duration::from_millis(19_400)), "0:19");
    }

    #[test]
    fn a_share_is_100_per_cent_only_when_whole() {
        assert_eq!(percent(999_999, 1_000_000), 99);
        assert_eq!(percent(1_000_000, 1_000_000), 100);
        assert_eq!(percent(0, 0), 100);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
    }

    #[test]
    fn knows_the_calendar() {
        assert_eq!(moment(0), "1970-01-01 00:00:00Z");
        assert_eq!(moment(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(moment(1_763_771_045), "2025-11-22 00:24:05Z");
        assert_eq!(moment(4_107_542_399), "2100-02-28 23:59:59Z");
    }
}
