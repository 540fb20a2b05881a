//! An app freed of the place where it was written: absolute paths, a name, and what runs its script.

use std::path::Path;

use oneport_wire::control::{AppSpec, Watch};

use super::paths;
use super::source::{Place, Problem};

/// Bytes of an app's name: it is part of the names of its files.
const LONGEST_NAME: usize = 128;

/// From where relative paths are meant.
pub(super) struct Surroundings<'a> {
    /// The directory of the file.
    pub(super) dir: &'a Path,
    pub(super) home: Option<&'a Path>,
    /// The directory of logs.
    pub(super) logs: &'a Path,
}

/// `spec` has a script.
pub(super) fn settle(spec: &mut AppSpec, from: &Surroundings<'_>) -> Result<(), Problem> {
    let dir = from.dir.to_str().ok_or_else(|| {
        Problem::syntax(format!("its directory `{}` is not UTF-8", from.dir.display()), None)
    })?;
    let cwd = match spec.cwd.as_deref() {
        None | Some("") => dir.to_owned(),
        Some(cwd) => paths::resolve(from.dir, cwd, from.home),
    };
    let base = Path::new(&cwd);
    let absolute = |text: &str| paths::resolve(base, text, from.home);
    let written = spec.script.clone();
    let here = absolute(&written);
    let exists = Path::new(&here).is_file();
    let shell = matches!(spec.interpreter.as_deref(), None | Some("none" | "bash" | "sh"));
    if written.contains(char::is_whitespace) && shell && !exists {
        spec.args = shell_words(&written, std::mem::take(&mut spec.args));
        (spec.script, spec.interpreter) = ("bash".to_owned(), None);
        if spec.name.is_empty() {
            spec.name = paths::name_of_line(&written);
        }
    } else {
        if written.contains('/') || written.starts_with('~') || exists {
            spec.script = here;
        }
        if spec.name.is_empty() {
            spec.name = paths::name_of(&written, &cwd);
        }
    }
    if let Some(interpreter) = spec.interpreter.as_mut().filter(|text| text.contains('/')) {
        *interpreter = absolute(interpreter);
    }
    // PM2's `true`.
    if spec.log_file.as_deref() == Some("") {
        let name = format!("{}.log", paths::file_name_of(&spec.name));
        spec.log_file = Some(from.logs.join(name).to_string_lossy().into_owned());
    }
    for file in [&mut spec.out_file, &mut spec.error_file, &mut spec.log_file, &mut spec.pid_file] {
        match file.as_deref() {
            None => {}
            Some("") => *file = None,
            // PM2's word for it.
            Some("NULL" | "null") => *file = Some("/dev/null".to_owned()),
            Some(text) => *file = Some(absolute(text)),
        }
    }
    if let Watch::Paths(watched) = &mut spec.watch {
        watched.iter_mut().for_each(|path| *path = absolute(path));
    }
    spec.cwd = Some(cwd);
    Ok(())
}

/// A line of shell with the arguments behind it.
pub(crate) fn shell_words(line: &str, args: Vec<String>) -> Vec<String> {
    let mut words = vec!["-c".to_owned()];
    match args.is_empty() {
        true => words.push(line.to_owned()),
        false => {
            words.extend([format!("{line} \"$@\""), "bash".to_owned()]);
            words.extend(args);
        }
    }
    words
}

/// PM2 reads source maps itself; here Node does.
pub(super) fn with_source_maps(spec: &mut AppSpec) {
    const OPTION: &str = "--enable-source-maps";
    let by_node = match spec.interpreter.as_deref() {
        None => paths::is_javascript(&spec.script),
        Some(interpreter) => Path::new(interpreter).file_name().is_some_and(|name| name == "node"),
    };
    if by_node && !spec.node_args.iter().any(|arg| arg == OPTION) {
        spec.node_args.push(OPTION.to_owned());
    }
}

/// Whether an app can be called so.
pub(super) fn check_name(name: &str, at: Option<Place>) -> Result<(), Problem> {
    let cause = if name == "all" {
        "`all` means every app"
    } else if name.chars().any(char::is_control) {
        "its name holds a control character"
    } else if name.len() > LONGEST_NAME {
        "its name is longer than 128 bytes"
    } else {
        return Ok(());
    };
    let short: String = name.chars().take(40).collect();
    Err(Problem::of(format!("app `{short}`"), cause, at).hint("give it another `name`"))
}
