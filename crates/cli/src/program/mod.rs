//! From what a person typed to what is executed, and by which interpreter. What kind of program that is says `kind`.

mod kind;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::args::target::TargetArgs;
use crate::error::Failure;
pub(crate) use kind::{Kind, look_in};
use kind::{find, interpreter_for, is_interpreter, kind_of_interpreter, kind_of_program, shebang};

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
    /// The file that is executed, as seen from here: the interpreter of a script, or the program.
    pub(crate) file: PathBuf,
    /// The script, where there is one.
    pub(crate) script: Option<PathBuf>,
    /// What a person would call it.
    pub(crate) title: String,
}

/// Bytes of a script that are looked at.
const LOOKED_AT: u64 = 1024 * 1024;

impl Program {
    pub(crate) fn resolve(wanted: &TargetArgs) -> Result<Program, Failure> {
        let (target, args) = match (wanted.target.as_deref(), wanted.rest.split_first()) {
            (Some(target), _) => (target, wanted.rest.as_slice()),
            (None, Some((command, args))) => (command.as_os_str(), args),
            (None, None) => {
                return Err(Failure::usage("cannot run: no script or program given")
                    .hint("oneport run server.js, or oneport run -- COMMAND ARGS"));
            }
        };
        if let [first, ..] = wanted.stray.as_slice() {
            let (first, shown) = (first.display(), Path::new(target).display());
            return Err(Failure::usage(format!(
                "cannot use argument `{first}`: the script's arguments go behind `--`"
            ))
            .hint(format!("oneport run {shown} -- {first}")));
        }
        let path = match &wanted.cwd {
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
                exec_path: Some(found.clone().into()),
                exec_args: run.into_iter().flatten().chain(node_args()).collect(),
                args: args.to_vec(),
                kind,
                file: found,
                script: Some(path.clone()),
                title: title(target),
            })
        };
        if let Some(interpreter) = wanted.interpreter.as_deref().filter(|name| *name != "none") {
            readable_script(&path, target)?;
            return with(interpreter);
        }
        // A command is looked up as a shell does; a script may have a bare name and lie right here.
        let bare = !target.as_encoded_bytes().contains(&b'/');
        let command = bare && (wanted.target.is_none() || path.is_dir()) && find(target).is_some();
        if command || !path.exists() {
            let found = Program::in_path(target, args, &path)?;
            return found.called_by_its_script(wanted).without_interpreter(wanted);
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
            (true, _) => {
                let kind = kind_of_program(&path);
                // `execvp` looks a bare name up in PATH; this one is here.
                let here = if target.as_encoded_bytes().contains(&b'/') {
                    target.into()
                } else {
                    Path::new(".").join(target)
                };
                Program::executed(here.into(), args, kind, path.clone(), Some(path), title(target))
                    .called_by_its_script(wanted)
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
            let file = becomes.unwrap_or_else(|| found.clone());
            let kind = kind_of_program(&file);
            return Ok(Program::executed(found.into(), args, kind, file, None, title(target)));
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
        file: PathBuf,
        script: Option<PathBuf>,
        title: String,
    ) -> Program {
        let (exec_path, exec_args) = (None, Vec::new());
        Program { exec, exec_path, exec_args, args: args.to_vec(), kind, file, script, title }
    }

    /// What an interpreter runs gives the app its name, however the interpreter was written.
    fn called_by_its_script(mut self, wanted: &TargetArgs) -> Program {
        if let Some(script) = script_behind(&self.exec, &self.args, wanted.cwd.as_deref()) {
            self.title = title(script.as_os_str());
            self.script = Some(script);
        }
        self
    }

    /// It is executed as it is: options for an interpreter would be lost without a word.
    fn without_interpreter(self, wanted: &TargetArgs) -> Result<Program, Failure> {
        if wanted.node_args.is_empty() {
            return Ok(self);
        }
        Err(Failure::usage(format!("cannot use --node-args: `{}` is executed as it is", self.title))
            .hint("put the arguments into the command itself, or name an --interpreter"))
    }

    /// What the kernel loads in the end: behind the first lines of scripts, which may name scripts again.
    pub(crate) fn image(&self) -> PathBuf {
        // The kernel follows four (BINPRM_MAX_RECURSION, every Linux), and `env` may stand before each.
        let mut file = self.file.clone();
        for _ in 0..8 {
            match shebang(&file).and_then(|interpreter| find(OsStr::new(&interpreter))) {
                Some(interpreter) => file = interpreter,
                None => break,
            }
        }
        file
    }

    /// Whether the script itself would start workers, were it the primary.
    pub(crate) fn forks_itself(&self) -> bool {
        let mut text = Vec::new();
        let opened = self.script.as_ref().and_then(|script| fs::File::open(script).ok());
        let read = opened.map(|file| file.take(LOOKED_AT).read_to_end(&mut text));
        read.is_some()
            && self.kind.is_javascript()
            && text.windows(13).any(|window| window == b"cluster.fork(")
    }
}

