//! Threads that are ended in the middle of a call.

use crate::harness::{Primary, Program, listening, probe};

#[test]
fn a_thread_can_be_cancelled_while_it_connects() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = listening();
    let program = Program::start(probe, "cancelled", 9, &primary);
    primary.serve_one(&shared);
    assert_eq!(program.line(), "cancelled 1");
    program.wait();
}
