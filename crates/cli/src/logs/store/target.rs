//! One file of an app over time: opened when there is something for it, opened anew when its name means
//! another file, left alone for a second when it fails, put aside when it is large or old.
//!
//! Invariants: nothing is written behind a gap before the gap is told; a file is put aside at the end of a
//! line, unless a line has no end for a megabyte.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::file::{self, Kind, Like, Open};
use super::keeper::Keeper;
use super::queue::Queue;
use super::tidy;
use super::voice::{Key, Shape, Voices};
use crate::error::plain;
use crate::logs::plan::{Form, Plan};
use crate::logs::{aside, moment};

/// How long a file that failed is left alone.
const LEFT_ALONE: Duration = Duration::from_secs(1);
/// The same for one that cannot be put aside, and is written on meanwhile.
const LEFT_THERE: Duration = Duration::from_secs(60);
/// Pieces from here on go to the file without being gathered.
const LARGE: usize = 16 * 1024;
/// Gathered bytes are written when there are so many.
const GATHERED: usize = 64 * 1024;
/// A line without end may make a file larger than it is to be by so much.
const ENDLESS: u64 = 1 << 20;

/// What a file needs of its surroundings.
pub(super) struct Care<'a> {
    pub(super) queue: &'a Queue,
    pub(super) plan: &'a Plan,
    pub(super) keeper: &'a Keeper,
    pub(super) shape: &'a mut Shape,
    /// How large each file may become.
    pub(super) limit: Option<u64>,
    /// The files that are written to now.
    pub(super) live: &'a [PathBuf],
    pub(super) now: Instant,
}

pub(super) struct Target {
    pub(super) path: PathBuf,
    open: Option<Open>,
    /// What the file was like that was put aside.
    like: Option<Like>,
    alone_until: Option<Instant>,
    there_until: Option<Instant>,
    trouble: Option<Trouble>,
    /// Bytes that are missing at the end, and whose the last of them were.
    gap: u64,
    gap_of: Option<Key>,
    /// Whether the file ends in the middle of a line.
    ragged: bool,
    gathered: Vec<u8>,
    pub(super) voices: Voices,
}

/// What went wrong last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Writing,
    Rotating,
}

/// What is done with bytes that are to be written.
enum Cut {
    /// So many go into this file.
    Here(usize),
    /// So many, and then it is put aside.
    Last(usize),
}

impl Target {
    pub(super) fn new(path: PathBuf) -> Target {
        Target {
            path,
            open: None,
            like: None,
            alone_until: None,
            there_until: None,
            trouble: None,
            gap: 0,
            gap_of: None,
            ragged: false,
            gathered: Vec::new(),
            voices: Voices::default(),
        }
    }

    pub(super) fn say(&mut self, key: Key, at: i64, bytes: &[u8], care: &mut Care<'_>) {
        self.gap_of = Some(key);
        let raw = care.shape.form == Form::Raw;
        if raw && bytes.len() >= LARGE && self.voices.passes(key) {
            self.flush(care);
            self.voices.passed(key, bytes);
            return self.write(bytes, care);
        }
        // Each byte may become a line of its own, with a time before it.
        for piece in bytes.chunks(LARGE) {
            self.voices.say(key, at, piece, care.now, care.shape, &mut self.gathered);
            if self.gathered.len() >= GATHERED {
                self.flush(care);
            }
        }
    }

    /// So many bytes were dropped here before they came this far.
    pub(super) fn miss(&mut self, key: Key, bytes: u64, care: &mut Care<'_>) {
        self.voices.all_go(care.shape, &mut self.gathered);
        self.flush(care);
        self.voices.interrupted();
        self.gap += bytes;
        self.gap_of = Some(key);
    }

    pub(super) fn end(&mut self, key: Key, care: &mut Care<'_>) {
        self.voices.end(key, care.shape, &mut self.gathered);
    }

    pub(super) fn settle(&mut self, care: &mut Care<'_>) {
        self.voices.settle(care.now, care.shape, &mut self.gathered);
        self.flush(care);
    }

