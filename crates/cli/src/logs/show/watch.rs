//! Being told that files change: inotify on their folders, by the calls themselves. It costs nothing while
//! nothing happens, and it tells in which order things happened. Where it cannot be had (a limit, a folder
//! that is not there yet, a file system on the network) whoever waits looks for himself after a while.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

/// Events read at a time.
const BUFFER: usize = 16 * 1024;

pub(super) struct Watch {
    inotify: Option<OwnedFd>,
    /// By its number with the kernel: the folder.
    folders: HashMap<i32, PathBuf>,
    /// Folder, name.
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl Watch {
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a Path>) -> Watch {
        let split = |path: &Path| {
            let name = path.file_name().unwrap_or(OsStr::new(""));
            (path.parent().unwrap_or(Path::new("/")).to_owned(), name.as_bytes().to_owned())
        };
        let mut watch = Watch {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok(),
            folders: HashMap::new(),
            files: paths.map(split).collect(),
        };
        watch.complete();
        watch
    }

    /// Folders that are not watched yet.
    fn complete(&mut self) {
        let Some(inotify) = &self.inotify else { return };
        for (folder, _) in &self.files {
            if self.folders.values().any(|known| known == folder) {
                continue;
            }
            let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
            if let Ok(number) = inotify::add_watch(inotify, folder, flags) {
                self.folders.insert(number, folder.clone());
            }
        }
    }

    /// Waits, and adds the numbers of the files that changed, in the order in which they did.
    pub(super) fn wait(&mut self, most: Duration, changed: &mut Vec<usize>) {
        self.complete();
        let Some(inotify) = &self.inotify else {
            thread::sleep(most);
            return;
        };
        let timeout = Timespec { tv_sec: 0, tv_nsec: most.subsec_nanos().into() };
        let mut wanted = [PollFd::from_borrowed_fd(inotify.as_fd(), PollFlags::IN)];
        // Interrupted or not: what is there is read.
        let _ = poll(&mut wanted, Some(&timeout));
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut gone = Vec::new();
        let mut left = BUFFER;
        while let Ok(event) = reader.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                changed.extend(0..self.files.len());
            }
            if event.events().contains(ReadFlags::IGNORED) {
                gone.push(event.wd());
            }
            if let (Some(folder), Some(name)) = (self.folders.get(&event.wd()), event.file_name()) {
                let same =
                    |file: &&(usize, &(PathBuf, Vec<u8>))| file.1.0 == *folder && file.1.1 == name.to_bytes();
                let found = self.files.iter().enumerate().find(|file| same(&file));
                changed.extend(found.map(|(number, _)| number));
            }
            // Somebody who writes without end must not keep us from reading.
            left -= 1;
            if left == 0 {
                break;
            }
        }
        gone.iter().for_each(|number| drop(self.folders.remove(number)));
    }
}
