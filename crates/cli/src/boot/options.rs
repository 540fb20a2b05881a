//! What `startup` and `unstartup` are asked, and what they answer.

use std::path::PathBuf;

/// Whose unit it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Level {
    /// The system's: started at boot, written by root.
    #[default]
    System,
    /// A user's: started at login, or at boot where that user lingers.
    User,
}

/// What of the network has to be there first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Network {
    /// It is being set up.
    #[default]
    Begun,
    /// It has an address (`--wait-ip`).
    Online,
}

/// Which rights the unit gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Least {
    /// Those of its user.
    #[default]
    Plain,
    /// And what `least` needs for its best tier.
    TierA,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Purpose {
    #[default]
    Do,
    /// The unit is given back as text, and nothing changed (`--print`).
    Print,
}

/// `oneport startup [PLATFORM] [-u USER] [--hp DIRECTORY] ...`, and the same for `unstartup`.
#[derive(Clone, Debug, Default)]
pub(crate) struct StartupOptions {
    /// The init system by name. None: found out.
    pub(crate) platform: Option<String>,
    pub(crate) level: Level,
    /// Whose apps. None: those of who asks.
    pub(crate) user: Option<String>,
    /// That user's home directory, where `.oneport` is. None: by `/etc/passwd`.
    pub(crate) hp: Option<PathBuf>,
    /// The unit's name. None: `oneport-USER`, and `oneport` for a user's.
    pub(crate) service_name: Option<String>,
    pub(crate) network: Network,
    pub(crate) least: Least,
    pub(crate) purpose: Purpose,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The text of the unit.
    Printed(String),
    /// Only root may; this is the line to copy. The exit code is 1, as with PM2.
    NeedsRoot {
        command: String,
    },
    Done(Done),
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The unit's file.
    pub(crate) file: PathBuf,
    /// What to tell, a line each.
    pub(crate) said: Vec<String>,
}
