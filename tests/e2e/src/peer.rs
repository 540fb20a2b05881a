//! A Node process that has children by its own means (`fixtures/interop/parent.js`), told what to do and telling what
//! happens, one JSON array a line. For tests in which Rust programs are the children.
//!
//! Invariant: it and its children are one process group, which is ended with the value.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use crate::place;
use crate::wait::{LONG, within};

/// The Rust program of `src/bin/worker.rs`, built with these tests.
pub fn worker() -> PathBuf {
    let me = std::env::current_exe().expect("a running test has a path");
    me.ancestors().nth(2).expect("test executables live in target/<profile>/deps").join("e2e-worker")
}

/// Such a process.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    orders: ChildStdin,
    incoming: Receiver<Value>,
    /// What it told and nobody took yet, in order. A line that is no JSON array is `["output", LINE]`.
    pub facts: Vec<Value>,
}

impl Peer {
    /// Starts it, with variables for it and its children.
    ///
    /// # Panics
    /// If Node cannot be started.
    pub fn start(env: &[(&str, &str)]) -> Self {
        let mut command = place::node();
        command.arg(place::fixture("interop/parent.js")).env("WORKER", worker());
        for name in ["NODE_OPTIONS", "NODE_CLUSTER_SCHED_POLICY", "NODE_CHANNEL_FD", "NODE_UNIQUE_ID"] {
            command.env_remove(name);
        }
        command.envs(env.iter().copied()).process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("node starts");
        let orders = child.stdin.take().expect("stdin is piped");
        let told = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (sender, incoming) = channel();
        // Ends with the last process that holds the other end.
        std::thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                let fact = serde_json::from_str(&line).ok().filter(Value::is_array);
                if sender.send(fact.unwrap_or_else(|| json!(["output", line]))).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self { child, orders, incoming, facts: Vec::new() };
        peer.fact("ready");
        peer
    }

    /// Gives an order.
    ///
    /// # Panics
    /// If the process is gone.
    #[track_caller]
    pub fn tell(&mut self, order: Value) {
        writeln!(self.orders, "{order}").expect("node reads its orders");
    }

    /// Takes the first fact of that name, and waits for it.
    ///
    /// # Panics
    /// If it does not come within [`LONG`].
    #[track_caller]
    pub fn fact(&mut self, name: &str) -> Value {
        self.take(name, |_| true)
    }

    /// As [`fact`](Self::fact), of that child: its second word.
    ///
    /// # Panics
    /// If it does not come within [`LONG`].
    #[track_caller]
    pub fn of(&mut self, child: impl Into<Value>, name: &str) -> Value {
        let child = child.into();
        self.take(name, |fact| fact[1] == child)
    }

    #[track_caller]
    fn take(&mut self, name: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let deadline = within(LONG);
        loop {
            if let Some(at) = self.facts.iter().position(|fact| fact[0] == name && fits(fact)) {
                return self.facts.remove(at);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.incoming.recv_timeout(left) {
                Ok(fact) => self.facts.push(fact),
                Err(_) => panic!("waited in vain for `{name}`; told and not taken: {:#?}", self.facts),
            }
        }
    }

    /// Sends a child a message and takes the message that answers it.
    ///
    /// # Panics
    /// If there is no answer within [`LONG`].
    #[track_caller]
    pub fn ask(&mut self, child: impl Into<Value>, message: Value) -> Value {
        let child = child.into();
        self.tell(json!(["send", child, message]));
        self.of(child, "message")[2].take()
    }

    /// Ends Node itself, and not its children.
    ///
    /// # Panics
    /// If it cannot be ended.
    pub fn kill(&mut self) {
        // Not waited for before the drop: its number stays that of the group until then.
        self.child.kill().expect("node is ours");
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            // ESRCH: all are gone already, which is what is wanted.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
        drop(self.child.wait());
    }
}
