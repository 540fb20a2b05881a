//! One run of the binary: a builder, the running app, and what is left when it has ended.
//!
//! Dropping an [`App`] ends everything it started: the process group of the primary, every worker (and its group) that
//! was not yet seen to die, and whatever has its mark in its environment, whichever session it moved to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::life::{Event, Life, Stream};
use crate::wait::{LONG, patient, within};
use crate::{place, procfs};

/// How to start `oneport run`. Life lines in JSON and a `min_uptime` of 100 ms unless told otherwise.
#[derive(Debug)]
pub struct Run {
    wrapper: Vec<OsString>,
    options: Vec<OsString>,
    target: Vec<OsString>,
    min_uptime: Option<String>,
    json: bool,
    env: Vec<(OsString, OsString)>,
    cwd: Option<PathBuf>,
    stdin: Option<OwnedFd>,
    stdout: Option<OwnedFd>,
    pids: Pids,
}

/// Whether the pids in the life lines are pids here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pids {
    Ours,
    OfANamespace,
}

impl Run {
    /// Runs a script given by its path.
    pub fn path(script: impl Into<PathBuf>) -> Self {
        Self::target([script.into().into_os_string()])
    }

    /// Runs a script of `examples/node`.
    pub fn example(name: &str) -> Self {
        Self::path(place::example(name))
    }

    /// Runs a script of `tests/e2e/fixtures`.
    pub fn fixture(name: &str) -> Self {
        Self::path(place::fixture(name))
    }

    /// Everything after the options of `oneport run`, as it is.
    pub fn target<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Self {
        Self {
            wrapper: Vec::new(),
            options: Vec::new(),
            target: words.into_iter().map(Into::into).collect(),
            min_uptime: Some("100ms".into()),
            json: true,
            env: vec![("PORT".into(), "0".into())],
            cwd: None,
            stdin: None,
            stdout: None,
            pids: Pids::Ours,
        }
    }

    /// Adds options of `oneport run`.
    #[must_use]
    pub fn args<T: Into<OsString>>(mut self, options: impl IntoIterator<Item = T>) -> Self {
        self.options.extend(options.into_iter().map(Into::into));
        self
    }

    /// `-i count`.
    #[must_use]
    pub fn instances(self, count: usize) -> Self {
        self.args(["-i".to_owned(), count.to_string()])
    }

    /// `--policy name`.
    #[must_use]
    pub fn policy(self, name: &str) -> Self {
        self.args(["--policy", name])
    }

    /// Another `--min-uptime`; an empty text leaves the option out.
    #[must_use]
    pub fn min_uptime(mut self, time: &str) -> Self {
        self.min_uptime = (!time.is_empty()).then(|| time.to_owned());
        self
    }

    /// Life lines for people instead of JSON.
    #[must_use]
    pub fn text(mut self) -> Self {
        self.json = false;
        self
    }

    /// Sets a variable in the environment of oneport itself (workers inherit it).
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// The working directory of oneport.
    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Starts oneport through another command, which gets the whole command line appended.
    #[must_use]
    pub fn wrapped<T: Into<OsString>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.wrapper = words.into_iter().map(Into::into).collect();
        self
    }

    /// The wrapper gives oneport a PID namespace of its own: its pids mean nothing here, and the wrapper ends
    /// everything in it.
    #[must_use]
    pub fn in_pid_namespace(mut self) -> Self {
        self.pids = Pids::OfANamespace;
        self
    }

    /// What oneport gets as its stdin (default: nothing to read).
    #[must_use]
    pub fn stdin(mut self, fd: OwnedFd) -> Self {
        self.stdin = Some(fd);
        self
    }

    /// Where oneport writes what its workers write, instead of to the [`App`].
    #[must_use]
    pub fn stdout(mut self, fd: OwnedFd) -> Self {
        self.stdout = Some(fd);
        self
    }

    fn command(self) -> Command {
        let mut words: Vec<OsString> = self.wrapper;
        words.push(place::oneport().into_os_string());
        words.push("run".into());
        if self.json {
            words.extend(["--log-format".into(), "json".into()]);
        }
        if let Some(time) = self.min_uptime {
            words.extend(["--min-uptime".into(), time.into()]);
        }
        words.extend(self.options);
        words.extend(self.target);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("PATH", place::path()).envs(self.env).process_group(0);
        for name in ["NODE_OPTIONS", "NODE_CLUSTER_SCHED_POLICY", "NO_COLOR", "RUST_LOG", "RUST_BACKTRACE"] {
            if !command.get_envs().any(|(set, _)| set == name) {
                command.env_remove(name);
            }
        }
        if let Some(dir) = self.cwd {
            command.current_dir(dir);
        }
        command.stdin(self.stdin.map_or_else(Stdio::null, Stdio::from));
        command.stdout(self.stdout.map_or_else(Stdio::piped, Stdio::from)).stderr(Stdio::piped());
        command
    }

    /// Starts it.
    ///
    /// # Panics
    /// If the process cannot be started.
    pub fn start(self) -> App {
        let pids = self.pids;
        App::start(self.command(), pids)
    }

    /// Starts it and waits until it has ended by itself.
    ///
    /// # Panics
    /// If it does not within [`LONG`].
    pub fn finish(self) -> Finished {
        self.start().ended()
    }
}

