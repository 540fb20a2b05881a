//! The list that `save` writes and `resurrect` reads. A version is raised when an older oneport could no longer read it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::spec::AppSpec;

/// The apps of a daemon, as they are to be after the next start of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// Which form this is: [`Saved::VERSION`].
    pub version: u32,
    /// When, in milliseconds since 1970.
    pub saved_at: u64,
    /// The version of oneport that wrote it.
    pub oneport: String,
    /// The apps.
    pub apps: Vec<SavedApp>,
}

/// One app of the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SavedApp {
    /// Its configuration.
    pub spec: AppSpec,
    /// Of the environment of who started it, what is on the list of harmless names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The numbers of its slots within the daemon, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<u32>,
    /// Those of them that were stopped, and stay so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<u32>,
    /// How many workers it had, whatever its configuration says.
    pub instances: u32,
}

/// Why a text is no list of saved apps.
#[derive(Debug, thiserror::Error)]
pub enum NotSaved {
    /// Cut short, or never one.
    #[error("{0}")]
    Broken(String),
    /// Written by a oneport that is newer.
    #[error(
        "it is of version {version}, written by oneport {oneport}; this one reads version {}",
        Saved::VERSION
    )]
    TooNew {
        /// Its form.
        version: u32,
        /// By whom, as far as it says.
        oneport: String,
    },
}

/// What every version has.
#[derive(Deserialize)]
struct Head {
    version: u32,
    #[serde(default)]
    oneport: String,
}

impl Saved {
    /// The form that is written now.
    pub const VERSION: u32 = 1;
    /// Far above what a machine runs.
    pub const MOST_APPS: usize = 10_000;
    /// Longest text of it.
    pub const MOST_BYTES: usize = 64 << 20;

    /// Reads it.
    pub fn parse(text: &[u8]) -> Result<Saved, NotSaved> {
        let broken = |error: serde_json::Error| NotSaved::Broken(error.to_string());
        if text.len() > Saved::MOST_BYTES {
            return Err(NotSaved::Broken(format!("it is longer than {} bytes", Saved::MOST_BYTES)));
        }
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err(NotSaved::Broken("it is empty".to_owned()));
        }
        let head: Head = serde_json::from_slice(text).map_err(broken)?;
        if head.version > Saved::VERSION {
            return Err(NotSaved::TooNew { version: head.version, oneport: head.oneport });
        }
        let saved: Saved = serde_json::from_slice(text).map_err(broken)?;
        match saved.apps.len() {
            apps if apps > Saved::MOST_APPS => {
                Err(NotSaved::Broken(format!("it has {apps} apps, above {}", Saved::MOST_APPS)))
            }
            _ => Ok(saved),
        }
    }

    /// As text, which is readable for people. `Err`: it could not be read again, and why.
    pub fn write(&self) -> Result<String, String> {
        if self.apps.len() > Saved::MOST_APPS {
            return Err(format!("there are {} apps, above {}", self.apps.len(), Saved::MOST_APPS));
        }
        let mut text = serde_json::to_string_pretty(self).map_err(|error| error.to_string())?;
        text.push('\n');
        match text.len() {
            bytes if bytes > Saved::MOST_BYTES => {
                Err(format!("it takes {bytes} bytes, above {}", Saved::MOST_BYTES))
            }
            _ => Ok(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(apps: usize) -> Saved {
        let spec = AppSpec { name: "web".into(), script: "/srv/app.js".into(), ..AppSpec::default() };
        let environment = BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]);
        let app = SavedApp { spec, environment, ids: vec![3, 4], stopped: vec![4], instances: 2 };
        Saved { version: 1, saved_at: 5, oneport: "0.1.0".into(), apps: vec![app; apps] }
    }

    #[test]
    fn what_is_written_is_read_again_as_the_same() {
        let text = saved(2).write().unwrap();
        assert_eq!(Saved::parse(text.as_bytes()).unwrap(), saved(2));
    }

    #[test]
    fn every_half_of_a_list_is_broken() {
        let text = saved(1).write().unwrap();
        let text = text.trim_end();
        for end in 0..text.len() {
            let half = Saved::parse(&text.as_bytes()[..end]);
            assert!(matches!(half, Err(NotSaved::Broken(_))), "{end}");
        }
    }

    #[test]
    fn a_newer_form_says_who_wrote_it() {
        let newer = Saved::parse(br#"{"version": 2, "oneport": "9.0.0", "applications": {}}"#).unwrap_err();
        assert!(matches!(newer, NotSaved::TooNew { version: 2, .. }));
        assert_eq!(
            newer.to_string(),
            "it is of version 2, written by oneport 9.0.0; this one reads version 1"
        );
    }

    #[test]
    fn more_apps_than_allowed_are_neither_written_nor_read() {
        let many = saved(Saved::MOST_APPS + 1);
        assert!(many.write().unwrap_err().contains("10001 apps"));
        let text = serde_json::to_string(&many).unwrap();
        assert!(Saved::parse(text.as_bytes()).unwrap_err().to_string().contains("10001 apps"));
        assert!(saved(Saved::MOST_APPS).write().is_ok());
    }

    #[test]
    fn a_text_longer_than_allowed_is_not_looked_at() {
        let long = vec![b' '; Saved::MOST_BYTES + 1];
        assert!(Saved::parse(&long).unwrap_err().to_string().contains("longer than"));
    }
}