/// The file's name, with its extension and without its directory.
fn title(target: &OsStr) -> String {
    Path::new(target).file_name().unwrap_or(target).to_string_lossy().into_owned()
}

/// The program that `env` is asked to run.
fn named_by_env(args: &[OsString]) -> Option<PathBuf> {
    behind_env(args).first().and_then(|program| find(program))
}

/// The command that `env` is asked to run.
fn behind_env(args: &[OsString]) -> &[OsString] {
    let plain = |word: &OsString| {
        let word = word.as_encoded_bytes();
        !word.starts_with(b"-") && !word.contains(&b'=')
    };
    args.iter().position(plain).and_then(|at| args.get(at..)).unwrap_or_default()
}

/// The script that an interpreter is to run: the first file behind it that no option takes for itself. None where it gets
/// text or a module instead.
fn script_behind(program: &OsStr, args: &[OsString], cwd: Option<&Path>) -> Option<PathBuf> {
    let is_env = Path::new(program).file_name() == Some(OsStr::new("env"));
    let (program, words) = match behind_env(args).split_first().filter(|_| is_env) {
        Some((program, words)) => (program.as_os_str(), words),
        None => (program, args),
    };
    if !is_interpreter(Path::new(program)) {
        return None;
    }
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("-c" | "-e" | "-m" | "--eval") => return None,
            Some("-r" | "--require" | "--import") => _ = words.next(),
            Some(option) if option.starts_with('-') => {}
            Some(_) | None => {
                let path = cwd.map_or_else(|| PathBuf::from(word), |cwd| cwd.join(word));
                if path.is_file() {
                    return Some(path);
                }
            }
        }
    }
    None
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
        let program = Program::resolve(&TargetArgs {
            target: Some("passwd".into()),
            interpreter: Some(up.join("bin/sh").into()),
            cwd: Some("/etc".into()),
            ..TargetArgs::default()
        })
        .unwrap();
        let interpreter = PathBuf::from(program.exec_path.unwrap());
        assert!(interpreter.is_absolute() && interpreter.is_file(), "{interpreter:?}");
        assert_eq!((program.kind, program.title.as_str()), (Kind::Other, "passwd"));
    }

    #[test]
    fn a_script_behind_an_interpreter_gives_its_name_wherever_it_stands() {
        let called = |words: &[&str], cwd: Option<&str>| {
            let rest = words.iter().map(Into::into).collect();
            let wanted = TargetArgs { rest, cwd: cwd.map(Into::into), ..TargetArgs::default() };
            Program::resolve(&wanted).unwrap().title
        };
        // Tests run in the directory of their crate.
        for words in [
            &["sh", "src/main.rs"][..],
            &["/bin/sh", "-x", "src/main.rs", "Cargo.toml"],
            &["sh", "-r", "Cargo.toml", "src/main.rs"],
            &["env", "A=1", "sh", "src/main.rs"],
            &["/usr/bin/env", "sh", "src/main.rs"],
        ] {
            assert_eq!(called(words, None), "main.rs", "{words:?}");
        }
        assert_eq!(called(&["sh", "passwd"], Some("/etc")), "passwd", "in the workers' directory");
        for words in [&["sh", "-c", "Cargo.toml"][..], &["sh", "no-such-file"], &["sh", "src"]] {
            assert_eq!(called(words, None), "sh", "{words:?}");
        }
        assert_eq!(called(&["cat", "Cargo.toml"], None), "cat", "no interpreter: a file is an argument");
    }

    #[test]
    fn what_env_runs_decides_what_a_command_is() {
        let command = |words: &[&str]| {
            let rest = words.iter().map(Into::into).collect();
            Program::resolve(&TargetArgs { rest, ..TargetArgs::default() }).unwrap()
        };
        let program = command(&["env", "A=1", "sh", "-c", "true"]);
        assert_eq!(program.file.file_name(), Some(OsStr::new("sh")));
        assert_eq!(program.exec, command(&["env"]).exec, "env itself is executed");
    }
}
