//! One entry of `watch` or `ignore_watch`: a path, a name, or a glob, as Chokidar (which PM2 uses) reads them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use fast_glob::{glob_match, validate};

/// What an entry of `ignore_watch` matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    reach: Reach,
    /// What is matched there; without special letters it is compared.
    glob: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    /// A name without a slash: at any depth.
    AnyName,
    /// A path below this directory.
    Below(PathBuf),
}

impl Pattern {
    /// Relative paths are meant from `base`. `name`: at any depth; `./name`, `a/b`: just there; `**/` and `/**` as usual.
    pub(super) fn parse(text: &str, base: &Path) -> Result<Pattern, String> {
        check(text)?;
        // `logs/**` is `logs` with all below, and a directory that is ignored is not entered.
        let text = text.strip_suffix("/**").unwrap_or(text).trim_end_matches('/');
        if text.is_empty() {
            return Err("it names nothing".to_owned());
        }
        if !text.contains('/') && text != "." && text != ".." {
            return Ok(Pattern { reach: Reach::AnyName, glob: text.to_owned() });
        }
        let (base, glob) = split(text, base);
        Ok(Pattern { reach: Reach::Below(base), glob })
    }

    /// Of a path as the tree is walked: the directories above it are asked for first.
    pub(super) fn matches(&self, path: &Path) -> bool {
        let candidate = match &self.reach {
            Reach::AnyName => path.file_name(),
            Reach::Below(base) => path.strip_prefix(base).ok().map(Path::as_os_str),
        };
        candidate.is_some_and(|candidate| glob_matches(&self.glob, candidate))
    }
}

/// An empty glob is the directory itself.
pub(super) fn glob_matches(glob: &str, candidate: &OsStr) -> bool {
    if is_glob(glob) {
        glob_match(glob, candidate.as_bytes())
    } else {
        glob.as_bytes() == candidate.as_bytes()
    }
}

/// Whether it has letters that a glob gives a meaning to.
pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

/// Refuses what would silently match nothing.
pub(super) fn check(text: &str) -> Result<(), String> {
    let extended = ["@(", "+(", "!(", "?(", "*("].into_iter().find(|opening| text.contains(opening));
    if let Some(opening) = extended {
        return Err(format!("`{opening}...)` is not understood, alternatives are written `{{a,b}}`"));
    }
    if text.contains('\0') {
        return Err("a path has no NUL in it".to_owned());
    }
    validate(text)
        .map_err(|error| error.to_string().split(" (to match").next().unwrap_or_default().to_owned())
}

/// The directory down to the first component with special letters, as an absolute path, and the glob below it. Without special
/// letters the last component is the glob.
pub(super) fn split(text: &str, base: &Path) -> (PathBuf, String) {
    let mut components: Vec<&str> = text.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    let special = components.iter().position(|part| is_glob(part));
    let cut = special.unwrap_or_else(|| match components.last() {
        Some(&"..") | None => components.len(),
        Some(_) => components.len() - 1,
    });
    let glob = components.split_off(cut).join("/");
    let start = if text.starts_with('/') { Path::new("/") } else { base };
    (normal(&start.join(components.iter().collect::<PathBuf>())), glob)
}

/// Without `.` and `..`, by the letters alone.
pub(super) fn normal(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                clean.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => clean.push(component),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Pattern, split};

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern, Path::new("/app")).unwrap().matches(Path::new(path))
    }

    #[test]
    fn a_name_is_meant_at_any_depth_and_a_path_only_there() {
        assert!(matches("logs", "/app/logs") && matches("logs", "/app/a/logs"));
        assert!(!matches("logs", "/app/logs.js") && !matches("logs", "/app/mylogs"));
        assert!(matches("*.log", "/app/x.log") && matches("*.log", "/app/a/b/.log"));
        assert!(matches("./logs", "/app/logs") && !matches("./logs", "/app/a/logs"));
        assert!(matches("client/img", "/app/client/img") && !matches("client/img", "/app/a/client/img"));
        assert!(matches("/app/tmp", "/app/tmp") && matches("/app/tmp/*.js", "/app/tmp/a.js"));
        assert!(matches("../shared/cache", "/shared/cache"));
        assert!(matches(".", "/app") && matches("..", "/"));
    }

    #[test]
    fn globs_are_those_of_chokidar() {
        assert!(matches("**/*.tmp", "/app/x.tmp") && matches("**/*.tmp", "/app/a/b/x.tmp"));
        assert!(!matches("a/*.tmp", "/app/a/b/x.tmp") && matches("a/**/*.tmp", "/app/a/b/x.tmp"));
        assert!(
            matches("{a,b}/c", "/app/b/c") && matches("[ab].js", "/app/a.js") && matches("?.js", "/app/x.js")
        );
        assert!(matches("logs/**", "/app/logs") && matches("logs/", "/app/logs"));
        assert!(matches("\\.git", "/app/.git") && !matches("\\.git", "/app/xgit"));
        assert!(matches("**/node_modules/**", "/app/a/node_modules"));
        assert!(matches("*", "/app/.hidden"), "an explicit pattern sees dot files");
    }

    #[test]
    fn what_would_silently_match_nothing_is_refused() {
        for text in ["{a,b", "[ab", "a\\", "*.+(js|ts)", "!(a)", "", "/", "/**", "a\0b"] {
            assert!(Pattern::parse(text, Path::new("/app")).is_err(), "{text}");
        }
    }

    #[test]
    fn special_letters_in_the_directory_of_the_app_mean_nothing() {
        let pattern = Pattern::parse("src/*.js", Path::new("/a[b]*{c}")).unwrap();
        assert!(
            pattern.matches(Path::new("/a[b]*{c}/src/x.js")) && !pattern.matches(Path::new("/ab/src/x.js"))
        );
    }

    #[test]
    fn a_glob_is_cut_from_the_directory_it_begins_in() {
        let cut = |text| split(text, Path::new("/app"));
        assert_eq!(cut("src/**/*.js"), (PathBuf::from("/app/src"), "**/*.js".to_owned()));
        assert_eq!(cut("/etc/x"), (PathBuf::from("/etc"), "x".to_owned()));
        assert_eq!(cut("../a/./b/../c"), (PathBuf::from("/a"), "c".to_owned()));
        assert_eq!(cut("."), (PathBuf::from("/app"), String::new()));
        assert_eq!(cut(".."), (PathBuf::from("/"), String::new()));
    }
}
