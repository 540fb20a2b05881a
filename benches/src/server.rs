//! One running peer: started on the servers' CPU, found in `/proc`, ended whatever happens.
//!
//! The runner is the subreaper of everything it starts, so a daemon that detaches itself (PM2's) and a worker whose
//! primary died are still its descendants. Ending a peer means ending every descendant by pid; only one peer
//! runs at a time.

use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::interrupt;
use crate::load::http;
use crate::peer::Peer;
use crate::procfs;
use crate::program::Program;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait for all workers of a peer to answer.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How long a peer may take to end on SIGTERM before SIGKILL.
const END_LIMIT: Duration = Duration::from_secs(3);

/// Which CPUs a peer may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnCpus {
    /// The one that servers are pinned to.
    Servers,
    /// Every one that the runner may use.
    All,
}

/// A peer that was started and is ended on drop.
#[derive(Debug)]
pub(crate) struct Server {
    peer: Peer,
    port: u16,
    spawned: Instant,
    command: Child,
    pm2_pid_file: Option<std::path::PathBuf>,
}

impl Server {
    /// Starts `peer` with `workers` workers on a free port, and returns at once.
    pub(crate) fn spawn(bench: &Bench, peer: Peer, workers: usize) -> Result<Self> {
        let port = free_port()?;
        Self::start(
            bench,
            peer,
            port,
            peer.command(&bench.tools, &bench.servers, port, workers)?,
            OnCpus::Servers,
        )
    }

    /// Starts `copies` of `program` under `peer` on a free port, and returns at once.
    pub(crate) fn spawn_program(
        bench: &Bench,
        peer: Peer,
        (program, copies): (Program, usize),
        cpus: OnCpus,
    ) -> Result<Self> {
        let port = free_port()?;
        Self::start(bench, peer, port, program.under(peer, bench, port, copies)?, cpus)
    }

    fn start(bench: &Bench, peer: Peer, port: u16, mut command: Command, cpus: OnCpus) -> Result<Self> {
        if interrupt::leaving() {
            return Err(Failure::cannot(format!("start `{peer}`"), "interrupted"));
        }
        let mut pm2_pid_file = None;
        if peer.is_pm2() {
            // A fresh home per start: no dump, no log of an earlier round. The marker file tells PM2 that this is
            // not its first run, whose greeting asks a server on the Internet for the newest version.
            let home = &bench.tools.pm2_home;
            let _absent_is_fine = fs::remove_dir_all(home);
            fs::create_dir_all(home).cannot(|| "make pm2's home".into())?;
            fs::write(home.join("touch"), "").cannot(|| "make pm2's home".into())?;
            pm2_pid_file = Some(home.join("pm2.pid"));
        }
        let log = File::create(bench.out.join(format!("{peer}.log"))).cannot(|| "make a log".into())?;
        let errors = log.try_clone().cannot(|| "make a log".into())?;
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let spawned = Instant::now();
        let child = match cpus {
            OnCpus::Servers => bench.pins.on_servers(|| command.spawn())?,
            OnCpus::All => bench.pins.on_all(|| command.spawn())?,
        };
        Ok(Self { peer, port, spawned, command: child.cannot(|| format!("start `{peer}`"))?, pm2_pid_file })
    }

    /// Starts `peer` and waits until each of its workers has answered.
    pub(crate) fn ready(bench: &Bench, peer: Peer, workers: usize) -> Result<Self> {
        Self::spawn(bench, peer, workers)?.answering(workers)
    }

    /// Starts `copies` of `program` under `peer` and waits until each of them has answered.
    pub(crate) fn program(bench: &Bench, peer: Peer, program: Program, copies: usize) -> Result<Self> {
        Self::spawn_program(bench, peer, (program, copies), OnCpus::Servers)?.answering(copies)
    }

    fn answering(mut self, workers: usize) -> Result<Self> {
        let peer = self.peer;
        let deadline = self.spawned + READY_LIMIT;
        let mut seen = BTreeSet::new();
        while seen.len() < workers {
            match http::ask(self.port, Duration::from_secs(2)) {
                Ok(worker) => drop(seen.insert(worker)),
                Err(_not_yet) => sleep(Duration::from_millis(5)),
            }
            if Instant::now() > deadline {
                let cause = format!("{} of {workers} workers answered in {READY_LIMIT:?}", seen.len());
                return Err(Failure::cannot(format!("start `{peer}` ({peer}.log may say why)"), cause));
            }
        }
        // PM2's command has handed over to the daemon; its own CPU time must not fall into what is measured.
        while peer.is_pm2() && matches!(self.command.try_wait(), Ok(None)) && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
        Ok(self)
    }

