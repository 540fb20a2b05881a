//! Users: `/etc/passwd`, and where a user comes from a directory service what `getent` says.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// More than any machine has there.
const MOST_BYTES: u64 = 16 << 20;

/// A user of the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) home: PathBuf,
}

/// By name or by number.
#[derive(Clone, Copy, Debug)]
pub(super) enum Who<'a> {
    Name(&'a str),
    Uid(u32),
}

/// Looks a user up.
pub(super) fn find(root: &Path, who: Who<'_>) -> Option<User> {
    let mut text = Vec::new();
    if let Ok(file) = File::open(root.join("etc/passwd")) {
        // What cannot be read has nobody in it.
        let _ = file.take(MOST_BYTES).read_to_end(&mut text);
    }
    find_in(&String::from_utf8_lossy(&text), who).or_else(|| ask(root, who))
}

fn ask(root: &Path, who: Who<'_>) -> Option<User> {
    let key = match who {
        Who::Name(name) if name.starts_with('-') => return None,
        Who::Name(name) => name.to_owned(),
        Who::Uid(uid) => uid.to_string(),
    };
    if root != Path::new("/") {
        return None;
    }
    let asked = Command::new("getent").args(["passwd", &key]).stderr(Stdio::null()).output().ok()?;
    find_in(&String::from_utf8_lossy(&asked.stdout), who)
}

fn find_in(text: &str, who: Who<'_>) -> Option<User> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let home = fields.nth(2)?;
        let meant = match who {
            Who::Name(wanted) => name == wanted,
            Who::Uid(wanted) => uid == wanted,
        };
        meant.then(|| User { name: name.to_owned(), uid, home: PathBuf::from(home) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        let text = "root:x:0:0:root:/root:/bin/bash\nbad line\nann:x:1000:1000:Ann,,,:/home/ann:/bin/sh\n";
        let ann = User { name: "ann".to_owned(), uid: 1000, home: "/home/ann".into() };
        assert_eq!(find_in(text, Who::Name("ann")), Some(ann.clone()));
        assert_eq!(find_in(text, Who::Uid(1000)), Some(ann));
        assert_eq!(find_in(text, Who::Name("an")), None);
        assert_eq!(find(Path::new("/nowhere"), Who::Name("root")), None);
        assert_eq!(find(Path::new("/"), Who::Name("--help")), None);
    }
}
