//! Two copies of programs that know nothing of oneport: what `least` costs them beside the hash, and beside two copies
//! that share the port by themselves.
//!
//! One sample holds all of them, so that a program that cannot be had costs its rows and nothing else.

use super::{A, HASH, Measurement, Metric, Rounds, Sample, cost};
use crate::bench::Bench;
use crate::error::{Failure, Result};
use crate::peer::Peer;
use crate::program::Program;

const COPIES: usize = 2;
/// Each with the names of its figures.
const PROGRAMS: [(Program, [&str; 3]); 3] = [
    (Program::Python, ["python_us", "python_primary_us", "python_rate"]),
    (Program::Go, ["go_us", "go_primary_us", "go_rate"]),
    (Program::Epoll, ["c_us", "c_primary_us", "c_rate"]),
];

pub(in crate::measure) const MEASUREMENT: Measurement = Measurement {
    name: "least-programs",
    title: "Short connections, 2 copies of a program, by policy",
    method: "Connect, one request, one answer, reset; 64 at a time in a closed loop. Each program as two copies of `oneport \
             run --attach own`, and as two processes that set SO_REUSEPORT themselves.",
    peers: &[A, HASH, Peer::Copies],
    ours: A,
    rounds: Rounds::AsAsked,
    metrics: &[
        cpu("python_us", "Python's http.server: CPU per connection, all processes"),
        Metric::plain("python_primary_us", "Python's http.server: primary alone", "µs", 2),
        Metric::plain("python_rate", "Python's http.server: connections per second", "1/s", 0),
        cpu("go_us", "static Go: CPU per connection, all processes"),
        Metric::plain("go_primary_us", "static Go: primary alone", "µs", 2),
        Metric::plain("go_rate", "static Go: connections per second", "1/s", 0),
        cpu("c_us", "C with epoll: CPU per connection, all processes"),
        Metric::plain("c_primary_us", "C with epoll: primary alone", "µs", 2),
        Metric::plain("c_rate", "C with epoll: connections per second", "1/s", 0),
    ],
    sample,
};

const fn cpu(key: &'static str, title: &'static str) -> Metric {
    Metric::compared(key, title, "µs", 1).against(&[HASH, Peer::Copies])
}

fn sample(bench: &Bench, peer: Peer, _round: u32) -> Result<Sample> {
    let mut all = Sample::default();
    let mut missing = Vec::new();
    for (program, keys) in PROGRAMS {
        match cost::of_program(bench, peer, program, COPIES) {
            Ok(one) => {
                let figures = ["total_us", "primary_us", "rate"].map(|name| one.get(name));
                for (key, figure) in keys.into_iter().zip(figures) {
                    all = match figure {
                        Some(figure) => all.with(key, figure),
                        None => all,
                    };
                }
            }
            Err(failure) => missing.push(failure.to_string()),
        }
    }
    if missing.len() == PROGRAMS.len() {
        return Err(Failure::cannot(format!("run a program under `{peer}`"), missing.join("; ")));
    }
    Ok(if missing.is_empty() { all } else { all.noting(missing.join("; ")) })
}
