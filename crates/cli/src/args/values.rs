//! Values that a person may type, and how they are read: numbers of workers, times, signals, variables. What may be
//! said about programs is in `program`.

use std::time::Duration;

use oneport_sys::process::Signal;

/// How many workers, as PM2 counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instances {
    Exactly(u32),
    PerCpu,
    PerCpuLess(u32),
}

/// Far above any machine, below what descriptors allow.
const MOST_INSTANCES: u32 = 4096;

impl std::str::FromStr for Instances {
    type Err = String;

    fn from_str(text: &str) -> Result<Instances, String> {
        let expected = || "expected a number, `max`, 0 or a negative number".to_owned();
        match text {
            "max" => Ok(Instances::PerCpu),
            _ => match text.strip_prefix('-') {
                Some(less) => less.parse().map(Instances::PerCpuLess).map_err(|_| expected()),
                None => match text.parse() {
                    Ok(0) => Ok(Instances::PerCpu),
                    Ok(n) if n <= MOST_INSTANCES => Ok(Instances::Exactly(n)),
                    Ok(_) => Err(format!("at most {MOST_INSTANCES} workers")),
                    Err(_) => Err(expected()),
                },
            },
        }
    }
}

impl Instances {
    pub(crate) fn count(self, cpus: usize) -> u32 {
        let cpus = u32::try_from(cpus).unwrap_or(MOST_INSTANCES).clamp(1, MOST_INSTANCES);
        match self {
            Instances::Exactly(n) => n,
            Instances::PerCpu => cpus,
            Instances::PerCpuLess(less) => cpus.saturating_sub(less).max(1),
        }
    }
}

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

    #[test]
    fn instances_are_counted_as_pm2_does() {
        let count = |text: &str| text.parse::<Instances>().map(|n| n.count(8));
        assert_eq!(count("4"), Ok(4));
        assert_eq!(count("max"), Ok(8));
        assert_eq!(count("0"), Ok(8));
        assert_eq!(count("00"), Ok(8));
        assert_eq!(count("-2"), Ok(6));
        assert_eq!(count("-100"), Ok(1));
        for text in ["", "x", "1.5", "--", "4097", "-x"] {
            assert!(count(text).is_err(), "{text}");
        }
    }
}
