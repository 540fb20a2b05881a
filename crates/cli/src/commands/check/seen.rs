//! What one copy does: told by the cluster, and looked up in `/proc` while it lives. Bounded, whatever it does; nothing
//! is judged here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use oneport::{Event, Exit, Oddity, WorkerRef};
use oneport_sys::diag::listen_queue;
use oneport_sys::proc::{Listening, listening_sockets, open_sockets};
use oneport_sys::process::{self, Pid};
use oneport_sys::tree;

use crate::attach::Class;

/// Of each kind of thing.
const MOST: usize = 64;
const GLANCE: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) worker: Option<WorkerRef>,
    /// Where it listens as a part of the app, in the program's own words, with the kind of socket.
    pub(super) listens: Vec<(String, &'static str)>,
    /// What it could not have.
    pub(super) refused: Vec<(String, String)>,
    /// What it has for itself.
    pub(super) alone: Vec<String>,
    /// What else is unusual.
    pub(super) oddities: Vec<Oddity>,
    pub(super) proven: bool,
    pub(super) ended: Option<Exit>,
    /// It could not be started.
    pub(super) failed: Option<String>,
    /// It was told to stop: what it does from then on is not its own doing.
    pub(super) asked: bool,
    pub(super) stopped: bool,
    /// What its processes execute, its first one's first.
    pub(super) files: Vec<PathBuf>,
    /// Sockets it listens on that nobody was asked for, with their processes.
    pub(super) unseen: Vec<(String, i32)>,
    /// Unix sockets it listens on.
    pub(super) unix: Vec<String>,
    /// Processes that use io_uring.
    pub(super) rings: Vec<i32>,
    pub(super) processes: usize,
    /// Where a connection was made and not accepted in time.
    pub(super) not_accepted: Vec<String>,
    pub(super) last_lines: Vec<String>,
}

impl Seen {
    pub(super) fn born(&mut self, worker: WorkerRef) {
        if worker.pid != 0 && self.worker.is_none() {
            self.worker = Some(worker);
        }
    }

    pub(super) fn note(&mut self, event: Event) {
        match event {
            Event::Stopped => self.stopped = true,
            _ if self.asked => {}
            Event::Listening { address, .. } => {
                let kind = match address.kind {
                    oneport::AddressKind::Tcp => "tcp",
                    oneport::AddressKind::Unix => "unix",
                    oneport::AddressKind::Udp => "udp",
                };
                add(&mut self.listens, (address.text, kind));
            }
            Event::ListenFailed { address, error, .. } => {
                add(&mut self.refused, (address.text, error.to_string()));
            }
            Event::Oddity { oddity: Oddity::LeftAlone { address }, .. } => add(&mut self.alone, address),
            Event::Oddity { oddity, .. } => {
                if self.oddities.len() < MOST {
                    self.oddities.push(oddity);
                }
            }
            Event::Error { error, .. } => self.failed = Some(error.to_string()),
            Event::Proven { .. } => self.proven = true,
            Event::Exit { exit, .. } => _ = self.ended.get_or_insert(exit),
            Event::Setup { .. }
            | Event::Fork { .. }
            | Event::Online { .. }
            | Event::Moved { .. }
            | Event::Ready { .. }
            | Event::NotReadyYet { .. }
            | Event::Message { .. }
            | Event::Disconnect { .. }
            | Event::Condemned { .. }
            | Event::Restarting { .. }
            | Event::Errored { .. }
            | Event::Finished { .. }
            | Event::OnTrial { .. }
            | Event::AllErrored
            | Event::ReloadStarted { .. }
            | Event::ReloadQueued
            | Event::Replaced { .. }
            | Event::ReloadDone { .. }
            | Event::ReloadAborted { .. }
            | Event::Status { .. }
            | Event::Temporary { .. }
            | Event::ConnectionsLost { .. }
            | Event::Stranger { .. }
            | Event::Weighed { .. }
            | Event::Rescued { .. }
            | Event::AcceptExhausted { .. }
            | Event::Disconnected => {}
        }
    }

