//! Times and sizes as people write them: a number, or a number with a unit.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

/// A time in milliseconds. Read from a number of milliseconds, or from a text: `500`, `500ms`, `2s`, `1m`, `1h` (PM2's
/// `min_uptime` knows the last three). Written as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

/// A size in bytes. Read from a number of bytes, or from a text: `1024`, `200K`, `200M`, `2G`, each a power of 1024 (as
/// PM2's `max_memory_restart`), with `B` behind it or not. Written as a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl Span {
    /// As a [`Duration`].
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Span {
        Span(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }
}

fn with_unit(text: &str, factor: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    number.parse::<u64>().ok()?.checked_mul(factor(unit.trim())?)
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let factor = |unit: &str| match unit {
            "" | "ms" => Some(1),
            "s" => Some(1000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        with_unit(text, factor)
            .map(Span)
            .ok_or_else(|| format!("`{text}` is no time: expected 500, 500ms, 2s, 1m or 1h"))
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<ByteSize, String> {
        let factor = |unit: &str| match unit.trim_end_matches(['B', 'b']) {
            "" => Some(1),
            "K" | "k" => Some(1 << 10),
            "M" | "m" => Some(1 << 20),
            "G" | "g" => Some(1 << 30),
            _ => None,
        };
        with_unit(text, factor)
            .map(ByteSize)
            .ok_or_else(|| format!("`{text}` is no size: expected bytes, 200K, 200M or 2G"))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit = "b";
        #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let mut size = self.0 as f64;
        for larger in ["kb", "mb", "gb", "tb"] {
            if size < 1024.0 {
                break;
            }
            (size, unit) = (size / 1024.0, larger);
        }
        match unit {
            "b" => write!(f, "{size}{unit}"),
            _ => write!(f, "{size:.1}{unit}"),
        }
    }
}

/// Numbers and texts, for both.
struct Quantity(&'static str);

impl Visitor<'_> for Quantity {
    type Value = Result<u64, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Ok(number))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
        u64::try_from(number)
            .map(Ok)
            .map_err(|_| E::custom(format!("`{number}` is below zero: expected {}", self.0)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range, checked")]
        match number {
            whole if (0.0..9e15).contains(&whole) => Ok(Ok(whole as u64)),
            _ => Err(E::custom(format!("`{number}`: expected {}", self.0))),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Err(text.trim().to_owned()))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let quantity = Quantity("a time such as 500, \"500ms\", \"2s\" or \"1m\"");
        match deserializer.deserialize_any(quantity)? {
            Ok(number) => Ok(Span(number)),
            Err(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
        let quantity = Quantity("a size such as 1048576, \"200M\" or \"2G\"");
        match deserializer.deserialize_any(quantity)? {
            Ok(number) => Ok(ByteSize(number)),
            Err(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(json: &str) -> Option<u64> {
        serde_json::from_str::<Span>(json).ok().map(|span| span.0)
    }

    fn size(json: &str) -> Option<u64> {
        serde_json::from_str::<ByteSize>(json).ok().map(|size| size.0)
    }

    #[test]
    fn times_are_read_as_numbers_and_with_units() {
        assert_eq!(span("1500"), Some(1500));
        assert_eq!(span("\"1500\""), Some(1500));
        assert_eq!(span("\"2s\""), Some(2000));
        assert_eq!(span("\"1h\""), Some(3_600_000));
        for bad in
            ["-1", "\"\"", "\"x\"", "\"1d\"", "true", "\"99999999999999999999\"", "\"99999999999999999h\""]
        {
            assert_eq!(span(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("1000"), Some(1000));
        assert_eq!(size("\"1K\""), Some(1024));
        assert_eq!(size("\"300MB\""), Some(300 << 20));
        assert_eq!(size("\"2G\""), Some(2 << 30));
        for bad in ["\"M\"", "\"1T\"", "\"-1\"", "null"] {
            assert_eq!(size(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_are_shown_with_the_unit_that_fits() {
        assert_eq!(ByteSize(0).to_string(), "0b");
        assert_eq!(ByteSize(512).to_string(), "512b");
        assert_eq!(ByteSize(45 << 20).to_string(), "45.0mb");
    }
}
