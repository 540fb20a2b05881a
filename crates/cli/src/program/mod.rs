//! From what a person typed to what is executed: which interpreter, and whether the program understands a channel.

mod wrapper;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oneport::Attach;
use oneport_sys::elf;

use crate::error::Failure;

/// What kind of program a worker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Node,
    Deno,
    /// A Rust program built with crate `oneport`.
    Library,
    /// A shell, which hands the channel on to what it runs.
    Shell,
    Other,
}

/// What will be executed.
#[derive(Debug)]
pub(crate) struct Program {
    /// The script or program itself.
    pub(crate) exec: OsString,
    /// What runs it, if it is a script, and the arguments of that.
    pub(crate) exec_path: Option<OsString>,
    pub(crate) exec_args: Vec<OsString>,
    /// Its own arguments.
    pub(crate) args: Vec<OsString>,
    pub(crate) kind: Kind,
    /// The script, where there is one.
    pub(crate) script: Option<PathBuf>,
    /// What a person would call it.
    pub(crate) title: String,
}

/// What was typed.
pub(crate) struct Wanted<'a> {
    pub(crate) target: Option<&'a OsStr>,
    /// What stands behind the target without `--`.
    pub(crate) stray: &'a [OsString],
    pub(crate) rest: &'a [OsString],
    pub(crate) interpreter: Option<&'a OsStr>,
    pub(crate) node_args: &'a [String],
    pub(crate) cwd: Option<&'a Path>,
}

/// Bytes of a script that are looked at.
const LOOKED_AT: u64 = 1024 * 1024;

impl Program {
    pub(crate) fn resolve(wanted: &Wanted<'_>) -> Result<Program, Failure> {
        let (target, args) = match (wanted.target, wanted.rest.split_first()) {
            (Some(target), _) => (target, wanted.rest),
            (None, Some((command, args))) => (command.as_os_str(), args),
            (None, None) => {
                return Err(Failure::usage("cannot run: no script or program given")
                    .hint("oneport run server.js, or oneport run -- COMMAND ARGS"));
            }
        };
        let behind = if wanted.stray.is_empty() { args } else { wanted.stray };
        wrapper::refuse(target, behind, wanted.cwd)?;
        if let [first, ..] = wanted.stray {
            let (first, shown) = (first.display(), Path::new(target).display());
            return Err(Failure::usage(format!(
                "cannot use argument `{first}`: the script's arguments go behind `--`"
            ))
            .hint(format!("oneport run {shown} -- {first}")));
        }
        let path = match wanted.cwd {
            Some(cwd) => cwd.join(target),
            None => PathBuf::from(target),
        };
        let node_args =
            || wanted.node_args.iter().flat_map(|text| text.split_whitespace()).map(OsString::from);
        let with = |interpreter: &OsStr| -> Result<Program, Failure> {
            let found = find(interpreter).ok_or_else(|| not_installed(&title(target), interpreter))?;
            let kind = kind_of_interpreter(&found);
            // Deno runs nothing without a subcommand.
            let run =
                (kind == Kind::Deno && wanted.node_args.is_empty()).then(|| ["run".into(), "-A".into()]);
            Ok(Program {
                exec: target.to_owned(),
                exec_path: Some(found.into()),
                exec_args: run.into_iter().flatten().chain(node_args()).collect(),
                args: args.to_vec(),
                kind,
                script: Some(path.clone()),
                title: title(target),
            })
        };
        if let Some(interpreter) = wanted.interpreter.filter(|name| *name != "none") {
            readable_script(&path, target)?;
            return with(interpreter);
        }
        // A command is looked up as a shell does; a script may have a bare name and lie right here.
        let bare = !target.as_encoded_bytes().contains(&b'/');
        let command = bare && (wanted.target.is_none() || path.is_dir()) && find(target).is_some();
        if command || !path.exists() {
            let found = Program::in_path(target, args, &path)?;
            return found.without_interpreter(wanted);
        }
        let shown = Path::new(target).display();
        if path.is_dir() {
            let hint = match path.join("index.js").exists() {
                true => format!("oneport run {}", Path::new(target).join("index.js").display()),
                false => "name the script or program inside it".to_owned(),
            };
            return Err(Failure::usage(format!("cannot run `{shown}`: it is a directory")).hint(hint));
        }
        if wanted.interpreter.is_none()
            && let Some(interpreter) = interpreter_for(&path)
        {
            readable_script(&path, target)?;
            return with(OsStr::new(interpreter));
        }
        let executable = fs::metadata(&path).is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
        match (executable, shebang(&path)) {
            (true, shebang) => {
                let kind = match shebang {
                    Some(interpreter) => kind_of_interpreter(Path::new(&interpreter)),
                    None => kind_of_program(&path),
                };
                // `execvp` looks a bare name up in PATH; this one is here.
                let here = if target.as_encoded_bytes().contains(&b'/') {
                    target.into()
                } else {
                    Path::new(".").join(target)
                };
                Program::executed(here.into(), args, kind, Some(path), title(target))
                    .without_interpreter(wanted)
            }
            (false, Some(interpreter)) => with(OsStr::new(&interpreter)),
            (false, None) => Err(Failure::usage(format!("cannot run `{shown}`: it is not executable"))
                .hint(format!("chmod +x {shown}, or name its --interpreter"))),
        }
    }

