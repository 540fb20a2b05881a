//! Values that a person may type, and how they are read: numbers of workers, times, signals, variables. What may be
//! said about programs is in `program`.

use std::time::Duration;

use oneport_sys::process::Signal;

pub(super) fn parse_variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !text.contains('\0') => {
            Ok((name.to_owned(), value.to_owned()))
        }
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

/// `500`, `500ms`, `2s`, `1m`, `1h`; a bare number is milliseconds, as in PM2.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let expected = || "expected a time such as 500ms, 2s or 1m".to_owned();
    let number: u64 = number.parse().map_err(|_| expected())?;
    let ms = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(expected()),
    };
    number.checked_mul(ms).map(Duration::from_millis).ok_or_else(expected)
}

/// A signal by its name, kept as text.
pub(super) fn parse_signal_name(text: &str) -> Result<String, String> {
    parse_signal(text).map(|_| text.to_owned())
}

pub(super) fn parse_signal(text: &str) -> Result<Signal, String> {
    Signal::from_name(text).ok_or_else(|| "expected a signal such as SIGTERM".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_every_unit() {
        for (text, ms) in [("500", 500), ("500ms", 500), ("2s", 2000), ("1m", 60_000), ("1h", 3_600_000)] {
            assert_eq!(parse_time(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "1d", "-1", "1.5s", "99999999999999999999"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }
}
