//! What the tests of the cluster API share: a cluster whose workers run a named program, its events noted in order,
//! and a line of orders and facts to each worker that needs nothing of the API under test.
//!
//! Invariant: every wait has a deadline, and nothing that a test started outlives it, failed or not.

use std::collections::BTreeMap;
use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oneport::{Address, Cluster, Conduct, EndCause, Event, Events, Exit, Settings, Worker, WorkerId};
use oneport_sys::process::{Pid, Signal, signal_group};
use tokio::runtime::Runtime;

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
/// Begins each line that tells a fact.
const FACT: &str = "fact: ";
/// The descriptor on which workers get orders and tell facts: their first extra pipe.
const LINE: i32 = 4;

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

/// A program's end of the line to its test: orders come in, facts go out.
pub(crate) struct TestLine {
    orders: Box<dyn tokio::io::AsyncBufRead + Unpin>,
    facts: Facts,
}

/// Where facts go; clones lead to the same test.
#[derive(Clone)]
pub(crate) struct Facts(Arc<OwnedFd>);

impl TestLine {
    /// Within a worker's program, or that of a process [`Apart`](crate::apart::Apart), once.
    pub(crate) fn open() -> TestLine {
        let facts = Facts::open();
        let Ok(line) = oneport_sys::startup::dup_inherited(LINE) else {
            let orders = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            let orders = tokio::net::unix::pipe::Receiver::from_owned_fd(orders).unwrap();
            return TestLine { orders: Box::new(tokio::io::BufReader::new(orders)), facts };
        };
        let line = UnixStream::from(line);
        line.set_nonblocking(true).unwrap();
        let line = tokio::net::UnixStream::from_std(line).unwrap();
        TestLine { orders: Box::new(tokio::io::BufReader::new(line)), facts }
    }

    /// The next order; `None` once the test is over.
    pub(crate) async fn order(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut self.orders, &mut line).await;
        read.is_ok_and(|bytes| bytes > 0).then(|| line.trim_end().to_owned())
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.clone()
    }
}

impl Facts {
    /// Where there is no line they go to standard output, which a process apart and its workers share.
    pub(crate) fn open() -> Facts {
        let line = oneport_sys::startup::dup_inherited(LINE);
        let line = line.or_else(|_| std::io::stdout().as_fd().try_clone_to_owned());
        Facts(Arc::new(line.unwrap()))
    }

    /// Tells the test something, in one line. Blocks until that is written.
    pub(crate) fn tell(&self, fact: impl std::fmt::Display) {
        // Marked, because the test framework writes to standard output, too.
        let text = format!("{FACT}{fact}\n");
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(&self.0, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::AGAIN) => {
                    let mut room = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::OUT)];
                    rustix::event::poll(&mut room, None).unwrap();
                }
                // The test is over and needs no facts.
                Err(_) => return,
            }
        }
    }
}

/// Something that happened in a cluster, as the test noted it.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// Node's name of the event; ours, in Node's manner, where it has none.
    pub(crate) name: &'static str,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) address: Option<Address>,
    pub(crate) exit: Option<(Exit, EndCause)>,
    /// A message's JSON; an error's words.
    pub(crate) text: Option<String>,
}

/// Node's events of a worker.
const OF_A_LIFE: [&str; 7] = ["fork", "error", "online", "listening", "message", "disconnect", "exit"];

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
        let worker = self.cluster.fork(env.iter().copied()).unwrap();
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

/// Our end of a worker's line; blocking, with a deadline.
fn line(end: OwnedFd) -> BufReader<UnixStream> {
    let end = UnixStream::from(end);
    end.set_nonblocking(false).unwrap();
    end.set_read_timeout(Some(PATIENCE)).unwrap();
    end.set_write_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(end)
}

/// The next fact; `None` at the end, and when none comes in time.
pub(crate) fn read_fact(line: &mut impl BufRead) -> Option<String> {
    loop {
        let mut text = String::new();
        if !line.read_line(&mut text).is_ok_and(|bytes| bytes > 0) {
            return None;
        }
        // The framework writes `test name ... ` without ending the line.
        if let Some((_, fact)) = text.trim_end().split_once(FACT) {
            return Some(fact.to_owned());
        }
    }
}

fn noted(event: &Event) -> Noted {
    let plain = |name| Noted { name, worker: None, address: None, exit: None, text: None };
    let of = |name, worker: &Worker| Noted { worker: Some(worker.id()), ..plain(name) };
    match event {
        Event::Setup { .. } => plain("setup"),
        Event::Fork { worker, .. } => of("fork", worker),
        Event::Error { worker, error } => Noted { text: Some(error.to_string()), ..of("error", worker) },
        Event::Online { worker } => of("online", worker),
        Event::Moved { worker, to, .. } => Noted { text: Some(to.name().into()), ..of("moved", worker) },
        Event::Listening { worker, address } => {
            Noted { address: Some(address.clone()), ..of("listening", worker) }
        }
        Event::ListenFailed { worker, error, .. } => {
            Noted { text: Some(error.to_string()), ..of("listen-failed", worker) }
        }
        Event::Ready { worker } => of("ready", worker),
        Event::NotReadyYet { worker, .. } => of("not-ready-yet", worker),
        Event::Proven { worker } => of("proven", worker),
        Event::Message { worker, message } => {
            Noted { text: Some(message.json().to_owned()), ..of("message", worker) }
        }
        Event::Disconnect { worker } => of("disconnect", worker),
        Event::Condemned { worker, reason } => {
            Noted { text: Some(reason.clone()), ..of("condemned", worker) }
        }
        Event::Exit { worker, exit, cause } => Noted { exit: Some((*exit, *cause)), ..of("exit", worker) },
        Event::Restarting { .. } => plain("restarting"),
        Event::Errored { .. } => plain("errored"),
        Event::AllErrored => plain("all-errored"),
        Event::ReloadStarted { .. } => plain("reload-started"),
        Event::ReloadQueued => plain("reload-queued"),
        Event::Replaced { worker, .. } => of("replaced", worker),
        Event::ReloadDone { .. } => plain("reload-done"),
        Event::ReloadAborted { worker, .. } => of("reload-aborted", worker),
        Event::AcceptExhausted { .. } => plain("accept-exhausted"),
        Event::Disconnected => plain("disconnected"),
        Event::Stopped => plain("stopped"),
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

/// A connection with deadlines.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything a server says until it closes.
pub(crate) fn hear(mut stream: TcpStream) -> std::io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Which worker answers there, and its slot, -1 without one: for programs that answer as `puppet` does.
pub(crate) fn who(address: SocketAddr) -> (u32, i64) {
    who_answers(connect(address)).unwrap()
}

/// As [`who`], for a worker that keeps the connection open: who, and the connection.
pub(crate) fn who_holds(address: SocketAddr) -> (u32, TcpStream) {
    let mut stream = BufReader::new(connect(address));
    let mut answer = String::new();
    stream.read_line(&mut answer).unwrap();
    (answer.split(' ').next().unwrap().parse().unwrap(), stream.into_inner())
}

/// As [`who`], on a connection made before.
pub(crate) fn who_answers(stream: TcpStream) -> std::io::Result<(u32, i64)> {
    let answer = hear(stream)?;
    let (id, slot) = answer.trim_end().split_once(' ').unwrap_or_else(|| panic!("no answer: {answer:?}"));
    Ok((id.parse().unwrap(), slot.parse().unwrap()))
}
