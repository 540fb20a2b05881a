//! What it costs an app to say much: 200,000 lines to a bare file, and to the log files of managers.

use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::end::end_descendants;
use crate::error::{Cannot, Failure, Result};
use crate::goal::Goal;
use crate::manager::Manager;
use crate::peer::Peer;
use crate::procfs;
use crate::server::OnCpus;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
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
    let (out, err) = (bench.out.join("lines.out"), bench.out.join("lines.err"));
    for path in [&out, &err] {
        let _absent_is_fine = fs::remove_file(path);
    }
    let lines = bench.plan.lines;
    if peer == Peer::Single {
        bare(bench, &out, &err)?;
        let sample = of(&out, &err, lines, || Ok(0));
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
    manager.must(&words)?;
    of(&out, &err, lines, || Ok(own()?.saturating_sub(before)))
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
fn of(out: &Path, err: &Path, lines: u32, manager: impl Fn() -> Result<u64>) -> Result<Sample> {
    let begin = Instant::now();
    let expected = u64::from(lines) * LINE;
    let mut full = None;
    let said = loop {
        if full.is_none() && fs::metadata(out).is_ok_and(|file| file.len() >= expected) {
            full = Some(SystemTime::now());
        }
        let text = fs::read_to_string(err).unwrap_or_default();
        let said = text.lines().find_map(|line| Said::of(line));
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
    let manager_ms = manager()? as f64 / 1e6;
    let sample = Sample::default()
        .with("took_ms", said.took_ms)
        .with("cpu_ms", said.cpu_ms + manager_ms)
        .with("app_ms", said.cpu_ms)
        .with("manager_ms", manager_ms)
        .with("missing", (u64::from(lines) - count(out)?.min(lines.into())) as f64);
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

/// Lines of a file.
fn count(path: &Path) -> Result<u64> {
    let what = || "count lines".to_owned();
    let mut file = File::open(path).cannot(what)?;
    let mut buffer = vec![0; 1 << 16];
    let mut lines = 0;
    loop {
        match file.read(&mut buffer).cannot(what)? {
            0 => return Ok(lines),
            length => lines += buffer[..length].iter().filter(|byte| **byte == b'\n').count() as u64,
        }
    }
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
