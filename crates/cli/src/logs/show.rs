//! The reading side: the last lines of apps' files, and what comes after them. Files only: it works the same
//! whether the app runs, has ended, or writes from another machine.
//!
//! - `tail`: where the last lines of a file begin, back into what was put aside.
//! - `follow`: one file over time, across everything that may happen to its name.
//! - `watch`: being told that something has happened.
//! - `dress`: what a line looks like to who reads it.

mod dress;
mod follow;
mod tail;
#[cfg(test)]
mod tests;
mod watch;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Stream;
use super::store::empty_by_name;
use crate::error::{Failure, plain};
use crate::render::voice;
use dress::Dress;
use follow::Follower;
use watch::Watch;

/// How often everything is looked at even when nothing was told: some file systems tell nothing.
const LOOK: Duration = Duration::from_millis(200);
/// Read of one file before the others have their turn.
const TURN: u64 = 256 * 1024;

/// One file to show.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) app: String,
    /// Of the slot; of the first one where several write to the same file.
    pub(crate) id: u32,
    pub(crate) stream: Stream,
    pub(crate) path: PathBuf,
    /// Everything from this byte on is shown, in place of the last lines.
    pub(crate) from: Option<u64>,
}

/// What lines look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// `id|name  | ` in front, and a heading for each file.
    Labelled,
    /// As they are.
    Raw,
    /// `{message, timestamp, type, process_id, app_name}`.
    Json,
    /// `timestamp=... app=... id=... type=... message=...`.
    Pairs,
}

/// Whether there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Colours,
    Plain,
}

impl Paint {
    /// As `NO_COLOR`, `CLICOLOR_FORCE` and the terminal have it. Decided once and not by a filter over
    /// everything, because the colours of the app itself are to be passed on as they are.
    pub(crate) fn for_stdout() -> Paint {
        match anstream::AutoStream::choice(&io::stdout()) {
            anstream::ColorChoice::Never => Paint::Plain,
            anstream::ColorChoice::Auto
            | anstream::ColorChoice::Always
            | anstream::ColorChoice::AlwaysAnsi => Paint::Colours,
        }
    }
}

/// How it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Show {
    /// Of each file, to begin with. PM2 shows 15.
    pub(crate) lines: usize,
    /// Only this stream.
    pub(crate) only: Option<Stream>,
    pub(crate) look: Look,
    /// A time in this form (Moment.js' words; empty: PM2's usual one) before lines that come from now on.
    /// When an older one was written is not known.
    pub(crate) timestamp: Option<String>,
    /// Is made to stand out.
    pub(crate) highlight: Option<String>,
    /// Whether it goes on with what comes.
    pub(crate) follow: bool,
    pub(crate) paint: Paint,
}

impl Show {
    /// What comes from now on, from everybody.
    pub(crate) fn to_come() -> Show {
        Show {
            lines: 0,
            only: None,
            look: Look::Labelled,
            timestamp: None,
            highlight: None,
            follow: true,
            paint: Paint::for_stdout(),
        }
    }
}

/// Standard output for several who show files at a time: each line as a whole.
#[derive(Default)]
pub(crate) struct WholeLines(Vec<u8>);

impl Write for WholeLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        if let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') {
            let mut out = io::stdout().lock();
            out.write_all(&self.0[..=end]).and_then(|()| out.flush())?;
            self.0.drain(..=end);
        }
        Ok(bytes.len())
    }

    /// What has no end yet waits for it: everything that is shown has one.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Shows the files. With `follow` it ends when `stop` says so, which is asked five times a second, or when
/// nobody reads.
pub(crate) fn show(
    sources: &[Wanted],
    how: &Show,
    out: &mut dyn Write,
    stop: &dyn Fn() -> bool,
) -> io::Result<()> {
    let mut chosen: Vec<&Wanted> = Vec::new();
    for wanted in sources.iter().filter(|wanted| how.only.is_none_or(|only| only == wanted.stream)) {
        // Several workers, or both streams, in one file.
        if !chosen.iter().any(|other| other.path == wanted.path) {
            chosen.push(wanted);
        }
    }
    let mut dress = Dress::new(&chosen, how);
    let mut out = BufWriter::with_capacity(64 * 1024, out);
    // Before the files are looked at, so that nothing happens between the two.
    let watch = how.follow.then(|| Watch::new(chosen.iter().map(|wanted| wanted.path.as_path())));
    let mut followers = Vec::with_capacity(chosen.len());
    for (number, wanted) in chosen.iter().enumerate() {
        if let Some(from) = wanted.from {
            let mut follower = Follower::new(&wanted.path, tail::newest(&wanted.path));
            // One that is yet to come is read from its beginning anyway.
            follower.go_on_from(tail::open(&wanted.path).ok().map(|file| (file, from)));
            followers.push(follower);
            continue;
        }
        let tail = tail::last(&wanted.path, how.lines);
        if let Some(error) = &tail.trouble {
            voice::err(format_args!("note: cannot read `{}`: {}", wanted.path.display(), plain(error)));
        }
        let mut follower = Follower::new(&wanted.path, tail.newest);
        if how.lines > 0 && !tail.parts.is_empty() {
            dress.heading(&wanted.path, how.lines, &mut out)?;
            follower.begin(tail.parts, |line| dress.line(number, line, None, &mut out))?;
        }
        follower.go_on_from(tail.current);
        if !how.follow {
            follower.let_go(|line| dress.line(number, line, None, &mut out))?;
        }
        followers.push(follower);
    }
    out.flush()?;
    match watch {
        Some(watch) => go_on(&mut followers, &mut dress, watch, &mut out, stop),
        None => Ok(()),
    }
}

fn go_on(
    followers: &mut [Follower],
    dress: &mut Dress,
    mut watch: Watch,
    out: &mut BufWriter<&mut dyn Write>,
    stop: &dyn Fn() -> bool,
) -> io::Result<()> {
    // What came while the last lines were read.
    let mut changed: Vec<usize> = (0..followers.len()).collect();
    let mut looked = Instant::now();
    let mut last = false;
    loop {
        let mut more = Vec::new();
        for number in std::mem::take(&mut changed) {
            let follower = &mut followers[number];
            let now = super::moment::now();
            if follower.read(TURN, |line| dress.line(number, line, Some(now), out))? {
                more.push(number);
            }
        }
        for (number, follower) in followers.iter_mut().enumerate() {
            let now = super::moment::now();
            follower.settle(|line| dress.line(number, line, Some(now), out))?;
        }
        out.flush()?;
        if last {
            return Ok(());
        }
        if stop() {
            // What was written before is shown, whether it was told of or not.
            last = true;
            changed = (0..followers.len()).collect();
            continue;
        }
        watch.wait(if more.is_empty() { LOOK } else { Duration::ZERO }, &mut changed);
        changed.extend(more);
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            changed.extend(0..followers.len());
        }
        let mut seen = vec![false; followers.len()];
        changed.retain(|number| !std::mem::replace(&mut seen[*number], true));
    }
}

/// Empties files of apps that do not run. All are tried; the first failure is told. What is not there is
/// empty.
pub(crate) fn empty_files(paths: &[PathBuf]) -> Result<(), Failure> {
    let mut result = Ok(());
    for path in paths {
        if let Err(error) = empty_by_name(path) {
            let failure = || Failure::new(format!("cannot empty `{}`: {}", path.display(), plain(&error)));
            result = result.and_then(|()| Err(failure()));
        }
    }
    result
}
