//! Counting: what the test runners say in their summaries, added up.

use std::fmt;

/// Passed, failed and skipped tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) skipped: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.skipped += more.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Tally {
    /// A test that ran, but only to say that it cannot run here.
    pub(crate) fn one_was_skipped(&mut self) {
        self.passed = self.passed.saturating_sub(1);
        self.skipped += 1;
    }
}

/// Adds up every summary of `cargo test` or `cargo nextest` in a text. None if there is not one.
pub(crate) fn read(text: &str) -> Option<Tally> {
    let mut sum: Option<Tally> = None;
    // Below a summary of nextest, summaries of `cargo test` are only the shown output of its failed tests.
    let nextest = text.lines().any(is_of_nextest);
    for line in text.lines() {
        let counts = match line.strip_prefix("test result: ") {
            Some(counts) if !nextest => counts,
            None if is_of_nextest(line) => line.split_once("run:").map_or("", |(_, counts)| counts),
            Some(_) | None => continue,
        };
        *sum.get_or_insert_default() += Tally {
            passed: before(counts, "passed"),
            failed: before(counts, "failed") + before(counts, "timed out") + before(counts, "exec failed"),
            skipped: before(counts, "ignored"),
        };
    }
    sum
}

fn is_of_nextest(line: &str) -> bool {
    line.trim_start().starts_with("Summary [") && line.contains(" run: ")
}

/// The number in front of a word: 12 for `passed` in `ok. 12 passed; 0 failed`.
fn before(counts: &str, word: &str) -> u64 {
    counts
        .split(['.', ',', ';', '(', ')', ':'])
        .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
        .unwrap_or(0)
}

/// The names of failed tests in the output of either runner, each once.
pub(crate) fn failures(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        let name = if let Some(test) =
            line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            Some(test)
        } else if ["FAIL [", "TIMEOUT [", "SIGABRT ["].iter().any(|mark| line.trim_start().starts_with(mark))
        {
            line.split_whitespace().next_back()
        } else {
            None
        };
        if let Some(name) = name
            && !names.iter().any(|known| known == name)
        {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_of_cargo_test_are_added_up() {
        let text = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.00s
test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        assert_eq!(read(text), Some(Tally { passed: 7, failed: 1, skipped: 2 }));
        assert_eq!(read("error: could not compile"), None);
    }

    #[test]
    fn of_nextest_only_its_own_summary_counts() {
        let text = "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 5 filtered out
test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 5 filtered out
     Summary [   1.234s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 4 skipped";
        assert_eq!(read(text), Some(Tally { passed: 10, failed: 2, skipped: 0 }));
    }

    #[test]
    fn names_of_failures_are_found_once() {
        let text = "test reload::it_works ... FAILED
test other ... ok
        FAIL [   0.103s] ( 3/14) oneport-e2e::reload a_reload_loses_nothing
        FAIL [   0.103s] ( 3/14) oneport-e2e::reload a_reload_loses_nothing
     TIMEOUT [  60.103s] oneport-e2e::stop it_stops";
        assert_eq!(failures(text), ["reload::it_works", "a_reload_loses_nothing", "it_stops"]);
    }
}
