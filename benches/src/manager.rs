//! A manager of processes as its users have it: commands, the daemon they start, and the apps below it. A home of its own,
//! made anew for each; dropping it ends every process.

use crate::bench::Bench;
use crate::end::{end_descendants, reap};
use crate::error::{Cannot, Failure, Result};
use crate::interrupt;
use crate::load::http;
use crate::peer::Peer;
use crate::procfs;
use crate::server::{OnCpus, free_port};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest that one command may take.
const LIMIT: Duration = Duration::from_secs(120);
/// Longest wait for all workers to answer.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// What a command came to.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    /// Its exit code, if it ended by itself.
    pub(crate) code: Option<i32>,
    /// From its start to its end.
    pub(crate) took: Duration,
    /// Its own CPU time.
    pub(crate) cpu: Duration,
    /// What it printed.
    pub(crate) text: String,
}

/// A manager with a home of its own.
#[derive(Debug)]
pub(crate) struct Manager<'a> {
    bench: &'a Bench,
    peer: Peer,
    cpus: OnCpus,
    home: PathBuf,
    port: u16,
    env: Vec<(&'static str, String)>,
}

impl<'a> Manager<'a> {
    /// With an empty home and nothing that runs. What it starts may use these CPUs.
    pub(crate) fn new(bench: &'a Bench, peer: Peer, cpus: OnCpus) -> Result<Self> {
        let home = if peer.is_pm2() { bench.tools.pm2_home.clone() } else { bench.out.join("oneport-home") };
        let _absent_is_fine = fs::remove_dir_all(&home);
        if peer.is_pm2() {
            // The marker file tells PM2 that this is not its first run, whose greeting asks a server on the Internet for
            // the newest version.
            fs::create_dir_all(&home).cannot(|| "make pm2's home".into())?;
            fs::write(home.join("touch"), "").cannot(|| "make pm2's home".into())?;
        }
        Ok(Self { bench, peer, cpus, home, port: free_port()?, env: Vec::new() })
    }

    /// With a variable that its commands, and thereby its apps, have.
    pub(crate) fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.env.push((name, value.to_string()));
        self
    }

    /// The port that its app is told.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    fn command(&self, words: &[&str]) -> Command {
        let tools = &self.bench.tools;
        let mut command = match self.peer.is_pm2() {
            true => self.peer.pm2(tools, &tools.node),
            false => Command::new(&tools.oneport),
        };
        self.peer.settle(&mut command, self.bench, &tools.node, self.port);
        command.args(words).env("ONEPORT_HOME", &self.home);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs one of its commands to the end.
    pub(crate) fn run(&self, words: &[&str]) -> Result<Ran> {
        let what = || format!("run `{} {}`", self.peer, words.join(" "));
        if interrupt::leaving() {
            return Err(Failure::cannot(what(), "interrupted"));
        }
        let path = self.bench.out.join(format!("{}.log", self.peer));
        let log = File::create(&path).cannot(|| "make a log".into())?;
        let errors = log.try_clone().cannot(|| "make a log".into())?;
        let mut command = self.command(words);
        command.stdin(Stdio::null()).stdout(log).stderr(errors).process_group(0);
        let (began, child) = self.on_cpus(|| (Instant::now(), command.spawn()))?;
        let mut child = child.cannot(what)?;
        let pid = Pid::from_child(&child);
        let until = began + LIMIT;
        // Its accounts are open as long as nobody has collected it.
        let ended = || {
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG)
        };
        while matches!(ended(), Ok(None)) {
            if Instant::now() > until {
                let _gone_is_fine = kill_process(pid, Signal::KILL);
                let _reaped = child.wait();
                return Err(Failure::cannot(what(), format!("it took longer than {LIMIT:?}")));
            }
            sleep(Duration::from_micros(200));
        }
        let took = began.elapsed();
        let cpu = Duration::from_nanos(procfs::cpu_ns(pid));
        let status = child.wait().cannot(what)?;
        let text = fs::read_to_string(&path).unwrap_or_default();
        Ok(Ran { code: status.code(), took, cpu, text })
    }

    /// Runs a command that has to succeed.
    pub(crate) fn must(&self, words: &[&str]) -> Result<Ran> {
        let ran = self.run(words)?;
        match ran.code {
            Some(0) => Ok(ran),
            _ => {
                let cause = format!("it ended with {:?} after saying `{}`", ran.code, ran.text.trim());
                Err(Failure::cannot(format!("run `{} {}`", self.peer, words.join(" ")), cause))
            }
        }
    }

    /// Starts `script` with `workers` workers as the app `bench`, and waits until each of them has answered.
    pub(crate) fn start(&self, script: &Path, workers: usize, words: &[&str]) -> Result<()> {
        let script = script.to_string_lossy();
        let count = workers.to_string();
        let mut line = vec!["start", &script, "-i", &count, "--name", "bench"];
        line.extend(words);
        self.must(&line)?;
        self.answering(workers)
    }

    /// Waits until so many workers have answered.
    pub(crate) fn answering(&self, workers: usize) -> Result<()> {
        let until = Instant::now() + READY_LIMIT;
        let mut seen = BTreeSet::new();
        while seen.len() < workers {
            let answer = http::ask_for(self.port, http::WORKER, Duration::from_secs(2)).ok();
            match answer.and_then(|answer| http::worker(&answer)) {
                Some(worker) => _ = seen.insert(worker),
                // Not yet.
                None => sleep(Duration::from_millis(5)),
            }
            if Instant::now() > until {
                let cause = format!("{} of {workers} workers answered in {READY_LIMIT:?}", seen.len());
                return Err(Failure::cannot(format!("start an app under `{}`", self.peer), cause));
            }
        }
        Ok(())
    }

    /// The daemon.
    pub(crate) fn daemon(&self) -> Result<Pid> {
        let name = if self.peer.is_pm2() { "pm2.pid" } else { "daemon.pid" };
        let text = fs::read_to_string(self.home.join(name)).cannot(|| format!("read `{name}`"))?;
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        pid.filter(|&pid| procfs::descendants(getpid()).contains(&pid)).ok_or_else(|| {
            Failure::cannot(
                format!("find the daemon of `{}`", self.peer),
                format!("`{}` is no pid of ours", text.trim()),
            )
        })
    }

    /// The processes that are not apps: the daemon, and what oneport has below it for each app.
    pub(crate) fn own(&self) -> Result<Vec<Pid>> {
        let daemon = self.daemon()?;
        let below = if self.peer.is_pm2() { Vec::new() } else { procfs::children(daemon) };
        Ok([daemon].into_iter().chain(below).collect())
    }

    /// Runs `start` where its processes are to be.
    fn on_cpus<T>(&self, start: impl FnOnce() -> T) -> Result<T> {
        match self.cpus {
            OnCpus::Servers => self.bench.pins.on_servers(start),
            OnCpus::All => self.bench.pins.on_all(start),
        }
    }
}

impl Drop for Manager<'_> {
    fn drop(&mut self) {
        end_descendants();
        reap();
    }
}
