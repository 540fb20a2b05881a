//! Connections that stay open: who got each of them, and who got none in time.
//!
//! Outside the hot loop, so plain blocking sockets. All reads share one deadline; an answer that is there when it
//! passes still counts.

use super::http;
use rustix::net::sockopt::set_socket_linger;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Open connections, each with the worker that answered it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    connections: Vec<(TcpStream, Option<i32>)>,
}

impl Held {
    /// Opens `count` connections to `port`, each after the one before was answered and `gap` after that.
    pub(crate) fn one_by_one(port: u16, count: usize, gap: Duration, limit: Duration) -> io::Result<Self> {
        let mut held = Self::default();
        for index in 0..count {
            sleep(gap);
            let mut stream = connect(port, index, limit)?;
            stream.write_all(http::KEPT)?;
            let worker = http::read_worker(&mut stream)?;
            held.connections.push((stream, Some(worker)));
        }
        Ok(held)
    }

    /// Opens `count` connections at once, then collects the answers that come within `limit`.
    pub(crate) fn burst(port: u16, count: usize, limit: Duration) -> io::Result<Self> {
        let mut held = Self::open(port, count, limit)?;
        held.collect(limit);
        Ok(held)
    }

    /// Opens `count` connections at once, each with a request; connecting may take `limit` each.
    pub(crate) fn open(port: u16, count: usize, limit: Duration) -> io::Result<Self> {
        let mut held = Self::silent(port, count, limit)?;
        for (stream, _) in &mut held.connections {
            stream.write_all(http::KEPT)?;
        }
        Ok(held)
    }

    /// Opens `count` connections `gap` apart, each of which keeps its worker busy for longer than that, and collects the
    /// answers: where all workers accept from one socket, each gets one.
    pub(crate) fn busy(port: u16, count: usize, gap: Duration, limit: Duration) -> io::Result<Self> {
        let mut held = Self::default();
        for index in 0..count {
            let mut stream = connect(port, index, limit)?;
            stream.write_all(http::BLOCK)?;
            held.connections.push((stream, None));
            sleep(gap);
        }
        held.collect(limit);
        Ok(held)
    }

    /// Opens `count` connections that say nothing.
    pub(crate) fn silent(port: u16, count: usize, limit: Duration) -> io::Result<Self> {
        let connections = (0..count).map(|index| Ok((connect(port, index, limit)?, None)));
        Ok(Self { connections: connections.collect::<io::Result<_>>()? })
    }

    /// Waits up to `limit` more for the answers that are missing.
    pub(crate) fn collect(&mut self, limit: Duration) {
        let deadline = Instant::now() + limit;
        for (stream, worker) in self.connections.iter_mut().filter(|(_, worker)| worker.is_none()) {
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            if stream.set_read_timeout(Some(left)).is_ok() {
                *worker = http::read_worker(stream).ok();
            }
        }
    }

    /// How many have no answer yet.
    pub(crate) fn waiting(&self) -> usize {
        self.connections.iter().filter(|(_, worker)| worker.is_none()).count()
    }

    /// The worker of each connection that was answered.
    pub(crate) fn workers(&self) -> impl Iterator<Item = i32> {
        self.connections.iter().filter_map(|(_, worker)| *worker)
    }

    /// Connections per worker, most first, padded with zeros to `workers` entries.
    pub(crate) fn shares(&self, workers: usize) -> Vec<usize> {
        shares(self.workers(), workers)
    }
}

/// How many each of them has, the most first; of `workers`, some of whom may have none.
pub(crate) fn shares(of: impl Iterator<Item = i32>, workers: usize) -> Vec<usize> {
    let mut counts = BTreeMap::new();
    for worker in of {
        *counts.entry(worker).or_insert(0) += 1;
    }
    let mut shares: Vec<usize> = counts.into_values().collect();
    shares.sort_unstable_by(|a, b| b.cmp(a));
    shares.resize(workers.max(shares.len()), 0);
    shares
}

/// Connects. On loopback this returns before the server has run, so a row of these is a burst.
fn connect(port: u16, index: usize, limit: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&http::address(port, index).into(), limit)?;
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    stream.set_read_timeout(Some(limit))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn unanswered_connections_are_waiting_and_shares_are_padded() {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = listener.local_addr().expect("bound").port();
        // Six answered by two made-up workers, then two left waiting until the test is done with them.
        let server = thread::spawn(move || {
            let mut open = Vec::new();
            for count in 0..8 {
                let (mut stream, _) = listener.accept().expect("a connection");
                let _length = stream.read(&mut [0; 256]).expect("a request");
                if count < 6 {
                    let worker = if count % 3 == 0 { 11 } else { 22 };
                    let answer = format!("HTTP/1.1 200 OK\r\nX-Worker: {worker}\r\n\r\n");
                    stream.write_all(answer.as_bytes()).expect("an answer");
                }
                open.push(stream);
            }
            open
        });
        let held = Held::burst(port, 8, Duration::from_millis(300)).expect("connections");
        assert_eq!(held.waiting(), 2);
        assert_eq!(held.shares(4), [4, 2, 0, 0]);
        drop(server.join().expect("server ends"));
    }
}
