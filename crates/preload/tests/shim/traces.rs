//! What a replaced socket keeps of the program's own, and what a question leaves behind: nothing.

use oneport_sys::preload::{Answer, Call};

use crate::harness::{Primary, Program, listening, not_listening, probe};

#[test]
fn options_and_flags_are_the_programs_and_waiting_is_never_brought_back() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = not_listening();
    let program = Program::start(probe, "flags", 9, &primary);
    primary.next().expect_bind().take(&shared);
    let blocking = ["nonblocking 0", "cloexec 0", "nodelay 1", "buffer 40000", "linger 1 3"];
    assert_eq!(program.lines(), blocking);
    primary.next().expect_bind().take(&shared);
    assert_eq!(program.lines(), ["nonblocking 1", "cloexec 1"]);
    // A third that waits: its siblings must not wait with it.
    primary.next().expect_bind().take(&shared);
    assert_eq!(program.line(), "nonblocking 1");
    program.wait();
}

#[test]
fn neither_descriptors_nor_blocked_signals_stay_behind() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = listening();
    let program = Program::start(probe, "traces", 9, &primary);
    primary.serve_one(&shared);
    assert_eq!(program.lines(), ["descriptors 0", "mask 0"]);
    program.wait();
}

#[test]
fn a_storm_of_signals_fails_no_call() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = listening();
    let program = Program::start(probe, "storm", 9, &primary);
    for _ in 0..200 {
        let asked = primary.next();
        match asked.request().call {
            Call::Bind => asked.take(&shared),
            Call::Listen { .. } => asked.answer(Answer::Done),
            Call::Shutdown { .. } => panic!("nobody shuts down"),
        }
    }
    assert_eq!(program.lines(), ["failures 0", "interrupted 1"]);
    program.wait();
}
