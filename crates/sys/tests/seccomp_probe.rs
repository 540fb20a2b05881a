//! What can be had here is found out by trying, and the trial leaves nothing behind.

mod common;

use oneport_sys::seccomp::{Traps, probe};

use common::Running;
use common::traps::{Program, Trapped, all_again_as_nobody, can_trap, trapped};

#[test]
fn is_the_program() {
    common::program::run();
}

#[test]
fn all_of_it_works_without_privileges() {
    all_again_as_nobody("all_of_it_works_without_privileges");
}

/// What the program says that does `act`, itself not trapped.
fn said(act: &str) -> String {
    let mut program = trapped(act, 0);
    program.trap = None;
    let mut running = Running::start(program);
    let output = running.take_output();
    Program { running, output }.says()
}

#[test]
fn what_works_for_a_program_works_for_the_trial() {
    if !can_trap() {
        return;
    }
    let mut traps = trapped("raw", 0);
    traps.trap = Some(Traps::default());
    let program = Trapped::start(traps);
    let reach = probe().unwrap();
    assert_eq!(reach.traps, Ok(program.listener.waits()));
    assert!(reach.takes.is_ok() && reach.adds.is_ok(), "{reach:?}");
    assert_eq!(said("reach"), "ok, ok, ok");
}

#[test]
fn each_refusal_is_told_by_itself() {
    if !can_trap() {
        return;
    }
    let eperm = format!("errno {}", libc::EPERM);
    assert_eq!(said("reach without pidfd_getfd"), format!("ok, {eperm}, ok"));
    assert_eq!(said("reach without seccomp"), format!("Refused, ok, {eperm}"));
    // Below a supervisor of calls: the trial's own filter, as well as a program's, would be the second.
    let below = Trapped::act("reach", 0);
    assert_eq!(below.says(), format!("Busy, ok, errno {}", libc::EBUSY));
}

#[test]
fn what_comes_with_the_file_of_this_process_is_not_taken_for_the_programs() {
    if can_trap() {
        assert_eq!(said("reach undumpable"), "ok, ok, ok");
    }
}

#[test]
fn nothing_is_left_of_the_trial() {
    assert_eq!(said("reach often"), format!("0 more descriptors, errno {}", libc::ECHILD));
}
