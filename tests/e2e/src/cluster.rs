//! A Rust primary in the test's own process, by the library's API, whose workers do what they are told in messages:
//! Node's (`fixtures/interop/worker.js`) and Rust's (`src/bin/worker.rs`).
//!
//! Invariant: every wait has a deadline; workers are ended with the value.
#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test takes the event it wants, whatever others there are"
)]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use oneport::{Cluster, Event, Events, Exit, Handle, Policy, Settings, Worker, WorkerId};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::wait::{LONG, within};
use crate::{peer, place, tcp};

/// Such a primary.
#[derive(Debug)]
pub struct Rust {
    /// The library's own.
    pub cluster: Cluster,
    events: Events,
    /// What happened and nobody took yet.
    untaken: VecDeque<Event>,
    runtime: Runtime,
    base: Settings,
}

impl Rust {
    /// Without workers.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn primary(policy: Policy) -> Self {
        let mut base = Settings::new(place::fixture("interop/worker.js"));
        base.exec_path = Some(place::chosen_node().map_or("node".into(), Into::into));
        base.args.clear();
        base.env.retain(|(name, _)| name != "NODE_OPTIONS");
        base.conduct.policy = policy;
        base.conduct.min_uptime = Duration::from_millis(50);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let (cluster, events) = Cluster::start(base.clone()).expect("a primary");
        Self { cluster, events, untaken: VecDeque::new(), runtime, base }
    }

    /// Settings for workers of Node.
    pub fn node_settings(&self) -> Settings {
        self.base.clone()
    }

    /// Forks one by the settings as they are.
    ///
    /// # Panics
    /// If the primary has ended.
    #[track_caller]
    pub fn fork(&self) -> Worker {
        self.cluster.fork(&[]).expect("the primary lives")
    }

    /// Forks one that Node runs.
    ///
    /// # Panics
    /// As [`fork`](Self::fork).
    #[track_caller]
    pub fn fork_node(&self) -> Worker {
        self.fork_with(self.node_settings())
    }

    /// Forks one that Deno runs.
    ///
    /// # Panics
    /// As [`fork`](Self::fork).
    #[track_caller]
    pub fn fork_deno(&self, deno: &Path, script: &Path) -> Worker {
        let settings = Settings { exec_path: Some(deno.into()), exec: script.into(), ..self.node_settings() };
        self.fork_with(Settings { exec_args: vec!["run".into(), "-A".into()], ..settings })
    }

    /// Forks one in Rust.
    ///
    /// # Panics
    /// As [`fork`](Self::fork).
    #[track_caller]
    pub fn fork_rust(&self) -> Worker {
        let mut settings = Settings { exec_path: None, exec: peer::worker().into(), ..self.node_settings() };
        settings.env.push(("ROLE".into(), "puppet".into()));
        self.fork_with(settings)
    }

    #[track_caller]
    fn fork_with(&self, settings: Settings) -> Worker {
        self.cluster.setup_primary(settings).expect("the primary lives");
        self.fork()
    }

    /// Takes the first event that fits, and waits for it. What is taken out of one that does not fit is lost.
    #[track_caller]
    fn take<T>(&mut self, what: &str, mut fits: impl FnMut(&mut Event) -> Option<T>) -> T {
        let deadline = within(LONG);
        let mut at = 0;
        loop {
            while let Some(event) = self.untaken.get_mut(at) {
                if let Some(found) = fits(event) {
                    self.untaken.remove(at);
                    return found;
                }
                at += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let events = &mut self.events;
            match self.runtime.block_on(async { tokio::time::timeout(left, events.recv()).await }) {
                Ok(Some(Event::Setup { .. })) => {}
                Ok(Some(event)) => self.untaken.push_back(event),
                Ok(None) => panic!("the primary ended before: {what}"),
                Err(_) => panic!("waited in vain for {what}; not taken: {:#?}", self.untaken),
            }
        }
    }

    /// The next message of a worker, and its handle.
    ///
    /// # Panics
    /// If there is none within [`LONG`].
    #[track_caller]
    pub fn message(&mut self, from: &Worker) -> (Value, Option<Handle>) {
        self.take(&format!("a message of worker {}", from.id()), |event| match event {
            Event::Message { worker, message } if worker == from => {
                Some((message.parse().expect("any JSON"), message.take_handle()))
            }
            _ => None,
        })
    }

    /// Sends a worker a message and takes the one that answers it.
    ///
    /// # Panics
    /// If there is none within [`LONG`].
    #[track_caller]
    pub fn ask(&mut self, worker: &Worker, message: Value) -> Value {
        worker.send(&message).expect("the worker lives");
        self.message(worker).0
    }

    /// Waits until a worker listens and is proven, so that it gets traffic beside others.
    ///
    /// # Panics
    /// If it does not within [`LONG`].
    #[track_caller]
    pub fn serves(&mut self, wanted: &Worker) {
        self.take(&format!("worker {} to listen", wanted.id()), |event| match event {
            Event::Listening { worker, .. } if worker == wanted => Some(()),
            _ => None,
        });
        self.take(&format!("worker {} to be proven", wanted.id()), |event| match event {
            Event::Proven { worker } if worker == wanted => Some(()),
            _ => None,
        });
    }

    /// Asks everybody to leave, and waits until the last one is gone.
    ///
    /// # Panics
    /// If that takes longer than [`LONG`].
    #[track_caller]
    pub fn disconnect(&self) {
        let all_gone = self.cluster.disconnect().expect("the primary lives");
        let left = within(LONG).saturating_duration_since(Instant::now());
        let waited = self.runtime.block_on(async { tokio::time::timeout(left, all_gone).await });
        waited.expect("everybody leaves");
    }

    /// Waits until a worker is gone.
    ///
    /// # Panics
    /// If it is not within [`LONG`].
    #[track_caller]
    pub fn exit(&mut self, id: u32) -> Exit {
        self.take(&format!("worker {id} to exit"), |event| match event {
            Event::Exit { worker, exit, .. } if worker.id() == WorkerId(id) => Some(*exit),
            _ => None,
        })
    }
}

impl Drop for Rust {
    fn drop(&mut self) {
        let deadline = within(LONG);
        if self.cluster.stop_now().is_err() {
            return;
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let events = &mut self.events;
            match self.runtime.block_on(async { tokio::time::timeout(left, events.recv()).await }) {
                Ok(None | Some(Event::Stopped)) => return,
                Ok(Some(_)) => {}
                Err(_) => break,
            }
        }
        assert!(std::thread::panicking(), "the primary did not end its workers in time");
    }
}

/// The process that serves a new connection there: Node's workers speak HTTP, Rust's greet whoever comes.
///
/// # Panics
/// If nobody does within [`LONG`].
pub fn who(address: SocketAddr) -> u32 {
    let mut stream = tcp::connect(address).expect("somebody listens");
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("somebody reads");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    tcp::pid_in(&lines.find(|line| line.starts_with("hello from ")).expect("a greeting"))
}
