//! The command line, and the amounts of work that follow from it.
//!
//! Every count the measurements use is decided here, once; a measurement never invents one. All of them are
//! bounded, so a run ends whatever its peers do.

use crate::measure::{self, Measurement};
use crate::peer::Peer;
use crate::program::Program;
use clap::Parser;
use clap::builder::PossibleValuesParser;
use std::path::PathBuf;
use std::time::Duration;

/// Measures oneport beside Node's own cluster, PM2, SO_REUSEPORT and plain processes, interleaved in one run.
#[derive(Debug, Parser)]
#[command(name = "bench", version)]
pub(crate) struct Args {
    /// Run only this measurement, or this group of them (may be given several times)
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(measure::names()))]
    pub(crate) only: Vec<String>,
    /// Rounds per measurement; every round runs every peer once, in shuffled order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rounds: Option<u32>,
    /// Three rounds with small counts: shows that everything runs, its figures mean little
    #[arg(long)]
    pub(crate) quick: bool,
    /// Run only these peers
    #[arg(long, value_name = "PEER", value_delimiter = ',', default_values_t = Peer::ALL)]
    pub(crate) peers: Vec<Peer>,
    /// Pass `--credits N` to oneport, and judge its goals by N
    #[arg(long, value_name = "N")]
    pub(crate) credits: Option<u32>,
    /// The oneport binary [default: target/release/oneport]
    #[arg(long, value_name = "PATH")]
    pub(crate) oneport: Option<PathBuf>,
    /// Niceness of the runner and everything it starts (negative needs the privilege)
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) nice: Option<i32>,
    /// Seed of the shuffled order [default: the clock]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

impl Args {
    /// The measurements asked for, in the order of the report.
    pub(crate) fn measurements(&self) -> Vec<&'static Measurement> {
        let asked = |m: &&Measurement| self.only.is_empty() || self.only.iter().any(|name| m.is_called(name));
        measure::ALL.into_iter().filter(asked).collect()
    }

    /// The peers asked for that take part in any of them.
    pub(crate) fn wanted_peers(&self) -> Vec<Peer> {
        let measurements = self.measurements();
        let takes_part = |peer: &Peer| measurements.iter().any(|m| m.peers.contains(peer));
        self.peers.iter().copied().filter(takes_part).collect()
    }
}

/// How much of everything one run does.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Interleaved rounds per measurement.
    pub(crate) rounds: u32,
    /// Connections each worker serves before anything is counted: below about 12,000 the figures are those of
    /// V8's interpreter, up to eight times the settled ones.
    pub(crate) warm_per_worker: u32,
    /// The same where workers are compiled already: caches and allocators only.
    pub(crate) warm_per_native_worker: u32,
    /// Connections counted in one sample of a compiled program's cost.
    pub(crate) program_connections: u32,
    /// The same for Python, of which one takes about as much time as ten of the others.
    pub(crate) python_connections: u32,
    /// Connections sent to two copies of a program, one of which is stopped and gets about half of them.
    pub(crate) beside_killed: usize,
    /// Requests per second offered during a reload.
    pub(crate) reload_rate: u32,
    /// How long they are offered; the reload begins after a sixth of it.
    pub(crate) reload_time: Duration,
    /// Copies that start at once.
    pub(crate) crowd: usize,
    /// Connections counted in one sample of `churn`.
    pub(crate) churn_connections: u32,
    /// Connections served before the primary's memory is read.
    pub(crate) memory_connections: u32,
    /// Starts timed in one sample of `start`.
    pub(crate) starts: u32,
    /// Connections placed in `placement`; a multiple of the four workers.
    pub(crate) placed: usize,
    /// Time between two of them where they come apart.
    pub(crate) placed_gap: Duration,
    /// Connections opened while a worker is stopped.
    pub(crate) beside_stopped: usize,
    /// How long such a connection may wait before it counts as waiting.
    pub(crate) stopped_deadline: Duration,
    /// Blocks of 200 ms in one sample of `blocked`.
    pub(crate) blocks: u32,
    /// From the start of one block to the start of the next.
    pub(crate) block_every: Duration,
    /// Connections per second offered in `blocked`.
    pub(crate) open_rate: u32,
    /// The same in `least-blocked`.
    pub(crate) least_rate: u32,
    /// Reloads in one sample.
    pub(crate) reloads: u32,
    /// Workers given up, one after the other, in one sample.
    pub(crate) scalings: u32,
    /// How long an idle primary is watched.
    pub(crate) idle: Duration,
    /// Connections that stay open beside those that are counted; the runner needs a descriptor for each.
    pub(crate) grown: usize,
    /// How long clients of a manager go on at least; what is done begins after a third of it.
    pub(crate) managed_time: Duration,
    /// How long they go on after it is done.
    pub(crate) managed_after: Duration,
    /// Times that a command is timed in one sample.
    pub(crate) commands: u32,
    /// Lines that an app writes.
    pub(crate) lines: u32,
}

