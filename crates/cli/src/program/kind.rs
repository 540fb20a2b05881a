//! What kind of program it is: by its name, else by its first line, else by what it was built with. Also finding a program
//! as a shell does. Nothing here executes anything.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oneport_sys::elf;

/// What kind of program a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Node,
    Deno,
    /// A Rust program built with crate `oneport`.
    Library,
    /// A package manager: a Node program that would keep the channel to itself (npm 6 to 11 say `online` and never listen),
    /// so that the server it starts would bind alone. It gets none, and its descendant is attached like any program.
    Wrapper,
    Other,
}

const WRAPPERS: [&str; 7] = ["npm", "npx", "yarn", "yarnpkg", "pnpm", "pnpx", "corepack"];

const INTERPRETERS: [&str; 12] =
    ["node", "nodejs", "deno", "bun", "python", "pypy", "ruby", "php", "perl", "sh", "bash", "dash"];

impl Kind {
    /// Whether it understands Node's channel.
    pub(crate) fn speaks_channel(self) -> bool {
        match self {
            Kind::Node | Kind::Deno | Kind::Library => true,
            Kind::Wrapper | Kind::Other => false,
        }
    }

    /// Whether it is JavaScript, which cleans up on SIGINT by custom. A package manager is signalled together with what
    /// it runs, and passes SIGTERM on; shells start what they put into the background with SIGINT ignored.
    pub(crate) fn is_javascript(self) -> bool {
        match self {
            Kind::Node | Kind::Deno => true,
            Kind::Library | Kind::Wrapper | Kind::Other => false,
        }
    }
}

/// PM2's table, with `node` for TypeScript too: Node 22.18 and later strip types by themselves.
pub(super) fn interpreter_for(path: &Path) -> Option<&'static str> {
    Some(match path.extension()?.to_str()? {
        "js" | "mjs" | "cjs" | "ts" | "mts" | "cts" => "node",
        "py" => "python3",
        "rb" => "ruby",
        "php" => "php",
        "pl" => "perl",
        "sh" => "bash",
        _ => return None,
    })
}

/// Whether it runs a script that is named behind it, whatever its version: `python3.11`.
pub(super) fn is_interpreter(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    INTERPRETERS.contains(&name)
}

pub(super) fn kind_of_interpreter(path: &Path) -> Kind {
    match path.file_name().and_then(OsStr::to_str).unwrap_or_default() {
        "node" | "nodejs" => Kind::Node,
        "deno" => Kind::Deno,
        name if WRAPPERS.contains(&name) => Kind::Wrapper,
        _ => Kind::Other,
    }
}

/// By its name, else by its first line, else by what it was built with.
pub(super) fn kind_of_program(path: &Path) -> Kind {
    match (kind_of_interpreter(path), shebang(path)) {
        (Kind::Other, Some(interpreter)) => kind_of_interpreter(Path::new(&interpreter)),
        (Kind::Other, None) => kind_of_file(path),
        (kind, _) => kind,
    }
}

fn kind_of_file(path: &Path) -> Kind {
    // A file that cannot be read can still be executed.
    if elf::has_note(path).unwrap_or(false) { Kind::Library } else { Kind::Other }
}

/// The interpreter a script names in its first line; `env NAME` means NAME.
pub(super) fn shebang(path: &Path) -> Option<String> {
    let mut start = [0; 256];
    let n = fs::File::open(path).and_then(|mut file| file.read(&mut start)).ok()?;
    let line = start[..n].strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_whitespace();
    let interpreter = words.next()?;
    if interpreter.rsplit('/').next() == Some("env") {
        return words.find(|word| !word.starts_with('-')).map(str::to_owned);
    }
    Some(interpreter.to_owned())
}

/// Where programs are looked up in place of this process's own `PATH`: the environment of an app may change while its primary
/// runs, and that of a process cannot.
static ELSEWHERE: Mutex<Option<OsString>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<OsString>> {
    ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on programs are looked up there; `None`: in this process's own `PATH`. Gives where it was until now.
pub(crate) fn look_in(path: Option<OsString>) -> Option<OsString> {
    std::mem::replace(&mut lock(), path)
}

/// A program by its path, or by its name in PATH. As an absolute path: it is looked for here and executed in the
/// workers' directory.
pub(super) fn find(program: &OsStr) -> Option<PathBuf> {
    found(program).and_then(|path| std::path::absolute(path).ok())
}

fn found(program: &OsStr) -> Option<PathBuf> {
    let runs = |path: &Path| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|path| runs(path));
    }
    let elsewhere = lock().clone();
    let path = elsewhere.or_else(|| std::env::var_os("PATH"))?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| runs(candidate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_managers_are_known_whatever_they_are_written_in() {
        for name in ["npm", "/usr/local/bin/pnpm", "node_modules/.bin/yarn", "/usr/bin/corepack"] {
            assert_eq!(kind_of_program(Path::new(name)), Kind::Wrapper, "{name}");
        }
        assert!(!Kind::Wrapper.speaks_channel() && !Kind::Wrapper.is_javascript());
    }

    #[test]
    fn interpreters_are_known_in_every_version() {
        for name in ["python3", "/usr/bin/python3.11", "ruby3.1", "php8.2", "node", "/bin/sh", "pypy3"] {
            assert!(is_interpreter(Path::new(name)), "{name}");
        }
        for name in ["nginx", "gunicorn", "npm", "python3-config", "3", ""] {
            assert!(!is_interpreter(Path::new(name)), "{name}");
        }
    }

    #[test]
    fn shells_and_interpreters_of_other_languages_speak_no_channel() {
        for name in ["/bin/sh", "bash", "python3", "ruby", "/opt/java/bin/java"] {
            assert_eq!(kind_of_interpreter(Path::new(name)), Kind::Other, "{name}");
        }
        assert!(kind_of_interpreter(Path::new("/usr/bin/node")).speaks_channel());
        assert!(kind_of_interpreter(Path::new("deno")).speaks_channel());
    }
}
