//! Which files an app's output goes to, in what form, and how much of them is kept: everything that follows
//! from its configuration, and nothing that is done.

use std::path::{Path, PathBuf};
use std::time::Duration;

use oneport_wire::control::{AppSpec, LogPaths, LogRotate, LogType};

use super::Stream;
use super::moment::Moment;

/// For one app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(super) app: String,
    /// The folder for files that nobody configured.
    logs: PathBuf,
    out: Option<PathBuf>,
    error: Option<PathBuf>,
    both: Option<PathBuf>,
    names: Names,
    instances: u32,
    /// The numbers of slots that are on the list, where that is known.
    slots: Option<Vec<u32>>,
    pub(super) form: Form,
    pub(super) rotation: Rotation,
}

/// Whether each slot has files of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Names {
    Shared,
    Numbered,
}

/// What a line looks like in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Bytes as they come.
    Raw,
    /// A time and `: ` before each line.
    Stamped(Moment),
    /// A JSON object for each line.
    Json(Option<Moment>),
}

/// When a file is put aside, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    /// 0: never for its size.
    pub(super) max_size: u64,
    pub(super) max_age: Option<Duration>,
    pub(super) keep: usize,
    /// 0: no limit.
    pub(super) max_total: u64,
    pub(super) compress: Compress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compress {
    Gzip,
    Nothing,
}

const MIB: u64 = 1 << 20;
/// Files are not made smaller than this for the sake of `max_total`.
const SMALLEST: u64 = 64 * 1024;

impl Rotation {
    fn of(wanted: &LogRotate) -> Rotation {
        Rotation {
            max_size: wanted.max_size.map_or(10 * MIB, |size| size.0),
            max_age: wanted.max_age.map(|age| age.duration()).filter(|age| !age.is_zero()),
            keep: wanted.keep.map_or(10, |keep| usize::try_from(keep).unwrap_or(usize::MAX)),
            max_total: wanted.max_total.map_or(200 * MIB, |total| total.0),
            compress: if wanted.compress.unwrap_or(true) { Compress::Gzip } else { Compress::Nothing },
        }
    }

    /// How large each of so many files may become. They are cut earlier where all of them together would take
    /// more than half of `max_total`: that holds also with many workers. `None`: as large as it likes.
    pub(super) fn size_of_each(&self, files: usize) -> Option<u64> {
        let files = u64::try_from(files.max(1)).unwrap_or(u64::MAX);
        let share = (self.max_total > 0).then(|| (self.max_total / 2 / files).max(SMALLEST));
        let asked = (self.max_size > 0).then_some(self.max_size);
        asked.into_iter().chain(share).min()
    }
}

impl Plan {
    /// `logs_dir` is the folder `logs` in the home directory; `instances` is how many workers it has, or is
    /// to have.
    pub(crate) fn of(spec: &AppSpec, logs_dir: &Path, instances: u32) -> Plan {
        let moment = match (spec.log_date_format.as_deref(), spec.time) {
            (Some(format), _) if !format.is_empty() => Some(Moment::parse(format)),
            (Some(_) | None, true) => Some(Moment::parse("YYYY-MM-DDTHH:mm:ss")),
            (Some(_) | None, false) => None,
        };
        let form = match (spec.log_type.unwrap_or_default(), moment) {
            (LogType::Raw, None) => Form::Raw,
            (LogType::Raw, Some(moment)) => Form::Stamped(moment),
            (LogType::Json, moment) => Form::Json(moment),
        };
        let file = |configured: &Option<String>, ending: &str| {
            let by_default = || Some(logs_dir.join(format!("{}-{ending}.log", file_name(&spec.name))));
            configured.as_ref().map_or_else(by_default, |path| somewhere(path))
        };
        let (out, error, both) = match spec.disable_logs {
            true => (None, None, None),
            false => (
                file(&spec.out_file, "out"),
                file(&spec.error_file, "error"),
                spec.log_file.as_deref().and_then(somewhere),
            ),
        };
        let merged = spec.merge_logs.unwrap_or(instances <= 1);
        Plan {
            app: spec.name.clone(),
            logs: logs_dir.to_owned(),
            out,
            error,
            both,
            names: if merged { Names::Shared } else { Names::Numbered },
            instances,
            slots: None,
            form,
            rotation: Rotation::of(&spec.log_rotate.unwrap_or_default()),
        }
    }

    /// The same for exactly these slots.
    pub(crate) fn of_slots(self, slots: Vec<u32>) -> Plan {
        Plan { slots: Some(slots), ..self }
    }

    /// Whether a slot that is on the list writes to this file.
    pub(super) fn is_written(&self, path: &Path) -> bool {
        let writes = |id: &u32| {
            [Stream::Out, Stream::Err]
                .iter()
                .any(|stream| self.files(*id, *stream).iter().any(|file| file == path))
        };
        self.owns(path) && self.slots.as_ref().is_none_or(|slots| slots.iter().any(writes))
    }

