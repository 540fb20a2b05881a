//! A program in a process apart that is nobody's worker: a primary whose own end is to be seen.

use std::io::{BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use oneport_sys::process::{Pid, Signal, signal_group};

use crate::harness::{ARGS, PATIENCE, PROGRAM, THIS_BINARY, read_fact};

/// Such a process, in a process group of its own; ended at the latest when this is dropped.
pub(crate) struct Apart {
    child: Child,
    orders: ChildStdin,
    facts: Receiver<String>,
}

impl Apart {
    pub(crate) fn start(program: &str, env: &[(&str, &str)]) -> Apart {
        let mut command = Command::new(THIS_BINARY);
        command.args(ARGS).env(PROGRAM, program).envs(env.iter().copied());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap();
        let orders = child.stdin.take().unwrap();
        let mut told = BufReader::new(child.stdout.take().unwrap());
        let (sender, facts) = channel();
        // Ends with the last process that holds the other end.
        std::thread::spawn(move || {
            while let Some(fact) = read_fact(&mut told) {
                if sender.send(fact).is_err() {
                    return;
                }
            }
        });
        Apart { child, orders, facts }
    }

    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.orders, "{order}").unwrap();
    }

    pub(crate) fn fact(&mut self) -> String {
        self.facts.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("nothing was told: {error}"))
    }

    pub(crate) fn kill(&self, signal: Signal) {
        signal_group(Pid::new(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    /// Waits until it and everybody who can still tell something has ended; how it ended.
    pub(crate) fn end(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.facts.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("it or its workers live on"),
            }
        }
        let status = self.child.wait().unwrap();
        assert!(status.code().is_some() || status.signal().is_some());
        status
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.kill(Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
