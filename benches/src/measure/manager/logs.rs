//! What it costs an app to say much: 200,000 lines to a bare file, and to the log files of managers. That oneport puts full
//! files aside and compresses them, and PM2 does not, is part of it.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::end::end_descendants;
use crate::error::{Cannot, Failure, Result};
use crate::goal::Goal;
use crate::manager::Manager;
use crate::peer::Peer;
use crate::procfs;
use crate::server::OnCpus;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bytes of a line of `servers/lines.js`.
const LINE: u64 = 107;
/// Longest that it may take until every line is in the file.
const LIMIT: Duration = Duration::from_secs(60);

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "manager-logs",
    title: "An app that writes 200,000 lines",
    method: "console.log of 107 bytes in a loop, to a file, under oneport, and under PM2 in fork mode and in cluster mode. \
             Not pinned. CPU time is that of the app from its first line on, and of the manager.",
    peers: &[Peer::Single, Peer::Manager, Peer::Pm2Fork, Peer::Pm2],
    ours: Peer::Manager,
    rounds: Rounds::AsAsked,
    metrics: &[
        Metric::counted("took_ms", "until the app has written all", "ms", 0)
            .against(&[Peer::Single])
            .must(&[|_| Goal::AtMost(Peer::Single, 1.2)]),
        Metric::counted("stored_ms", "until all is in the file", "ms", 0)
            .against(&[Peer::Single])
            .must(&[|_| Goal::AtMost(Peer::Single, 1.2)]),
        Metric::counted("cpu_ms", "CPU time of app and manager", "ms", 0).against(&[Peer::Single]),
        Metric::plain("app_ms", "  of the app", "ms", 0),
        Metric::plain("manager_ms", "  of the manager", "ms", 0),
        Metric::plain("missing", "lines missing", "lines", 0).must(&[|_| Goal::EveryRound(0.0)]),
    ],
    sample,
};

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let folder = bench.out.join("lines");
    let _absent_is_fine = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).cannot(|| "make a directory for logs".into())?;
    let (out, err) = (folder.join("out.log"), folder.join("err.log"));
    let lines = bench.plan.lines;
    if peer == Peer::Single {
        bare(bench, &out, &err)?;
        let sample = of(&folder, &err, lines, || Ok(0));
        end_descendants();
        return sample;
    }
    let manager = Manager::new(bench, peer, OnCpus::All)?.with("LINES", lines);
    manager.must(&["ping"])?;
    let script = bench.servers.join("lines.js");
    let (script, out_word, err_word) =
        (script.to_string_lossy(), out.to_string_lossy(), err.to_string_lossy());
    let mut words =
        vec!["start", &script, "--name", "bench", "--merge-logs", "-o", &out_word, "-e", &err_word];
    if peer == Peer::Pm2 {
        words.extend(["-i", "1"]);
    }
    let own = || Ok(manager.own()?.into_iter().map(procfs::cpu_ns).sum::<u64>());
    let before = own()?;
    // `start` may look on for longer than the app writes.
    scope(|scope| {
        let starting = scope.spawn(|| manager.must(&words));
        let sample = of(&folder, &err, lines, || Ok(own()?.saturating_sub(before)));
        starting.join().map_err(|_| Failure::cannot("start an app", "its thread ended early"))??;
        sample
    })
}

/// The app alone, its output to files.
fn bare(bench: &Bench, out: &Path, err: &Path) -> Result<()> {
    let what = || "run an app".to_owned();
    let mut command = Command::new(&bench.tools.node.binary);
    command.arg(bench.servers.join("lines.js")).env("LINES", bench.plan.lines.to_string());
    command.stdin(Stdio::null());
    command.stdout(File::create(out).cannot(what)?).stderr(File::create(err).cannot(what)?);
    // It is found and ended with all that the runner has started.
    bench.pins.on_all(|| command.spawn())?.cannot(what).map(drop)
}

