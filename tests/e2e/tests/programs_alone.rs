//! The servers of the matrix without oneport: if one of these fails, the machine or the server is to blame, not the
//! mechanism.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use oneport_e2e::programs::{catalogue, or_skip};
use oneport_e2e::wait::eventually;
use oneport_e2e::{Signal, TempDir, place};
use rustix::process::{Pid, kill_process_group};

/// A process and its group, ended when dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            // ESRCH: it is gone already, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
        drop(self.0.wait());
    }
}

fn answers(server: &str) {
    let (dir, port) = (TempDir::new(), place::free_port());
    let Some(program) = or_skip(&format!("{server} (alone)"), catalogue::server(server, port, &dir)) else {
        return;
    };
    let mut command = Command::new(&program.words[0]);
    command.args(&program.words[1..]).env("PATH", place::path()).env("PYTHONDONTWRITEBYTECODE", "1");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let mut running = Group(command.spawn().unwrap_or_else(|e| panic!("cannot start {command:?}: {e}")));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    eventually(&format!("an answer of {server}"), || {
        assert_eq!(running.0.try_wait().expect("a child can be waited for"), None, "{server} ended");
        program.speech.ask(address).ok()
    });
}

#[test]
fn every_server_answers_without_oneport() {
    for server in catalogue::SERVERS {
        answers(server);
    }
}