    /// Below it, folders that are made belong to the user alone.
    pub(super) fn home(&self) -> &Path {
        self.logs.parent().unwrap_or(&self.logs)
    }

    /// Whether nothing is stored at all.
    pub(super) fn stores_nothing(&self) -> bool {
        self.out.is_none() && self.error.is_none() && self.both.is_none()
    }

    /// Where this stream of this slot goes, each file once.
    pub(super) fn files(&self, id: u32, stream: Stream) -> Vec<PathBuf> {
        let own = match stream {
            Stream::Out => &self.out,
            Stream::Err => &self.error,
        };
        let mut files: Vec<PathBuf> = own.iter().chain(&self.both).map(|path| self.named(path, id)).collect();
        files.dedup();
        files
    }

    /// Whether several pipes lead into this file.
    pub(super) fn is_shared(&self, path: &Path, id: u32) -> bool {
        let merged = self.names == Names::Shared && self.instances > 1;
        let leads = |stream: &Stream| self.files(id, *stream).iter().any(|file| file == path);
        merged || [Stream::Out, Stream::Err].iter().all(leads)
    }

    /// As they are told to others.
    pub(crate) fn paths(&self, id: u32) -> LogPaths {
        let named = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| self.named(path, id).to_string_lossy().into_owned())
        };
        LogPaths { out: named(&self.out), error: named(&self.error), both: named(&self.both) }
    }

    fn named(&self, path: &Path, id: u32) -> PathBuf {
        match self.names {
            Names::Shared => path.to_owned(),
            Names::Numbered => numbered(path, id),
        }
    }

    /// The folders that its files are in, each once.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let paths = [&self.out, &self.error, &self.both];
        let mut folders: Vec<PathBuf> =
            paths.into_iter().flatten().filter_map(|path| path.parent().map(Path::to_owned)).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Whether this is a current file of the app: of any slot, also of one that is no longer there. Files
    /// with and without a number count in our own folder, because workers that come and go change that;
    /// elsewhere only what would be written.
    pub(super) fn owns(&self, path: &Path) -> bool {
        let ours = path.parent() == Some(&self.logs);
        let like = |of: &&PathBuf| {
            // Elsewhere `access-20261120.log` is somebody else's.
            let is_known = |id: &u32| ours || self.slots.as_ref().is_none_or(|slots| slots.contains(id));
            let with_number =
                || number_of(path, of).filter(is_known).is_some_and(|id| numbered(of, id) == path);
            match self.names {
                Names::Shared => path == of.as_path() || (ours && with_number()),
                Names::Numbered => with_number() || (ours && path == of.as_path()),
            }
        };
        [&self.out, &self.error, &self.both].into_iter().flatten().any(|of| like(&of))
    }
}

/// PM2's way: before the extension.
fn numbered(path: &Path, id: u32) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{id}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn number_of(path: &Path, of: &Path) -> Option<u32> {
    let stem = path.file_stem()?.to_str()?.strip_prefix(of.file_stem()?.to_str()?)?;
    stem.strip_prefix('-')?.parse().ok()
}

/// PM2 takes the word `NULL` too; it may have been made absolute on its way.
fn somewhere(path: &str) -> Option<PathBuf> {
    let path = Path::new(path);
    let nowhere = path == Path::new("/dev/null") || path.file_name().is_none_or(|name| name == "NULL");
    (!nowhere).then(|| path.to_owned())
}

/// Whether that is standard output or error of whoever opens it: not those of the command that was typed, which is not there
/// any more.
pub(crate) fn is_somebodys_own(path: &str) -> bool {
    let beginnings = ["/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/"];
    ["/dev/stdout", "/dev/stderr", "/dev/tty"].contains(&path)
        || beginnings.iter().any(|one| path.starts_with(one))
}

/// Longest name of an app that is a file's name as it is: with what is added behind it has to fit into 255
/// bytes.
const LONGEST_NAME: usize = 160;

/// The name of an app as part of a file's name. Letters and digits of any script and `.`, `_`, `-`, `@`, `+`
/// stay; of the rest each byte becomes `%XX`, so that two apps never share a file. The end of a very long
/// name becomes a number.
pub(crate) fn file_name(app: &str) -> String {
    let mut name = String::with_capacity(app.len());
    for (at, letter) in app.char_indices() {
        let plain = letter.is_alphanumeric() || "_-@+".contains(letter) || (letter == '.' && at > 0);
        if plain {
            name.push(letter);
        } else {
            let mut bytes = [0; 4];
            letter.encode_utf8(&mut bytes).bytes().for_each(|byte| name.push_str(&format!("%{byte:02X}")));
        }
    }
    if name.is_empty() {
        name.push('%');
    }
    if name.len() > LONGEST_NAME {
        // FNV-1a: the same in every version.
        let hash = app.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        name.truncate(name.floor_char_boundary(LONGEST_NAME));
        name.push_str(&format!("~{hash:016x}"));
    }
    name
}

#[cfg(test)]
mod tests;
