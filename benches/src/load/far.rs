//! Clients far away: a namespace of its own for this thread and the servers that it starts, and behind an interface in it a
//! program that speaks TCP a round trip late (`servers/far.py`). Needs root.

use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// This thread is there as long as this is.
#[derive(Debug)]
pub(crate) struct Far {
    clients: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    home: File,
}

impl Far {
    /// Makes the namespace and moves this thread there.
    pub(crate) fn away(bench: &Bench) -> Result<Self> {
        let what = || "have clients that are far away".to_owned();
        let home = File::open("/proc/thread-self/ns/net").cannot(what)?;
        let mut command = Command::new("unshare");
        command.args(["--net", "python3"]).arg(bench.servers.join("far.py"));
        let mut clients = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().cannot(what)?;
        let (orders, output) = (clients.stdin.take(), clients.stdout.take());
        let answers = BufReader::new(output.ok_or_else(|| Failure::cannot(what(), "they have no pipe"))?);
        let mut far = Self { clients, orders, answers, home };
        match far.hear()?.as_str() {
            "ready" => {}
            other => return Err(Failure::cannot(what(), format!("they say `{other}`: this needs root"))),
        }
        let there = File::open(format!("/proc/{}/ns/net", far.clients.id())).cannot(what)?;
        move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network)).cannot(what)?;
        Ok(far)
    }

    /// Opens `count` connections at once, each with a request; the worker of each that was answered.
    pub(crate) fn burst(&mut self, port: u16, count: usize, round_trip: Duration) -> Result<Vec<i32>> {
        let what = || "open connections from far away".to_owned();
        let orders = self.orders.as_mut().ok_or_else(|| Failure::cannot(what(), "nobody is there"))?;
        writeln!(orders, "{port} {count} {}", round_trip.as_millis()).cannot(what)?;
        let answer = self.hear()?;
        let workers: Option<Vec<i32>> = answer.split_whitespace().map(|pid| pid.parse().ok()).collect();
        workers.ok_or_else(|| Failure::cannot(what(), format!("they say `{answer}`")))
    }

    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).cannot(|| "hear of clients that are far away".into())?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        // Fails only if it never left.
        let _ = move_into_link_name_space(self.home.as_fd(), Some(LinkNameSpaceType::Network));
        self.orders = None;
        let _ = self.clients.wait();
    }
}