    /// A name without a file: a program to be found in PATH.
    fn in_path(target: &OsStr, args: &[OsString], path: &Path) -> Result<Program, Failure> {
        let shown = Path::new(target).display();
        let bare = !target.as_encoded_bytes().contains(&b'/');
        if let Some(found) = find(target).filter(|_| bare) {
            // `env A=1 node server.js` becomes what it names.
            let becomes = if target == "env" { named_by_env(args) } else { None };
            let kind = kind_of_program(becomes.as_deref().unwrap_or(&found));
            let script = args.iter().map(PathBuf::from).find(|arg| arg.is_file());
            let title = script.as_deref().map_or_else(|| title(target), |script| title(script.as_os_str()));
            return Ok(Program::executed(found.into(), args, kind, script, title));
        }
        let failure = Failure::usage(format!("cannot run `{shown}`: no such file or program"));
        let with_extension = path.with_extension("js");
        Err(match with_extension.is_file() {
            true => {
                failure.hint(format!("did you mean `{}`?", Path::new(target).with_extension("js").display()))
            }
            false if bare => failure.hint("neither in this directory nor in PATH"),
            false => failure.hint("check the path; it is relative to the working directory"),
        })
    }

    /// A program without an interpreter of its own.
    fn executed(
        exec: OsString,
        args: &[OsString],
        kind: Kind,
        script: Option<PathBuf>,
        title: String,
    ) -> Program {
        let (exec_path, exec_args) = (None, Vec::new());
        Program { exec, exec_path, exec_args, args: args.to_vec(), kind, script, title }
    }

    /// It is executed as it is: options for an interpreter would be lost without a word.
    fn without_interpreter(self, wanted: &Wanted<'_>) -> Result<Program, Failure> {
        if wanted.node_args.is_empty() {
            return Ok(self);
        }
        Err(Failure::usage(format!("cannot use --node-args: `{}` is executed as it is", self.title))
            .hint("put the arguments into the command itself, or name an --interpreter"))
    }

    pub(crate) fn attach(&self) -> Attach {
        match self.kind {
            Kind::Node | Kind::Deno | Kind::Library | Kind::Shell => Attach::Channel,
            Kind::Other => Attach::Nothing,
        }
    }

    /// Whether it is JavaScript, which cleans up on SIGINT by custom.
    pub(crate) fn is_javascript(&self) -> bool {
        match self.kind {
            Kind::Node | Kind::Deno => true,
            Kind::Library | Kind::Shell | Kind::Other => false,
        }
    }

    /// Whether the script itself would start workers, were it the primary.
    pub(crate) fn forks_itself(&self) -> bool {
        let mut text = Vec::new();
        let opened = self.script.as_ref().and_then(|script| fs::File::open(script).ok());
        let read = opened.map(|file| file.take(LOOKED_AT).read_to_end(&mut text));
        read.is_some() && self.is_javascript() && text.windows(13).any(|window| window == b"cluster.fork(")
    }
}

