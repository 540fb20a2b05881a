//! Paths that fit into a socket's address.

use std::path::{Path, PathBuf};

/// A Unix path may have 107 bytes; seen from our own directory a long one may be shorter (as Node's primary does).
pub(super) fn shorter(path: &Path) -> PathBuf {
    let relative = std::env::current_dir().ok().and_then(|here| relative_to(path, &here));
    match relative {
        Some(relative) if relative.as_os_str().len() < path.as_os_str().len() => relative,
        Some(_) | None => path.to_owned(),
    }
}

fn relative_to(path: &Path, base: &Path) -> Option<PathBuf> {
    if !path.is_absolute() {
        return None;
    }
    let shared = path.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().count() - shared;
    let mut relative = PathBuf::new();
    for _ in 0..up {
        relative.push("..");
    }
    relative.extend(path.components().skip(shared));
    Some(relative)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::relative_to;

    #[test]
    fn a_path_below_the_directory_is_shorter_without_it() {
        let relative = relative_to(Path::new("/srv/app/run/x.sock"), Path::new("/srv/app"));
        assert_eq!(relative, Some(PathBuf::from("run/x.sock")));
    }

    #[test]
    fn a_path_beside_the_directory_goes_up() {
        let relative = relative_to(Path::new("/srv/other/x.sock"), Path::new("/srv/app"));
        assert_eq!(relative, Some(PathBuf::from("../other/x.sock")));
    }
}
