//! Keys that are all, nothing, or some: which variables are kept back, and which files are watched.

use serde::de::Deserializer;
use serde::{Deserialize, Serialize, Serializer};

use super::super::quantity::Span;
use super::words::OneOrMore;

/// What of the starter's environment an app does not get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FilterEnv {
    /// It gets everything.
    #[default]
    Nothing,
    /// It gets nothing.
    Everything,
    /// Variables whose names begin with one of these.
    Beginning(Vec<String>),
}

impl FilterEnv {
    /// Whether it gets everything.
    pub fn is_nothing(&self) -> bool {
        *self == FilterEnv::Nothing
    }

    /// Whether an app gets the variable of this name.
    pub fn lets_through(&self, name: &str) -> bool {
        match self {
            FilterEnv::Nothing => true,
            FilterEnv::Everything => false,
            FilterEnv::Beginning(prefixes) => {
                !prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
            }
        }
    }
}

/// Whether an app is restarted when files change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Watch {
    /// No.
    #[default]
    Off,
    /// When any file below its working directory does.
    Everything,
    /// When one of these, or a file below, does.
    Paths(Vec<String>),
}

impl Watch {
    /// Whether nothing is watched.
    pub fn is_off(&self) -> bool {
        *self == Watch::Off
    }
}

/// How files are watched: those of PM2's `watch_options` that mean something here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchOptions {
    /// Whether symbolic links are followed.
    #[serde(rename = "followSymlinks", alias = "follow_symlinks", skip_serializing_if = "Option::is_none")]
    pub follow_symlinks: Option<bool>,
    /// Whether files are looked at again and again, for file systems that do not tell of changes.
    #[serde(rename = "usePolling", alias = "use_polling", skip_serializing_if = "Option::is_none")]
    pub use_polling: Option<bool>,
    /// How often, then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TruthOrWords {
    Truth(bool),
    Words(OneOrMore<String>),
}

impl<'de> Deserialize<'de> for Watch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Watch, D::Error> {
        Ok(match TruthOrWords::deserialize(deserializer)? {
            TruthOrWords::Truth(false) => Watch::Off,
            TruthOrWords::Truth(true) => Watch::Everything,
            TruthOrWords::Words(OneOrMore::One(path)) => Watch::Paths(vec![path]),
            TruthOrWords::Words(OneOrMore::More(paths)) => Watch::Paths(paths),
        })
    }
}

impl Serialize for Watch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Watch::Off => serializer.serialize_bool(false),
            Watch::Everything => serializer.serialize_bool(true),
            Watch::Paths(paths) => paths.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for FilterEnv {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FilterEnv, D::Error> {
        Ok(match TruthOrWords::deserialize(deserializer)? {
            TruthOrWords::Truth(false) => FilterEnv::Nothing,
            TruthOrWords::Truth(true) => FilterEnv::Everything,
            TruthOrWords::Words(OneOrMore::One(prefix)) => FilterEnv::Beginning(vec![prefix]),
            TruthOrWords::Words(OneOrMore::More(prefixes)) => FilterEnv::Beginning(prefixes),
        })
    }
}

impl Serialize for FilterEnv {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            FilterEnv::Nothing => serializer.serialize_bool(false),
            FilterEnv::Everything => serializer.serialize_bool(true),
            FilterEnv::Beginning(prefixes) => prefixes.serialize(serializer),
        }
    }
}