/// `oneport` with these words and nothing else, run to its end.
///
/// # Panics
/// If it does not end within [`LONG`].
pub fn oneport<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Finished {
    let first = place::oneport().into_os_string();
    command([first].into_iter().chain(words.into_iter().map(Into::into)))
}

/// A whole command line, run to its end: `oneport` with something in front of it.
///
/// # Panics
/// If there is no such program, or it does not end within [`LONG`].
pub fn command<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Finished {
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let (first, rest) = words.split_first().expect("a program to start");
    let mut command = Command::new(first);
    command.args(rest).env("PATH", place::path()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    App::start(command, Pids::Ours).ended()
}

/// What is left of a run.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Every byte of stdout.
    pub stdout: Vec<u8>,
    /// Every byte of stderr.
    pub stderr: Vec<u8>,
    /// The life lines.
    pub events: Vec<Event>,
}

impl Finished {
    /// The exit code; 128 + number after a signal, as a shell says it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| 128 + self.status.signal().unwrap_or_default())
    }

    /// Stdout as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Stderr as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The events called `name`.
    pub fn all(&self, name: &str) -> Vec<&Event> {
        self.events.iter().filter(|event| event.is(name)).collect()
    }
}

/// A running `oneport`.
#[derive(Debug)]
pub struct App {
    child: Mutex<Child>,
    life: Arc<Life>,
    ended: bool,
    pids: Pids,
    mark: String,
}

/// In the environment of everything that a run starts.
const MARK: &str = "ONEPORT_E2E_RUN";

impl App {
    fn start(mut command: Command, pids: Pids) -> Self {
        let mark = place::unique_name();
        command.env(MARK, &mark);
        let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let life = Arc::new(Life::default());
        if let Some(stdout) = child.stdout.take() {
            life.follow(Stream::Out, stdout);
        }
        life.follow(Stream::Err, child.stderr.take().expect("stderr is piped"));
        Self { child: Mutex::new(child), life, ended: false, pids, mark: format!("{MARK}={mark}") }
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The pid of the process that was started (the primary, unless a wrapper stands before it).
    pub fn pid(&self) -> u32 {
        self.child().id()
    }

    /// Its life lines and output.
    pub fn life(&self) -> &Life {
        &self.life
    }

    /// Every event so far.
    pub fn events(&self) -> Vec<Event> {
        self.life.events()
    }

    /// Every event called `name` so far.
    pub fn all(&self, name: &str) -> Vec<Event> {
        self.events().into_iter().filter(|event| event.is(name)).collect()
    }

    /// Stdout so far, as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.life.stdout()).into_owned()
    }

