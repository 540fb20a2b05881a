//! A program that watches its socket before it binds it is given another's socket at `bind`, and hears of who comes there.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use oneport_sys::foreign::{AtExec, open_thread, register_again, registrations, take_fd};
use oneport_sys::listen::{V6, bind_tcp, bound_to, start_listening};
use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::seccomp::{Delivery, Kind};
use rustix::net::{AddressFamily, SocketType};

use common::program;
use common::traps::{Trapped, all_again_as_nobody, can_trap};

#[test]
fn is_the_program() {
    match std::env::var(program::ACT).as_deref() {
        Ok("poll early") => poll_early(),
        _ => program::run(),
    }
}

#[test]
fn all_of_it_works_without_privileges() {
    all_again_as_nobody("all_of_it_works_without_privileges");
}

/// Answers every connection with its pid, from a set that had the socket before it was bound.
fn poll_early() {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    let set = Poller::new().unwrap();
    set.add(socket.as_fd(), 7, Interest::READ).unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 1))).unwrap();
    rustix::net::listen(&socket, 16).unwrap();
    println!("\n> listening");
    let listener = TcpListener::from(socket);
    let mut readiness = Readiness::new();
    loop {
        set.wait(&mut readiness, None).unwrap();
        for ready in readiness.iter() {
            assert!(ready.token == 7 && ready.readable && !ready.hung_up, "{ready:?}");
            let (mut connection, _) = listener.accept().unwrap();
            let _ = connection.write_all(&std::process::id().to_ne_bytes());
        }
    }
}

fn kept() -> (OwnedFd, SocketAddr) {
    let kept = bind_tcp("127.0.0.1:0".parse().unwrap(), V6::Dual).unwrap();
    start_listening(kept.as_fd(), 64).unwrap();
    let address = bound_to(kept.as_fd()).unwrap().unwrap();
    (kept, address)
}

#[test]
fn what_waits_in_a_socket_that_was_put_in_place_is_served_from_the_early_set() {
    if !can_trap() {
        return;
    }
    let (kept, address) = kept();
    let waiting: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    let program = Trapped::act("poll early", 0);
    let bind = program.next_call();
    let Kind::Bind { fd, .. } = bind.kind else { panic!("{bind:?}") };
    let found = registrations(program.pid(), fd).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].number, found[0].data), (fd, 7));
    let pidfd = open_thread(program.pid()).unwrap();
    let own = take_fd(pidfd.as_fd(), fd).unwrap();
    assert_eq!(program.listener.put(bind.id, fd, kept.as_fd(), AtExec::Closes).unwrap(), Delivery::Delivered);
    assert!(program.listener.is_waiting(bind.id), "put is not answered");
    register_again(pidfd.as_fd(), &found, own.as_fd(), kept.as_fd()).unwrap();
    drop(own);
    assert_eq!(registrations(program.pid(), fd).unwrap(), found);
    assert_eq!(program.listener.answer(bind.id, Ok(())).unwrap(), Delivery::Delivered);
    let listen = program.next_call();
    assert!(matches!(listen.kind, Kind::Listen { .. }), "{listen:?}");
    program.listener.answer(listen.id, Ok(())).unwrap();
    assert_eq!(program.says(), "listening");
    let late = TcpStream::connect(address).unwrap();
    for mut connection in waiting.into_iter().chain([late]) {
        connection.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let mut pid = [0; 4];
        connection.read_exact(&mut pid).unwrap();
        assert_eq!(i32::from_ne_bytes(pid), program.pid().get());
    }
}
