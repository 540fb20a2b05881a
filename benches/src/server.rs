//! One running peer: started on the servers' CPU, found in `/proc`, ended whatever happens.
//!
//! Ending a peer means ending every descendant of the runner (`end`); only one peer runs at a time.

use crate::bench::Bench;
use crate::control::Control;
use crate::end::{end_descendants, reap};
use crate::error::{Cannot, Failure, Result};
use crate::interrupt;
use crate::load::held::Held;
use crate::load::http;
use crate::node::Major;
use crate::peer::Peer;
use crate::procfs;
use crate::program::Program;
use rustix::process::{Pid, Signal, getpid, kill_process};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait for all workers of a peer to answer.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for one answer until then.
const LOOK: Duration = Duration::from_secs(2);
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

/// What a peer's standard input and output are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// Nothing, and its log.
    None,
    /// Orders, and answers to them.
    Orders,
}

/// A peer that was started and is ended on drop.
#[derive(Debug)]
pub(crate) struct Server {
    peer: Peer,
    port: u16,
    spawned: Instant,
    command: Child,
    log: PathBuf,
    pm2_pid_file: Option<PathBuf>,
}

impl Server {
    /// Starts `peer` with `workers` workers on a free port, and returns at once.
    pub(crate) fn spawn(bench: &Bench, peer: Peer, workers: usize) -> Result<Self> {
        Self::spawn_on(bench, peer, Major::Twenty, workers)
    }

    /// The same on this Node.
    pub(crate) fn spawn_on(bench: &Bench, peer: Peer, major: Major, workers: usize) -> Result<Self> {
        let port = free_port()?;
        let command = peer.command(bench, major, port, workers)?;
        Self::start(bench, peer, port, command, (OnCpus::Servers, Talk::None))
    }

    /// Starts `copies` of `program` under `peer` on a free port, and returns at once.
    pub(crate) fn spawn_program(
        bench: &Bench,
        peer: Peer,
        (program, copies): (Program, usize),
        cpus: OnCpus,
    ) -> Result<Self> {
        let port = free_port()?;
        Self::start(bench, peer, port, program.under(peer, bench, port, copies)?, (cpus, Talk::None))
    }

    /// Starts the Rust primary that takes orders, with `workers` workers under the policy of `peer`, and waits until each of
    /// them has answered.
    pub(crate) fn ordered(bench: &Bench, peer: Peer, workers: usize) -> Result<(Self, Control)> {
        // The library tells no tier: whether it can be had is what `oneport run` finds.
        drop(Self::ready(bench, peer, 1)?);
        let port = free_port()?;
        let command = peer.owner(bench, port, workers)?;
        let mut server = Self::start(bench, peer, port, command, (OnCpus::Servers, Talk::Orders))?;
        let mut control = Control::of(&mut server.command)?;
        control.hear()?;
        Ok((server.answering(workers)?, control))
    }

    fn start(
        bench: &Bench,
        peer: Peer,
        port: u16,
        mut command: Command,
        (cpus, talk): (OnCpus, Talk),
    ) -> Result<Self> {
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
        let log = bench.out.join(format!("{peer}.log"));
        let output = File::create(&log).cannot(|| "make a log".into())?;
        let errors = output.try_clone().cannot(|| "make a log".into())?;
        match talk {
            Talk::None => command.stdin(Stdio::null()).stdout(output),
            Talk::Orders => command.stdin(Stdio::piped()).stdout(Stdio::piped()),
        };
        command.stderr(errors).process_group(0);
        let spawned = Instant::now();
        let child = match cpus {
            OnCpus::Servers => bench.pins.on_servers(|| command.spawn())?,
            OnCpus::All => bench.pins.on_all(|| command.spawn())?,
        };
        let command = child.cannot(|| format!("start `{peer}`"))?;
        Ok(Self { peer, port, spawned, command, log, pm2_pid_file })
    }

    /// Starts `peer` and waits until each of its workers has answered.
    pub(crate) fn ready(bench: &Bench, peer: Peer, workers: usize) -> Result<Self> {
        Self::spawn(bench, peer, workers)?.asked_for(workers)
    }

    /// The same on this Node.
    pub(crate) fn ready_on(bench: &Bench, peer: Peer, major: Major, workers: usize) -> Result<Self> {
        Self::spawn_on(bench, peer, major, workers)?.asked_for(workers)
    }

    /// Starts `copies` of `program` under `peer` and waits until each of them has answered.
    pub(crate) fn program(bench: &Bench, peer: Peer, program: Program, copies: usize) -> Result<Self> {
        Self::spawn_program(bench, peer, (program, copies), OnCpus::Servers)?.asked_for(copies)
    }

    /// Waits until each worker has answered, and looks whether the policy is the one that was asked for.
    fn asked_for(self, workers: usize) -> Result<Self> {
        let ready = self.answering(workers)?;
        if let Peer::By(policy) = ready.peer {
            policy.check(&fs::read_to_string(&ready.log).cannot(|| "read a log".into())?)?;
        }
        Ok(ready)
    }

    fn answering(mut self, workers: usize) -> Result<Self> {
        let peer = self.peer;
        let deadline = self.spawned + READY_LIMIT;
        let mut seen = BTreeSet::new();
        let mut asked = 0;
        while seen.len() < workers {
            asked += 1;
            let answers = if peer.shares_a_socket() {
                let gap = Duration::from_millis(20);
                Held::busy(self.port, workers, gap, LOOK).map(|held| seen.extend(held.workers()))
            } else {
                // From everywhere, so that a policy that looks at addresses lets each of them answer.
                http::ask_from(asked, self.port, LOOK).map(|worker| seen.extend([worker]))
            };
            if answers.is_err() {
                // Not yet.
                sleep(Duration::from_millis(5));
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

    /// Connections that waited for one worker and were given to another, as told until now: once in a second.
    pub(crate) fn rescued(&self) -> Result<u32> {
        let told = fs::read_to_string(&self.log).cannot(|| "read a log".into())?;
        let of = |line: &str| {
            let (_, count) = line.strip_prefix("given to others on ")?.split_once(": ")?;
            count.split(' ').next()?.parse::<u32>().ok()
        };
        Ok(told.lines().filter_map(of).sum())
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

/// A port nobody holds at this moment.
pub(crate) fn free_port() -> Result<u16> {
    let what = || "find a free port".to_owned();
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).cannot(what)?;
    Ok(listener.local_addr().cannot(what)?.port())
}
