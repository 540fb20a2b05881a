//! Paths as they are written in a file, made absolute.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// Without `.` and `..`, as Node resolves paths: by the letters alone.
pub(super) fn collapse(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = out.pop(),
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => out.push(part),
        }
    }
    out
}

/// From `base`; `~/` is the home directory. As text, which all but paths of other encodings are.
pub(super) fn resolve(base: &Path, text: &str, home: Option<&Path>) -> String {
    let path = match (text.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home.to_owned(),
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        (Some(_) | None, _) => base.join(text),
    };
    collapse(&path).to_string_lossy().into_owned()
}

/// What an app is called that has no name: its script's, without directory and extension.
pub(super) fn name_of(script: &str, cwd: &str) -> String {
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let script = Path::new(script);
    let named = match script.components().next_back() {
        Some(Component::Normal(_)) => stem(script),
        Some(_) | None => None,
    };
    named.or_else(|| stem(Path::new(cwd))).unwrap_or_else(|| "app".to_owned())
}

/// The same for a line of shell: its letters, not more than make a name.
pub(crate) fn name_of_line(line: &str) -> String {
    const LONGEST: usize = 40;
    let mut name = String::new();
    for letter in line.chars() {
        if letter.is_alphanumeric() || ".:_@".contains(letter) {
            name.push(letter);
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
        if name.chars().count() >= LONGEST {
            break;
        }
    }
    match name.trim_end_matches('-') {
        "" => "app".to_owned(),
        name => name.to_owned(),
    }
}

/// The name of a file of an app, as PM2 makes it.
pub(super) fn file_name_of(app: &str) -> String {
    app.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect()
}

/// Whether Node runs a file of this name.
pub(super) fn is_javascript(script: &str) -> bool {
    let extension = Path::new(script).extension().and_then(OsStr::to_str).unwrap_or_default();
    ["js", "cjs", "mjs", "ts", "cts", "mts"].contains(&extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_resolved_as_node_does() {
        let resolve = |text| resolve(Path::new("/srv/app"), text, Some(Path::new("/home/u")));
        assert_eq!(resolve("x/../y.js"), "/srv/app/y.js");
        assert_eq!(resolve("../api/./"), "/srv/api");
        assert_eq!(resolve("/dev/null"), "/dev/null");
        assert_eq!(resolve("../../../.."), "/");
        assert_eq!(resolve("~/logs/a"), "/home/u/logs/a");
        assert_eq!(resolve("~"), "/home/u");
        assert_eq!(resolve("~bob/x"), "/srv/app/~bob/x");
    }

    #[test]
    fn an_app_is_called_by_its_script() {
        assert_eq!(name_of("./dist/server.js", "/srv"), "server");
        assert_eq!(name_of(".", "/srv/shop"), "shop");
        assert_eq!(name_of("..", "/"), "app");
        assert_eq!(name_of_line("npm run start -- --x"), "npm-run-start-x");
        assert_eq!(name_of_line("  && "), "app");
        assert_eq!(name_of_line(&"x ".repeat(1000)).chars().count(), 39);
    }
}
