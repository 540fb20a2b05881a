//! Closed loop: a fixed number of connections open, each followed by the next as soon as it was answered.
//!
//! Says what the servers can do at most; says little about latency, which here is the length of the queue.

use super::Outcome;
use super::engine::{Ask, Engine, Source};
use crate::error::Result;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Connections open at a time.
const CONCURRENCY: usize = 64;

/// Drives `connections` connections through `port`, giving up after `limit`.
pub(crate) fn closed(port: u16, connections: u32, limit: Duration) -> Result<Outcome> {
    let connections = connections as usize;
    let engine = Engine::new(port, CONCURRENCY, connections)?;
    drive(engine, |engine| engine.started() < connections, limit)
}

/// Drives connections from many addresses through `port` until `enough` is set, giving up after `limit`.
pub(crate) fn closed_until(port: u16, enough: &AtomicBool, limit: Duration) -> Result<Outcome> {
    let engine = Engine::new(port, CONCURRENCY, 0)?.from(Source::Many);
    drive(engine, |_| !enough.load(Ordering::Relaxed), limit)
}

/// Keeps the connections going as long as there are to be `more`.
fn drive(mut engine: Engine, more: impl Fn(&Engine) -> bool, limit: Duration) -> Result<Outcome> {
    let begin = Instant::now();
    while begin.elapsed() < limit {
        while engine.in_flight() < CONCURRENCY && more(&engine) {
            let failed_before = engine.in_flight();
            engine.start(Instant::now(), Ask::Plain);
            if engine.in_flight() == failed_before {
                break; // refused at once: let the loop's own wait slow us down
            }
        }
        if engine.in_flight() == 0 && !more(&engine) {
            break;
        }
        engine.turn(Duration::from_millis(20))?;
    }
    Ok(engine.finish(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn every_connection_is_answered_or_counted_as_failed() {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = listener.local_addr().expect("bound").port();
        // Every fifth connection is closed without a word.
        let server = thread::spawn(move || {
            for count in 0..200 {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 256];
                let _length = stream.read(&mut request).expect("a request");
                if count % 5 != 4 {
                    let answer = format!("HTTP/1.1 200 OK\r\nX-Worker: {}\r\n\r\n", count % 2);
                    stream.write_all(answer.as_bytes()).expect("an answer");
                }
            }
        });
        let outcome = closed(port, 200, Duration::from_secs(10)).expect("a run");
        server.join().expect("server ends");
        assert_eq!((outcome.answered(), outcome.failed), (160, 40));
        assert_eq!(outcome.workers, [(0, 80), (1, 80)].into());
        assert!(outcome.rate() > 0.0);
    }

    #[test]
    fn it_goes_on_from_many_addresses_until_it_is_told_that_it_is_enough() {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = listener.local_addr().expect("bound").port();
        let enough = AtomicBool::new(false);
        thread::scope(|scope| {
            let server = scope.spawn(|| {
                let mut sources = Vec::new();
                for stream in listener.incoming() {
                    let mut stream = stream.expect("a connection");
                    let mut request = [0; 256];
                    if stream.read(&mut request).expect("a request or the end") == 0 {
                        return sources;
                    }
                    sources.push(stream.peer_addr().expect("connected").ip());
                    enough.store(sources.len() >= 200, Ordering::Relaxed);
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("an answer");
                }
                sources
            });
            let outcome = closed_until(port, &enough, Duration::from_secs(10)).expect("a run");
            // One without a request: the server's end.
            drop(std::net::TcpStream::connect(("127.0.0.1", port)).expect("a connection"));
            let mut sources = server.join().expect("the server ends");
            assert_eq!((outcome.answered() as usize, outcome.failed), (sources.len(), 0));
            assert!((200..300).contains(&sources.len()));
            sources.sort_unstable();
            sources.dedup();
            assert_eq!(sources.len(), 64);
        });
    }

    #[test]
    fn a_port_nobody_listens_on_ends_the_run_with_failures_only() {
        let unused = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = unused.local_addr().expect("bound").port();
        drop(unused);
        let outcome = closed(port, 50, Duration::from_secs(10)).expect("a run");
        assert_eq!((outcome.answered(), outcome.failed), (0, 50));
    }
}
