//! Sixty-four clients that never pause while workers come and go: does any of them get no answer?
//!
//! Connections come from many addresses, so that a policy that looks at them has something to choose by. The kernel must
//! not do it alone: with `net.ipv4.tcp_migrate_req` it would move what waits at a socket that is closed.

use super::{B, C, HASH, Metric, SHARED, STICKY, Sample};
use crate::error::{Failure, Result};
use crate::goal::{Aim, Goal};
use crate::load::{self, Outcome};
use crate::machine;
use crate::peer::Peer;
use crate::stats::percentile;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

/// Longest that everything that is done may take.
const LIMIT: Duration = Duration::from_secs(300);
/// Load before the first thing is done and after each, so that whoever is new has work when the next comes.
const BETWEEN: Duration = Duration::from_millis(300);

/// The table. Under every policy all connections must be answered.
pub(super) const METRICS: &[Metric] = &[
    Metric::counted("failed", "connections without an answer", "connections", 0)
        .must(&[|_| Goal::EveryRound(0.0)])
        .aiming(&[Aim { of: &[B, C, HASH, STICKY, SHARED, Peer::Oneport], goal: |_| Goal::EveryRound(0.0) }]),
    Metric::plain("answered", "connections answered", "connections", 0),
    Metric::plain("workers", "workers that answered", "", 0),
    Metric::plain("seconds", "time each took", "s", 2),
    Metric::plain("p99_ms", "latency, 99 %", "ms", 1),
    Metric::plain("longest_ms", "latency, longest", "ms", 1),
    Metric::plain("migrates", "net.ipv4.tcp_migrate_req", "", 0).must(&[|_| Goal::EveryRound(0.0)]),
];

/// Does something `times` times while clients go on at `port`.
pub(super) fn while_clients_go_on(
    (peer, port): (Peer, u16),
    times: u32,
    mut once: impl FnMut() -> Result<()> + Send,
) -> Result<Sample> {
    let enough = AtomicBool::new(false);
    let (outcome, done) = scope(|scope| {
        let doing = scope.spawn(|| {
            sleep(BETWEEN);
            let mut took = Duration::ZERO;
            let done = (0..times).try_for_each(|_| {
                let begin = Instant::now();
                once()?;
                took += begin.elapsed();
                sleep(BETWEEN);
                Ok(())
            });
            enough.store(true, Ordering::Relaxed);
            done.map(|()| took)
        });
        let outcome = load::closed_until(port, &enough, LIMIT);
        let ended_early = !enough.load(Ordering::Relaxed);
        (outcome.map(|outcome| (outcome, ended_early)), doing.join())
    });
    let what = || format!("have workers of `{peer}` come and go");
    let took = done.map_err(|_| Failure::cannot(what(), "its thread ended early"))??;
    let (outcome, ended_early) = outcome?;
    if ended_early {
        return Err(Failure::cannot(what(), format!("it took longer than {LIMIT:?}")));
    }
    Ok(of(&outcome, took / times.max(1)))
}

fn of(outcome: &Outcome, each: Duration) -> Sample {
    let milliseconds = |share| f64::from(percentile(&outcome.latencies, share)) / 1e3;
    Sample::default()
        .with("failed", f64::from(outcome.failed))
        .with("answered", f64::from(outcome.answered()))
        .with("workers", outcome.workers.len() as f64)
        .with("seconds", each.as_secs_f64())
        .with("p99_ms", milliseconds(0.99))
        .with("longest_ms", milliseconds(1.0))
        .with("migrates", machine::tcp_migrate_req())
}
