//! The demo's clients: a closed loop of short requests on several threads. A request that was inside a worker when
//! that was killed is asked again once, as any HTTP client does with a GET; a second failure counts as lost.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const CLIENTS: u32 = 8;
const PATIENCE: Duration = Duration::from_secs(5);
/// Slow enough that reload and kill happen under load, fast enough to watch.
const PAUSE: Duration = Duration::from_micros(2500);

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    pub(super) per_worker: BTreeMap<u32, u32>,
    pub(super) answered: u32,
    pub(super) lost: u32,
    pub(super) again: u32,
    pub(super) slowest: Duration,
    pub(super) took: Duration,
}

pub(super) struct Clients {
    threads: Vec<JoinHandle<Tally>>,
    done: Arc<AtomicU32>,
    began: Instant,
}

impl Clients {
    /// Begins to send `requests` in all.
    pub(super) fn start(address: SocketAddr, requests: u32) -> io::Result<Clients> {
        let done = Arc::new(AtomicU32::new(0));
        let left = Arc::new(AtomicU32::new(requests));
        let mut threads = Vec::new();
        for _ in 0..CLIENTS {
            let (done, left) = (done.clone(), left.clone());
            threads.push(
                thread::Builder::new().name("client".into()).spawn(move || client(address, &left, &done))?,
            );
        }
        Ok(Clients { threads, done, began: Instant::now() })
    }

    /// Requests that came to an end.
    pub(super) fn done(&self) -> u32 {
        self.done.load(Ordering::Relaxed)
    }

    pub(super) fn finish(self) -> Tally {
        let mut all = Tally::default();
        for thread in self.threads {
            // A client that panicked answered for nothing: its requests are missing from the sum.
            let one = thread.join().unwrap_or_default();
            for (worker, requests) in one.per_worker {
                *all.per_worker.entry(worker).or_default() += requests;
            }
            all.answered += one.answered;
            all.lost += one.lost;
            all.again += one.again;
            all.slowest = all.slowest.max(one.slowest);
        }
        all.took = self.began.elapsed();
        all
    }
}

fn client(address: SocketAddr, left: &AtomicU32, done: &AtomicU32) -> Tally {
    let mut tally = Tally::default();
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
        let began = Instant::now();
        let answer = ask(address).or_else(|_| {
            tally.again += 1;
            ask(address)
        });
        match answer {
            Ok(worker) => {
                tally.answered += 1;
                *tally.per_worker.entry(worker).or_default() += 1;
            }
            Err(_) => tally.lost += 1,
        }
        tally.slowest = tally.slowest.max(began.elapsed());
        done.fetch_add(1, Ordering::Relaxed);
        thread::sleep(PAUSE);
    }
    tally
}

/// One request; which worker answered.
fn ask(address: SocketAddr) -> io::Result<u32> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let worker = answer.lines().last().and_then(|line| line.strip_prefix("worker "));
    worker.and_then(|id| id.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
