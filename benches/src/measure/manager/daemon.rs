//! The daemon is killed, and replaced, under load: does anybody notice?

use super::under_load::{NOTHING_LOST, PLAIN, Until, of, sample, while_they_go_on};
use super::{Measurement, Metric, Rounds, Sample};
use crate::bench::Bench;
use crate::error::{Cannot, Result};
use crate::goal::Goal;
use crate::load::Offer;
use crate::manager::{Manager, Ran};
use crate::peer::Peer;
use crate::server::OnCpus;
use rustix::process::{Signal, kill_process};
use std::time::Duration;

use super::under_load::Case;

const WORKERS: usize = 2;
/// Requests per second of each client.
const RATE: u32 = 200;

pub(in crate::measure) const KILLED: Measurement = Measurement {
    name: "manager-daemon-killed",
    title: "SIGKILL of the daemon under load",
    method: "Two clients as in the reloads, 200 requests per second each; after a third of the time the daemon is killed, \
             and nobody does anything about it. Then the list is asked for. A third of the rounds.",
    peers: &Peer::MANAGERS,
    ours: Peer::Manager,
    rounds: Rounds::AThird,
    metrics: &[
        Metric::counted("lost", "requests lost", "requests", 0).must(&[|_| Goal::EveryRound(0.0)]),
        Metric::plain("races", "resets of a connection at rest just as it was used", "requests", 0),
        Metric::plain("sent", "requests sent", "requests", 0),
        Metric::plain("listed", "workers on the list afterwards", "", 0).must(&[|_| Goal::Floor(2.0)]),
    ],
    sample: killed,
};

fn killed(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let manager = Manager::new(bench, peer, OnCpus::Servers)?;
    manager.start(&bench.servers.join("managed.js"), WORKERS, &[])?;
    let daemon = manager.daemon()?;
    let offer = Offer { port: manager.port(), kept: RATE, new: RATE };
    let (kept, new, _) = while_they_go_on(bench, offer, Until::Over, || {
        kill_process(daemon, Signal::KILL).cannot(|| "kill a daemon".into())?;
        Ok(Ran { code: Some(0), took: Duration::ZERO, cpu: Duration::ZERO, text: String::new() })
    })?;
    let list = manager.must(&["jlist"])?.text;
    // Something may be said before it.
    let list = list.find('[').map_or("", |at| &list[at..]);
    let list: serde_json::Value = serde_json::from_str(list.trim()).unwrap_or_default();
    let online = |one: &&serde_json::Value| one["pm2_env"]["status"] == "online";
    let listed = list.as_array().map_or(0, |all| all.iter().filter(online).count());
    let nothing = Ran { code: Some(0), took: Duration::ZERO, cpu: Duration::ZERO, text: String::new() };
    Ok(of(&kept, &new, &nothing).with("listed", listed as f64))
}

pub(in crate::measure) const UPDATED: Measurement = Measurement {
    name: "manager-daemon-updated",
    title: "`update` under load",
    method: "Two clients as in the reloads, 200 requests per second each. A third of the rounds.",
    peers: &Peer::MANAGERS,
    ours: Peer::Manager,
    rounds: Rounds::AThird,
    metrics: NOTHING_LOST,
    sample: |bench, peer, _| {
        const CASE: Case = Case { acts: &[&["update"]], ..PLAIN };
        sample(bench, peer, &CASE)
    },
};
