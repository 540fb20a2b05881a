//! What the manager takes for itself while 16 workers run, at once and after reloads; and on disk.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::goal::Goal;
use crate::manager::Manager;
use crate::peer::Peer;
use crate::procfs;
use crate::server::OnCpus;
use rustix::process::Pid;
use std::fs;

const WORKERS: usize = 16;

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "manager-memory",
    title: "Memory of the manager itself, 16 workers",
    method: "The daemon and, of oneport, the primary of the app; not the workers. PSS shares out pages that several \
             processes have. A third of the rounds.",
    peers: &Peer::MANAGERS,
    ours: Peer::Manager,
    rounds: Rounds::AThird,
    metrics: &[
        Metric::counted("pss_mib", "PSS", "MiB", 1).must(&[|_| Goal::EveryRound(12.0)]),
        Metric::plain("rss_mib", "RSS", "MiB", 1),
        Metric::counted("reloaded_pss_mib", "PSS after the reloads", "MiB", 1)
            .must(&[|_| Goal::EveryRound(12.0)]),
        Metric::plain("reloaded_rss_mib", "RSS after the reloads", "MiB", 1),
        Metric::plain("reloads", "reloads", "", 0),
        Metric::plain("disk_mb", "the program on disk (PM2: its package with what it needs)", "MB", 1)
            .must(&[|_| Goal::EveryRound(12.0)]),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let manager = Manager::new(bench, peer, OnCpus::All)?;
    manager.start(&bench.servers.join("managed.js"), WORKERS, &[])?;
    let (pss, rss) = memory(&manager)?;
    for _ in 0..bench.plan.reloads {
        manager.must(&["reload", "bench"])?;
    }
    let (reloaded_pss, reloaded_rss) = memory(&manager)?;
    let disk = match peer.is_pm2() {
        true => tree(&bench.out.join("node/node_modules"))?,
        false => fs::metadata(&bench.tools.oneport).cannot(|| "look at oneport".into())?.len(),
    };
    Ok(Sample::default()
        .with("pss_mib", pss)
        .with("rss_mib", rss)
        .with("reloaded_pss_mib", reloaded_pss)
        .with("reloaded_rss_mib", reloaded_rss)
        .with("reloads", f64::from(bench.plan.reloads))
        .with("disk_mb", disk as f64 / 1e6))
}

/// PSS and RSS in MiB.
fn memory(manager: &Manager<'_>) -> Result<(f64, f64)> {
    let own = manager.own()?;
    let sum = |of: fn(Pid) -> Option<u64>| {
        let each: Option<u64> = own.iter().map(|&pid| of(pid)).sum();
        let kib = each.ok_or_else(|| Failure::cannot("read the memory of a manager", "a process is gone"))?;
        Ok::<f64, Failure>(kib as f64 / 1024.0)
    };
    Ok((sum(procfs::pss_kib)?, sum(procfs::rss_kib)?))
}

/// Bytes of all files below a directory.
fn tree(directory: &std::path::Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory).cannot(|| "look at pm2".into())?.flatten() {
        let Ok(about) = entry.metadata() else { continue };
        // npm may have put Node itself beside it.
        let name = entry.file_name().to_string_lossy().into_owned();
        if name == "node" || name.starts_with("node-linux") {
            continue;
        }
        bytes += if about.is_dir() { tree(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}
