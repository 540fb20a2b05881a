//! A cluster whose workers are copies of this test binary without a channel, playing an act.
//!
//! Invariant: every wait has a deadline, and nothing that a test started outlives it, failed or not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use oneport::{Attach, Cluster, Conduct, Event, ProgramSettings, Settings, StopWith, Worker, WorkerId};

/// How long a test waits for what must happen; far more than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// What a program plays, and what with.
pub(crate) const ACT: &str = "TEST_ACT";
pub(crate) const WITH: &str = "TEST_WITH";

/// A cluster under test.
pub(crate) struct Test {
    pub(crate) cluster: Cluster,
    events: Receiver<Event>,
    /// Everything that was told, in words.
    pub(crate) told: Vec<String>,
    pub(crate) workers: BTreeMap<WorkerId, Worker>,
}

/// The settings of copies of an act.
pub(crate) fn settings(act: &str, with: &str, program: ProgramSettings) -> Settings {
    let mut settings = Settings::new("/proc/self/exe");
    settings.exec = std::env::current_exe().expect("this binary").into();
    settings.args = ["is_the_program", "--exact", "--nocapture"].map(Into::into).to_vec();
    settings.env.extend([(ACT.into(), act.into()), (WITH.into(), with.into())]);
    settings.stdout = oneport::Stdio::Null;
    settings.program = program;
    settings.conduct = Conduct {
        attach: Attach::Program,
        stop_with: StopWith::Signal,
        min_uptime: Duration::from_millis(100),
        drain_timeout: Duration::from_secs(10),
        restart_delay: Some(Duration::ZERO),
        ..Conduct::default()
    };
    settings
}

impl Test {
    pub(crate) fn start(settings: Settings, copies: u32) -> Test {
        let (cluster, mut events) = Cluster::start(settings).expect("a cluster");
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            while let Some(event) = events.blocking_recv() {
                if sender.send(event).is_err() {
                    return;
                }
            }
        });
        cluster.scale(copies).expect("scale");
        Test { cluster, events: receiver, told: Vec::new(), workers: BTreeMap::new() }
    }

    /// The next event that fits; those before it are remembered.
    pub(crate) fn until<T>(&mut self, what: &str, mut fits: impl FnMut(&Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.events.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.told.push(format!("{event:?}"));
                    match &event {
                        Event::Fork { worker, .. } => _ = self.workers.insert(worker.id(), worker.clone()),
                        Event::Exit { worker, .. } => _ = self.workers.remove(&worker.id()),
                        _ => {}
                    }
                    if let Some(found) = fits(&event) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("{what} did not come; told: {:#?}", self.told)
                }
            }
        }
    }

    /// Where the first listens.
    pub(crate) fn until_listening(&mut self, copies: usize) -> SocketAddr {
        let mut listening = BTreeSet::new();
        self.until("listening", |event| match event {
            Event::Listening { worker, address } => {
                listening.insert(worker.id());
                (listening.len() == copies).then(|| address.socket.expect("an address"))
            }
            _ => None,
        })
    }

    /// And good for traffic.
    pub(crate) fn until_proven(&mut self, copies: usize) {
        let mut proven = 0;
        self.until("proven", |event| {
            proven += usize::from(matches!(event, Event::Proven { .. }));
            (proven == copies).then_some(())
        });
    }

    pub(crate) fn stop(&mut self) {
        self.cluster.stop().expect("stop");
        self.until("stopped", |event| matches!(event, Event::Stopped).then_some(()));
    }

    pub(crate) fn pids(&self) -> BTreeSet<i32> {
        self.workers.values().map(Worker::pid).collect()
    }
}

/// A port that was free a moment ago; nobody has it by accident soon after, as the kernel gives out others first.
pub(crate) fn free_port() -> u16 {
    let probe = TcpListener::bind("127.0.0.1:0").expect("bind");
    probe.local_addr().expect("address").port()
}

/// Who serves one new connection.
pub(crate) fn ask(address: SocketAddr) -> std::io::Result<i32> {
    let mut connection = TcpStream::connect(address)?;
    hear(&mut connection)
}

pub(crate) fn hear(connection: &mut TcpStream) -> std::io::Result<i32> {
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(b"?")?;
    let mut pid = [0; 4];
    connection.read_exact(&mut pid)?;
    Ok(i32::from_ne_bytes(pid))
}
