//! A copy of a program that ended because its address was taken, though nobody was asked for it: its bind was not seen,
//! or the address is one that each copy has for itself. Told once, in place of a restart loop that explains nothing.

use oneport::{EndCause, WorkerRef};
use oneport_sys::proc::listening_sockets;
use oneport_sys::process::Pid;
use oneport_sys::tree;

use super::Run;
use crate::attach::Class;

/// Characters of a line that are quoted.
const QUOTED: usize = 160;

/// Whether it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Unshared {
    #[default]
    NotTold,
    Told,
}

impl Run {
    /// To be called when a worker has ended, before it is forgotten.
    pub(super) fn explain_unshared(&mut self, worker: WorkerRef, cause: EndCause) {
        let wanted = self.class == Class::Program
            && self.unshared == Unshared::NotTold
            && cause == EndCause::ByItself
            && !self.roll.was_heard(worker.id);
        if !wanted {
            return;
        }
        let last = self.carrier.last_lines(worker.id);
        let Some(line) = last.iter().rev().find(|line| tells_of_a_taken_address(line)) else { return };
        self.unshared = Unshared::Told;
        let pid = worker.pid;
        let holder = self.holder(pid, line);
        if let Some((_, _, address)) = holder.as_ref().filter(|(_, _, address)| self.roll.is_alone(address)) {
            let message =
                format!("cannot run more copies of `{}`: each wants `{address}` for itself", self.title);
            let hint = "share it, by --port or by leaving it out of --exclude-port; or give each copy another \
                        (NODE_APP_INSTANCE is its number)";
            return self.teller.error(&message, Some(hint));
        }
        let holder = holder.map(|(holder, of, address)| {
            format!("; pid {holder}, which worker {of} is or started, has `{address}`")
        });
        let message = format!(
            "cannot share the address of worker {pid}: its bind was not seen, and it ended with `{}`{}",
            line.trim().chars().take(QUOTED).collect::<String>(),
            holder.unwrap_or_default()
        );
        let hint = "its calls pass by the traps (io_uring, a 32-bit program, a process that cannot be looked into): \
                    `oneport check` tells more, and -i 1 runs one copy";
        self.teller.error(&message, Some(hint));
    }

    /// Who of the other workers holds a port, best one that the line names.
    fn holder(&self, ended: i32, line: &str) -> Option<(Pid, i32, String)> {
        let others = self.roll.living().filter(|other| other.pid != ended);
        let mut held: Vec<(Pid, i32, String, bool)> = Vec::new();
        for other in others.take(16) {
            let Some(root) = Pid::new(other.pid) else { continue };
            for pid in tree::members(root, "") {
                let sockets = listening_sockets(pid).into_iter();
                held.extend(sockets.filter_map(|socket| {
                    let named = line.contains(&socket.port?.to_string());
                    Some((pid, other.pid, socket.address, named))
                }));
            }
        }
        let best = held.iter().position(|(.., named)| *named).unwrap_or(0);
        (best < held.len()).then(|| held.swap_remove(best)).map(|(pid, of, address, _)| (pid, of, address))
    }
}

/// The words of C's library and of who repeats them, of Node, and of Rust.
fn tells_of_a_taken_address(line: &str) -> bool {
    ["ddress already in use", "EADDRINUSE", "os error 98"].iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_known_in_the_words_of_many_languages() {
        for line in [
            "OSError: [Errno 98] Address already in use",
            "listen tcp :8000: bind: address already in use",
            "Error: listen EADDRINUSE: address already in use :::8000",
            "Error: Os { code: 98, kind: AddrInUse, message: \"Address already in use\" }",
            "`bind` failed (os error 98)",
            "java.net.BindException: Address already in use",
            "[emerg] bind() to 0.0.0.0:8000 failed (98: Address already in use)",
        ] {
            assert!(tells_of_a_taken_address(line), "{line}");
        }
        assert!(!tells_of_a_taken_address("ModuleNotFoundError: No module named 'app'"));
    }
}
