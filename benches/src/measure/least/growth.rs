//! What a connection costs as workers become many, and with thousands of connections open besides.
//!
//! The workers are copies of a small C server, so that what is around them weighs. Open connections say nothing: they
//! are in a worker's epoll set and in everybody's counts.

use super::{A, C, HASH, Measurement, Metric, Rounds, Sample, cost, warm};
use crate::bench::Bench;
use crate::error::{Cannot, Failure, Result};
use crate::load::held::Held;
use crate::peer::Peer;
use crate::procfs::open_files;
use crate::program::Program;
use crate::server::Server;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How many workers, and the name of what they cost.
const STEPS: [(usize, &str); 4] = [(2, "us_2"), (8, "us_8"), (24, "us_24"), (MOST, "us_64")];
const MOST: usize = 64;
/// Descriptors of the runner that are no such connection.
const OTHERS: u64 = 512;
/// How long connections may take to be opened and accepted.
const LIMIT: Duration = Duration::from_secs(10);

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "least-growth",
    title: "Short connections, 2 to 64 workers, then 10,000 open ones besides",
    method: "Copies of a C server under `oneport run --attach own`; connect, one request, one answer, reset; 64 at a time \
             in a closed loop. The last figures are those of 64 workers while 10,000 connections are open that say \
             nothing.",
    peers: &[A, C, HASH],
    ours: A,
    rounds: Rounds::AsAsked,
    metrics: &[
        cpu("us_2", "CPU per connection, 2 workers"),
        cpu("us_8", "8 workers"),
        cpu("us_24", "24 workers"),
        cpu("us_64", "64 workers"),
        cpu("us_held", "64 workers, 10,000 connections open"),
        Metric::plain("primary_us", "primary alone, 64 workers", "µs", 2),
        Metric::plain("primary_us_held", "primary alone, 64 workers, 10,000 connections open", "µs", 2),
        Metric::plain("range", "open connections of a worker, most minus least", "connections", 0),
        Metric::plain("failed", "failed connections", "", 0),
    ],
    sample,
};

const fn cpu(key: &'static str, title: &'static str) -> Metric {
    Metric::compared(key, title, "µs", 1).against(&[HASH])
}

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let mut all = Sample::default();
    let mut failed = 0.0;
    for (workers, key) in STEPS {
        let server = Server::program(bench, peer, Program::Epoll, workers)?;
        warm(&server, peer, bench.plan.warm_up_program(Program::Epoll, workers))?;
        let mut cost = |key| {
            let one = cost::of(&server, (peer, workers), bench.plan.program_connections(Program::Epoll))?;
            let figure = |name: &str| one.get(name).unwrap_or(f64::NAN);
            failed += figure("failed");
            Result::Ok((key, figure("total_us"), figure("primary_us")))
        };
        let (key, total, primary) = cost(key)?;
        all = all.with(key, total);
        if workers == MOST {
            let files =
                |server: &Server| server.workers().map(|all| all.into_iter().map(open_files).collect());
            let before: Vec<usize> = files(&server)?;
            let _room = Room::for_files(bench.plan.grown as u64 + OTHERS)?;
            let what = || format!("hold {} connections to `{peer}`", bench.plan.grown);
            let _held = Held::silent(server.port(), bench.plan.grown, LIMIT).cannot(what)?;
            let open = accepted(&server, &before, bench.plan.grown)?;
            let range = open.iter().max().zip(open.iter().min()).map_or(0, |(most, least)| most - least);
            let (key, total, primary_held) = cost("us_held")?;
            all = all.with(key, total).with("primary_us", primary).with("primary_us_held", primary_held);
            all = all.with("range", range as f64);
        }
    }
    Ok(all.with("failed", failed))
}

/// Waits until `count` connections are accepted; how many each worker has.
fn accepted(server: &Server, before: &[usize], count: usize) -> Result<Vec<usize>> {
    let begin = Instant::now();
    loop {
        let now = server.workers()?.into_iter().map(open_files);
        let open: Vec<usize> = now.zip(before).map(|(now, before)| now.saturating_sub(*before)).collect();
        let accepted: usize = open.iter().sum();
        if accepted >= count {
            return Ok(open);
        }
        if begin.elapsed() > LIMIT {
            let cause = format!("{accepted} were accepted in {LIMIT:?}");
            return Err(Failure::cannot(format!("open {count} connections"), cause));
        }
        sleep(Duration::from_millis(20));
    }
}

/// More open files for the runner, as long as it lives.
struct Room(Rlimit);

impl Room {
    fn for_files(count: u64) -> Result<Self> {
        let usual = getrlimit(Resource::Nofile);
        let raised = usual.current.map(|current| current.max(count));
        setrlimit(Resource::Nofile, Rlimit { current: raised, ..usual })
            .cannot(|| format!("open {count} files"))?;
        Ok(Self(usual))
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _lowering_is_always_allowed = setrlimit(Resource::Nofile, self.0);
    }
}
