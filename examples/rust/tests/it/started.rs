//! An example that was started: what it says, whom it started, and its end.
//!
//! Not here: `oneport run` (the end-to-end harness has that). Invariant: nothing of it is left when it is dropped.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use oneport_e2e::wait::{LONG, eventually, within};
use oneport_e2e::{Signal, procfs, tcp};
use rustix::process::{Pid, kill_process_group};

/// A running example, the leader of a process group of its own.
pub(crate) struct Started {
    child: Child,
    said: Arc<Said>,
    readers: Vec<Reader>,
    ended: bool,
}

#[derive(Default)]
struct Said {
    text: Mutex<String>,
    changed: Condvar,
}

/// Ends when everybody who can say something has ended.
type Reader = JoinHandle<()>;

/// Starts a program with `PORT=0`.
pub(crate) fn start(program: &str) -> Started {
    start_with(program, &[], &[("PORT", "0")])
}

/// Starts a program with these arguments and variables.
pub(crate) fn start_with(program: &str, args: &[&str], env: &[(&str, &str)]) -> Started {
    let mut command = Command::new(program);
    command.args(args).env_remove("PORT").env_remove("WORKERS").envs(env.iter().copied()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let said = Arc::new(Said::default());
    let out = follow(child.stdout.take().unwrap(), &said);
    let errors = follow(child.stderr.take().unwrap(), &said);
    Started { child, said, readers: vec![out, errors], ended: false }
}

fn follow(mut from: impl std::io::Read + Send + 'static, said: &Arc<Said>) -> Reader {
    let said = Arc::clone(said);
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = from.read(&mut piece) {
            let text = String::from_utf8_lossy(&piece[..length]);
            said.text.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            said.changed.notify_all();
        }
    })
}

impl Started {
    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes it has started and not yet reaped.
    pub(crate) fn children(&self) -> BTreeSet<u32> {
        procfs::children(self.pid()).into_iter().collect()
    }

    /// What it and its workers have said so far, both streams.
    pub(crate) fn said(&self) -> String {
        self.said.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until something is found in what was said.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, mut look: impl FnMut(&str) -> Option<T>) -> T {
        let deadline = within(LONG);
        let mut text = self.said.text.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&text) {
                return found;
            }
            assert!(Instant::now() < deadline, "waited in vain for {what}; it said:\n{text}");
            let patience = Duration::from_millis(200);
            text = self.said.changed.wait_timeout(text, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until a text was said so many times.
    #[track_caller]
    pub(crate) fn wait_times(&self, wanted: &str, times: usize) {
        self.wait(&format!("{times} times `{wanted}`"), |text| {
            (text.matches(wanted).count() >= times).then_some(())
        });
    }

    /// Where it listens, by its own word.
    #[track_caller]
    pub(crate) fn address(&self) -> SocketAddr {
        self.wait("the address", |text| {
            let line = text.lines().find(|line| line.contains(" listens on "))?;
            line.rsplit(' ').next()?.parse().ok()
        })
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        procfs::signal(self.pid(), signal);
    }

    /// Waits until it has ended by itself; its workers have, too. What it said, and how it ended.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (String, ExitStatus) {
        let children = self.children();
        let status = eventually("the example to end", || self.child.try_wait().unwrap());
        self.ended = true;
        eventually("its workers to end", || children.iter().all(|child| !procfs::runs(*child)).then_some(()));
        // With the last of them its output ends.
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        (self.said(), status)
    }

    /// Kills it alone, as a crash would; its workers have to notice.
    #[track_caller]
    pub(crate) fn crash(&mut self) {
        let children = self.children();
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
        self.ended = true;
        eventually("its workers to notice", || {
            children.iter().all(|child| !procfs::runs(*child)).then_some(())
        });
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- it said\n{}---", self.said());
        }
        if self.ended {
            return;
        }
        // Children have groups of their own. Asked for while their parent lives, so that they are its.
        let children = self.children();
        for leader in children.into_iter().chain([self.pid()]) {
            let leader = Pid::from_raw(leader.cast_signed()).unwrap();
            let _ = kill_process_group(leader, Signal::KILL);
        }
        let _ = self.child.wait();
    }
}

/// One HTTP request on a connection of its own, answered with 200: the body.
#[track_caller]
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    oneport_e2e::http::get(address, path).text()
}

/// Established connections of a process with this port as their own: for each the bytes that it has not read yet.
pub(crate) fn connections(pid: u32, port: u16) -> Vec<u64> {
    let sockets = procfs::sockets(pid);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let mine = table.lines().skip(1).filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        // Field 1 is the local address in hex, 3 the state (01: established), 4 the two queues, 9 the inode.
        let [_, local, _, "01", queues, _, _, _, _, inode, ..] = fields[..] else { return None };
        let is_mine = local.ends_with(&format!(":{port:04X}")) && sockets.contains(&inode.parse().ok()?);
        let (_, received) = queues.split_once(':')?;
        is_mine.then(|| u64::from_str_radix(received, 16).unwrap())
    });
    mine.collect()
}

/// Whether nobody accepts there any more.
pub(crate) fn refused(address: SocketAddr) -> bool {
    tcp::connect(address).is_err()
}