    /// Waits for the first answer; the time it took, counted from just before the command was spawned.
    pub(crate) fn first_answer(&self) -> Result<Duration> {
        while self.spawned.elapsed() < READY_LIMIT {
            match http::ask(self.port, Duration::from_secs(5)) {
                Ok(_worker) => return Ok(self.spawned.elapsed()),
                Err(_not_yet) => sleep(Duration::from_millis(1)),
            }
        }
        Err(Failure::cannot(format!("get an answer from `{}`", self.peer), "none came in time"))
    }

    /// The port it listens on, on every loopback address.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The process that owns the workers: the command itself, or PM2's daemon.
    pub(crate) fn primary(&self) -> Result<Pid> {
        let Some(file) = &self.pm2_pid_file else { return Ok(Pid::from_child(&self.command)) };
        let text = fs::read_to_string(file).cannot(|| "read pm2's pid file".into())?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.filter(|&pid| procfs::descendants(getpid()).contains(&pid)).ok_or_else(|| {
            Failure::cannot("find pm2's daemon", format!("`{}` is no pid of ours", text.trim()))
        })
    }

    /// When its command was spawned.
    pub(crate) fn spawned(&self) -> Instant {
        self.spawned
    }

    /// Everything below the primary that answers requests.
    pub(crate) fn workers(&self) -> Result<Vec<Pid>> {
        let workers = procfs::descendants(self.primary()?);
        if workers.is_empty() && self.peer.has_workers() {
            return Err(Failure::cannot(format!("find the workers of `{}`", self.peer), "there is none"));
        }
        Ok(workers)
    }

    /// CPU time in nanoseconds: the primary alone, and all its workers together.
    pub(crate) fn cpu(&self) -> Result<(u64, u64)> {
        let primary = self.primary()?;
        Ok((procfs::cpu_ns(primary), self.workers()?.into_iter().map(procfs::cpu_ns).sum()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(primary) = self.primary() {
            let _gone_is_fine = kill_process(primary, Signal::TERM);
            let deadline = Instant::now() + END_LIMIT;
            while Instant::now() < deadline && !procfs::descendants(getpid()).is_empty() {
                reap();
                sleep(Duration::from_millis(2));
            }
        }
        end_descendants();
        let _reaped = self.command.try_wait();
    }
}

/// Kills and reaps every process this one ever started, in at most two seconds.
pub(crate) fn end_descendants() {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = procfs::descendants(getpid());
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in left {
            let _gone_is_fine = kill_process(pid, Signal::KILL);
        }
        reap();
        sleep(Duration::from_millis(2));
    }
}

/// Collects children that ended, adopted ones included.
///
/// By pid, zombies only: a child is waited for here or by its [`Child`], and both accept that the other was first.
fn reap() {
    for pid in procfs::descendants(getpid()) {
        if procfs::state(pid) == Some('Z') {
            let _not_ours_yet = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

/// A port nobody holds at this moment.
fn free_port() -> Result<u16> {
    let what = || "find a free port".to_owned();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).cannot(what)?;
    Ok(listener.local_addr().cannot(what)?.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::set_child_subreaper;

    #[test]
    fn a_stopped_orphan_is_ended_too() {
        let _only_one = procfs::tests::with_children();
        set_child_subreaper(Some(getpid())).expect("a process may be a subreaper");
        // The shell leaves, its sleeper stays behind, stopped.
        let script = "sleep 300 & kill -STOP $!; exit 0";
        let mut shell = Command::new("sh").args(["-c", script]).process_group(0).spawn().expect("sh");
        assert!(shell.wait().expect("shell ends").success());
        assert_eq!(procfs::descendants(getpid()).len(), 1, "the sleeper became ours");
        end_descendants();
        assert!(procfs::descendants(getpid()).is_empty());
    }
}
