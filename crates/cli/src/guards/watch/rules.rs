//! What of a watched tree is of no interest: what PM2 leaves out by default, what `ignore_watch` names, and what is written for
//! the app itself, its logs and pid files. Ignored directories are not entered.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::pattern::Pattern;

/// Left out unless `watch` or `!name` in `ignore_watch` names them. Dot files are as well. PM2 knows the first; Python writes
/// the second whenever it has read changed files, so that each change would come twice.
const BY_DEFAULT: [&str; 2] = ["node_modules", "__pycache__"];
/// Likewise the ends of names: what a server writes whenever it starts, so that one start would follow the other.
const ENDS_BY_DEFAULT: [&str; 2] = [".sock", ".pid"];

/// What is ignored, for all roots.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    ignored: Vec<Pattern>,
    /// `!pattern`: looked at whatever the others say.
    wanted: Vec<Pattern>,
    own: Vec<PathBuf>,
}

/// Whether names with a dot before them are of interest, because `watch` names such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dots {
    Ignored,
    Wanted,
}

impl Rules {
    /// `own`: files and directories that are written for the app, as absolute paths.
    pub(super) fn new(ignore: &[String], cwd: &Path, own: Vec<PathBuf>) -> Result<Rules, String> {
        let mut rules = Rules { own, ..Rules::default() };
        for text in ignore.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
            let (list, pattern) = match text.strip_prefix('!') {
                Some(wanted) if !wanted.starts_with('(') => (&mut rules.wanted, wanted),
                Some(_) | None => (&mut rules.ignored, text),
            };
            let parsed = Pattern::parse(pattern, cwd);
            list.push(parsed.map_err(|cause| format!("cannot ignore `{text}` (`ignore_watch`): {cause}"))?);
        }
        Ok(rules)
    }

    /// Of a path below a root whose directories were asked for before.
    pub(super) fn ignores(&self, path: &Path, dots: Dots) -> bool {
        if self.is_own(path) {
            return true;
        }
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(path));
        !any(&self.wanted) && (any(&self.ignored) || by_default(path, dots))
    }

    /// Whether it is written for the app: one of those files, a rotated one beside it, or below such a directory.
    pub(super) fn is_own(&self, path: &Path) -> bool {
        self.own.iter().any(|own| path.starts_with(own) || is_rotated(path, own))
    }

    /// Whether such a file lies below this directory: that it appears is not a change, though others in it are.
    pub(super) fn leads_to_own(&self, directory: &Path) -> bool {
        self.own.iter().any(|own| own.starts_with(directory))
    }
}

fn by_default(path: &Path, dots: Dots) -> bool {
    let Some(name) = path.file_name().map(OsStr::as_bytes) else { return false };
    let dot = name.first() == Some(&b'.') && dots == Dots::Ignored;
    let ends = ENDS_BY_DEFAULT.iter().any(|end| name.ends_with(end.as_bytes()));
    dot || ends || BY_DEFAULT.iter().any(|default| default.as_bytes() == name)
}

/// `out.log.1`, `out-0.log`, `out-2026-11-20.log.gz`, `out__x.log` are of `out.log`.
fn is_rotated(path: &Path, own: &Path) -> bool {
    if path.parent() != own.parent() {
        return false;
    }
    let (Some(name), Some(of)) =
        (path.file_name().map(OsStr::as_bytes), own.file_name().map(OsStr::as_bytes))
    else {
        return false;
    };
    if let Some(rest) = name.strip_prefix(of) {
        return rest.first().is_none_or(|next| !next.is_ascii_alphanumeric());
    }
    let Some(dot) = of.iter().rposition(|letter| *letter == b'.').filter(|dot| *dot > 0) else {
        return false;
    };
    let (stem, extension) = of.split_at(dot);
    let Some(rest) = name.strip_prefix(stem) else { return false };
    if rest.first().is_some_and(u8::is_ascii_alphanumeric) {
        return false;
    }
    let found = rest.windows(extension.len()).position(|window| window == extension);
    found.is_some_and(|at| rest.get(at + extension.len()).is_none_or(|next| !next.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Dots, Rules};

    fn rules(ignore: &[&str], own: &[&str]) -> Rules {
        let ignore: Vec<String> = ignore.iter().map(|text| (*text).to_owned()).collect();
        Rules::new(&ignore, Path::new("/app"), own.iter().map(PathBuf::from).collect()).unwrap()
    }

    fn ignored(rules: &Rules, path: &str) -> bool {
        rules.ignores(Path::new(path), Dots::Ignored)
    }

    #[test]
    fn dot_files_and_installed_modules_are_ignored_by_default() {
        let rules = rules(&[], &[]);
        for path in ["/app/.git", "/app/a/.env", "/app/node_modules", "/app/a/__pycache__", "/app/x.sock"] {
            assert!(ignored(&rules, path), "{path}");
        }
        for path in ["/app/a.js", "/app/node_modules.js", "/app/dir.d"] {
            assert!(!ignored(&rules, path), "{path}");
        }
        assert!(!rules.ignores(Path::new("/app/.env"), Dots::Wanted));
        assert!(rules.ignores(Path::new("/app/node_modules"), Dots::Wanted));
    }

    #[test]
    fn an_app_below_a_dot_directory_is_watched_like_any_other() {
        let rules = Rules::new(&[], Path::new("/home/u/.apps/x"), Vec::new()).unwrap();
        assert!(!ignored(&rules, "/home/u/.apps/x/a.js"));
    }

    #[test]
    fn what_ignore_watch_names_comes_on_top_and_an_exclamation_mark_takes_back() {
        let rules = rules(&["logs", "*.tmp", "!.env", "!keep.tmp", " "], &[]);
        assert!(
            ignored(&rules, "/app/logs") && ignored(&rules, "/app/a.tmp") && ignored(&rules, "/app/.git")
        );
        assert!(!ignored(&rules, "/app/.env") && !ignored(&rules, "/app/keep.tmp"));
    }

    #[test]
    fn files_that_are_written_for_the_app_are_never_of_interest() {
        let rules = rules(&["!*"], &["/app/out.log", "/app/run/app.pid", "/app/state", "/app/plain"]);
        for path in [
            "/app/out.log",
            "/app/out.log.1",
            "/app/out.log.2.gz",
            "/app/out-0.log",
            "/app/out-2026-11-20.log.gz",
            "/app/run/app.pid",
            "/app/run/app-3.pid",
            "/app/state",
            "/app/state/x",
            "/app/plain.1",
        ] {
            assert!(ignored(&rules, path), "{path}");
        }
        for path in [
            "/app/out.js",
            "/app/outer.log",
            "/app/out.logic.js",
            "/app/a/out.log",
            "/app/plainer",
            "/app/run",
        ] {
            assert!(!ignored(&rules, path), "{path}");
        }
        assert!(rules.leads_to_own(Path::new("/app/run")) && !rules.leads_to_own(Path::new("/app/src")));
    }

    #[test]
    fn a_pattern_that_is_not_understood_is_named() {
        let error = Rules::new(&["{a,b".to_owned()], Path::new("/app"), Vec::new()).unwrap_err();
        assert!(error.starts_with("cannot ignore `{a,b` (`ignore_watch`): unclosed brace"), "{error}");
    }
}
