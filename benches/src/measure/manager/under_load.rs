//! Something is done with an app while two clients go on at a steady rate: what do they lose?

use super::{Metric, Sample};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::goal::Goal;
use crate::load::{self, Offer, Seen};
use crate::manager::{Manager, Ran};
use crate::peer::Peer;
use crate::server::OnCpus;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::Instant;

/// How long clients go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// For the planned time, and on until a moment after the command has ended.
    Over,
    /// For the planned time.
    Time,
}

/// What is done, to whom.
#[derive(Debug)]
pub(super) struct Case {
    /// Workers before it.
    pub(super) workers: usize,
    /// How long a request takes, in milliseconds.
    pub(super) delay_ms: u32,
    /// What the app does when it is asked to stop; see `servers/managed.js`.
    pub(super) on_stop: &'static str,
    /// Whether the app says when it is ready.
    pub(super) says_ready: bool,
    /// Requests per second of each client.
    pub(super) rate: u32,
    /// Further words of `start`.
    pub(super) words: &'static [&'static str],
    /// The commands, one after the other.
    pub(super) acts: &'static [&'static [&'static str]],
    /// How long clients go on.
    pub(super) until: Until,
}

/// Two workers that do nothing when asked to stop, and a reload.
pub(super) const PLAIN: Case = Case {
    workers: 2,
    delay_ms: 20,
    on_stop: "nothing",
    says_ready: false,
    rate: 200,
    words: &[],
    acts: &[&["reload", "bench"]],
    until: Until::Over,
};

const LOST: Metric = Metric::counted("lost", "requests lost", "requests", 0);
const LATE: Metric = Metric::plain("late", "requests given to workers after the stop signal", "requests", 0);

/// The table of cases in which nothing may be lost.
pub(super) const NOTHING_LOST: &[Metric] =
    &[LOST.must(&[|_| Goal::EveryRound(0.0)]), KEPT, NEW, RACES, LATE, SENT, SECONDS, LONGEST, CODE];
/// The same where nobody may get anything after the signal either.
pub(super) const NOTHING_LATE: &[Metric] = &[
    LOST.must(&[|_| Goal::EveryRound(0.0)]),
    KEPT,
    NEW,
    RACES,
    LATE.must(&[|_| Goal::EveryRound(0.0)]),
    SENT,
    SECONDS,
    LONGEST,
    CODE,
];
/// The same without goals.
pub(super) const SHOWN: &[Metric] = &[LOST, KEPT, NEW, RACES, LATE, SENT, SECONDS, LONGEST, CODE];

const KEPT: Metric = Metric::plain("lost_kept", "  of those over kept connections", "requests", 0);
const NEW: Metric = Metric::plain("lost_new", "  of those with a connection each", "requests", 0);
const RACES: Metric =
    Metric::plain("races", "resets of a connection at rest just as it was used", "requests", 0);
const SENT: Metric = Metric::plain("sent", "requests sent", "requests", 0);
const SECONDS: Metric = Metric::plain("seconds", "time that the command took", "s", 2);
const LONGEST: Metric = Metric::plain("longest_ms", "longest wait for an answer", "ms", 0);
const CODE: Metric = Metric::plain("code", "exit code of the command", "", 0);

/// One sample of `case`.
pub(super) fn sample(bench: &Bench, peer: Peer, case: &Case) -> Result<Sample> {
    let late = bench.out.join("seen-late");
    let _absent_is_fine = fs::remove_file(&late);
    let mut manager = Manager::new(bench, peer, OnCpus::Servers)?
        .with("DELAY", case.delay_ms)
        .with("ON_STOP", case.on_stop)
        .with("SEEN_LATE", late.display());
    if case.says_ready {
        manager = manager.with("SAY_READY", 1);
    }
    manager.start(&bench.servers.join("managed.js"), case.workers, case.words)?;
    let offer = Offer { port: manager.port(), kept: case.rate, new: case.rate };
    let (kept, new, ran) = while_they_go_on(bench, offer, case.until, || {
        let mut last = None;
        for words in case.acts {
            last = Some(manager.run(words)?);
        }
        last.ok_or_else(|| Failure::cannot("do something", "nothing is planned"))
    })?;
    let late = fs::metadata(&late).map_or(0, |file| file.len());
    Ok(of(&kept, &new, &ran).with("late", late as f64))
}

/// Does something while the clients of `offer` go on, and counts what they lose.
pub(super) fn while_they_go_on(
    bench: &Bench,
    offer: Offer,
    until: Until,
    act: impl FnOnce() -> Result<Ran> + Send,
) -> Result<(Seen, Seen, Ran)> {
    let (time, after) = (bench.plan.managed_time, bench.plan.managed_after);
    let enough = AtomicBool::new(false);
    let (seen, ran) = scope(|scope| {
        if until == Until::Time {
            scope.spawn(|| {
                sleep(time);
                enough.store(true, Ordering::Relaxed);
            });
        }
        let acting = scope.spawn(|| {
            let began = Instant::now();
            sleep(time / 3);
            let acted = Instant::now();
            let ran = act().map(|ran| Ran { took: acted.elapsed(), ..ran });
            if until == Until::Over {
                // A worker may leave as long as its connections take: clients do not make it easier by going.
                sleep(after.max(time.saturating_sub(began.elapsed())));
                enough.store(true, Ordering::Relaxed);
            }
            ran
        });
        let seen = load::steady(offer, &enough);
        (seen, acting.join())
    });
    let (kept, new) = seen?;
    let ran = ran.map_err(|_| Failure::cannot("act under load", "its thread ended early"))??;
    Ok((kept, new, ran))
}

/// What was lost as a sample.
pub(super) fn of(kept: &Seen, new: &Seen, ran: &Ran) -> Sample {
    let sample = Sample::default()
        .with("lost", f64::from(kept.lost() + new.lost()))
        .with("lost_kept", f64::from(kept.lost()))
        .with("lost_new", f64::from(new.lost()))
        .with("races", f64::from(kept.races))
        .with("sent", f64::from(kept.sent + new.sent))
        .with("seconds", ran.took.as_secs_f64())
        .with("longest_ms", kept.longest.max(new.longest).as_secs_f64() * 1e3)
        .with("code", f64::from(ran.code.unwrap_or(-1)));
    let words = [("kept", kept.words()), ("new", new.words())];
    let words =
        words.iter().filter(|(_, words)| !words.is_empty()).map(|(who, words)| format!("{who}: {words}"));
    let words = words.collect::<Vec<_>>().join("; ");
    if words.is_empty() { sample } else { sample.noting(words) }
}