impl Plan {
    /// The plan `args` asks for.
    pub(crate) fn of(args: &Args) -> Self {
        let full = Self {
            rounds: 9,
            warm_per_worker: 12_000,
            warm_per_native_worker: 2_000,
            program_connections: 24_000,
            python_connections: 8_000,
            beside_killed: 80,
            reload_rate: 200,
            reload_time: Duration::from_secs(12),
            crowd: 500,
            churn_connections: 24_000,
            memory_connections: 12_000,
            starts: 3,
            placed: 64,
            placed_gap: Duration::from_millis(5),
            beside_stopped: 40,
            stopped_deadline: Duration::from_millis(1000),
            blocks: 30,
            block_every: Duration::from_millis(300),
            open_rate: 1000,
            least_rate: 2000,
            reloads: 10,
            scalings: 10,
            idle: Duration::from_secs(10),
            grown: 10_000,
            managed_time: Duration::from_secs(9),
            managed_after: Duration::from_secs(2),
            commands: 20,
            lines: 200_000,
        };
        let quick = Self {
            rounds: 3,
            warm_per_worker: 1_000,
            warm_per_native_worker: 500,
            program_connections: 2_000,
            python_connections: 1_000,
            crowd: 50,
            churn_connections: 2_000,
            memory_connections: 1_000,
            starts: 1,
            blocks: 4,
            stopped_deadline: Duration::from_millis(500),
            reloads: 2,
            scalings: 2,
            idle: Duration::from_secs(2),
            grown: 2_000,
            managed_time: Duration::from_secs(6),
            commands: 5,
            lines: 20_000,
            ..full.clone()
        };
        let plan = if args.quick { quick } else { full };
        Self { rounds: args.rounds.unwrap_or(plan.rounds), ..plan }
    }

    /// Connections `workers` workers of `peer` serve before anything is counted.
    pub(crate) fn warm_up(&self, peer: Peer, workers: usize) -> u32 {
        let each = if peer.runs_node() { self.warm_per_worker } else { self.warm_per_native_worker };
        each * workers as u32
    }

    /// Connections `copies` copies of `program` serve before anything is counted.
    pub(crate) fn warm_up_program(&self, program: Program, copies: usize) -> u32 {
        let each = match program {
            Program::Node => self.warm_per_worker,
            Program::Epoll | Program::Block | Program::Nginx | Program::Go | Program::Respond => {
                self.warm_per_native_worker
            }
            Program::Python | Program::PythonThreads => self.warm_per_native_worker / 2,
            Program::Idle => 0,
        };
        each * copies as u32
    }

    /// Connections counted of `program`.
    pub(crate) fn program_connections(&self, program: Program) -> u32 {
        match program {
            Program::Epoll | Program::Block | Program::Nginx | Program::Go => self.program_connections,
            Program::Node | Program::Respond => self.program_connections,
            Program::Python | Program::PythonThreads => self.python_connections,
            Program::Idle => 0,
        }
    }
}