    /// Unfinished lines too.
    pub(super) fn flush_all(&mut self, care: &mut Care<'_>) {
        self.voices.all_go(care.shape, &mut self.gathered);
        self.flush(care);
        // Nothing more may come that would tell it.
        if self.gap > 0 && self.is_ready(care) {
            self.tell_gap(care);
        }
    }

    pub(super) fn reopen(&mut self, care: &mut Care<'_>) {
        self.flush(care);
        (self.open, self.alone_until, self.there_until) = (None, None, None);
        self.is_ready(care);
    }

    pub(super) fn empty(&mut self, care: &mut Care<'_>) {
        self.flush(care);
        self.voices.interrupted();
        self.ragged = false;
        self.alone_until = None;
        let emptied = match self.open.as_mut().and_then(|open| open.is_there().then_some(open)) {
            Some(open) => open.empty(),
            None => {
                self.open = None;
                file::empty_by_name(&self.path)
            }
        };
        if let Err(error) = emptied {
            self.fail("empty", &error, care);
        }
    }

    pub(super) fn shrink(&mut self) {
        self.gathered.shrink_to(0);
    }

    /// What it is where its name is a symbolic link.
    pub(super) fn linked(&self) -> Option<&Path> {
        self.open.as_ref().map(|open| open.real.as_path()).filter(|real| *real != self.path)
    }

    fn flush(&mut self, care: &mut Care<'_>) {
        if !self.gathered.is_empty() {
            let mut gathered = std::mem::take(&mut self.gathered);
            self.write(&gathered, care);
            gathered.clear();
            self.gathered = gathered;
        }
    }

    fn write(&mut self, mut bytes: &[u8], care: &mut Care<'_>) {
        while !bytes.is_empty() {
            if !self.is_ready(care) || !self.tell_gap(care) {
                return self.lose(bytes.len(), care.queue);
            }
            let cut = self.cut(bytes, care);
            let (Cut::Here(len) | Cut::Last(len)) = cut;
            let written = self.put(&bytes[..len], care);
            bytes = &bytes[written..];
            if written < len {
                return self.lose(bytes.len(), care.queue);
            }
            match cut {
                Cut::Here(_) => {}
                Cut::Last(_) => self.put_aside(care),
            }
        }
    }

    fn lose(&mut self, bytes: usize, queue: &Queue) {
        self.gap += bytes as u64;
        self.voices.interrupted();
        queue.drop_bytes(bytes);
    }

    /// Whether there is a file to write to, which may have to be opened.
    fn is_ready(&mut self, care: &mut Care<'_>) -> bool {
        let now = Instant::now();
        if self.alone_until.is_some_and(|until| now < until) {
            return false;
        }
        self.alone_until = None;
        if self.open.as_mut().is_some_and(|open| open.is_still_there(now)) {
            return true;
        }
        self.open = None;
        match Open::by_name(&self.path, care.plan.home(), self.like.as_ref()) {
            Ok(open) => {
                // An older file's last line is taken to be whole.
                self.ragged &= open.size > 0;
                self.open = Some(open);
                true
            }
            Err(error) => {
                self.fail("open", &error, care);
                false
            }
        }
    }

    /// How much of it was written.
    fn put(&mut self, bytes: &[u8], care: &Care<'_>) -> usize {
        let Some(open) = &mut self.open else { return 0 };
        let result = open.write(bytes, care.queue);
        let (written, cause) = match result {
            Ok(()) => (bytes.len(), None),
            Err(failed) => (failed.written, Some(failed.cause)),
        };
        if let Some(last) = bytes[..written].last() {
            self.ragged = *last != b'\n';
        }
        match cause {
            None => self.is_over(Trouble::Writing, care.queue),
            // Nobody reads now. Trying again costs next to nothing.
            Some(Errno::AGAIN) => {}
            Some(cause) => self.fail("write to", &cause.into(), care),
        }
        written
    }

