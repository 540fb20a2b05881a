//! A reload to a build that does not run, and to one that takes long to start: does the app stay there?

use super::under_load::{Until, of, while_they_go_on};
use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Cannot, Result};
use crate::goal::Goal;
use crate::load::Offer;
use crate::manager::Manager;
use crate::peer::Peer;
use crate::server::OnCpus;
use std::fs;

/// Connections per second that look whether it is there.
const RATE: u32 = 50;

const METHOD: &str = "50 connections per second with one request each, before, during and after `reload`. A third of the \
                      rounds.";

const LOST: Metric =
    Metric::counted("lost", "probes that failed", "connections", 0).must(&[|_| Goal::EveryRound(0.0)]);
const SENT: Metric = Metric::plain("sent", "probes", "connections", 0);
const CODE: Metric = Metric::plain("code", "exit code of the command", "", 0);
const SECONDS: Metric = Metric::plain("seconds", "time that the command took", "s", 2);

pub(in crate::measure) const BROKEN: Measurement = Measurement {
    name: "manager-reload-broken",
    title: "Reload of 2 workers to a build that throws",
    method: METHOD,
    peers: &Peer::MANAGERS,
    ours: Peer::Manager,
    rounds: Rounds::AThird,
    metrics: &[LOST, SENT, CODE.must(&[|_| Goal::Floor(1.0)]), SECONDS],
    sample: |bench, peer, _| {
        sample(bench, peer, 2, |_original| "throw new Error('a broken build');\n".to_owned())
    },
};

pub(in crate::measure) const SLOW: Measurement = Measurement {
    name: "manager-reload-slow",
    title: "Reload of 1 worker to a build that listens after 5 s",
    method: METHOD,
    peers: &Peer::MANAGERS,
    ours: Peer::Manager,
    rounds: Rounds::AThird,
    metrics: &[LOST, SENT, CODE, SECONDS],
    sample: |bench, peer, _| {
        sample(bench, peer, 1, |original| format!("setTimeout(() => require('{original}'), 5000);\n"))
    },
};

/// Starts the app from a file that becomes `next` (of the path of the good one) before the reload.
fn sample(
    bench: &Bench,
    peer: Peer,
    workers: usize,
    next: impl Fn(&str) -> String + Send + Sync,
) -> Result<Sample> {
    let original = bench.servers.join("managed.js");
    let app = bench.out.join("build.js");
    let write = |text: String| fs::write(&app, text).cannot(|| "write an app".into());
    write(format!("require('{}');\n", original.display()))?;
    let manager = Manager::new(bench, peer, OnCpus::Servers)?;
    manager.start(&app, workers, &[])?;
    let offer = Offer { port: manager.port(), kept: 0, new: RATE };
    let (kept, new, ran) = while_they_go_on(bench, offer, Until::Over, || {
        write(next(&original.display().to_string()))?;
        manager.run(&["reload", "bench"])
    })?;
    Ok(of(&kept, &new, &ran))
}
