//! `oneport demo`: the whole of it in a few seconds, with nothing installed. Four workers of a built-in server, some
//! thousand requests, a reload and a `kill -9` in the middle, and what came of it.

mod clients;
mod proof;

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use oneport::{Cluster, Conduct, Event, Events, Settings, Slot, WorkerId, WorkerRef};
use oneport_sys::process::{self, Pid, Signal};
use rustix::termios::isatty;

use crate::Done;
use crate::args::DemoArgs;
use crate::error::Failure;
use crate::render::voice;
use clients::{Clients, Tally};

const WORKERS: u32 = 4;
/// Long enough to mean something, short enough to watch.
const MIN_UPTIME: Duration = Duration::from_millis(200);
/// Nothing here takes that long, besides the requests themselves.
const DEADLINE: Duration = Duration::from_secs(60);
const PER_REQUEST: Duration = Duration::from_millis(5);
const TICK: Duration = Duration::from_millis(50);

/// What has been seen of the cluster.
#[derive(Default)]
struct Seen {
    /// Everyone that was ever there, by number.
    slots: BTreeMap<u32, u32>,
    workers: HashMap<WorkerId, WorkerRef>,
    address: Option<std::net::SocketAddr>,
    proven: Vec<WorkerRef>,
    reload: Option<Duration>,
    killed: Option<(WorkerRef, Instant)>,
    replaced_after: Option<Duration>,
}

struct Demo {
    cluster: Cluster,
    events: mpsc::Receiver<Event>,
    seen: Seen,
    deadline: Instant,
}

pub(crate) fn run(args: &DemoArgs) -> Done {
    let own = std::env::current_exe()
        .map_err(|cause| Failure::new(format!("cannot find this program: {cause}")))?;
    let mut settings = Settings::new(own);
    settings.args = vec!["hello".into()];
    settings.stop_signal = Signal::TERM;
    settings.conduct = Conduct { min_uptime: MIN_UPTIME, parallel: 2, ..Conduct::default() };
    let (cluster, events) = Cluster::start(settings).map_err(Failure::new)?;
    let mut demo = Demo {
        cluster,
        events: follow(events)?,
        seen: Seen::default(),
        deadline: Instant::now() + DEADLINE + PER_REQUEST * args.requests,
    };
    let done = demo.play(args.requests);
    // Whatever happened, nothing is left running.
    let _ = demo.cluster.stop();
    let stopped = demo.until(|event| matches!(event, Event::Stopped));
    done.and_then(|code| stopped.map(|()| code))
}

impl Demo {
    fn play(&mut self, requests: u32) -> Done {
        voice::out(format_args!("Starting {WORKERS} workers behind one port ..."));
        self.cluster.scale(WORKERS).map_err(Failure::new)?;
        let mut waiting = WORKERS;
        self.until(|event| {
            waiting -= u32::from(matches!(event, Event::Proven { .. }));
            waiting == 0
        })?;
        let address =
            self.seen.address.ok_or_else(|| Failure::new("cannot find the address of the workers"))?;
        voice::out(format_args!("Listening on {address}; the primary is process {}.\n", process::own_pid()));
        let proof = proof::table(&self.living(), address.port());

        let clients = Clients::start(address, requests)
            .map_err(|cause| Failure::new(format!("cannot send requests: {cause}")))?;
        self.run_until(&clients, requests / 4, requests, "serving")?;
        self.cluster.reload().map_err(Failure::new)?;
        self.run_until(&clients, requests / 2, requests, "reloading every worker under load")?;
        while self.seen.reload.is_none() {
            self.take_events()?;
            self.show(&clients, requests, "reloading every worker under load");
            thread::sleep(TICK);
        }
        self.kill_one()?;
        self.run_until(&clients, requests, requests, "one worker killed, the others serve on")?;
        let tally = clients.finish();
        while self.seen.replaced_after.is_none() {
            self.take_events()?;
            thread::sleep(TICK);
        }
        if isatty(rustix::stdio::stdout()) {
            voice::show(format_args!("\r\x1b[K"));
        }
        self.report(&tally, &proof);
        Ok(if tally.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Shows progress until so many requests are answered.
    fn run_until(&mut self, clients: &Clients, goal: u32, of: u32, doing: &str) -> Result<(), Failure> {
        while clients.done() < goal {
            self.take_events()?;
            self.show(clients, of, doing);
            thread::sleep(TICK);
        }
        if !isatty(rustix::stdio::stdout()) {
            voice::out(format_args!("{:>6} of {of} requests answered, {doing}", clients.done()));
        }
        Ok(())
    }

    fn show(&self, clients: &Clients, of: u32, doing: &str) {
        if isatty(rustix::stdio::stdout()) {
            let done = clients.done().min(of);
            let filled = (u64::from(done) * 30 / u64::from(of.max(1))) as usize;
            voice::show(format_args!("\r\x1b[K[{:<30}] {done:>6} of {of}  {doing}", "#".repeat(filled)));
        }
    }

    /// Kills the worker of slot 0 the hard way.
    fn kill_one(&mut self) -> Result<(), Failure> {
        let victim = self.living().into_iter().find(|worker| worker.slot == Some(Slot(0)));
        let victim = victim.ok_or_else(|| Failure::new("cannot kill a worker: none is there"))?;
        let pid =
            Pid::new(victim.pid).ok_or_else(|| Failure::new("cannot kill a worker: it has no process"))?;
        self.seen.killed = Some((victim, Instant::now()));
        process::signal_group(pid, Signal::KILL)
            .map_err(|cause| Failure::new(format!("cannot kill worker {pid}: {cause}")))
    }

    fn living(&self) -> Vec<WorkerRef> {
        let mut living: Vec<WorkerRef> = self.seen.workers.values().copied().collect();
        living.sort_by_key(|worker| worker.slot);
        living
    }

    fn take_events(&mut self) -> Result<(), Failure> {
        while let Ok(event) = self.events.try_recv() {
            self.note(&event)?;
        }
        match Instant::now() > self.deadline {
            true => Err(Failure::new("cannot finish the demo: it takes too long on this machine")),
            false => Ok(()),
        }
    }

    fn until(&mut self, mut wanted: impl FnMut(&Event) -> bool) -> Result<(), Failure> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            let Ok(event) = self.events.recv_timeout(left) else {
                return Err(Failure::new("cannot finish the demo: it takes too long on this machine"));
            };
            if wanted(&event) {
                return self.note(&event);
            }
            self.note(&event)?;
        }
    }

