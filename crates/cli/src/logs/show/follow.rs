//! One file over time. It may not be there yet, be put aside and begun anew, be removed, or be emptied; and
//! it may be put aside more than once before that is noticed. Lines come out whole; what is in the middle of
//! one waits a second for the rest.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flate2::read::MultiGzDecoder;

use super::tail::{self, Part};
use crate::logs::LONGEST_LINE;
use crate::logs::aside::Packed;

const BLOCK: usize = 64 * 1024;
/// How long an unfinished line waits for its end: a question without a line feed is to be seen, too.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    path: PathBuf,
    file: Option<Current>,
    line: Line,
    /// Stamp of the newest that was put aside before the file was opened.
    newest: Option<String>,
    block: Vec<u8>,
}

struct Current {
    file: File,
    inode: (u64, u64),
    at: u64,
}

/// The line that is being read.
#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    since: Option<Instant>,
}

impl Line {
    fn add(&mut self, bytes: &[u8], show: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(end) if self.bytes.is_empty() => show(end)?,
                Some(end) => {
                    self.bytes.extend_from_slice(end);
                    self.let_go(show)?;
                }
                None => {
                    self.bytes.extend_from_slice(piece);
                    if self.bytes.len() >= LONGEST_LINE {
                        self.let_go(show)?;
                    }
                }
            }
        }
        self.since = if self.bytes.is_empty() { None } else { Some(Instant::now()) };
        Ok(())
    }

    fn let_go(&mut self, show: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.since = None;
        let shown = if self.bytes.is_empty() { Ok(()) } else { show(&self.bytes) };
        self.bytes.clear();
        shown
    }
}

impl Follower {
    pub(super) fn new(path: &Path, newest: Option<String>) -> Follower {
        let path = path.to_owned();
        Follower { path, file: None, line: Line::default(), newest, block: vec![0; BLOCK] }
    }

    /// Shows the last lines.
    pub(super) fn begin(
        &mut self,
        parts: Vec<Part>,
        mut show: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        for part in parts {
            self.line.let_go(&mut show)?;
            match part {
                Part::Plain { file, mut from, to } => {
                    while from < to {
                        let most = usize::try_from(to - from).unwrap_or(BLOCK).min(BLOCK);
                        // Cut meanwhile, or unreadable: there is no more of it.
                        let Ok(n @ 1..) = file.read_at(&mut self.block[..most], from) else { break };
                        from += n as u64;
                        self.line.add(&self.block[..n], &mut show)?;
                    }
                }
                Part::Gzip { path, skip } => self.packed(&path, skip, &mut show)?,
            }
        }
        Ok(())
    }

    pub(super) fn go_on_from(&mut self, current: Option<(File, u64)>) {
        self.file = current.and_then(|(file, at)| Current::new(file, at).ok());
    }

    /// Reads on, and what the name means now when that is another file. True: there is more.
    pub(super) fn read(
        &mut self,
        most: u64,
        mut show: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<bool> {
        let named = fs::metadata(&self.path).ok().filter(fs::Metadata::is_file);
        match (&mut self.file, named) {
            (Some(current), Some(named)) if current.inode == (named.dev(), named.ino()) => {
                if named.len() < current.at {
                    // What was unfinished in it is gone.
                    (current.at, self.line) = (0, Line::default());
                }
                self.some(most, &mut show)
            }
            // Nobody writes to a file after it was put aside, and the next is made when there is something
            // for it.
            (Some(_), None) => self.some(most, &mut show),
            (Some(_), Some(_)) => {
                if self.some(most, &mut show)? {
                    return Ok(true);
                }
                self.line.let_go(&mut show)?;
                self.missed(&mut show)?;
                self.reopen();
                Ok(true)
            }
            (None, Some(_)) => {
                self.missed(&mut show)?;
                self.reopen();
                Ok(self.file.is_some())
            }
            (None, None) => Ok(false),
        }
    }

    /// Shows an unfinished line that has waited long enough.
    pub(super) fn settle(&mut self, mut show: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        match self.line.since {
            Some(since) if since.elapsed() >= PATIENCE => self.line.let_go(&mut show),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn let_go(&mut self, mut show: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.line.let_go(&mut show)
    }

    fn some(&mut self, most: u64, show: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<bool> {
        let Some(current) = &mut self.file else { return Ok(false) };
        let end = current.at.saturating_add(most);
        while current.at < end {
            match current.file.read_at(&mut self.block, current.at) {
                Ok(0) | Err(_) => return Ok(false),
                Ok(n) => {
                    current.at += n as u64;
                    self.line.add(&self.block[..n], show)?;
                }
            }
        }
        Ok(true)
    }

    fn reopen(&mut self) {
        self.newest = tail::newest(&self.path);
        // Gone again: the next look finds out.
        self.file = tail::open(&self.path).and_then(|file| Current::new(file, 0)).ok();
    }

    /// Shows what was put aside since the file was opened, except that file itself.
    fn missed(&mut self, show: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut asides = tail::asides(&self.path);
        asides.retain(|aside| self.newest.as_ref().is_none_or(|newest| aside.stamp > *newest));
        let metadata = self.file.as_ref().and_then(|current| current.file.metadata().ok());
        if let Some(metadata) = metadata {
            let own = asides.iter().position(|aside| aside.inode == metadata.ino());
            // Compressed meanwhile: then it is the first.
            let first_is_own =
                metadata.nlink() == 0 && asides.first().is_some_and(|a| a.packed == Packed::Gzip);
            let read = own.map(|own| own + 1).unwrap_or(usize::from(first_is_own));
            asides.drain(..read);
        }
        for aside in asides {
            let parts = match aside.packed {
                Packed::Plain => {
                    tail::open(&aside.path).map(|file| Part::Plain { file, from: 0, to: aside.size })
                }
                Packed::Gzip => Ok(Part::Gzip { path: aside.path, skip: 0 }),
                Packed::Unfinished => continue,
            };
            // One that is gone already cannot be shown.
            if let Ok(part) = parts {
                self.begin(vec![part], &mut *show)?;
            }
        }
        self.line.let_go(show)
    }

    fn packed(
        &mut self,
        path: &Path,
        mut skip: usize,
        show: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let Ok(file) = tail::open(path) else { return Ok(()) };
        let mut from = MultiGzDecoder::new(file);
        while let Ok(n @ 1..) = from.read(&mut self.block) {
            let mut bytes = &self.block[..n];
            while skip > 0
                && let Some(end) = bytes.iter().position(|byte| *byte == b'\n')
            {
                bytes = &bytes[end + 1..];
                skip -= 1;
            }
            if skip == 0 {
                self.line.add(bytes, show)?;
            }
        }
        Ok(())
    }
}

impl Current {
    fn new(file: File, at: u64) -> io::Result<Current> {
        let metadata = file.metadata()?;
        Ok(Current { inode: (metadata.dev(), metadata.ino()), file, at })
    }
}
