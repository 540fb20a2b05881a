//! One entry of `watch`: a file, a directory with everything below, or a glob with the directory it begins in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::pattern::{check, glob_matches, is_glob, normal, split};
use super::rules::Dots;

/// Where watching begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Root {
    /// Absolute, and need not be there.
    pub(super) path: PathBuf,
    /// Whether dot files below it are of interest.
    pub(super) dots: Dots,
    /// Only what this matches below it.
    only: Option<Only>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Only {
    glob: String,
    /// Components of what it matches. `None`: any number.
    depth: Option<usize>,
}

/// What is found at a root's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Directory,
    /// A symbolic link to a directory, which may be turned to another.
    Link,
    File,
    Missing,
}

impl Root {
    /// A directory with all below.
    pub(super) fn everything(directory: &Path) -> Root {
        Root { path: normal(directory), dots: Dots::Ignored, only: None }
    }

    pub(super) fn parse(text: &str, cwd: &Path) -> Result<Root, String> {
        // A configuration makes paths absolute: letters of the working directory are meant as they are.
        if Path::new(text) == cwd {
            return Ok(Root::everything(cwd));
        }
        let below = cwd.to_str().and_then(|cwd| text.strip_prefix(cwd)?.strip_prefix('/'));
        let text = below.unwrap_or(text);
        check(text)?;
        let (base, rest) = split(text, cwd);
        if !is_glob(&rest) {
            let path = if rest.is_empty() { base } else { base.join(rest) };
            return Ok(Root::everything(&path));
        }
        let components = rest.split('/');
        let any_depth = rest.contains("**") || rest.contains('{');
        let depth = (!any_depth).then(|| components.clone().count());
        let named = components.clone().any(|part| part.starts_with('.') || part.starts_with("\\."));
        let dots = if named { Dots::Wanted } else { Dots::Ignored };
        Ok(Root { path: base, dots, only: Some(Only { glob: rest, depth }) })
    }

    /// Whether a path below it is one of those that are meant.
    pub(super) fn means(&self, path: &Path) -> bool {
        let Some(only) = &self.only else { return true };
        path.strip_prefix(&self.path).is_ok_and(|rest| glob_matches(&only.glob, rest.as_os_str()))
    }

    /// Whether something that is meant can lie in this directory below it.
    pub(super) fn enters(&self, directory: &Path) -> bool {
        let depth = self.only.as_ref().and_then(|only| only.depth);
        let Some(depth) = depth else { return true };
        directory.strip_prefix(&self.path).is_ok_and(|rest| rest.components().count() < depth)
    }

    pub(super) fn standing(&self) -> Standing {
        match std::fs::metadata(&self.path) {
            Ok(found) if !found.is_dir() => Standing::File,
            Ok(_) if self.path.is_symlink() => Standing::Link,
            Ok(_) => Standing::Directory,
            Err(_) => Standing::Missing,
        }
    }

    /// The directory where it would appear, or be exchanged, and the name it would have there: the nearest one that is there.
    pub(super) fn door(&self) -> Option<(PathBuf, OsString)> {
        self.path.ancestors().find_map(|path| {
            let (parent, name) = (path.parent()?, path.file_name()?);
            parent.is_dir().then(|| (parent.to_owned(), name.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Dots, Root};

    fn root(text: &str) -> Root {
        Root::parse(text, Path::new("/app")).unwrap()
    }

    #[test]
    fn a_path_is_meant_with_all_below() {
        for (text, path) in
            [(".", "/app"), ("src/", "/app/src"), ("../lib", "/lib"), ("/etc/x.conf", "/etc/x.conf")]
        {
            let root = root(text);
            assert_eq!((root.path.as_path(), root.dots), (Path::new(path), Dots::Ignored));
            assert!(root.means(&root.path.join("a/b")) && root.enters(&root.path.join("a/b/c")));
        }
    }

    #[test]
    fn letters_of_the_working_directory_are_meant_as_they_are() {
        let cwd = Path::new("/srv/app[1]{x}/web*");
        for text in ["src", "/srv/app[1]{x}/web*/src"] {
            assert_eq!(Root::parse(text, cwd).unwrap().path, cwd.join("src"));
        }
        assert_eq!(Root::parse("/srv/app[1]{x}/web*", cwd).unwrap(), Root::everything(cwd));
        let root = Root::parse("/srv/app[1]{x}/web*/*.js", cwd).unwrap();
        assert!(root.path == cwd && root.means(&cwd.join("a.js")) && !root.means(&cwd.join("a.css")));
    }

    #[test]
    fn a_glob_means_some_and_enters_no_deeper_than_it_reaches() {
        let shallow = root("client/*.js");
        assert_eq!(shallow.path, PathBuf::from("/app/client"));
        assert!(
            shallow.means(Path::new("/app/client/x.js")) && !shallow.means(Path::new("/app/client/x.css"))
        );
        assert!(shallow.enters(Path::new("/app/client")) && !shallow.enters(Path::new("/app/client/a")));
        let deep = root("**/*.{js,ts}");
        assert!(deep.means(Path::new("/app/a/b/x.ts")) && deep.enters(Path::new("/app/a/b")));
        assert!(
            root("a/*/b").enters(Path::new("/app/a/x")) && !root("a/*/b").enters(Path::new("/app/a/x/b"))
        );
    }

    #[test]
    fn dot_files_are_wanted_where_they_are_named() {
        assert_eq!((root(".env*").dots, root("config/.[ab]/*").dots), (Dots::Wanted, Dots::Wanted));
        assert_eq!((root("*").dots, root(".env").path), (Dots::Ignored, PathBuf::from("/app/.env")));
    }
}
