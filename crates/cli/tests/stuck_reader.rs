//! Nobody reads what `oneport run` writes: it must end all the same, and take signals meanwhile. The workers are
//! plain programs of the system; each test ends what it started.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on")]

use std::fs;
use std::io::{PipeReader, PipeWriter, pipe};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

const DEADLINE: Duration = Duration::from_secs(20);

struct Primary(Child);

impl Primary {
    fn run(args: &[&str], out: impl Into<Stdio>, err: impl Into<Stdio>) -> Primary {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oneport"));
        // They bind nothing, so that nothing is to be trapped.
        command.args(["run", "--attach", "none"]).args(args);
        command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        Primary(command.spawn().unwrap())
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn code(&mut self) -> Option<i32> {
        let mut code = None;
        until("the primary has ended", || {
            code = self.0.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        // It has ended, unless the test failed. Its workers end with their pipes, or by themselves.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut seen: impl FnMut() -> bool) {
    let began = Instant::now();
    while !seen() {
        assert!(began.elapsed() < DEADLINE, "never seen: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A file by which a worker says how far it is.
fn mark(what: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{what}-{}", std::process::id()))
}

/// A pipe that nobody reads.
struct Stuck {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Stuck {
    fn new() -> Stuck {
        let (reader, writer) = pipe().unwrap();
        Stuck { reader, writer }
    }

    fn end(&self) -> PipeWriter {
        self.writer.try_clone().unwrap()
    }

    /// Whoever writes now blocks. Gives the reader, which sees the end once the others have closed theirs.
    fn until_full(self) -> PipeReader {
        until("a full pipe", || {
            let mut wanted = [PollFd::new(&self.writer, PollFlags::OUT)];
            poll(&mut wanted, Some(&Timespec::default())).unwrap() == 0
        });
        self.reader
    }
}

#[test]
fn a_stop_ends_although_nobody_reads_standard_output() {
    let out = Stuck::new();
    let mut primary = Primary::run(&["-i", "2", "--", "yes"], out.end(), Stdio::null());
    let _reader = out.until_full();
    let began = Instant::now();
    primary.signal(Signal::TERM);
    assert_eq!(primary.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// The worker ignores the stop signal, and would have a minute.
#[test]
fn a_second_signal_acts_although_nobody_reads_standard_error() {
    let err = Stuck::new();
    let mark = mark("asked");
    let script = format!(
        "exec 3>&2 2>&-; trap 'echo > {}' TERM; yes >&3 & for n in $(seq 60); do sleep 1; done",
        mark.display()
    );
    let args = ["-vv", "--stop-with", "signal", "--kill-timeout", "60s", "--", "sh", "-c", &script];
    let mut primary = Primary::run(&args, Stdio::null(), err.end());
    let _reader = err.until_full();
    primary.signal(Signal::TERM);
    until("the worker was asked", || mark.exists());
    let began = Instant::now();
    primary.signal(Signal::TERM);
    assert_eq!(primary.code(), Some(143));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    fs::remove_file(mark).unwrap();
}

/// What the worker wrote is more than one pipe holds, and less than its own and ours together.
#[test]
fn a_reader_that_is_only_slow_gets_everything() {
    const WRITTEN: usize = 120_000;
    let out = Stuck::new();
    let mark = mark("written");
    let script = format!("head -c {WRITTEN} /dev/zero; echo > {}; exec sleep 60", mark.display());
    let args = ["--stop-with", "signal", "--", "sh", "-c", &script];
    let mut primary = Primary::run(&args, out.end(), Stdio::null());
    until("everything is in the pipes", || mark.exists());
    let reader = out.until_full();
    primary.signal(Signal::TERM);
    let mut all = 0;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        // Slow, and far from stopping.
        thread::sleep(Duration::from_millis(100));
        match rustix::io::read(&reader, &mut buffer).unwrap() {
            0 => break,
            n => all += n,
        }
    }
    assert_eq!(primary.code(), Some(0));
    assert_eq!(all, WRITTEN);
    fs::remove_file(mark).unwrap();
}
