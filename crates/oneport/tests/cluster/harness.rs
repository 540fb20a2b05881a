//! What the tests of the cluster API share: a cluster whose workers run a named program, its events noted in order,
//! and a line of orders and facts to each worker that needs nothing of the API under test.
//!
//! Invariant: every wait has a deadline, and nothing that a test started outlives it, failed or not.

mod clients;
mod line;
mod noted;
mod skipped;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::time::{Duration, Instant};

use oneport::{Cluster, Conduct, EndCause, Event, Events, Exit, Settings, Worker, WorkerId};
use oneport_sys::process::{Pid, Signal, signal_group};
use tokio::runtime::Runtime;

pub(crate) use clients::{connect, hear, who, who_answers, who_holds};
use line::line;
pub(crate) use line::{Facts, TestLine, read_fact};
pub(crate) use noted::Noted;
use noted::{OF_A_LIFE, noted};
pub(crate) use skipped::skipped;

/// How long a test waits for what must happen; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// No program lives longer, whatever became of the test that started it.
const LIFETIME: Duration = Duration::from_secs(120);
/// Names the program that a worker runs.
pub(crate) const PROGRAM: &str = "TEST_PROGRAM";
/// This binary as its children find it, even where it was built anew meanwhile.
pub(crate) const THIS_BINARY: &str = "/proc/self/exe";
/// Arguments that make this binary a worker.
pub(crate) const ARGS: [&str; 3] = ["entry_of_the_worker", "--exact", "--nocapture"];
/// A program that workers can run: its name, and what makes its future. It exits with 0 when that is done, and with
/// 101 when it panics.
pub(crate) type Program = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// The table of a module's programs, from the names of `async fn()`s.
macro_rules! programs {
    ($($name:ident),* $(,)?) => {
        pub(crate) const PROGRAMS: &[$crate::harness::Program] =
            &[$((stringify!($name), || Box::pin($name()))),*];
    };
}
pub(crate) use programs;

