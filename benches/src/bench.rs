//! What every measurement needs: the plan, the programs, the places, the CPUs; and the rounds themselves.
//!
//! A round runs every peer once, in an order shuffled anew each time; a peer that failed twice is not tried
//! again. Only one peer runs at any moment.

use crate::args::{Args, Plan};
use crate::error::{Cannot, Result};
use crate::machine::{self, Machine};
use crate::measure::{Measurement, Sample};
use crate::peer::Peer;
use crate::pin::Pins;
use crate::section::Section;
use crate::stats::Order;
use crate::tools::Tools;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

/// Everything a measurement is given.
#[derive(Debug)]
pub(crate) struct Bench {
    /// How much to do.
    pub(crate) plan: Plan,
    /// What to run.
    pub(crate) tools: Tools,
    /// Where it runs.
    pub(crate) pins: Pins,
    /// The machine, for the report.
    pub(crate) machine: Machine,
    /// Where reports and logs go.
    pub(crate) out: PathBuf,
    /// Where the scripts under test are.
    pub(crate) servers: PathBuf,
    /// The peers asked for.
    pub(crate) peers: Vec<Peer>,
    /// Seed of the order.
    pub(crate) seed: u64,
    /// Whether these are the small counts of `--quick`.
    pub(crate) quick: bool,
}

impl Bench {
    /// Finds programs, places and CPUs for `args`.
    pub(crate) fn prepare(args: &Args) -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("../target"), PathBuf::from);
        let out = target.join("bench");
        fs::create_dir_all(&out).cannot(|| "make the report's directory".into())?;
        let target = target.canonicalize().cannot(|| "find the target directory".into())?;
        let out = target.join("bench");
        let servers = root.join("servers");
        let tools = Tools::find(args, &servers, &target, &out)?;
        let clock = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Ok(Self {
            plan: Plan::of(args),
            machine: Machine::describe(),
            pins: Pins::take()?,
            tools,
            out,
            servers,
            peers: args.wanted_peers(),
            seed: args.seed.unwrap_or_else(clock),
            quick: args.quick,
        })
    }

    /// Runs all rounds of one measurement.
    pub(crate) fn run(&self, measurement: &'static Measurement) -> Section {
        let asked = measurement.peers.iter().copied().filter(|peer| self.peers.contains(peer));
        let peers: Vec<Peer> = asked.collect();
        let mut order = Order::new(self.seed);
        let mut section = Section::new(measurement, peers.clone());
        section.load_before = machine::load_average();
        let rounds = measurement.rounds.of(self.plan.rounds);
        for round in 0..rounds {
            for peer in order.shuffle(&peers) {
                if section.failures(peer) >= 2 {
                    continue;
                }
                let sample = self.tools.check(peer).and_then(|()| (measurement.sample)(self, peer, round));
                self.say(measurement, peer, (round + 1, rounds), &sample);
                section.add(round, peer, sample);
            }
        }
        section.load_after = machine::load_average();
        section
    }

    /// One line of progress.
    fn say(&self, measurement: &Measurement, peer: Peer, (round, of): (u32, u32), sample: &Result<Sample>) {
        let what = match sample {
            Ok(sample) => {
                let values = measurement.metrics.iter().filter(|metric| metric.charted);
                let shown = values.filter_map(|m| Some(format!("{} {}", m.key, m.show(sample.get(m.key)?))));
                let shown: Vec<String> = shown.chain(sample.note.clone()).collect();
                shown.join(", ")
            }
            Err(failure) => failure.to_string(),
        };
        eprintln!("{} {round}/{of} {:<15} {what}", measurement.name, peer.title());
    }
}
