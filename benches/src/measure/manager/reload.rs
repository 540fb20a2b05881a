//! The cases in which PM2 was seen to lose requests, letter by letter: the same app, the same clients, the same verb.

use super::under_load::{Case, NOTHING_LATE, NOTHING_LOST, PLAIN, SHOWN, Until, sample};
use super::{Measurement, Metric, Rounds};
use crate::peer::Peer;

const METHOD: &str = "Two clients, one with 20 kept connections and one with a connection per request, go on at a steady \
                      rate before, during and after the command. In D, D2 and E, where kept connections never rest, for a \
                      fixed time, as PM2 was measured first. A third of the rounds.";

/// A case as a measurement.
macro_rules! case {
    ($name:ident, $key:literal, $title:literal, $metrics:expr, $case:expr) => {
        pub(in crate::measure) const $name: Measurement = Measurement {
            name: $key,
            title: $title,
            method: METHOD,
            peers: &Peer::MANAGERS,
            ours: Peer::Manager,
            rounds: Rounds::AThird,
            metrics: {
                const TABLE: &[Metric] = $metrics;
                TABLE
            },
            sample: |bench, peer, _| {
                const CASE: &Case = &$case;
                sample(bench, peer, CASE)
            },
        };
    };
}

case!(A, "manager-reload-a", "Reload A: 20 ms, the app does nothing when asked to stop", NOTHING_LOST, PLAIN);
case!(
    B,
    "manager-reload-b",
    "Reload B: 20 ms, SIGINT -> server.close()",
    NOTHING_LOST,
    Case { on_stop: "close", ..PLAIN }
);
case!(
    C,
    "manager-reload-c",
    "Reload C: as B with wait_ready and kill_timeout 5 s",
    SHOWN,
    Case { on_stop: "close", says_ready: true, words: &["--wait-ready", "--kill-timeout", "5000"], ..PLAIN }
);
case!(
    D,
    "manager-reload-d",
    "Reload D: 500 ms, the app does nothing when asked to stop",
    NOTHING_LOST,
    Case { delay_ms: 500, rate: 100, until: Until::Time, ..PLAIN }
);
case!(
    D2,
    "manager-reload-d2",
    "Reload D2: 500 ms, SIGINT -> server.close()",
    NOTHING_LOST,
    Case { delay_ms: 500, rate: 100, on_stop: "close", until: Until::Time, ..PLAIN }
);
case!(
    E,
    "manager-reload-e",
    "Reload E: 2.5 s, SIGINT -> server.close()",
    NOTHING_LOST,
    Case { delay_ms: 2500, rate: 40, on_stop: "close", until: Until::Time, ..PLAIN }
);
case!(
    F,
    "manager-reload-f",
    "Restart F: 20 ms, SIGINT -> server.close()",
    NOTHING_LOST,
    Case { on_stop: "close", acts: &[&["restart", "bench"]], ..PLAIN }
);
case!(
    K,
    "manager-reload-k",
    "Reload K: one worker, SIGINT -> server.close()",
    SHOWN,
    Case { workers: 1, on_stop: "close", ..PLAIN }
);
case!(
    M,
    "manager-reload-m",
    "Reload M: SIGINT -> waits 1.2 s and closes nothing",
    NOTHING_LATE,
    Case { on_stop: "wait", ..PLAIN }
);
case!(
    N,
    "manager-reload-n",
    "Reload N: shutdown_with_message",
    SHOWN,
    Case { on_stop: "message", words: &["--shutdown-with-message"], ..PLAIN }
);
case!(
    P,
    "manager-reload-p",
    "Scale P: 2 -> 4 -> 1, the app does nothing when asked to stop",
    SHOWN,
    Case { acts: &[&["scale", "bench", "4"], &["scale", "bench", "1"]], ..PLAIN }
);
case!(
    Q,
    "manager-reload-q",
    "Reload Q: wait_ready, server.close() and `Connection: close`",
    SHOWN,
    Case { on_stop: "politely", says_ready: true, words: &["--wait-ready"], ..PLAIN }
);
case!(
    BUSY,
    "manager-reload-busy",
    "Reload, 500 ms, 20 kept connections that never rest for a moment",
    SHOWN,
    Case { delay_ms: 500, rate: 100, ..PLAIN }
);