    /// Looks at the living copy: what it listens on, whether it accepts, what else it uses.
    pub(super) fn look_around(&mut self, class: Class, patience: Duration) {
        let Some(root) = self.worker.filter(|_| self.ended.is_none()).and_then(|w| Pid::new(w.pid)) else {
            return;
        };
        let members = tree::members(root, "");
        self.processes = members.len();
        for pid in [root].iter().chain(&members) {
            if let Ok(file) = std::fs::read_link(format!("/proc/{pid}/exe")) {
                add(&mut self.files, file);
            }
        }
        self.rings =
            members.iter().filter(|pid| uses_io_uring(**pid)).map(|pid| pid.get()).take(MOST).collect();
        // The primary is this process, and keeps a duplicate of whatever is shared.
        let shared = open_sockets(process::own_pid());
        let mut sockets: Vec<(i32, Listening)> = Vec::new();
        for pid in members {
            for socket in listening_sockets(pid) {
                if sockets.len() < MOST && !sockets.iter().any(|(_, known)| known.inode == socket.inode) {
                    sockets.push((pid.get(), socket));
                }
            }
        }
        for (pid, socket) in sockets {
            let ours = shared.contains(&socket.inode);
            match (socket.port, class) {
                (Some(port), Class::Program | Class::ListenFds) if ours => {
                    if accepts(port, &socket, patience) == Accepts::No {
                        add(&mut self.not_accepted, socket.address);
                    }
                }
                (Some(_), Class::Program) if !self.alone.contains(&socket.address) => {
                    add(&mut self.unseen, (socket.address, pid));
                }
                (None, Class::Program | Class::ListenFds | Class::Nothing) if !ours => {
                    add(&mut self.unix, socket.address);
                }
                (Some(_) | None, _) => {}
            }
        }
    }
}

fn add<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if list.len() < MOST && !list.contains(&item) {
        list.push(item);
    }
}

fn uses_io_uring(pid: Pid) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let rings = |path| std::fs::read_link(path).is_ok_and(|link| link.as_os_str() == "anon_inode:[io_uring]");
    open.flatten().any(|entry| rings(entry.path()))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepts {
    Yes,
    No,
    /// The kernel does not say how many wait.
    NotKnown,
}

/// Whether a connection to the socket leaves its queue.
fn accepts(port: u16, socket: &Listening, patience: Duration) -> Accepts {
    let Ok(address) = socket.address.parse::<SocketAddr>() else { return Accepts::NotKnown };
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    let waits = || {
        let queues = listen_queue(&[port]).ok()?;
        queues.iter().find(|queue| queue.inode == socket.inode).map(|queue| queue.waiting > 0)
    };
    let Ok(connection) = TcpStream::connect_timeout(&SocketAddr::new(ip, port), patience) else {
        return Accepts::No;
    };
    let until = Instant::now() + patience;
    let accepts = loop {
        match waits() {
            None => break Accepts::NotKnown,
            Some(false) => break Accepts::Yes,
            Some(true) if Instant::now() >= until => break Accepts::No,
            // The kernel tells nobody when a queue becomes empty.
            Some(true) => thread::sleep(GLANCE),
        }
    };
    drop(connection);
    accepts
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn as_seen(listener: &TcpListener) -> Listening {
        let port = listener.local_addr().unwrap().port();
        let own = listening_sockets(process::own_pid());
        own.into_iter().find(|socket| socket.port == Some(port)).unwrap()
    }

    #[test]
    fn a_listener_that_nobody_accepts_from_is_found_out() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, socket) = (listener.local_addr().unwrap().port(), as_seen(&listener));
        assert_eq!(accepts(port, &socket, Duration::from_millis(100)), Accepts::No);
        thread::scope(|scope| {
            // One that waits since before, and the one that is tried.
            scope.spawn(|| (listener.accept().unwrap(), listener.accept().unwrap()));
            assert_eq!(accepts(port, &socket, Duration::from_secs(10)), Accepts::Yes);
        });
    }

    #[test]
    fn what_a_copy_does_without_end_is_kept_within_bounds() {
        let mut seen = Seen::default();
        for port in 0..1000 {
            add(&mut seen.alone, format!("127.0.0.1:{port}"));
            add(&mut seen.alone, "127.0.0.1:0".to_owned());
        }
        assert_eq!(seen.alone.len(), MOST);
    }
}
