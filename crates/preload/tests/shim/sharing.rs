//! Every copy has the primary's socket, and what a copy does to it hurts no other.

use std::os::fd::AsFd;
use std::time::Duration;

use oneport_sys::listen::{self, SocketKind};
use oneport_sys::preload::{Answer, Call, Listening};

use crate::harness::{Primary, Program, ask_pid, listening, not_listening, probe};

#[test]
fn copies_serve_one_socket_and_what_waits_outlives_a_killed_one() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, port) = not_listening();
    // The wished port is another one: nothing is ever bound there.
    let first = Program::start(probe, "plain", 9, &primary);
    primary.serve_one(&shared);
    assert_eq!(first.listening(), port);
    assert_eq!(ask_pid(port), first.pid().get());
    let second = Program::start(probe, "plain", 9, &primary);
    primary.serve_one(&shared);
    assert_eq!(second.listening(), port);
    first.end();
    assert_eq!(ask_pid(port), second.pid().get());
    second.end();
    // Nobody is left but the primary, who keeps it.
    let waiting = std::thread::spawn(move || ask_pid(port));
    let third = Program::start(probe, "plain", 9, &primary);
    primary.serve_one(&shared);
    assert_eq!(waiting.join().unwrap(), third.pid().get());
}

#[test]
fn the_question_says_who_asks_for_what() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = not_listening();
    let program = Program::start(probe, "plain", 4444, &primary);
    let asked = primary.next();
    assert_eq!(asked.0.process, program.pid());
    assert_eq!((asked.request().call, asked.request().kind), (Call::Bind, SocketKind::Tcp));
    assert_eq!(asked.port(), 4444);
    asked.take(&shared);
    let asked = primary.next();
    assert_eq!(asked.request().call, Call::Listen { backlog: 16, before: Listening::NotYet });
}

#[test]
fn what_epoll_was_told_between_bind_and_listen_holds() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, port) = listening();
    let program = Program::start(probe, "early", 9, &primary);
    primary.next().expect_bind().take(&shared);
    primary.next().answer(Answer::Done);
    assert_eq!(program.listening(), port);
    assert_eq!(ask_pid(port), program.pid().get());
}

#[test]
fn ports_the_kernel_chose_are_agreed_upon_when_they_listen() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (first, first_port) = listening();
    let (second, second_port) = listening();
    for _ in 0..2 {
        let program = Program::start(probe, "two of any", 0, &primary);
        for shared in [&first, &second] {
            let asked = primary.next();
            assert_eq!(asked.request().call, Call::Listen { backlog: 1, before: Listening::NotYet });
            assert_ne!(asked.port(), 0);
            asked.take(shared);
        }
        assert_eq!(program.line(), format!("{first_port} {second_port}"));
        program.wait();
    }
}

#[test]
fn a_socket_that_was_never_bound_is_asked_about_when_it_listens() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, port) = listening();
    let program = Program::start(probe, "unbound", 0, &primary);
    let asked = primary.next();
    assert_eq!((asked.backlog(), asked.port()), (1, 0));
    asked.take(&shared);
    assert_eq!(program.line(), port.to_string());
}

#[test]
fn shutting_down_the_shared_socket_is_told_and_ends_nothing() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, port) = not_listening();
    let program = Program::start(probe, "shut down", 9, &primary);
    primary.serve_one(&shared);
    for how in [libc::SHUT_RDWR, libc::SHUT_RD] {
        let asked = primary.next();
        assert_eq!(asked.request().call, Call::Shutdown { how });
        assert!(asked.is_about(&shared));
        asked.answer(Answer::Done);
    }
    assert_eq!(program.lines(), ["write 0", "both 0", "duplicate 0"]);
    assert_eq!(program.listening(), port);
    assert!(listen::is_listening(shared.as_fd()));
    assert_eq!(ask_pid(port), program.pid().get());
    assert!(primary.next_within(Duration::ZERO).is_none());
}

#[test]
fn shutting_down_a_socket_that_nobody_else_has_is_done_where_the_primary_lets_it_pass() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = not_listening();
    let program = Program::start(probe, "many", 9, &primary);
    primary.serve_one(&shared);
    let (other, _) = not_listening();
    for _ in 0..40 {
        primary.next().expect_bind().take(&other);
    }
    primary.next().answer(Answer::Pass);
    assert_eq!(program.line(), "shutdown 0");
    program.wait();
    assert!(!listen::is_listening(shared.as_fd()));
}

#[test]
fn a_socket_given_again_and_again_takes_no_others_place() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let (shared, _) = not_listening();
    let (other, _) = not_listening();
    let program = Program::start(probe, "many", 9, &primary);
    primary.serve_one(&shared);
    for _ in 0..40 {
        primary.next().expect_bind().take(&other);
    }
    let asked = primary.next();
    assert!(asked.is_about(&shared));
    asked.answer(Answer::Done);
    assert_eq!(program.line(), "shutdown 0");
    program.wait();
    assert!(primary.next_within(Duration::ZERO).is_none());
    assert!(listen::is_listening(shared.as_fd()));
}

#[test]
fn datagrams_are_shared_from_bind_on_and_no_copy_can_keep_them_for_one_peer() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let address = "127.0.0.1:0".parse().unwrap();
    let shared = listen::bind_udp(address, listen::V6::Dual, listen::Reuse::Exclusive).unwrap();
    rustix::io::ioctl_fionbio(&shared, false).unwrap();
    let program = Program::start(probe, "datagrams", 9, &primary);
    let asked = primary.next().expect_bind();
    assert_eq!(asked.request().kind, SocketKind::Udp);
    asked.take(&shared);
    assert_eq!(program.lines(), [format!("connect errno {}", libc::EISCONN), "shutdown 0".to_owned()]);
    let line = program.line();
    let port: u16 = line.strip_prefix("bound ").unwrap().parse().unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    client.send_to(b"who", ("127.0.0.1", port)).unwrap();
    let mut bytes = [0; 16];
    let (length, _) = client.recv_from(&mut bytes).unwrap();
    assert_eq!(&bytes[..length], format!("{}\n", program.pid()).as_bytes());
}

#[test]
fn a_path_can_be_shared_too() {
    let Some(probe) = probe() else { return };
    let mut primary = Primary::new();
    let directory = std::env::temp_dir().join(format!("oneport-preload-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let path = directory.join("public");
    let (shared, _) = listen::bind_unix(&path, listen::UnixMode::default()).unwrap();
    rustix::io::ioctl_fionbio(&shared, false).unwrap();
    let value = primary.listener.variable(&primary.token);
    let words = ["unix path", "0"].map(Into::into).into();
    let program = Program::run(probe.into(), words, Some(value), Some(directory.clone()));
    let asked = primary.next().expect_bind();
    assert_eq!(asked.request().kind, SocketKind::UnixStream);
    assert_eq!(asked.request().name, oneport_sys::foreign::Name::UnixPath("served.sock".into()));
    asked.take(&shared);
    let asked = primary.next();
    assert_eq!(asked.backlog(), 9);
    listen::start_listening(shared.as_fd(), 9).unwrap();
    asked.answer(Answer::Done);
    assert_eq!(program.lines(), ["bind 0", "listen 0"]);
    let mut answer = String::new();
    let mut connection = std::os::unix::net::UnixStream::connect(&path).unwrap();
    connection.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    std::io::Read::read_to_string(&mut connection, &mut answer).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    assert_eq!(answer.trim(), program.pid().to_string());
}
