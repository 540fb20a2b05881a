//! The line between a test and a program it started: orders one way, facts the other, one per text line. A worker
//! has it on its first extra pipe, a process apart on its standard streams.

use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use super::PATIENCE;

/// Begins each line that tells a fact.
const FACT: &str = "fact: ";
/// The descriptor on which workers get orders and tell facts: their first extra pipe.
const LINE: i32 = 4;

/// A program's end of the line to its test: orders come in, facts go out.
pub(crate) struct TestLine {
    orders: Box<dyn tokio::io::AsyncBufRead + Unpin>,
    facts: Facts,
}

/// Where facts go; clones lead to the same test.
#[derive(Clone)]
pub(crate) struct Facts(Arc<OwnedFd>);

impl TestLine {
    /// Within a worker's program, or that of a process [`Apart`](crate::apart::Apart), once.
    pub(crate) fn open() -> TestLine {
        let facts = Facts::open();
        let Ok(line) = oneport_sys::startup::dup_inherited(LINE) else {
            let orders = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
            let orders = tokio::net::unix::pipe::Receiver::from_owned_fd(orders).unwrap();
            return TestLine { orders: Box::new(tokio::io::BufReader::new(orders)), facts };
        };
        let line = UnixStream::from(line);
        line.set_nonblocking(true).unwrap();
        let line = tokio::net::UnixStream::from_std(line).unwrap();
        TestLine { orders: Box::new(tokio::io::BufReader::new(line)), facts }
    }

    /// The next order; `None` once the test is over.
    pub(crate) async fn order(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::io::AsyncBufReadExt::read_line(&mut self.orders, &mut line).await;
        read.is_ok_and(|bytes| bytes > 0).then(|| line.trim_end().to_owned())
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.clone()
    }
}

impl Facts {
    /// Where there is no line they go to standard output, which a process apart and its workers share.
    pub(crate) fn open() -> Facts {
        let line = oneport_sys::startup::dup_inherited(LINE);
        let line = line.or_else(|_| std::io::stdout().as_fd().try_clone_to_owned());
        Facts(Arc::new(line.unwrap()))
    }

    /// Tells the test something, in one line. Blocks until that is written.
    pub(crate) fn tell(&self, fact: impl std::fmt::Display) {
        // Marked, because the test framework writes to standard output, too.
        let text = format!("{FACT}{fact}\n");
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match rustix::io::write(&self.0, rest) {
                Ok(written) => rest = &rest[written..],
                Err(rustix::io::Errno::AGAIN) => {
                    let mut room = [rustix::event::PollFd::new(&self.0, rustix::event::PollFlags::OUT)];
                    rustix::event::poll(&mut room, None).unwrap();
                }
                // The test is over and needs no facts.
                Err(_) => return,
            }
        }
    }
}

/// Our end of a worker's line; blocking, with a deadline.
pub(super) fn line(end: OwnedFd) -> BufReader<UnixStream> {
    let end = UnixStream::from(end);
    end.set_nonblocking(false).unwrap();
    end.set_read_timeout(Some(PATIENCE)).unwrap();
    end.set_write_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(end)
}

/// The next fact; `None` at the end, and when none comes in time.
pub(crate) fn read_fact(line: &mut impl BufRead) -> Option<String> {
    loop {
        let mut text = String::new();
        if !line.read_line(&mut text).is_ok_and(|bytes| bytes > 0) {
            return None;
        }
        // The framework writes `test name ... ` without ending the line.
        if let Some((_, fact)) = text.trim_end().split_once(FACT) {
            return Some(fact.to_owned());
        }
    }
}
