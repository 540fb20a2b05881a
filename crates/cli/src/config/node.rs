//! Configuration that is JavaScript: executed once by `node`, which prints what the file exports. It is a stranger's program
//! as much as a file: it may throw, print, hang or end, and has a deadline and bounds.

use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;

use super::LARGEST;
use super::json::too_deep;
use super::notes::Notes;
use super::source::{Source, harmless};
use super::tree::{DEEPEST, Node};
use crate::error::{Failure, plain};

/// How long a file may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of standard error that are kept.
const ERRORS: usize = 16 << 10;
/// Lines of it that are shown.
const SHOWN: usize = 12;

/// What the file prints goes to standard error, so that only the answer stands on standard output. Regular expressions
/// become their text, and what JSON has no word for becomes a text that is refused by name.
const PROGRAM: &str = r"
import { pathToFileURL } from 'node:url';
const [, file, mark] = process.argv.splice(0, 3, process.argv[0], process.argv[1]);
const say = process.stdout.write.bind(process.stdout);
process.stdout.write = process.stderr.write.bind(process.stderr);
const found = await import(pathToFileURL(file).href);
const value = await ('default' in found ? found.default : { ...found });
const plain = (key, item) =>
  typeof item === 'bigint' || (typeof item === 'number' && !Number.isFinite(item)) ? String(item)
  : item instanceof RegExp ? item.source : item;
const answer = JSON.stringify([typeof value, value], plain);
say(`\n${mark}${answer}\n`, () => process.exit(0));
";

/// What the file exports.
pub(super) fn read(file: &Path, source: &Source, notes: &mut Notes) -> Result<Node, Failure> {
    let tree = run(file, source, notes, "node", DEADLINE)?;
    notes.add(format!("`{}` was executed with node to read it", source.name));
    Ok(tree)
}

fn run(
    file: &Path,
    source: &Source,
    notes: &mut Notes,
    node: &str,
    deadline: Duration,
) -> Result<Node, Failure> {
    let name = &source.name;
    let cannot = |cause: &str| Failure::new(format!("cannot read `{name}` with node: {cause}"));
    // Nobody prints this by chance.
    let mark = format!("oneport-{}-configuration:", std::process::id());
    let mut child = Command::new(node)
        .args(["--input-type=module", "--eval", PROGRAM, "--"])
        .arg(file)
        .arg(&mark)
        // Were we a worker ourselves, Node would take the channel for its own.
        .env_remove("NODE_CHANNEL_FD")
        .env_remove("NODE_UNIQUE_ID")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| match error.kind() == std::io::ErrorKind::NotFound {
            true => {
                cannot("`node` is not in PATH").hint("write the configuration as oneport.toml, JSON or YAML")
            }
            false => cannot(&plain(&error)),
        })?;
    let heard = hear(&mut child, deadline);
    // Whatever came of it, it is over; one that has ended does not mind.
    let _ = child.kill();
    let status = child.wait();
    let heard = heard.map_err(|error| cannot(&plain(&error)))?;
    let errors = heard.errors.trim();
    let with_errors = |cause: String| match errors {
        "" => cannot(&cause),
        errors => cannot(&format!("{cause}\n{}", first_lines(errors))),
    };
    match heard.end {
        End::Late => return Err(with_errors(format!("it did not end within {deadline:?}"))),
        End::Loud => return Err(with_errors(format!("it printed more than {} MiB", LARGEST >> 20))),
        End::Ended => {}
    }
    let answer = heard.answer.lines().find_map(|line| line.strip_prefix(&mark));
    let Some(answer) = answer else {
        let how = status.map_or_else(|error| plain(&error), words);
        return Err(with_errors(format!("it {how} before it had exported anything")));
    };
    let (kind, value) = match serde_json::from_str::<(String, Value)>(answer) {
        Ok(answer) => answer,
        // Its own limit of depth is 128.
        Err(error) => return Err(cannot(&format!("what it exports is no JSON: {error}"))),
    };
    if kind != "object" || value.is_null() {
        let what = match kind.as_str() {
            "object" | "undefined" => "nothing".to_owned(),
            kind => format!("a {kind}"),
        };
        return Err(cannot(&format!("it exports {what}, no object"))
            .hint("expected module.exports = { apps: [{ script: \"server.js\" }] }"));
    }
    let said = errors.lines().filter(|line| !line.starts_with("(node:") && !line.starts_with("(Use `node"));
    for line in said.filter(|line| !line.trim().is_empty()).take(SHOWN) {
        notes.add(format!("`{name}` says: {line}"));
    }
    Node::from_json(value, DEEPEST).ok_or_else(|| too_deep(None).into_failure(source))
}

/// How it came to its end.
enum End {
    Ended,
    Late,
    /// It printed more than is read.
    Loud,
}

struct Heard {
    answer: String,
    errors: String,
    end: End,
}

/// Reads both streams until the process ends. Its children may hold the streams for longer; they are not waited for.
fn hear(child: &mut Child, deadline: Duration) -> std::io::Result<Heard> {
    let pidfd = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let (Some(mut out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(std::io::Error::other("it has no output"));
    };
    ioctl_fionbio(&out, true)?;
    ioctl_fionbio(&err, true)?;
    let (mut answer, mut errors) = (Vec::new(), Vec::new());
    let until = Instant::now() + deadline;
    let (mut out_open, mut err_open) = (true, true);
    let end = loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break End::Late;
        }
        let ended = wait(pidfd.as_fd(), out_open.then(|| out.as_fd()), err_open.then(|| err.as_fd()), left)?;
        out_open = out_open && drain(&mut out, &mut answer, LARGEST + 1)?;
        // The rest of a long complaint is read and forgotten.
        err_open = err_open && drain(&mut err, &mut errors, ERRORS)?;
        if answer.len() > LARGEST {
            break End::Loud;
        }
        if ended {
            break End::Ended;
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Heard { answer: text(answer), errors: text(errors), end })
}

/// Until there is something to read, or the process has ended, which is the answer.
fn wait(
    pidfd: BorrowedFd<'_>,
    out: Option<BorrowedFd<'_>>,
    err: Option<BorrowedFd<'_>>,
    left: Duration,
) -> std::io::Result<bool> {
    let mut fds: Vec<_> = [Some(pidfd), out, err]
        .into_iter()
        .flatten()
        .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
        .collect();
    let timeout = Timespec::try_from(left).map_err(std::io::Error::other)?;
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(fds.first().is_some_and(|fd| !fd.revents().is_empty()))
}

/// Reads what is there, and keeps so much of it. Whether more may come.
fn drain(stream: &mut impl Read, kept: &mut Vec<u8>, most: usize) -> std::io::Result<bool> {
    let mut buffer = [0; 8192];
    // One that prints without end is left after a while, and comes again in the next round.
    for _ in 0..64 {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                let room = most.saturating_sub(kept.len()).min(n);
                kept.extend_from_slice(buffer.get(..room).unwrap_or_default());
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn words(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with code {code}"),
        (None, signal) => format!("was killed by signal {}", signal.unwrap_or_default()),
    }
}

/// The beginning of what it said, which is where Node shows the place; indented.
fn first_lines(errors: &str) -> String {
    let lines: Vec<_> = errors.lines().collect();
    let shown = lines.iter().take(SHOWN).map(|line| {
        let line: String = line.chars().take(200).collect();
        format!("  {}", harmless(&line))
    });
    let mut shown: Vec<_> = shown.collect();
    if lines.len() > SHOWN {
        shown.push("  ...".to_owned());
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests;
