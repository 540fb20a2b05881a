//! Answers that are no success, and primaries that give none.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::AsFd;

use oneport_sys::preload::{Answer, ShimListener};
use oneport_sys::seccomp::Delivery;

use crate::harness::{Primary, Program, listening, not_listening, probe};

/// A port that cannot be bound: whoever gets `EADDRINUSE` made the call itself.
fn taken() -> (TcpListener, u16) {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    (taken, port)
}

#[test]
fn a_refusal_is_the_programs_errno() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let program = Program::start(probe, "calls", 9, &primary);
    let refusal = io::Error::from_raw_os_error(libc::EACCES);
    primary.next().expect_bind().answer(Answer::Fail(refusal));
    assert_eq!(program.line(), format!("bind errno {}", libc::EACCES));
    program.wait();
    let (shared, _) = not_listening();
    let program = Program::start(probe, "calls", 9, &primary);
    primary.next().expect_bind().take(&shared);
    primary.next().answer(Answer::Fail(io::Error::other("without a number")));
    assert_eq!(program.lines(), ["bind 0", "errno 1234"]);
    assert_eq!(program.line(), format!("listen errno {}", libc::EIO));
}

#[test]
fn a_second_bind_is_the_kernels_to_refuse() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = not_listening();
    let program = Program::start(probe, "twice", 9, &primary);
    primary.next().expect_bind().take(&shared);
    assert_eq!(program.lines(), ["first 0".to_owned(), format!("second errno {}", libc::EINVAL)]);
    program.wait();
    assert!(primary.next_within(std::time::Duration::ZERO).is_none());
}

#[test]
fn when_the_primary_is_gone_calls_happen_as_without_a_library() {
    let Some(probe) = probe() else { return };
    let (_taken, port) = taken();
    let primary = Primary::new();
    let words = ["calls".into(), port.to_string().into()];
    let value = primary.listener.variable(&primary.token);
    drop(primary);
    let program = Program::run(probe.into(), words.into(), Some(value), None);
    assert_eq!(program.line(), format!("bind errno {}", libc::EADDRINUSE));
    program.wait();
}

#[test]
fn a_primary_that_ends_with_the_question_in_hand_leaves_the_call_to_the_kernel() {
    let Some(probe) = probe() else { return };
    let (_taken, port) = taken();
    let mut primary = Primary::new();
    let program = Program::start(probe, "calls", port, &primary);
    let asked = primary.next().expect_bind();
    drop(primary);
    drop(asked);
    assert_eq!(program.line(), format!("bind errno {}", libc::EADDRINUSE));
    program.wait();
}

#[test]
fn a_primary_that_ends_before_it_looked_leaves_the_call_to_the_kernel() {
    let Some(probe) = probe() else { return };
    let (_taken, port) = taken();
    let primary = Primary::new();
    let program = Program::start(probe, "calls", port, &primary);
    crate::harness::wait_readable(&primary.listener);
    drop(primary);
    assert_eq!(program.line(), format!("bind errno {}", libc::EADDRINUSE));
    program.wait();
}

#[test]
fn a_replaced_socket_listens_without_its_primary() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = not_listening();
    let program = Program::start(probe, "calls", 9, &primary);
    primary.next().expect_bind().take(&shared);
    drop(primary);
    assert_eq!(program.lines(), ["bind 0", "errno 1234", "listen 0", "errno 1234"]);
    assert!(oneport_sys::listen::is_listening(shared.as_fd()));
}

#[test]
fn a_successor_answers_under_the_same_name() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let kept = primary.listener.socket().try_clone_to_owned().unwrap();
    let value = primary.listener.variable(&primary.token);
    primary.listener = ShimListener::take_over(kept).unwrap();
    assert_eq!(primary.listener.variable(&primary.token), value);
    let (shared, _) = listening();
    let program = Program::run(probe.into(), ["calls".into(), "9".into()].into(), Some(value), None);
    primary.serve_one(&shared);
    assert_eq!(program.lines(), ["bind 0", "errno 1234", "listen 0", "errno 1234"]);
    let other = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None);
    let error = ShimListener::take_over(other.unwrap()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn an_answer_to_a_program_that_was_killed_is_told_as_such() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let program = Program::start(probe, "calls", 9, &primary);
    let asked = primary.next();
    program.end();
    assert_eq!(asked.0.answer(Answer::Pass).unwrap(), Delivery::CallerGone);
}

#[test]
fn a_program_without_a_free_descriptor_is_told_so() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let program = Program::start(probe, "exhausted", 9, &primary);
    assert_eq!(program.line(), format!("bind errno {}", libc::EMFILE));
    program.wait();
    assert!(primary.next_within(std::time::Duration::ZERO).is_none());
}