/// Runs the program that this process was started for, and ends it; returns where it was started for none.
pub(crate) fn run_program(tables: &[&[Program]]) {
    let Ok(name) = std::env::var(PROGRAM) else { return };
    std::thread::spawn(|| {
        let end = Instant::now() + LIFETIME;
        while Instant::now() < end {
            std::thread::park_timeout(LIFETIME);
        }
        std::process::abort();
    });
    let mut named = tables.iter().copied().flatten().filter(|(known, _)| *known == name);
    let (_, program) = named.next().unwrap_or_else(|| panic!("no program is called {name}"));
    assert!(named.next().is_none(), "two programs are called {name}");
    runtime().block_on(program());
    std::process::exit(0);
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A cluster under test.
pub(crate) struct Test {
    pub(crate) cluster: Cluster,
    pub(crate) events: Events,
    /// Every worker there was.
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// Everything that happened, in order, as far as it was waited for.
    pub(crate) noted: Vec<Noted>,
    lines: BTreeMap<WorkerId, BufReader<UnixStream>>,
    /// Further extra pipes of workers, and their standard streams where these are pipes: the test's to take.
    pub(crate) outputs: BTreeMap<WorkerId, oneport::Output>,
    runtime: Runtime,
}

/// Settings whose workers are this binary and run the named program. Their standard output is thrown away: the test
/// framework writes there.
pub(crate) fn settings(program: &str) -> Settings {
    let mut settings = Settings::new(THIS_BINARY);
    settings.args = ARGS.map(Into::into).to_vec();
    settings.env.retain(|(name, _)| name != PROGRAM);
    settings.env.push((PROGRAM.into(), program.into()));
    settings.stdout = oneport::Stdio::Null;
    settings.extra_pipes = 1;
    settings.conduct = Conduct { min_uptime: Duration::from_millis(50), ..Conduct::default() };
    settings
}

impl Test {
    /// A cluster of workers that run this program, none of them started yet.
    pub(crate) fn new(program: &str, change: impl FnOnce(&mut Settings)) -> Test {
        let mut settings = settings(program);
        change(&mut settings);
        let (cluster, events) = Cluster::start(settings).unwrap();
        Test {
            cluster,
            events,
            workers: BTreeMap::new(),
            noted: Vec::new(),
            lines: BTreeMap::new(),
            outputs: BTreeMap::new(),
            runtime: runtime(),
        }
    }

    /// With this many supervised workers.
    pub(crate) fn supervised(workers: u32, program: &str, change: impl FnOnce(&mut Settings)) -> Test {
        let test = Test::new(program, change);
        test.cluster.scale(workers).unwrap();
        test
    }

    /// With this many forked workers, numbers 1 to that, as in Node: what becomes of them is the test's decision.
    pub(crate) fn forked(workers: u32, program: &str, change: impl FnOnce(&mut Settings)) -> Test {
        let mut test = Test::new(program, change);
        for _ in 0..workers {
            test.fork();
        }
        test
    }

    /// Forks one more and waits for its event.
    pub(crate) fn fork(&mut self) -> Worker {
        self.fork_with(&[])
    }

    /// As [`fork`](Self::fork), with variables of its own.
    pub(crate) fn fork_with(&mut self, env: &[(&str, &str)]) -> Worker {
        let worker = self.cluster.fork(env).unwrap();
        let id = worker.id();
        self.until("the fork", |test| test.workers.contains_key(&id).then_some(()));
        worker
    }

    /// The next event, `None` after the last; noted.
    pub(crate) fn next(&mut self, what: &str, deadline: Instant) -> Option<Event> {
        let left = deadline.saturating_duration_since(Instant::now());
        let events = &mut self.events;
        let next = self.runtime.block_on(async { tokio::time::timeout(left, events.recv()).await });
        let Ok(next) = next else { panic!("{what} did not happen in time; noted: {:#?}", self.noted) };
        let mut event = next?;
        self.note(&mut event);
        Some(event)
    }

    /// The next event that fits; every other is only noted. May take things out of it.
    pub(crate) fn wait<T>(&mut self, what: &str, mut fits: impl FnMut(&mut Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let event = self.next(what, deadline);
            let mut event = event.unwrap_or_else(|| panic!("the cluster ended before: {what}"));
            if let Some(found) = fits(&mut event) {
                return found;
            }
        }
    }

    /// Waits until what was noted so far satisfies; nothing is missed, in whichever order it came.
    pub(crate) fn until<T>(&mut self, what: &str, mut found: impl FnMut(&Test) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            let event = self.next(what, deadline);
            assert!(event.is_some(), "the cluster ended before: {what}; noted: {:#?}", self.noted);
        }
    }

    /// Waits until so many workers listen and are proven; where they listen first.
    pub(crate) fn listening(&mut self, workers: usize) -> SocketAddr {
        self.until("workers listen and are proven", |test| {
            let ready = test.count("listening") >= workers && test.count("proven") >= workers;
            ready.then(|| test.noted.iter().find_map(|noted| noted.address.as_ref()?.socket))
        })
        .expect("a TCP or UDP address")
    }

    /// Waits for the first such event of a worker.
    pub(crate) fn event(&mut self, worker: u32, name: &str) -> Noted {
        self.until(&format!("{name} of worker {worker}"), |test| {
            let fits = |noted: &&Noted| noted.name == name && noted.worker == Some(WorkerId(worker));
            test.noted.iter().find(fits).cloned()
        })
    }

    /// Waits until a worker is gone; how it ended.
    pub(crate) fn exit(&mut self, worker: u32) -> (Exit, EndCause) {
        self.event(worker, "exit").exit.unwrap()
    }

    /// How often something happened so far.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.noted.iter().filter(|noted| noted.name == name).count()
    }

    /// Node's events of a worker so far, in order.
    pub(crate) fn life(&self, worker: u32) -> Vec<&'static str> {
        let of_it = self.noted.iter().filter(|noted| noted.worker == Some(WorkerId(worker)));
        of_it.map(|noted| noted.name).filter(|name| OF_A_LIFE.contains(name)).collect()
    }

    /// The messages of a worker so far, as JSON.
    pub(crate) fn messages(&self, worker: u32) -> Vec<String> {
        let of_it = self.noted.iter().filter(|noted| noted.worker == Some(WorkerId(worker)));
        of_it.filter(|noted| noted.name == "message").filter_map(|noted| noted.text.clone()).collect()
    }

    pub(crate) fn worker(&self, id: u32) -> &Worker {
        &self.workers[&WorkerId(id)]
    }

    /// Gives a worker an order.
    pub(crate) fn tell(&mut self, worker: u32, order: &str) {
        writeln!(self.line(worker).get_mut(), "{order}").unwrap();
    }

    /// The next fact that a worker tells.
    pub(crate) fn fact(&mut self, worker: u32) -> String {
        read_fact(self.line(worker)).unwrap_or_else(|| panic!("worker {worker} told nothing"))
    }

    /// An order, and the fact that answers it.
    pub(crate) fn ask(&mut self, worker: u32, order: &str) -> String {
        self.tell(worker, order);
        self.fact(worker)
    }

    /// Tells a worker no more: a puppet comes to its end.
    pub(crate) fn hang_up(&mut self, worker: u32) {
        self.lines.remove(&WorkerId(worker));
    }

    fn line(&mut self, worker: u32) -> &mut BufReader<UnixStream> {
        let id = WorkerId(worker);
        self.until("the fork", |test| test.lines.contains_key(&id).then_some(()));
        self.lines.get_mut(&id).unwrap()
    }

    /// Waits for something of the API's.
    pub(crate) fn finish<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        finish(&self.runtime, what, future)
    }

    /// Ends everything in order.
    pub(crate) fn stop(mut self) {
        self.cluster.stop().unwrap();
        // Puppets that wait for an order come to their end.
        self.lines.clear();
        self.until("the stop", |test| (test.count("stopped") == 1).then_some(()));
    }

    fn note(&mut self, event: &mut Event) {
        if let Event::Fork { worker, output } = event {
            self.workers.insert(worker.id(), worker.clone());
            let mut output = std::mem::take(output);
            if !output.extra.is_empty() {
                self.lines.insert(worker.id(), line(output.extra.remove(0)));
            }
            self.outputs.insert(worker.id(), output);
        }
        self.noted.push(noted(event));
    }
}

