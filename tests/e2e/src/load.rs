//! Closed-loop load: each client sends its next request when the last one was answered, so a request that is
//! lost is counted and not hidden by a queue.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use crate::http::{self, Client, Response};
use crate::wait::eventually;

/// How the clients use connections.
#[derive(Clone, Copy, Debug)]
pub enum Style {
    /// A new connection for each request.
    Close,
    /// Connections are kept for ten requests: a Node server that was closed still answers busy connections
    /// for as long as their clients go on (seen up to Node 26). A reset before the first byte of an answer on a connection that was used before
    /// is the race HTTP/1.1 cannot avoid; such a request is repeated once on a new connection, as browsers do.
    KeepAlive,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Tally {
    /// Answered requests by the pid that answered.
    pub answered: BTreeMap<u32, usize>,
    /// What became of each lost request.
    pub lost: Vec<String>,
}

impl Tally {
    /// All answered requests.
    pub fn total(&self) -> usize {
        self.answered.values().sum()
    }

    fn count(&mut self, outcome: io::Result<u32>) {
        match outcome {
            Ok(pid) => *self.answered.entry(pid).or_default() += 1,
            Err(e) => self.lost.push(e.to_string()),
        }
    }
}

/// Clients at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Tally>>,
}

impl Load {
    /// Starts `clients` threads that ask for `path` until told to stop.
    pub fn start(address: SocketAddr, path: &str, clients: usize, style: Style) -> Self {
        Self::of(clients, || {
            let mut kept: Option<(Client, usize)> = None;
            let path = path.to_owned();
            move || match style {
                Style::Close => http::try_get(address, &path)?.answered_by(),
                Style::KeepAlive => over_kept(&mut kept, address, &path)?.answered_by(),
            }
        })
    }

    /// Starts `clients` threads, each with what `ask` makes for it: one request, answered with a pid.
    pub fn of<A>(clients: usize, mut ask: impl FnMut() -> A) -> Self
    where
        A: FnMut() -> io::Result<u32> + Send + 'static,
    {
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(AtomicUsize::new(0));
        let clients = (0..clients)
            .map(|_| {
                let (stop, done, ask) = (Arc::clone(&stop), Arc::clone(&done), ask());
                std::thread::spawn(move || client(ask, &stop, &done))
            })
            .collect();
        Self { stop, done, clients }
    }

    /// Waits until `more` further requests were answered or lost.
    ///
    /// # Panics
    /// If that does not happen in time.
    #[track_caller]
    pub fn wait_more(&self, more: usize) {
        let goal = self.done.load(Ordering::Relaxed) + more;
        eventually(&format!("{more} more requests"), || {
            (self.done.load(Ordering::Relaxed) >= goal).then_some(())
        });
    }

    /// Lets every client finish its request, and adds up.
    ///
    /// # Panics
    /// If a client panicked.
    pub fn stop(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        for client in self.clients {
            let part = client.join().expect("a client does not panic");
            for (pid, count) in part.answered {
                *sum.answered.entry(pid).or_default() += count;
            }
            sum.lost.extend(part.lost);
        }
        sum
    }
}

fn client(mut ask: impl FnMut() -> io::Result<u32>, stop: &AtomicBool, done: &AtomicUsize) -> Tally {
    let mut tally = Tally::default();
    while !stop.load(Ordering::Relaxed) {
        let outcome = ask();
        let lost = outcome.is_err();
        tally.count(outcome);
        done.fetch_add(1, Ordering::Relaxed);
        if lost && tally.lost.len() > 50 {
            break; // a dead server must not make a client spin
        }
    }
    tally
}

const KEPT_FOR: usize = 10;

fn over_kept(kept: &mut Option<(Client, usize)>, address: SocketAddr, path: &str) -> io::Result<Response> {
    if let Some((client, used)) = kept {
        match client.get(path) {
            Ok(response) => {
                *used += 1;
                if *used >= KEPT_FOR || response.closes() {
                    *kept = None;
                }
                return Ok(response);
            }
            Err(e) if before_the_answer(&e) => *kept = None,
            Err(e) => {
                *kept = None;
                return Err(e);
            }
        }
    }
    let mut client = Client::connect(address)?;
    let response = client.get(path)?;
    if !response.closes() {
        *kept = Some((client, 1));
    }
    Ok(response)
}

fn before_the_answer(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
    [BrokenPipe, ConnectionAborted, ConnectionReset].contains(&e.kind())
}