    /// Stderr so far, as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.life.stderr()).into_owned()
    }

    /// Waits for the first event (old or new) that `wanted` accepts.
    ///
    /// # Panics
    /// If there is none within [`LONG`], or oneport ended without it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.wait_count(what, 1, wanted).remove(0)
    }

    /// Waits until `count` events were seen that `wanted` accepts, and gives them in order.
    ///
    /// # Panics
    /// If there are fewer within [`LONG`], or oneport ended without them.
    #[track_caller]
    pub fn wait_count(&self, what: &str, count: usize, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        self.wait_until(what, |events, _, _| {
            let found: Vec<Event> = events.iter().filter(|event| wanted(event)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// Waits for text on stdout and gives all of stdout so far.
    ///
    /// # Panics
    /// If it does not come within [`LONG`].
    #[track_caller]
    pub fn wait_out(&self, text: &str) -> String {
        self.wait_out_times(text, 1)
    }

    /// Waits until `text` was seen `count` times on stdout and gives all of stdout so far.
    ///
    /// # Panics
    /// If it does not come within [`LONG`].
    #[track_caller]
    pub fn wait_out_times(&self, text: &str, count: usize) -> String {
        self.wait_until(&format!("{count} times `{text}` on stdout"), |_, out, _| {
            let out = String::from_utf8_lossy(out).into_owned();
            (out.matches(text).count() >= count).then_some(out)
        })
    }

    /// Waits for text on stderr and gives all of stderr so far.
    ///
    /// # Panics
    /// If it does not come within [`LONG`].
    #[track_caller]
    pub fn wait_err(&self, text: &str) -> String {
        self.wait_until(&format!("`{text}` on stderr"), |_, _, err| {
            let err = String::from_utf8_lossy(err).into_owned();
            err.contains(text).then_some(err)
        })
    }

    /// Waits until `look` finds what it wants in (events, stdout, stderr).
    ///
    /// # Panics
    /// If it does not within [`LONG`]; the message shows everything that was told.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, look: impl FnMut(&[Event], &[u8], &[u8]) -> Option<T>) -> T {
        match self.life.wait(within(LONG), look) {
            Some(found) => found,
            None => panic!("waited in vain for {what}\n{}", self.life.transcript()),
        }
    }

    /// Waits until `count` workers listen on the first address, and gives it as a client reaches it.
    ///
    /// # Panics
    /// If they do not, or the address is not TCP or UDP.
    #[track_caller]
    pub fn listening(&self, count: usize) -> SocketAddr {
        let events = self.wait_until(&format!("{count} workers listening"), |events, _, _| {
            let told: Vec<Event> = events.iter().filter(|event| event.is("listening")).cloned().collect();
            let address = told.first()?.text("address").to_owned();
            let workers: std::collections::BTreeSet<i64> =
                told.iter().filter(|event| event.text("address") == address).map(Event::worker).collect();
            (workers.len() >= count).then_some(told)
        });
        reach(events[0].text("address"))
    }

    /// As [`App::listening`], and every one of the `count` workers is proven, so that it gets traffic.
    ///
    /// # Panics
    /// If they do not listen or are not proven in time.
    #[track_caller]
    pub fn serving(&self, count: usize) -> SocketAddr {
        let address = self.listening(count);
        self.wait_count(&format!("{count} proven workers"), count, |event| event.is("proven"));
        address
    }

    /// The running workers, slot to pid, by the life lines so far. Temporary copies are not among them.
    pub fn workers(&self) -> BTreeMap<i64, u32> {
        let mut running = BTreeMap::new();
        for event in self.events() {
            match event.name() {
                "started" if event.slot() >= 0 => {
                    running.insert(event.worker(), (event.slot(), event.pid()));
                }
                "died" => {
                    running.remove(&event.worker());
                }
                _ => {}
            }
        }
        running.into_values().collect()
    }

    /// The pid in a slot.
    ///
    /// # Panics
    /// If no worker runs there.
    #[track_caller]
    pub fn worker(&self, slot: i64) -> u32 {
        *self
            .workers()
            .get(&slot)
            .unwrap_or_else(|| panic!("no worker in slot {slot}\n{}", self.life.transcript()))
    }

    /// Sends a signal to the primary.
    pub fn signal(&self, signal: Signal) {
        procfs::signal(self.pid(), signal);
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// If it does not within [`LONG`].
    #[track_caller]
    pub fn ended(mut self) -> Finished {
        let deadline = within(LONG);
        let status = loop {
            let ended = self.child().try_wait().expect("a child can be waited for");
            if let Some(status) = ended {
                break status;
            }
            assert!(Instant::now() < deadline, "oneport did not end\n{}", self.life.transcript());
            std::thread::sleep(Duration::from_millis(5));
        };
        // The streams end with the last process that holds them.
        self.life.wait(within(Duration::from_secs(3)), |_, _, _| None::<()>);
        self.ended = true;
        Finished {
            status,
            stdout: self.life.stdout(),
            stderr: self.life.stderr(),
            events: self.life.events(),
        }
    }

    /// Asks it to stop with SIGTERM; it must leave with exit code 0 and nothing of it may be left.
    ///
    /// # Panics
    /// If one of this is not so.
    #[track_caller]
    pub fn stop(self) -> Finished {
        let workers = self.workers();
        self.signal(Signal::TERM);
        let left = self.ended();
        assert_eq!(left.code(), 0, "exit code after SIGTERM\n{}", left.err());
        for (slot, pid) in workers {
            assert!(!procfs::runs(pid), "worker {pid} of slot {slot} outlived the primary\n{}", left.err());
        }
        left
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.life.transcript());
        }
        let primary = self.pid();
        let workers = if self.pids == Pids::Ours { self.workers() } else { BTreeMap::new() };
        if !self.ended {
            kill_group(primary);
            let mut child = self.child();
            drop(child.kill());
            drop(child.wait());
        }
        // A number may belong to somebody else by now: workers carry their slot in their environment.
        for pid in workers.into_values().filter(|pid| procfs::has_variable(*pid, "NODE_APP_INSTANCE")) {
            kill_group(pid);
        }
        // What is left of workers of workers. Twice: one may have forked while the others were looked for.
        for pid in (0..2).flat_map(|_| procfs::with_entry(&self.mark)) {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // ESRCH: it is gone already, which is what is wanted.
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

fn kill_group(leader: u32) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // ESRCH: it is gone already, which is what is wanted.
        let _ = rustix::process::kill_process_group(pid, Signal::KILL);
    }
}

/// The address a client uses for an address as Node prints it: wildcards become loopback.
///
/// # Panics
/// If it is no address with a port.
pub fn reach(address: &str) -> SocketAddr {
    let (host, port) = address.rsplit_once(':').unwrap_or_else(|| panic!("no port in `{address}`"));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let ip = match host {
        "::" | "0.0.0.0" | "*" => "127.0.0.1",
        other => other,
    };
    let ip = ip.parse().unwrap_or_else(|e| panic!("`{address}` is no address: {e}"));
    SocketAddr::new(ip, port.parse().unwrap_or_else(|e| panic!("`{address}` has no port: {e}")))
}

/// How long a client waits for a byte.
pub fn client_patience() -> Duration {
    patient(LONG)
}
