//! Ending, signalling and reaping through the pidfd. Limits are in `limits`, orphans in `orphans`.

mod common;

use std::os::fd::AsFd;

use oneport_sys::process::{Exit, Pid, Signal, cpus, own_pid, peek, reap, signal, signal_group};

use common::{Running, command, read_line};

#[test]
fn an_exit_is_a_code_or_a_signal_and_is_taken_once() {
    let child = Running::start(command("sh", &["-c", "exit 3"]));
    assert_eq!(child.wait(), Exit::Code(3));
    assert_eq!(reap(child.0.pidfd.as_fd()).unwrap_err().raw_os_error(), Some(libc::ECHILD));
    assert_eq!(signal(child.0.pidfd.as_fd(), Signal::TERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));

    let child = Running::start(command("sleep", &["1000"]));
    assert_eq!(reap(child.0.pidfd.as_fd()).unwrap(), None);
    signal(child.0.pidfd.as_fd(), Signal::TERM).unwrap();
    assert_eq!(child.wait(), Exit::Signal(15));
}

#[test]
fn an_exit_that_was_only_looked_at_can_still_be_taken() {
    let child = Running::start(command("sh", &["-c", "read line; exit 4"]));
    let running = Running::start(command("sleep", &["1000"]));
    common::wait_readable(&child.0.pidfd);
    assert_eq!(peek(running.0.pidfd.as_fd()).unwrap(), None);
    for _ in 0..2 {
        assert_eq!(peek(child.0.pidfd.as_fd()).unwrap(), Some(Exit::Code(4)));
    }
    assert_eq!(child.wait(), Exit::Code(4));
    assert_eq!(peek(child.0.pidfd.as_fd()).unwrap_err().raw_os_error(), Some(libc::ECHILD));
}

#[test]
fn a_zombie_takes_signals_silently() {
    let child = Running::start(command("true", &[]));
    common::wait_readable(&child.0.pidfd);
    signal(child.0.pidfd.as_fd(), Signal::TERM).unwrap();
    assert_eq!(child.wait(), Exit::Code(0));
}

#[test]
fn a_group_signal_reaches_grandchildren_and_an_empty_group_is_no_error() {
    let mut child = Running::start(command("sh", &["-c", "sleep 1000 & echo $!; wait"]));
    let output = child.take_output();
    let grandchild: i32 = read_line(&output).parse().unwrap();
    signal_group(child.0.pid, Signal::KILL).unwrap();
    assert_eq!(child.wait(), Exit::Signal(9));
    // The pipe closes when the last process that holds it is gone.
    assert_eq!(common::read_to_end(output), "");
    assert!(grandchild > 0);
    common::eventually("the group is empty", || signal_group(child.0.pid, Signal::KILL).is_ok());
}

#[test]
fn the_group_that_means_everybody_is_refused() {
    let everybody = Pid::new(1).unwrap();
    assert_eq!(signal_group(everybody, Signal::CONT).unwrap_err().raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn only_positive_numbers_are_pids() {
    assert_eq!(Pid::new(0), None);
    assert_eq!(Pid::new(-1), None);
    assert_eq!(Pid::new(42).unwrap().get(), 42);
    assert_eq!(u32::try_from(own_pid().get()).unwrap(), std::process::id());
}

#[test]
fn processors_follow_the_affinity_mask() {
    let all = cpus();
    assert!(all >= 1);
    let mask = rustix::thread::sched_getaffinity(None).unwrap();
    assert!(all <= usize::try_from(mask.count()).unwrap());
    let first = (0..1024).find(|cpu| mask.is_set(*cpu)).unwrap();
    // The mask is this thread's own.
    std::thread::spawn(move || {
        let mut one = rustix::thread::CpuSet::new();
        one.set(first);
        rustix::thread::sched_setaffinity(None, &one).unwrap();
        assert_eq!(cpus(), 1);
    })
    .join()
    .unwrap();
}
