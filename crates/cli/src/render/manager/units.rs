//! Figures as PM2 writes them: `3m`, `45.2mb`, `0.3%`.

use oneport_wire::control::{ByteSize, Span};

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A time in one unit: `5s`, `3m`, `2h`, `4D`.
pub(super) fn uptime(ms: u64) -> String {
    match ms {
        ..MINUTE => format!("{}s", ms / SECOND),
        MINUTE..HOUR => format!("{}m", ms / MINUTE),
        HOUR..DAY => format!("{}h", ms / HOUR),
        _ => format!("{}D", ms / DAY),
    }
}

/// A share of one CPU with one decimal, where it is not zero.
pub(super) fn cpu(percent: f32) -> String {
    let tenths = tenths(percent);
    if tenths.is_multiple_of(10) {
        format!("{}%", tenths / 10)
    } else {
        format!("{}.{}%", tenths / 10, tenths % 10)
    }
}

/// In tenths of a percent. What is no number, or below zero, is nothing.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` saturates")]
pub(super) fn tenths(percent: f32) -> u64 {
    (f64::from(percent) * 10.0).round() as u64
}

/// `45.2mb`.
pub(super) fn memory(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// A limit: `1600 ms`, `30 s`, `30 s (default)`.
pub(super) fn limit(span: Option<Span>, by_default: &str) -> String {
    match span {
        None => format!("{by_default} (default)"),
        Some(Span(ms)) if ms.is_multiple_of(SECOND) => format!("{} s", ms / SECOND),
        Some(Span(ms)) => format!("{ms} ms"),
    }
}

/// How long something took: `900 ms`, `12.3 s`, `3m 20s`.
pub(super) fn took(ms: u64) -> String {
    match ms {
        ..SECOND => format!("{ms} ms"),
        SECOND..MINUTE => format!("{}.{} s", ms / SECOND, ms % SECOND / 100),
        MINUTE..HOUR => format!("{}m {}s", ms / MINUTE, ms % MINUTE / SECOND),
        _ => format!("{}h {}m", ms / HOUR, ms % HOUR / MINUTE),
    }
}

/// The last millisecond of the year 9999: later times are shown as this one.
const LAST: u64 = 253_402_300_799_999;

/// A moment, given in milliseconds since 1970, in UTC: `2026-11-30T02:21:39.000Z`.
pub(super) fn moment(ms: u64) -> String {
    let ms = ms.min(LAST);
    let (days, within) = (ms / DAY, ms % DAY);
    // Years that begin in March, counted from one whose number is a multiple of 400, have their leap day at
    // the end.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next;
    let (hour, minute) = (within / HOUR, within % HOUR / MINUTE);
    let (second, rest) = (within % MINUTE / SECOND, within % SECOND);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{rest:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_has_one_unit() {
        let shown = [0, 5_999, 59_999, 60_000, 3_599_999, 3_600_000, 86_399_999, 86_400_000, u64::MAX];
        assert_eq!(
            shown.map(uptime),
            ["0s", "5s", "59s", "1m", "59m", "1h", "23h", "1D", "213503982334D"].map(str::to_owned)
        );
    }

    #[test]
    fn a_share_of_a_cpu_has_a_decimal_only_where_it_says_something() {
        let shown = [0.0, 0.3, 0.04, 12.0, 99.96, 250.5, -1.0, f32::NAN];
        assert_eq!(
            shown.map(cpu),
            ["0%", "0.3%", "0%", "12%", "100%", "250.5%", "0%", "0%"].map(str::to_owned)
        );
        assert!(cpu(f32::INFINITY).ends_with('%'));
    }

    #[test]
    fn a_moment_is_a_date_of_the_calendar() {
        assert_eq!(moment(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(moment(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(moment(1_796_005_299_123), "2026-11-30T02:21:39.123Z");
        assert_eq!(moment(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(moment(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn a_time_that_something_took_is_short() {
        let shown = [0, 999, 1_000, 12_345, 200_000, 7_260_000];
        assert_eq!(
            shown.map(took),
            ["0 ms", "999 ms", "1.0 s", "12.3 s", "3m 20s", "2h 1m"].map(str::to_owned)
        );
    }
}
