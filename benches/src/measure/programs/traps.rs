//! What the primary has to do with a request: nothing, if nothing of it is trapped.
//!
//! Counted twice: by the scheduler (CPU time and waits of the primary's threads), and by looking on with strace, which
//! sees every notification that the primary takes. To show that it would see one, a copy is killed at the end, whose
//! successor binds and listens.

use super::{Measurement, Metric, Rounds, Sample, warm};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::goal::Goal;
use crate::load::{self, http};
use crate::peer::Peer;
use crate::procfs;
use crate::program::Program;
use crate::server::Server;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const COPIES: usize = 2;
/// How long strace may take to attach or to leave, and a successor to answer: with every call of the primary held up twice.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) const MEASUREMENT: Measurement = Measurement {
    name: "programs-traps",
    title: "What the primary does while 2 copies serve",
    method: "The load of `programs-epoll-2` twice: once undisturbed, once while strace looks on. Then a copy is killed, still \
             under strace: its successor's calls must be seen.",
    peers: &[Peer::Own],
    ours: Peer::Own,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::counted("notified", "notifications under load", "", 0).must(&[|_| Goal::EveryRound(0.0)]),
        Metric::plain("calls", "system calls of the primary under load", "", 0),
        Metric::plain("control", "notifications for one successor", "", 0),
        Metric::plain("requests", "requests of each load", "", 0),
        Metric::plain("switches", "waits of the primary, undisturbed", "", 0),
        Metric::plain("primary_ms", "CPU of the primary, undisturbed", "ms", 3),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let server = Server::program(bench, peer, Program::Epoll, COPIES)?;
    warm(&server, peer, bench.plan.warm_up_program(Program::Epoll, COPIES))?;
    let primary = server.primary()?;
    let requests = bench.plan.program_connections(Program::Epoll);
    let load = || load::closed(server.port(), requests, Duration::from_secs(60));

    let (cpu, switches) = (procfs::cpu_ns(primary), procfs::switches(primary));
    let answered = load()?.answered();
    let (cpu, switches) = (procfs::cpu_ns(primary) - cpu, procfs::switches(primary).saturating_sub(switches));
    let sample = Sample::default()
        .with("requests", f64::from(answered))
        .with("switches", switches as f64)
        .with("primary_ms", cpu as f64 / 1e6);

    let file = bench.out.join("strace.log");
    let strace = attach(primary, &file)?;
    let begin = now();
    load()?;
    let end = now();
    replace_one(&server)?;
    leave(strace)?;
    let text = fs::read_to_string(&file).cannot(|| "read what strace saw".into())?;
    let seen: Vec<Call<'_>> = text.lines().filter_map(Call::read).collect();
    let under_load = || seen.iter().filter(|call| call.at >= begin && call.at <= end);
    let control = seen.iter().filter(|call| call.at > end && call.takes_notification()).count();
    if control == 0 {
        return Err(Failure::cannot("count notifications", "strace does not see those of a successor"));
    }
    Ok(sample
        .with("notified", under_load().filter(|call| call.takes_notification()).count() as f64)
        .with("calls", under_load().count() as f64)
        .with("control", control as f64))
}

/// One line of strace's: `PID SECONDS CALL(...`.
struct Call<'a> {
    at: f64,
    words: &'a str,
}

impl<'a> Call<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (pid, rest) = line.trim_start().split_once(' ')?;
        // With one thread only, strace leaves the number out.
        let (at, words) = if pid.contains('.') { (pid, rest) } else { rest.trim_start().split_once(' ')? };
        let words = words.trim_start();
        let is_call = words.starts_with(|letter: char| letter.is_ascii_lowercase());
        is_call.then_some(Self { at: at.parse().ok()?, words })
    }

    fn takes_notification(&self) -> bool {
        self.words.starts_with("ioctl(") && self.words.contains("SECCOMP_IOCTL_NOTIF_RECV")
    }
}

/// Has strace write every call of `primary` to `file`; back when it looks on.
fn attach(primary: Pid, file: &Path) -> Result<Child> {
    let what = || "look on with strace".to_owned();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-ttt", "-o"]).arg(file).args(["-p", &primary.as_raw_pid().to_string()]);
    let spawned = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut strace = spawned.cannot(what)?;
    let deadline = Instant::now() + LIMIT;
    while !procfs::is_traced(primary) {
        if let Some(status) = strace.try_wait().cannot(what)? {
            return Err(Failure::cannot(what(), status));
        }
        if Instant::now() > deadline {
            return Err(Failure::cannot(what(), "it does not attach"));
        }
        sleep(Duration::from_millis(2));
    }
    Ok(strace)
}

/// Ends strace, so that its file is whole.
fn leave(mut strace: Child) -> Result<()> {
    let what = || "end strace".to_owned();
    kill_process(Pid::from_child(&strace), Signal::INT).cannot(what)?;
    let deadline = Instant::now() + LIMIT;
    while strace.try_wait().cannot(what)?.is_none() {
        if Instant::now() > deadline {
            return Err(Failure::cannot(what(), "it stays"));
        }
        sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Kills a copy and waits until its successor answers.
fn replace_one(server: &Server) -> Result<()> {
    let what = || "replace a copy".to_owned();
    let before = server.workers()?;
    let victim = *before.first().ok_or_else(|| Failure::cannot(what(), "there is none"))?;
    kill_process(victim, Signal::KILL).cannot(what)?;
    let deadline = Instant::now() + LIMIT;
    loop {
        match http::ask(server.port(), Duration::from_secs(2)) {
            Ok(pid) if before.iter().all(|old| old.as_raw_pid() != pid) => return Ok(()),
            Ok(_) | Err(_) => sleep(Duration::from_millis(2)),
        }
        if Instant::now() > deadline {
            return Err(Failure::cannot(what(), "no successor answers"));
        }
    }
}

/// Seconds since 1970, as strace counts.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_strace_are_read_with_and_without_a_thread() {
        let taken = "4711 1732.500000 ioctl(12, SECCOMP_IOCTL_NOTIF_RECV, {id=1}) = 0";
        let call = Call::read(taken).expect("a call");
        assert_eq!((call.at, call.takes_notification()), (1732.5, true));
        let alone = Call::read("1732.25 epoll_wait(3, [], 1024, 0) = 0").expect("a call");
        assert_eq!((alone.at, alone.takes_notification()), (1732.25, false));
        for other in
            ["4711 1732.5 --- SIGCHLD {si_signo=SIGCHLD} ---", "4711 1732.5 <... read resumed>) = 1", ""]
        {
            assert!(Call::read(other).is_none(), "{other}");
        }
    }
}
