//! Open loop: connections start by the clock, whether or not earlier ones were answered.
//!
//! Latency counts from the instant a connection was *due*, so a stalled server or a late generator cannot hide
//! delay by starting less (coordinated omission).

use super::Outcome;
use super::engine::{Ask, Engine};
use crate::error::Result;
use std::time::{Duration, Instant};

/// Connections in flight at most; more than a 200 ms stall at the rates used ever holds.
const CAPACITY: usize = 4096;
/// How long after the last start answers are still awaited.
const TAIL: Duration = Duration::from_secs(6);

/// Requests among the others that each keep a worker busy for 200 ms.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Blocks {
    /// None: the control run.
    None,
    /// One per this interval, the first one interval after the start.
    Every(Duration),
    /// None, but every request takes 500 ms, in which its worker may serve others.
    AllSlow,
}

/// Offers `rate` connections per second to `port` for `duration`.
pub(crate) fn open(port: u16, rate: u32, duration: Duration, blocks: Blocks) -> Result<Outcome> {
    let gap = Duration::from_secs(1) / rate;
    let total = (duration.as_nanos() / gap.as_nanos().max(1)) as u32;
    let mut engine = Engine::new(port, CAPACITY, total as usize)?;
    let begin = Instant::now();
    let (usual, mut next_block) = match blocks {
        Blocks::None => (Ask::Plain, None),
        Blocks::AllSlow => (Ask::Slow, None),
        Blocks::Every(interval) => (Ask::Plain, Some((begin + interval, interval))),
    };
    let mut count = 0;
    while begin.elapsed() < duration + TAIL {
        let now = Instant::now();
        while count < total && begin + gap * count <= now {
            let due = begin + gap * count;
            let ask = match &mut next_block {
                Some((at, interval)) if due >= *at => {
                    *at += *interval;
                    Ask::Block
                }
                Some(_) | None => usual,
            };
            engine.start(due, ask);
            count += 1;
        }
        if count == total && engine.in_flight() == 0 {
            break;
        }
        let wait = if count < total {
            (begin + gap * count).saturating_duration_since(Instant::now())
        } else {
            Duration::from_millis(20)
        };
        engine.turn(wait.min(Duration::from_millis(20)))?;
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
    fn latency_counts_from_the_due_instant_and_blocks_are_kept_apart() {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = listener.local_addr().expect("bound").port();
        // One connection at a time: while `/block` is served, the connections behind it wait.
        let server = thread::spawn(move || {
            for _ in 0..100 {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut request = [0; 256];
                let length = stream.read(&mut request).expect("a request");
                if request[..length].starts_with(b"GET /block") {
                    let begin = Instant::now();
                    while begin.elapsed() < Duration::from_millis(100) {
                        std::hint::spin_loop();
                    }
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("an answer");
            }
        });
        let every = Blocks::Every(Duration::from_millis(120));
        let outcome = open(port, 500, Duration::from_millis(200), every).expect("a run");
        server.join().expect("server ends");
        assert_eq!((outcome.answered(), outcome.blocks, outcome.failed), (100, 1, 0));
        assert!(outcome.slower_than(Duration::from_millis(20)) >= 20, "those behind the block waited");
    }
}
