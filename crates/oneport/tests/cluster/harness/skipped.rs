//! Saying that a test did not run. Also part of the unit tests of `worker`.

use std::io::Write;

/// Says so where people and the task runner see it, which counts it. The test then returns.
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
    if let Some(list) = std::env::var_os("ONEPORT_SKIP_FILE") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(list);
        let mut file = file.expect("the file that ONEPORT_SKIP_FILE names can be opened");
        file.write_all(format!("{test}: {why}\n").as_bytes()).expect("it can be written");
    }
}