    fn fail(&mut self, verb: &str, error: &io::Error, care: &Care<'_>) {
        let trouble = format!("cannot {verb} `{}`: {}", self.path.display(), plain(error));
        care.queue.say_trouble(Some(trouble));
        self.trouble = Some(Trouble::Writing);
        self.alone_until = Some(Instant::now() + LEFT_ALONE);
        // By name next time: the file system may have been mounted anew.
        self.open = None;
    }

    fn is_over(&mut self, trouble: Trouble, queue: &Queue) {
        if self.trouble == Some(trouble) {
            self.trouble = None;
            queue.say_trouble(None);
        }
    }

    /// Says what is missing, if something is. False: not even that can be written.
    fn tell_gap(&mut self, care: &mut Care<'_>) -> bool {
        let Some(key) = self.gap_of.filter(|_| self.gap > 0) else { return true };
        let mut line = Vec::new();
        if self.ragged {
            line.push(b'\n');
        }
        let text = format!("[oneport] {} bytes dropped here: the disk was full or too slow", self.gap);
        care.shape.own_line(key, &text, &mut line);
        let told = self.put(&line, care) == line.len();
        if told {
            self.gap = 0;
        }
        told
    }

    fn cut(&self, bytes: &[u8], care: &Care<'_>) -> Cut {
        let all = Cut::Here(bytes.len());
        let Some(open) = self.open.as_ref().filter(|open| open.kind == Kind::Regular) else { return all };
        if self.there_until.is_some_and(|until| care.now < until) {
            return all;
        }
        let age = SystemTime::now().duration_since(open.since).unwrap_or_default();
        let old = open.size > 0 && care.plan.rotation.max_age.is_some_and(|most| age >= most);
        if old && !self.ragged {
            return Cut::Last(0);
        }
        let Some(limit) = care.limit else { return all };
        let room = usize::try_from(limit.saturating_sub(open.size)).unwrap_or(usize::MAX);
        if bytes.len() <= room {
            return all;
        }
        if let Some(end) = bytes[..room].iter().rposition(|byte| *byte == b'\n') {
            return Cut::Last(end + 1);
        }
        if !self.ragged && open.size > 0 {
            return Cut::Last(0);
        }
        let most = limit.saturating_add(ENDLESS).saturating_sub(open.size);
        let most = usize::try_from(most).unwrap_or(usize::MAX).max(1);
        match bytes.iter().take(most).position(|byte| *byte == b'\n') {
            Some(end) => Cut::Last(end + 1),
            None if bytes.len() >= most => Cut::Last(most),
            None => all,
        }
    }

    /// Gives the file another name, which says when; the next write makes a new one.
    fn put_aside(&mut self, care: &mut Care<'_>) {
        let Some(mut open) = self.open.take() else { return };
        // Somebody else was quicker.
        if !open.is_there() {
            return;
        }
        let name = aside::name_for(&open.real, moment::now(), &aside::of_file(&open.real));
        let renamed = match rustix::fs::renameat_with(CWD, &open.real, CWD, &name, RenameFlags::NOREPLACE) {
            // Not every file system can do that; nobody else uses such names.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => rustix::fs::rename(&open.real, &name),
            renamed => renamed,
        };
        match renamed {
            Ok(()) => {
                self.is_over(Trouble::Rotating, care.queue);
                self.like = open.like();
                self.ragged = false;
                self.there_until = None;
                let linked = Some(open.real).filter(|real| *real != self.path);
                tidy::prune(care.plan, linked.as_slice(), care.live, care.limit);
                care.keeper.compress(care.plan, linked.as_slice());
            }
            Err(cause) => {
                let (path, cause) = (self.path.display(), plain(&cause.into()));
                care.queue.say_trouble(Some(format!("cannot rotate `{path}`: {cause}")));
                self.trouble = Some(Trouble::Rotating);
                self.there_until = Some(care.now + LEFT_THERE);
                self.open = Some(open);
            }
        }
    }
}
