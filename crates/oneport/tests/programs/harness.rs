//! What the tests of programs share: a cluster whose workers are copies of this binary playing a script, its events noted in
//! order, a line of orders and facts to each copy, and clients.
//!
//! Invariant: every wait has a deadline, and nothing that a test started outlives it, failed or not.

mod clients;
mod line;
mod ports;
#[path = "../cluster/harness/skipped.rs"]
mod skipped;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use oneport::{
    Attach, Cluster, Conduct, EndCause, Event, Events, Exit, Oddity, ProgramWay, Settings, Stdio, StopWith,
    Worker, WorkerId,
};
use oneport_sys::process::{Pid, Signal, signal_group};
use tokio::runtime::Runtime;

pub(crate) use clients::{
    Answers, Datagrams, Knocking, Load, ask, ask_often, call, call_often, fill_a_queue, hear, hear_all,
    queues,
};
use line::Line;
pub(crate) use ports::free_port;
pub(crate) use skipped::skipped;

use crate::acts::SCRIPT;

/// How long a test waits for what must happen; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Arguments that make this binary a program.
const ARGS: [&str; 3] = ["entry_of_the_program", "--exact", "--nocapture"];

/// Runs each scenario in each way of attaching that the primary answers calls in.
macro_rules! in_both_ways {
    ($($scenario:ident),* $(,)?) => {
        mod own {
            $(#[test] fn $scenario() { super::$scenario(oneport::ProgramWay::Own); })*
        }
        mod slot {
            $(#[test] fn $scenario() { super::$scenario(oneport::ProgramWay::Slot); })*
        }
    };
}
pub(crate) use in_both_ways;

/// A cluster under test.
pub(crate) struct Test {
    pub(crate) cluster: Cluster,
    pub(crate) events: Events,
    /// Every worker there was.
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
    /// Everything that happened, in order, as far as it was waited for.
    pub(crate) told: Vec<Event>,
    lines: BTreeMap<WorkerId, Line>,
    runtime: Runtime,
}

/// Settings of copies that play a script.
pub(crate) fn settings(script: &str) -> Settings {
    let mut settings = Settings::new("/proc/self/exe");
    settings.args = ARGS.map(Into::into).to_vec();
    settings.env.push((SCRIPT.into(), script.into()));
    (settings.stdin, settings.stdout) = (Stdio::Pipe, Stdio::Pipe);
    settings.conduct = Conduct {
        attach: Attach::Program,
        stop_with: StopWith::Signal,
        min_uptime: Duration::from_millis(100),
        restart_delay: Some(Duration::ZERO),
        ..Conduct::default()
    };
    settings
}

impl Test {
    /// So many copies of a program that plays this script.
    pub(crate) fn start(copies: u32, way: ProgramWay, script: &str) -> Test {
        Test::start_with(copies, script, |settings| settings.program.way = way)
    }

    pub(crate) fn start_with(copies: u32, script: &str, change: impl FnOnce(&mut Settings)) -> Test {
        let mut settings = settings(script);
        change(&mut settings);
        let (cluster, events) = Cluster::start(settings).unwrap();
        cluster.scale(copies).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Test { cluster, events, workers: BTreeMap::new(), told: Vec::new(), lines: BTreeMap::new(), runtime }
    }

    /// The next event that fits; every other is only noted.
    pub(crate) fn wait<T>(&mut self, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.next(what, deadline);
            if let Some(found) = self.told.last().and_then(&mut fits) {
                return found;
            }
        }
    }

    /// Waits until what was told so far satisfies; nothing is missed, in whichever order it came.
    pub(crate) fn until<T>(&mut self, what: &str, mut found: impl FnMut(&Test) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found(self) {
                return found;
            }
            self.next(what, deadline);
        }
    }

    fn next(&mut self, what: &str, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let events = &mut self.events;
        match self.runtime.block_on(async { tokio::time::timeout(left, events.recv()).await }) {
            Ok(Some(event)) => self.note(event),
            Ok(None) => panic!("the cluster ended before: {what}; {}", self.history()),
            Err(_) => panic!("{what} did not happen in time; {}", self.history()),
        }
    }

    /// The last things that were told.
    pub(crate) fn history(&self) -> String {
        const LAST: usize = 50;
        let skipped = self.told.len().saturating_sub(LAST);
        let told = self.told.iter().skip(skipped).filter(|event| !matches!(event, Event::Setup { .. }));
        told.fold(format!("{skipped} events and:"), |text, event| format!("{text}\n  {event:?}"))
    }

    /// Takes in what has happened by now.
    pub(crate) fn catch_up(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.note(event);
        }
    }

    fn note(&mut self, mut event: Event) {
        if let Event::Fork { worker, output } = &mut event {
            self.workers.insert(worker.id(), worker.clone());
            self.lines.extend(Line::new(std::mem::take(output)).map(|line| (worker.id(), line)));
        }
        self.told.push(event);
    }

    /// How often something happened so far.
    pub(crate) fn count(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.told.iter().filter(|event| is(event)).count()
    }

    /// Waits until so many copies listen and are proven, the dead counted; where the first listens.
    pub(crate) fn proven(&mut self, copies: usize) -> SocketAddr {
        self.until("copies listen and are proven", |test| {
            let proven = test.count(|event| matches!(event, Event::Proven { .. })) >= copies;
            let listening = test.listening().count() >= copies;
            (proven && listening).then(|| test.listening().next()).flatten()
        })
    }

    /// Where copies began to listen so far.
    pub(crate) fn listening(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.told.iter().filter_map(|event| match event {
            Event::Listening { address, .. } => address.socket,
            _ => None,
        })
    }

    /// Waits until something about a worker's sockets is told.
    pub(crate) fn oddity<T>(&mut self, what: &str, fits: impl Fn(&Worker, &Oddity) -> Option<T>) -> T {
        self.until(what, |test| {
            test.told.iter().find_map(|event| match event {
                Event::Oddity { worker, oddity } => fits(worker, oddity),
                _ => None,
            })
        })
    }

    /// Waits until a worker is refused an address; with which number.
    pub(crate) fn refusal(&mut self) -> (WorkerId, i32) {
        self.until("a refusal", |test| {
            test.told.iter().find_map(|event| match event {
                Event::ListenFailed { worker, error, .. } => Some((worker.id(), error.raw_os_error()?)),
                _ => None,
            })
        })
    }

    /// Waits until a worker is gone; how it ended.
    pub(crate) fn exit(&mut self, worker: u32) -> (Exit, EndCause) {
        self.until(&format!("the exit of {worker}"), |test| {
            test.told.iter().find_map(|event| match event {
                Event::Exit { worker: gone, exit, cause } if gone.id().0 == worker => Some((*exit, *cause)),
                _ => None,
            })
        })
    }

    /// The pid of a worker that was born.
    pub(crate) fn pid(&mut self, worker: u32) -> i32 {
        let id = WorkerId(worker);
        self.until(&format!("the birth of {worker}"), |test| test.workers.get(&id).map(Worker::pid))
    }

    /// Those of all workers that live.
    pub(crate) fn pids(&self) -> BTreeSet<i32> {
        self.cluster.workers().iter().map(Worker::pid).collect()
    }

    pub(crate) fn signal(&mut self, worker: u32, signal: Signal) {
        let pid = self.pid(worker);
        signal_group(Pid::new(pid).unwrap(), signal).unwrap();
        if signal == Signal::STOP {
            // A thread that is in the middle of something stops a moment later.
            eventually("it is stopped", || are_stopped(pid));
        }
    }

    /// Lets a worker stop in the middle of everything, with nothing in its hands.
    pub(crate) fn freeze(&mut self, worker: u32) {
        assert_eq!(self.order(worker, "pause a"), "ok");
        self.signal(worker, Signal::STOP);
    }

    fn line(&mut self, worker: u32) -> &mut Line {
        self.pid(worker);
        self.lines.get_mut(&WorkerId(worker)).unwrap()
    }

    /// What the next step of a worker's script came to.
    pub(crate) fn fact(&mut self, worker: u32) -> String {
        self.line(worker).fact()
    }

    /// Waits until a worker has played its script; what the steps came to that were not looked at yet.
    pub(crate) fn played(&mut self, worker: u32) -> Vec<String> {
        self.line(worker).played()
    }

    /// Gives an order to a worker that plays its script.
    pub(crate) fn order_without_answer(&mut self, worker: u32, order: &str) {
        let line = self.line(worker);
        line.played();
        line.tell(order);
    }

    /// The same, and waits; what it came to.
    pub(crate) fn order(&mut self, worker: u32, order: &str) -> String {
        self.order_without_answer(worker, order);
        self.fact(worker)
    }

    /// Waits until the primary is done with what it does now: a trapped call of a worker takes its turn.
    pub(crate) fn barrier(&mut self, worker: u32) {
        for step in ["socket barrier 4 tcp", "bind barrier 127.0.0.1:0", "close barrier"] {
            assert_eq!(self.order(worker, step), "ok");
        }
    }

    pub(crate) fn stopped(&mut self) {
        self.until("the stop", |test| (test.count(|e| matches!(e, Event::Stopped)) == 1).then_some(()));
    }

    /// Ends everything in order.
    pub(crate) fn stop(mut self) {
        self.cluster.stop().unwrap();
        self.stopped();
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

/// Whether every thread of the process is stopped.
fn are_stopped(pid: i32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    let mut states =
        tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    states.all(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T')))
}
