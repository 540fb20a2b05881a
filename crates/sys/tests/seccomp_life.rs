//! Signals, deaths and successions around trapped calls.

mod common;

use std::os::fd::{AsFd, OwnedFd};

use oneport_sys::foreign;
use oneport_sys::listen::{bound_to, is_listening};
use oneport_sys::process::{self, Pid, Signal};
use oneport_sys::seccomp::{CallId, Delivery, Kind, Listener, Shutdown, Traps, Waits};

use common::traps::{Trapped, all_again_as_nobody, can_trap, next_call, perform, reserve_port, trapped};
use common::{command, eventually, wait_readable};

#[test]
fn is_the_program() {
    common::program::run();
}

#[test]
fn all_of_it_works_without_privileges() {
    all_again_as_nobody("all_of_it_works_without_privileges");
}

#[test]
fn a_storm_of_signals_spoils_no_call() {
    if !can_trap() {
        return;
    }
    let (_reserved, address) = reserve_port();
    let program = Trapped::act("storm", address.port());
    if program.listener.waits() == Waits::Interruptible {
        eprintln!("skipped: this kernel cannot make a caller wait through signals (Linux 5.19)");
        return;
    }
    let (said, too_late) = program.serve_until_said();
    let (failures, signals) = said.split_once(' ').expect("two numbers");
    // Not even begun anew: no signal ends the wait for a call that was received.
    assert_eq!((failures, too_late), ("0", 0), "{said}");
    assert!(signals.parse::<u32>().unwrap() >= 300, "no storm: {said}");
}

#[test]
fn a_second_supervisor_below_the_first_is_told_busy() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("nested", 0);
    assert_eq!(program.says(), format!("Busy {}", libc::EBUSY));
}

#[test]
fn calls_fail_with_enosys_once_the_supervisor_is_gone() {
    if !can_trap() {
        return;
    }
    let gone = format!("errno {}", libc::ENOSYS);
    // One that waits, one that was received, one that comes later.
    let waiting = Trapped::act("raw", 0);
    wait_readable(&waiting.listener);
    let received = Trapped::act("raw", 0);
    received.next_call();
    let mut later = trapped("raw", 0);
    later.program = "sh".into();
    later.args.splice(0..0, ["-c".into(), "read line; exec \"$0\" \"$@\"".into()]);
    later.args.insert(2, std::env::current_exe().unwrap().into());
    later.stdin = oneport_sys::spawn::Stdio::Pipe;
    let mut later = Trapped::start(later);
    let stdin = later.program.running.0.stdin.take().unwrap();
    for Trapped { program, listener } in [waiting, received] {
        drop(listener);
        assert_eq!(program.says(), gone);
    }
    let Trapped { program, listener } = later;
    drop(listener);
    // Not before: it would be one that waits, and end before it could be told.
    rustix::io::write(&stdin, b"go\n").unwrap();
    assert_eq!(program.says(), gone);
}

#[test]
fn a_kept_duplicate_makes_calls_wait_for_a_successor() {
    if !can_trap() {
        return;
    }
    let mut command = trapped("raw", 0);
    command.trap = Some(Traps { shutdown: Shutdown::Untouched, keep: Some(900) });
    let Trapped { program, listener } = Trapped::start(command);
    let (waits, kept) = (listener.waits(), listener.kept().expect("kept"));
    // The first supervisor receives one call and notes it, and ends before it answers.
    let bind = next_call(&listener);
    let (_, outcome) = perform(&listener, bind);
    drop(listener);
    let noted = bind.id.to_raw();

    let taken = foreign::take_fd(program.running.0.pidfd.as_fd(), kept).unwrap();
    let successor = Listener::take_over(taken, waits, Some(kept)).unwrap();
    // It is not told again of a call that was received, but may answer it.
    assert_eq!(successor.receive().unwrap(), None);
    assert_eq!(successor.answer(CallId::from_raw(noted), outcome).unwrap(), Delivery::Delivered);
    // The second supervisor ends before it receives the next: that one waits, and the third gets it.
    wait_readable(&successor);
    drop(successor);
    let taken = foreign::take_fd(program.running.0.pidfd.as_fd(), kept).unwrap();
    let third = Listener::take_over(taken, waits, Some(kept)).unwrap();
    let listen = next_call(&third);
    let (socket, outcome) = perform(&third, listen);
    assert_eq!(third.answer(listen.id, outcome).unwrap(), Delivery::Delivered);
    assert_eq!(program.says(), "ok");
    assert!(is_listening(socket.expect("a socket").as_fd()));
}