/// The file's name, with its extension and without its directory.
fn title(target: &OsStr) -> String {
    Path::new(target).file_name().unwrap_or(target).to_string_lossy().into_owned()
}

/// PM2's table, with `node` for TypeScript too: Node 22.18 and later strip types by themselves.
fn interpreter_for(path: &Path) -> Option<&'static str> {
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

fn kind_of_interpreter(path: &Path) -> Kind {
    match path.file_name().and_then(OsStr::to_str).unwrap_or_default() {
        "node" | "nodejs" => Kind::Node,
        "deno" => Kind::Deno,
        "sh" | "bash" | "dash" | "zsh" | "ksh" => Kind::Shell,
        _ => Kind::Other,
    }
}

/// By its name, else by its first line, else by what it was built with.
fn kind_of_program(path: &Path) -> Kind {
    match (kind_of_interpreter(path), shebang(path)) {
        (Kind::Other, Some(interpreter)) => kind_of_interpreter(Path::new(&interpreter)),
        (Kind::Other, None) => kind_of_file(path),
        (kind, _) => kind,
    }
}

/// The program that `env` is asked to run.
fn named_by_env(args: &[OsString]) -> Option<PathBuf> {
    let plain = |word: &&OsString| {
        let word = word.as_encoded_bytes();
        !word.starts_with(b"-") && !word.contains(&b'=')
    };
    args.iter().find(plain).and_then(|program| find(program))
}

fn kind_of_file(path: &Path) -> Kind {
    // A file that cannot be read can still be executed.
    if elf::has_note(path).unwrap_or(false) { Kind::Library } else { Kind::Other }
}

/// The interpreter a script names in its first line; `env NAME` means NAME.
fn shebang(path: &Path) -> Option<String> {
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

/// A program by its path, or by its name in PATH. As an absolute path: it is looked for here and executed in the
/// workers' directory.
fn find(program: &OsStr) -> Option<PathBuf> {
    found(program).and_then(|path| std::path::absolute(path).ok())
}

fn found(program: &OsStr) -> Option<PathBuf> {
    let runs = |path: &Path| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.as_encoded_bytes().contains(&b'/') {
        return Some(PathBuf::from(program)).filter(|path| runs(path));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|candidate| runs(candidate))
}

fn readable_script(path: &Path, target: &OsStr) -> Result<(), Failure> {
    let shown = Path::new(target).display();
    match fs::File::open(path) {
        Ok(_) if path.is_dir() => Err(Failure::usage(format!("cannot run `{shown}`: it is a directory"))
            .hint("name the script inside it")),
        Ok(_) => Ok(()),
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
            Err(Failure::usage(format!("cannot run `{shown}`: no such file")).hint("check the path"))
        }
        Err(cause) => Err(Failure::usage(format!("cannot read `{shown}`: {cause}"))),
    }
}

fn not_installed(script: &str, interpreter: &OsStr) -> Failure {
    let interpreter = interpreter.display();
    Failure::usage(format!("cannot run `{script}`: its interpreter `{interpreter}` is not installed"))
        .hint(format!("install {interpreter}, or name another with --interpreter"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_interpreter_is_meant_from_here_whatever_the_workers_directory() {
        // Tests run in the directory of their crate.
        let up = std::env::current_dir().unwrap().components().skip(1).map(|_| "..").collect::<PathBuf>();
        let relative = up.join("bin/sh");
        let program = Program::resolve(&Wanted {
            target: Some(OsStr::new("passwd")),
            stray: &[],
            rest: &[],
            interpreter: Some(relative.as_os_str()),
            node_args: &[],
            cwd: Some(Path::new("/etc")),
        })
        .unwrap();
        let interpreter = PathBuf::from(program.exec_path.unwrap());
        assert!(interpreter.is_absolute() && interpreter.is_file(), "{interpreter:?}");
        assert_eq!((program.kind, program.title.as_str()), (Kind::Shell, "passwd"));
    }
}
