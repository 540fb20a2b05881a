//! How many workers an app has.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::words::Text;

/// How many workers, as PM2 counts: a number, `max` or 0 for one per CPU, `-N` for one per CPU less N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instances {
    /// So many.
    Exactly(u32),
    /// One per CPU.
    PerCpu,
    /// One per CPU less so many, at least 1.
    PerCpuLess(u32),
}

impl Default for Instances {
    fn default() -> Instances {
        Instances::Exactly(1)
    }
}

/// Far above any machine, below what descriptors allow.
const MOST_INSTANCES: u32 = 4096;

impl FromStr for Instances {
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

impl fmt::Display for Instances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Instances::Exactly(n) => write!(f, "{n}"),
            Instances::PerCpu => f.write_str("max"),
            Instances::PerCpuLess(less) => write!(f, "-{less}"),
        }
    }
}

impl Instances {
    /// How many that is on a machine of so many CPUs.
    pub fn count(self, cpus: usize) -> u32 {
        let cpus = u32::try_from(cpus).unwrap_or(MOST_INSTANCES).clamp(1, MOST_INSTANCES);
        match self {
            Instances::Exactly(n) => n,
            Instances::PerCpu => cpus,
            Instances::PerCpuLess(less) => cpus.saturating_sub(less).max(1),
        }
    }
}

impl Serialize for Instances {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Instances::Exactly(n) => serializer.serialize_u32(*n),
            Instances::PerCpu => serializer.serialize_str("max"),
            Instances::PerCpuLess(less) => serializer.serialize_i64(-i64::from(*less)),
        }
    }
}

impl<'de> Deserialize<'de> for Instances {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Instances, D::Error> {
        let text = deserializer.deserialize_any(Text("a number of workers or \"max\""))?;
        text.parse().map_err(de::Error::custom)
    }
}
