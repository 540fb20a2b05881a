//! The `PATH` of a unit: that of who writes it, without what is gone after a logout, and with the system's directories behind it.
//! It is frozen there; of a Node that moves with each version that is said.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const USUAL: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Directories with a version in their names, of the managers of Node's versions.
const VERSIONED: [&str; 8] = [
    "/.nvm/versions/",
    "/nvm/versions/",
    "/fnm/node-versions/",
    "/n/versions/",
    "/.nodenv/versions/",
    "/.asdf/installs/",
    "/mise/installs/",
    "/.volta/tools/image/",
];

/// Directories that end with the session.
const PASSING: [&str; 3] = ["/run/user/", "/tmp/", "/dev/shm/"];

/// More than a person has there.
const MOST: usize = 256;

/// The path, and what is to be said about it.
pub(super) fn search(path: &str) -> (String, Option<String>) {
    let mut kept: Vec<String> = Vec::new();
    let mut keep = |directory: String| {
        if kept.len() < MOST && !kept.contains(&directory) {
            kept.push(directory);
        }
    };
    for directory in path.split(':').filter(|directory| useful(directory)) {
        match passes(directory) {
            false => keep(directory.trim_end_matches('/').to_owned()),
            // A link into such a directory leads to where the program is.
            true => {
                let real =
                    std::fs::canonicalize(directory).ok().and_then(|real| real.to_str().map(str::to_owned));
                real.filter(|real| !passes(real)).into_iter().for_each(&mut keep);
            }
        }
    }
    USUAL.into_iter().map(str::to_owned).for_each(&mut keep);
    let frozen = node_in(&kept).filter(|node| VERSIONED.iter().any(|part| node.contains(part)));
    let warning = frozen.map(|node| {
        format!("`node` is `{node}` for apps without a PATH of their own; after a change of version: oneport startup")
    });
    (kept.join(":"), warning)
}

fn passes(directory: &str) -> bool {
    PASSING.iter().any(|beginning| directory.starts_with(beginning))
        || directory.contains("/fnm_multishells/")
}

fn useful(directory: &str) -> bool {
    directory.starts_with('/')
        && directory.len() > 1
        && !directory.ends_with("/node_modules/.bin")
        && !directory.chars().any(char::is_control)
}

fn node_in(directories: &[String]) -> Option<String> {
    let runs = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    let found = directories.iter().map(|directory| Path::new(directory).join("node")).find(runs)?;
    Some(found.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::state::scratch::{Scratch, set_mode};

    #[test]
    fn what_is_useless_or_double_is_left_out_and_the_systems_is_added() {
        let (path, warning) =
            search("/opt/bin/:bin::/opt/bin:.:/srv/x/node_modules/.bin:/usr/bin:/tmp/x:/run/user/1/y");
        assert_eq!(path, "/opt/bin:/usr/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin:/bin");
        assert_eq!(warning, None);
    }

    #[test]
    fn a_node_of_a_version_manager_is_said() {
        let scratch = Scratch::new();
        let bin = scratch.join(".nvm/versions/node/v20/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("node"), "").unwrap();
        set_mode(&bin.join("node"), 0o755);
        let entries = [bin.display().to_string()];
        let node = node_in(&entries).unwrap();
        assert!(node.ends_with("v20/bin/node") && VERSIONED.iter().any(|part| node.contains(part)));
        set_mode(&bin.join("node"), 0o644);
        assert_eq!(node_in(&entries), None);
    }

    #[test]
    fn a_link_of_the_session_is_followed_to_what_stays() {
        let scratch = Scratch::new();
        let link = scratch.join("fnm_multishells");
        symlink("/usr/bin", &link).unwrap();
        let (path, _) = search(&format!("{}/", link.display()));
        assert!(path.starts_with("/usr/bin:"), "{path}");
    }

    #[test]
    fn it_is_bounded() {
        let endless: Vec<_> = (0..5000).map(|number| format!("/d{number}")).collect();
        assert_eq!(search(&endless.join(":")).0.split(':').count(), MOST);
    }
}