    fn note(&mut self, event: &Event) -> Result<(), Failure> {
        let seen = &mut self.seen;
        match event {
            Event::Fork { worker, .. } => {
                let worker = worker.name();
                seen.slots.insert(worker.id.0, worker.slot.map_or(0, |slot| slot.0));
                seen.workers.insert(worker.id, worker);
            }
            Event::Listening { address, .. } => seen.address = address.socket,
            Event::Proven { worker } => {
                if let Some((victim, when)) = seen.killed
                    && worker.slot() == victim.slot
                {
                    seen.replaced_after.get_or_insert(when.elapsed());
                }
                seen.proven.push(worker.name());
            }
            Event::Exit { worker, .. } => _ = seen.workers.remove(&worker.id()),
            Event::ReloadDone { took, .. } => seen.reload = Some(*took),
            Event::ReloadAborted { .. } | Event::AllErrored => {
                return Err(Failure::new("cannot finish the demo: its workers do not start"));
            }
            Event::Error { error, .. } => {
                return Err(Failure::new(format!("cannot start worker: {error}")));
            }
            Event::Setup { .. }
            | Event::Online { .. }
            | Event::Disconnect { .. }
            | Event::Disconnected
            | Event::Moved { .. }
            | Event::ListenFailed { .. }
            | Event::Ready { .. }
            | Event::NotReadyYet { .. }
            | Event::Message { .. }
            | Event::Condemned { .. }
            | Event::Restarting { .. }
            | Event::Errored { .. }
            | Event::Finished { .. }
            | Event::OnTrial { .. }
            | Event::ReloadStarted { .. }
            | Event::ReloadQueued
            | Event::Replaced { .. }
            | Event::Oddity { .. }
            | Event::Status { .. }
            | Event::Temporary { .. }
            | Event::ConnectionsLost { .. }
            | Event::Stranger { .. }
            | Event::Weighed { .. }
            | Event::Rescued { .. }
            | Event::AcceptExhausted { .. }
            | Event::Stopped => {}
        }
        Ok(())
    }

    /// What became of a worker.
    fn fate(&self, worker: u32) -> &'static str {
        match self.seen.killed {
            _ if worker <= WORKERS => "replaced by the reload",
            Some((victim, _)) if victim.id.0 == worker => "killed with kill -9",
            Some((victim, _)) if worker > victim.id.0 && worker > 2 * WORKERS => {
                "took the killed one's place"
            }
            Some(_) | None => "served to the end",
        }
    }

    fn report(&self, tally: &Tally, proof: &str) {
        voice::out(format_args!("worker  slot  requests"));
        for (worker, slot) in &self.seen.slots {
            let requests = tally.per_worker.get(worker).copied().unwrap_or(0);
            voice::out(format_args!("{worker:>6}  {slot:>4}  {requests:>8}   {}", self.fate(*worker)));
        }
        voice::out(format_args!("{:>6}        {:>8}   lost {}", "all", tally.answered, tally.lost));
        if tally.again > 0 {
            voice::out(format_args!(
                "        {} request(s) were inside the worker when it was killed; asked again and answered",
                tally.again
            ));
        }
        voice::out(format_args!(
            "\nrequests {:.1} s, slowest {:.0} ms; reload of {WORKERS} workers {:.1} s; killed worker replaced in {:.1} s\n",
            tally.took.as_secs_f64(),
            tally.slowest.as_secs_f64() * 1000.0,
            self.seen.reload.unwrap_or_default().as_secs_f64(),
            self.seen.replaced_after.unwrap_or_default().as_secs_f64(),
        ));
        voice::out(format_args!("Who held the port (from /proc/PID/fd, before the reload):\n{proof}"));
    }
}

fn follow(mut events: Events) -> Result<mpsc::Receiver<Event>, Failure> {
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        while let Some(event) = events.blocking_recv() {
            if sender.send(event).is_err() {
                return;
            }
        }
    };
    let spawned = thread::Builder::new().name("events".into()).spawn(work);
    spawned.map_err(|cause| Failure::new(format!("cannot follow the cluster: {cause}")))?;
    Ok(receiver)
}