/// Waits until everything is in the files, and reads what the app said of itself.
fn of(folder: &Path, err: &Path, lines: u32, manager: impl Fn() -> Result<u64>) -> Result<Sample> {
    let begin = Instant::now();
    let expected = u64::from(lines) * LINE;
    let mut full = None;
    let said = loop {
        if full.is_none() && Stored::look(folder)?.bytes >= expected {
            full = Some(SystemTime::now());
        }
        let text = fs::read_to_string(err).unwrap_or_default();
        let said = text.lines().find_map(Said::of);
        match (said, full) {
            (Some(said), Some(_)) => break said,
            // What has not come by then does not come any more.
            (Some(said), None) if begin.elapsed() > LIMIT => break said,
            (None, _) if begin.elapsed() > LIMIT => {
                return Err(Failure::cannot("count lines", "the app did not end in time"));
            }
            (Some(_), None) | (None, _) => sleep(Duration::from_millis(1)),
        }
    };
    // Compressing is work, too.
    while Stored::look(folder)?.unpacked > 0 && begin.elapsed() < LIMIT {
        sleep(Duration::from_millis(10));
    }
    let manager_ms = manager()? as f64 / 1e6;
    let stored = Stored::look(folder)?.bytes / LINE;
    let sample = Sample::default()
        .with("took_ms", said.took_ms)
        .with("cpu_ms", said.cpu_ms + manager_ms)
        .with("app_ms", said.cpu_ms)
        .with("manager_ms", manager_ms)
        .with("missing", u64::from(lines).saturating_sub(stored) as f64);
    let since_epoch =
        |at: SystemTime| at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1e3);
    Ok(match full {
        Some(at) => sample.with("stored_ms", since_epoch(at) - said.began_ms),
        None => sample,
    })
}

/// What `lines.js` says at its end.
struct Said {
    began_ms: f64,
    took_ms: f64,
    cpu_ms: f64,
}

impl Said {
    fn of(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |name: &str| words.get(words.iter().position(|word| *word == name)? + 1)?.parse().ok();
        Some(Self { began_ms: after("BEGAN")?, took_ms: after("TOOK")?, cpu_ms: after("CPU")? })
    }
}

/// What is in the files of standard output.
#[derive(Debug, Default)]
struct Stored {
    /// Bytes, as they were before anything was compressed.
    bytes: u64,
    /// Files that were put aside and are not compressed yet.
    unpacked: usize,
}

impl Stored {
    fn look(folder: &Path) -> Result<Self> {
        let what = || "look at logs".to_owned();
        let mut sizes: BTreeMap<String, (u64, bool)> = BTreeMap::new();
        for entry in fs::read_dir(folder).cannot(what)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            // Half a file counts when it is whole; until then the other one is there.
            if !name.starts_with("out.log") || name.ends_with(".tmp") {
                continue;
            }
            let packed = name.strip_suffix(".gz");
            let size = match packed {
                Some(_) => length_before(&entry.path()),
                None => entry.metadata().map(|about| about.len()).ok(),
            };
            // Gone between the list and the look: the next look tells.
            let Some(size) = size else { continue };
            let known = sizes.entry(packed.unwrap_or(&name).to_owned()).or_default();
            *known = (size, known.1 || packed.is_some());
        }
        let unpacked = sizes.iter().filter(|(name, (_, packed))| *name != "out.log" && !packed).count();
        Ok(Self { bytes: sizes.values().map(|(size, _)| size).sum(), unpacked })
    }
}

/// The length that a file had before gzip: its last four bytes.
fn length_before(path: &Path) -> Option<u64> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::End(-4)).ok()?;
    let mut length = [0; 4];
    file.read_exact(&mut length).ok()?;
    Some(u32::from_le_bytes(length).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_app_says_is_found_by_its_names() {
        let said = Said::of("x: BEGAN 1.5 TOOK 20 CPU 3.25").expect("three numbers");
        assert_eq!((said.began_ms, said.took_ms, said.cpu_ms), (1.5, 20.0, 3.25));
        assert!(Said::of("BEGAN 1 TOOK 2").is_none());
    }
}
