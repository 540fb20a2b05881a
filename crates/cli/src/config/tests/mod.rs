//! Whole files: what is read of them, and how mistakes in them are told.

mod documents;
mod fuzz;
mod mistakes;
mod own;
mod pm2;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A directory that is removed again.
pub(super) struct Dir(PathBuf);

impl Dir {
    pub(super) fn new() -> Dir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("oneport-config-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir.canonicalize().unwrap())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Reads the file, with the name of the directory left out of what is told.
    pub(super) fn read(&self, name: &str, text: impl AsRef<[u8]>, how: &Reading) -> Result<Loaded, String> {
        read(&self.file(name, text), how).map_err(|failure| self.plain(&told(&failure))).map(|mut loaded| {
            loaded.warnings.iter_mut().for_each(|line| *line = self.plain(line));
            loaded
        })
    }

    pub(super) fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A failure without its colours.
pub(super) fn told(failure: &Failure) -> String {
    anstream::adapter::strip_str(&failure.words()).to_string()
}

/// The only app of a file, and what was told about it.
fn one(name: &str, text: &str) -> (AppSpec, Vec<String>) {
    let loaded = Dir::new().read(name, text, &Reading::default()).unwrap();
    let [app] = <[AppSpec; 1]>::try_from(loaded.apps).unwrap();
    (app, loaded.warnings)
}

#[test]
fn a_configuration_is_known_by_its_name() {
    for name in [
        "oneport.toml",
        "a/my.toml",
        "ecosystem.config.js",
        "x.config.cjs",
        "x.config.mjs",
        "process.json",
        "x.json5",
        "apps.yml",
        "apps.yaml",
        "ecosystem.config.json",
    ] {
        assert!(is_config(Path::new(name)), "{name}");
    }
    for name in ["server.js", "config.js", "app.toml.js", "x.json/server.js", "toml", "", "/", "x.py"] {
        assert!(!is_config(Path::new(name)), "{name}");
    }
}

#[test]
fn the_file_of_a_directory_is_found_in_a_fixed_order() {
    let dir = Dir::new();
    assert_eq!(find_in(dir.path()), None);
    for name in USUAL.iter().rev() {
        let path = dir.file(name, "");
        assert_eq!(find_in(dir.path()), Some(path));
    }
    std::fs::remove_file(dir.path().join("oneport.toml")).unwrap();
    std::fs::create_dir(dir.path().join("oneport.toml")).unwrap();
    assert_eq!(find_in(dir.path()), Some(dir.path().join("ecosystem.config.js")));
}

#[test]
fn standard_input_is_read_from_the_directory_of_who_gives_it() {
    let how = Reading::default();
    let text = "[{script: './a.js'}, {script: '/b/c.py', name: 'x'}]";
    let loaded = from_stdin_json(text, Path::new("/srv"), &how).unwrap();
    let scripts: Vec<_> = loaded.apps.iter().map(|app| (app.name.as_str(), app.script.as_str())).collect();
    assert_eq!(scripts, [("a", "/srv/a.js"), ("x", "/b/c.py")]);
    assert_eq!(loaded.file, None);
    let failure = from_stdin_json("{", Path::new("/srv"), &how).unwrap_err();
    assert!(told(&failure).starts_with("error: cannot read `standard input`: "));
    assert!(from_stdin_json(&" ".repeat(LARGEST + 1), Path::new("/srv"), &how).is_err());
}

#[test]
fn only_those_that_are_named_are_kept() {
    let dir = Dir::new();
    let text =
        "{apps: [{name: 'web', script: 'a'}, {name: 'api', script: 'b'}, {name: 'mail', script: 'c'}]}";
    let only = |names: &[&str]| {
        let how =
            Reading { only: names.iter().map(|name| (*name).to_owned()).collect(), ..Reading::default() };
        dir.read("x.json", text, &how)
            .map(|loaded| loaded.apps.into_iter().map(|app| app.name).collect::<Vec<_>>())
    };
    assert_eq!(only(&["mail, web"]).unwrap(), ["web", "mail"]);
    assert_eq!(only(&[]).unwrap().len(), 3);
    assert_eq!(
        only(&["web", "apj"]).unwrap_err(),
        "error: cannot find app `apj` in `x.json`: it has `web`, `api`, `mail`\n hint: did you mean `api`?"
    );
}

#[test]
fn the_samples_are_read_as_they_stand() {
    let dir = Dir::new();
    dir.file("server.js", "");
    let how = Reading { env: Some("production".to_owned()), ..Reading::default() };
    for (name, text) in [("oneport.toml", TOML), ("ecosystem.config.js", ECOSYSTEM)] {
        let loaded = dir.read(name, text, &how).unwrap();
        let [app] = loaded.apps.as_slice() else { panic!("{name}: one app") };
        assert_eq!((app.name.as_str(), app.env.len()), ("web", 2), "{name}");
        assert_eq!(app.script, dir.path().join("server.js").to_str().unwrap());
    }
    // What is commented out is right, too.
    let all = TOML.replace("# policy", "policy").replace("\n# ", "\n");
    let all = all.replace("\nThe apps", "\n# The apps").replace("\nWhat is", "\n# What is");
    let all = all.replace("\nAny program", "\n# Any program").replace("\nAnd one", "\n# And one");
    assert_eq!(dir.read("oneport.toml", all, &how).map(|all| all.apps.len()), Ok(3));
}
