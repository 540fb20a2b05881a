//! Where log files were before something was started.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::logs::Wanted;

/// Where files were before an app was started: what it writes from its first moment on is shown.
#[derive(Debug, Default)]
pub(super) struct Marks {
    folders: Vec<PathBuf>,
    sizes: HashMap<PathBuf, u64>,
}

impl Marks {
    /// Of all files in these folders.
    pub(super) fn take(folders: impl IntoIterator<Item = PathBuf>) -> Marks {
        let mut marks = Marks::default();
        for folder in folders {
            // There may be none yet.
            for file in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                if let Ok(found) = file.metadata() {
                    marks.sizes.insert(file.path(), found.len());
                }
            }
            marks.folders.push(folder);
        }
        marks
    }

    /// These files from there on; a file in another folder from its end on.
    pub(super) fn set(&self, wanted: &mut [Wanted]) {
        for one in wanted {
            let is_marked = self.folders.iter().any(|folder| one.path.parent() == Some(folder));
            one.from = is_marked.then(|| self.sizes.get(&one.path).copied().unwrap_or(0));
        }
    }
}