#[test]
fn a_caller_that_dies_before_its_answer_is_no_error() {
    if !can_trap() {
        return;
    }
    let Trapped { program, listener } = Trapped::act("raw", 0);
    let bind = next_call(&listener);
    let Kind::Bind { fd, address, length } = bind.kind else { panic!("{bind:?}") };
    let thread = foreign::open_thread(bind.thread).unwrap();
    assert!(listener.is_waiting(bind.id));
    process::signal(program.running.0.pidfd.as_fd(), Signal::KILL).unwrap();
    program.running.wait();
    assert!(!listener.is_waiting(bind.id));
    assert_eq!(listener.answer(bind.id, Ok(())).unwrap(), Delivery::CallerGone);
    assert_eq!(listener.let_through(bind.id).unwrap(), Delivery::CallerGone);
    let ours = reserve_port().0;
    let placed = listener.put(bind.id, fd, ours.as_fd(), foreign::AtExec::Stays).unwrap();
    assert_eq!(placed, Delivery::CallerGone);
    // Nor can it be looked into any more, in words of the kernel.
    let errno = |error: std::io::Error| error.raw_os_error().expect("a number");
    let gone = [libc::ESRCH, libc::ENOENT];
    assert_eq!(errno(foreign::take_fd(thread.as_fd(), fd).unwrap_err()), libc::ESRCH);
    assert!(gone.contains(&errno(foreign::read_address(bind.thread, address, length).unwrap_err())));
    assert!(gone.contains(&errno(foreign::process_of(bind.thread).unwrap_err())));
    assert!(gone.contains(&errno(foreign::open_thread(bind.thread).unwrap_err())));
    assert!(gone.contains(&errno(foreign::protocol_of(bind.thread, fd).unwrap_err())));
    assert!(gone.contains(&errno(foreign::fd_flags(bind.thread, fd).unwrap_err())));
    assert!(gone.contains(&errno(foreign::check_access(bind.thread).unwrap_err())));
}

#[test]
fn a_caller_that_dies_unheard_leaves_nothing_to_receive() {
    if !can_trap() {
        return;
    }
    let Trapped { program, listener } = Trapped::act("raw", 0);
    wait_readable(&listener);
    process::signal(program.running.0.pidfd.as_fd(), Signal::KILL).unwrap();
    program.running.wait();
    for _ in 0..3 {
        assert_eq!(listener.receive().unwrap(), None);
    }
}

#[test]
fn the_listener_hangs_up_when_nobody_is_left_under_the_filter() {
    if !can_trap() {
        return;
    }
    let poller = oneport_sys::poll::Poller::new().unwrap();
    let mut readiness = oneport_sys::poll::Readiness::new();
    let mut hung_up = |timeout| {
        poller.wait(&mut readiness, Some(timeout)).unwrap();
        readiness.iter().any(|ready| ready.hung_up)
    };
    // The child ends, a grandchild lives on.
    let mut shell = command("sh", &["-c", "sleep 1000 & echo left"]);
    shell.trap = Some(Traps::default());
    let Trapped { program, listener } = Trapped::start(shell);
    poller.add(listener.as_fd(), 1, oneport_sys::poll::Interest::READ).unwrap();
    program.running.wait();
    assert!(!hung_up(std::time::Duration::ZERO));
    process::signal_group(program.running.0.pid, Signal::KILL).unwrap();
    eventually("hung up", || hung_up(std::time::Duration::from_millis(10)));
    assert_eq!(listener.receive().unwrap(), None);
}

#[test]
fn a_thread_that_outlived_the_first_one_can_be_served() {
    if !can_trap() {
        return;
    }
    let trapped = Trapped::act("orphaned thread", 0);
    let bind = trapped.next_call();
    let process = foreign::process_of(bind.thread).unwrap();
    assert_ne!(process, bind.thread);
    let zombie = open_process(process);
    let Kind::Bind { fd, .. } = bind.kind else { panic!("{bind:?}") };
    let through_process = foreign::take_fd(zombie.as_fd(), fd);
    assert!(through_process.is_err(), "its first thread has no descriptors any more");
    let thread = foreign::open_thread(bind.thread);
    if thread.and_then(|thread| foreign::take_fd(thread.as_fd(), fd)).is_err() {
        eprintln!("skipped: this kernel gives descriptors of the first thread only (Linux 6.9)");
        return;
    }
    let (socket, outcome) = perform(&trapped.listener, bind);
    trapped.listener.answer(bind.id, outcome).unwrap();
    assert!(bound_to(socket.expect("a socket").as_fd()).unwrap().is_some());
    let listen = trapped.next_call();
    let (_, outcome) = perform(&trapped.listener, listen);
    trapped.listener.answer(listen.id, outcome).unwrap();
    assert_eq!(trapped.says(), "ok");
}

fn open_process(process: Pid) -> OwnedFd {
    let pid = rustix::process::Pid::from_raw(process.get()).expect("above zero");
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("a process")
}
