//! How programs come to their listener: forks, exec, shells, threads, an environment that is gone.

use std::os::fd::AsFd;

use oneport_sys::listen;
use oneport_sys::preload::{Answer, Call, Listening};

use crate::harness::{Primary, Program, ask_pid, listening, not_listening, probe};

#[test]
fn a_forked_child_may_listen_on_what_its_parent_bound() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, port) = not_listening();
    let program = Program::start(probe, "forked", 9, &primary);
    let bound = primary.next().expect_bind();
    assert_eq!(bound.0.process, program.pid());
    bound.take(&shared);
    let asked = primary.next();
    let child = asked.0.process;
    assert_ne!(child, program.pid());
    assert!(asked.is_about(&shared));
    listen::start_listening(shared.as_fd(), 16).unwrap();
    asked.answer(Answer::Done);
    assert_eq!(program.listening(), port);
    assert_eq!(ask_pid(port), child.get());
}

#[test]
fn a_listener_that_went_through_exec_is_still_the_primarys() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, port) = not_listening();
    let program = Program::start(probe, "executed", 9, &primary);
    primary.serve_one(&shared);
    let asked = primary.next();
    assert!(asked.is_about(&shared));
    assert_eq!(asked.request().call, Call::Listen { backlog: 5, before: Listening::Already });
    // As if the table had lost it: each shutdown asks for itself.
    asked.answer(Answer::Fail(std::io::Error::from_raw_os_error(libc::EPERM)));
    for _ in 0..2 {
        let asked = primary.next();
        assert_eq!(asked.request().call, Call::Shutdown { how: libc::SHUT_RDWR });
        assert!(asked.is_about(&shared) && asked.port() == port);
        asked.answer(Answer::Done);
    }
    assert_eq!(program.lines(), ["listen errno 1", "shutdown 0", "again 0"]);
    assert_eq!(program.listening(), port);
    assert_eq!(ask_pid(port), program.pid().get());
}

#[test]
fn a_shell_passes_it_on() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, port) = not_listening();
    let shell = Program::start_in_shell(probe, "plain", 9, &primary);
    let asked = primary.next().expect_bind();
    let server = asked.0.process;
    assert_ne!(server, shell.pid());
    asked.take(&shared);
    let asked = primary.next();
    listen::start_listening(shared.as_fd(), 16).unwrap();
    asked.answer(Answer::Done);
    assert_eq!(shell.listening(), port);
    assert_eq!(ask_pid(port), server.get());
}

#[test]
fn a_program_that_wiped_its_environment_is_still_asked_about() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = listening();
    let program = Program::start(probe, "wiped", 9, &primary);
    primary.serve_one(&shared);
    assert_eq!(program.lines(), ["bind 0", "errno 1234", "listen 0", "errno 1234"]);
}

#[test]
fn threads_ask_side_by_side() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = listening();
    let program = Program::start(probe, "threads", 9, &primary);
    for _ in 0..200 {
        let asked = primary.next();
        match asked.request().call {
            Call::Bind => asked.take(&shared),
            Call::Listen { .. } => asked.answer(Answer::Done),
            Call::Shutdown { .. } => panic!("nobody shuts down"),
        }
    }
    assert_eq!(program.line(), "failures 0");
    program.wait();
}
