//! Whether this kernel can run the tests of programs at all. A kernel whose BPF hangs would hold every one of them for good,
//! with processes that nobody can end: then they are left out, and that is said.

use std::sync::OnceLock;

use oneport_sys::seccomp::{Reason, probe};

/// What installs filters, or attaches them to sockets.
const TESTS: &str = "(package(oneport-e2e) & binary(/^programs/)) \
    | (package(oneport) & binary(programs)) \
    | (package(oneport-cli) & binary(stuck_reader)) \
    | (package(oneport-sys) & binary(/^(activation|door|own_mode|polled_early|reuse_port|selector|seccomp.*)$/))";

/// A filter for nextest that leaves them out; `None`: nothing has to be.
pub(crate) fn without_programs() -> Option<String> {
    hangs().then(|| format!("not ({TESTS})"))
}

/// What to say of it.
pub(crate) fn skipped() -> Option<&'static str> {
    hangs().then_some(
        "all tests of programs: this kernel hangs when a BPF program is made, and has to be restarted",
    )
}

fn hangs() -> bool {
    static HANGS: OnceLock<bool> = OnceLock::new();
    // Tried once: each trial leaves a process behind.
    *HANGS.get_or_init(|| {
        probe().is_ok_and(|reach| reach.traps.is_err_and(|unavailable| unavailable.reason() == Reason::Hangs))
    })
}

#[cfg(test)]
mod tests {
    use super::TESTS;

    #[test]
    fn what_is_left_out_is_what_runs_a_few_at_a_time() {
        let config = include_str!("../../.config/nextest.toml");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(config).contains(&format!("filter = ''' {} ''' test-group", words(TESTS))));
    }
}
