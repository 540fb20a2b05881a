//! PM2's saved list, `dump.pm2`, as apps of ours. Only its names of fields are known here; a dump is a stranger's file: what is
//! odd about a record costs that record or that key, with a warning, and never the rest.
//!
//! Records of one name, script and arguments are the instances of one app. Their environment is the whole one of the shell that
//! started them, so that what was configured has to be guessed: see [`variables`].

mod group;
mod paths;
mod record;
mod variables;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oneport_wire::control::{Saved, SavedApp};
use serde_json::Value;

use super::environment::listed;
use crate::error::{Failure, plain};
use group::{Common, Group};
use record::{Read as Seen, Record};

/// How a dump is read.
#[derive(Clone, Debug)]
pub(crate) struct ImportOptions {
    /// The environment of who imports: what an app has alike was not configured for it.
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) secrets: Secrets,
}

/// What becomes of variables that look like secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// They are named in a warning.
    LeaveOut,
    /// They become part of the configuration.
    Take,
}

/// Names that one warning holds.
const NAMES: usize = 12;
/// Warnings beyond this are only counted.
const MOST_WARNINGS: usize = 200;

/// Where PM2's list is: `PM2_DUMP_FILE_PATH`, else `dump.pm2` in `PM2_HOME`, else in `.pm2` of `HOME`.
pub(crate) fn dump_path(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let given = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let in_home = || Some(given("PM2_HOME").or_else(|| Some(given("HOME")?.join(".pm2")))?.join("dump.pm2"));
    given("PM2_DUMP_FILE_PATH").or_else(in_home)
}

/// The apps in a file of PM2's, or where that is broken or missing in the one that PM2 keeps beside it (`.bak`).
pub(crate) fn import_file(
    path: &Path,
    options: &ImportOptions,
) -> Result<(Vec<SavedApp>, Vec<String>), Failure> {
    let failed =
        |path: &Path, cause: String| Failure::new(format!("cannot import `{}`: {cause}", path.display()));
    let first = match import_one(path, options) {
        Ok(imported) => return Ok(imported),
        Err(cause) => cause,
    };
    let mut backup = path.as_os_str().to_owned();
    backup.push(".bak");
    match import_one(Path::new(&backup), options) {
        Ok((apps, mut warnings)) => {
            let told = format!("`{}`: {first}; its backup is read in its place", path.display());
            warnings.insert(0, told);
            Ok((apps, warnings))
        }
        Err(_) => Err(failed(path, first).hint("`pm2 save` writes it anew; or name another file")),
    }
}

fn import_one(path: &Path, options: &ImportOptions) -> Result<(Vec<SavedApp>, Vec<String>), String> {
    let text = read(path).map_err(|error| plain(&error))?;
    import(&text, options)
}

fn read(path: &Path) -> io::Result<String> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = String::new();
    let most = u64::try_from(Saved::MOST_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    file.take(most).read_to_string(&mut text)?;
    Ok(text)
}

/// The apps in the text of a dump.
#[cfg(test)]
pub(crate) fn import_dump(
    text: &str,
    options: &ImportOptions,
) -> Result<(Vec<SavedApp>, Vec<String>), Failure> {
    import(text, options).map_err(|cause| Failure::new(format!("cannot import the list of PM2: {cause}")))
}

fn import(text: &str, options: &ImportOptions) -> Result<(Vec<SavedApp>, Vec<String>), String> {
    if text.len() > Saved::MOST_BYTES {
        return Err(format!("it is longer than {} bytes", Saved::MOST_BYTES));
    }
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    let records: Vec<Value> =
        serde_json::from_str(text).map_err(|error| format!("it is no JSON list: {error}"))?;
    if records.len() > Saved::MOST_APPS {
        return Err(format!("it has {} records, above {}", records.len(), Saved::MOST_APPS));
    }
    let mut warnings = Vec::new();
    let mut groups: Vec<Group> = Vec::new();
    let mut places = BTreeMap::new();
    for (number, value) in records.iter().enumerate() {
        match Record::read(value, &mut warnings) {
            Seen::App(record) => {
                let place = *places.entry(record.key.clone()).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some(group) => group.add(*record),
                    None => groups.push(Group::new(*record)),
                }
            }
            Seen::Module(name) => {
                warnings.push(format!("`{name}` is a module of PM2 and is not imported"));
            }
            Seen::Nothing(why) => warnings.push(format!("record {} is not imported: {why}", number + 1)),
        }
    }
    let mut common = Common::of(&groups);
    let apps: Vec<_> =
        groups.into_iter().map(|group| group.into_app(options, &mut common, &mut warnings)).collect();
    if !common.inherited.is_empty() {
        let names: Vec<_> = common.inherited.into_iter().collect();
        warnings.insert(0, format!("left out, because your shell has the same: {}", listed(&names, NAMES)));
    }
    if warnings.len() > MOST_WARNINGS {
        let more = warnings.len() - MOST_WARNINGS;
        warnings.truncate(MOST_WARNINGS);
        warnings.push(format!("{more} more warnings"));
    }
    Ok((apps, warnings))
}

#[cfg(test)]
mod tests;