impl Drop for Test {
    /// Ends everything now. Where the primary does not, every process group it named is ended here.
    fn drop(&mut self) {
        let _ = self.cluster.stop_now();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let events = &mut self.events;
            match self.runtime.block_on(async { tokio::time::timeout(left, events.recv()).await }) {
                Ok(None | Some(Event::Stopped)) => return,
                Ok(Some(Event::Fork { worker, .. })) => _ = self.workers.insert(worker.id(), worker),
                Ok(Some(_)) => {}
                Err(_) => break,
            }
        }
        for worker in self.workers.values().filter(|worker| !worker.is_dead()) {
            if let Some(pid) = Pid::new(worker.pid()) {
                let _ = signal_group(pid, Signal::KILL);
            }
        }
        assert!(std::thread::panicking(), "the primary did not end its workers in time");
    }
}

/// Waits for a future, with the usual deadline.
pub(crate) fn finish<T>(runtime: &Runtime, what: &str, future: impl Future<Output = T>) -> T {
    let finished = runtime.block_on(async { tokio::time::timeout(PATIENCE, future).await });
    finished.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}

/// Waits for what nothing announces, by looking again and again.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what} did not come true in time");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// A process, watched from when it lived.
pub(crate) struct Watched(OwnedFd);

impl Watched {
    pub(crate) fn new(pid: i32) -> Watched {
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        Watched(rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).unwrap())
    }

    /// Waits until it has ended.
    pub(crate) fn ended(&self) {
        let mut wanted = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut wanted, Some(&patience)).unwrap(), 1, "the process lives on");
    }
}
