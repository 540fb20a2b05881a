//! The parts together, in miniature: copies of one program on one port, by calls that we make on their own sockets.

mod common;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use oneport_sys::foreign::{self, Protocol};
use oneport_sys::listen::{bind_here, bound_to, rehome, set_reuse_port, start_listening};
use oneport_sys::process::{self, Pid, Signal};
use oneport_sys::seccomp::{Call, Delivery, Kind};

use common::choose;
use common::traps::{Trapped, all_again_as_nobody, can_trap, perform, reserve_port};

#[test]
fn is_the_program() {
    common::program::run();
}

#[test]
fn all_of_it_works_without_privileges() {
    all_again_as_nobody("all_of_it_works_without_privileges");
}

/// Makes a connection; answers the pid of who served it.
fn ask(address: SocketAddr) -> Pid {
    let mut connection = TcpStream::connect(address).expect("connect");
    connection.set_read_timeout(Some(common::PATIENCE)).expect("a deadline");
    let mut pid = [0; 4];
    connection.read_exact(&mut pid).expect("an answer");
    Pid::new(i32::from_ne_bytes(pid)).expect("a pid")
}

/// One copy that listens on the address, with the kept duplicate of its socket.
fn start_copy(address: SocketAddr) -> (Trapped, OwnedFd) {
    let copy = Trapped::act("serve", address.port());
    let socket = copy.serve_until_listening();
    assert_eq!(copy.says(), "listening");
    assert_eq!(bound_to(socket.as_fd()).expect("address"), Some(address));
    (copy, socket)
}

#[test]
fn two_copies_share_one_port_on_their_own_sockets() {
    if !can_trap() {
        return;
    }
    let (_reserved, address) = reserve_port();
    let copies = [start_copy(address), start_copy(address)];
    // The order of listening is the order of the indexes.
    for (index, (copy, socket)) in (0..).zip(&copies) {
        choose(socket.as_fd(), &[index]).unwrap();
        for _ in 0..10 {
            assert_eq!(ask(address), copy.pid());
        }
    }
    choose(copies[0].1.as_fd(), &[0, 1]).unwrap();
    let mut served = BTreeMap::<Pid, usize>::new();
    for _ in 0..100 {
        *served.entry(ask(address)).or_default() += 1;
    }
    assert_eq!(served.len(), 2, "{served:?}");
}

#[test]
fn what_waits_for_a_killed_copy_is_served_by_the_one_that_adopts_its_socket() {
    if !can_trap() {
        return;
    }
    let (_reserved, address) = reserve_port();
    let (victim, kept) = start_copy(address);
    process::signal_group(victim.pid(), Signal::STOP).unwrap();
    // Until then it may still come out of `accept` with one.
    common::eventually("all its threads are stopped", || all_stopped(victim.pid()));
    let mut waiting: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(address).unwrap()).collect();
    process::signal_group(victim.pid(), Signal::KILL).unwrap();
    victim.program.running.wait();

    let replacement = Trapped::act("serve", address.port());
    let bind = replacement.next_call();
    let (own, outcome) = perform(&replacement.listener, bind);
    assert_eq!(foreign::protocol_of(replacement.pid(), fd_of(bind)).unwrap(), Protocol::Tcp4);
    replacement.listener.answer(bind.id, outcome).unwrap();
    let listen = replacement.next_call();
    let (blocking, at_exec) = foreign::fd_flags(replacement.pid(), fd_of(listen)).unwrap();
    assert_eq!(blocking, foreign::Blocking::Waits);
    let placed = replacement.listener.put(listen.id, fd_of(listen), kept.as_fd(), at_exec).unwrap();
    assert_eq!(placed, Delivery::Delivered);
    replacement.listener.answer(listen.id, Ok(())).unwrap();
    drop((own, kept));
    assert_eq!(replacement.says(), "listening");
    for connection in &mut waiting {
        connection.set_read_timeout(Some(common::PATIENCE)).unwrap();
        let mut pid = [0; 4];
        connection.read_exact(&mut pid).expect("an answer");
        assert_eq!(i32::from_ne_bytes(pid), replacement.pid().get());
    }
    assert_eq!(ask(address), replacement.pid());
}

fn all_stopped(process: Pid) -> bool {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("tasks");
    let mut stats = tasks.map(|task| std::fs::read_to_string(task.expect("a task").path().join("stat")));
    stats.all(|stat| stat.is_ok_and(|stat| stat.contains(") T ")))
}

fn fd_of(call: Call) -> i32 {
    match call.kind {
        Kind::Bind { fd, .. } | Kind::Listen { fd, .. } | Kind::Shutdown { fd, .. } => fd,
    }
}

#[test]
fn port_zero_is_agreed_when_the_copies_listen() {
    if !can_trap() {
        return;
    }
    // The n-th listener on port 0 of every copy has the same port.
    let mut agreed: BTreeMap<usize, SocketAddr> = BTreeMap::new();
    let mut kept = Vec::new();
    for _ in 0..3 {
        let copy = Trapped::act("serve any two", 0);
        for number in 0..2 {
            let bind = copy.next_call();
            assert!(matches!(bind.kind, Kind::Bind { .. }), "{bind:?}");
            assert_eq!(copy.listener.let_through(bind.id).unwrap(), Delivery::Delivered);
            let listen = copy.next_call();
            let Kind::Listen { fd, backlog } = listen.kind else { panic!("{listen:?}") };
            let backlog = u32::try_from(backlog).unwrap_or(511);
            let thread = foreign::open_thread(listen.thread).unwrap();
            let socket = foreign::take_fd(thread.as_fd(), fd).unwrap();
            let outcome = match agreed.get(&number) {
                Some(address) => {
                    rehome(socket.as_fd(), *address).and_then(|()| start_listening(socket.as_fd(), backlog))
                }
                None => {
                    agreed.insert(number, bound_to(socket.as_fd()).unwrap().unwrap());
                    set_reuse_port(socket.as_fd()).and_then(|()| start_listening(socket.as_fd(), backlog))
                }
            };
            assert!(outcome.is_ok(), "{outcome:?}");
            copy.listener.answer(listen.id, outcome).unwrap();
            assert_eq!(bound_to(socket.as_fd()).unwrap(), Some(agreed[&number]));
            kept.push(socket);
        }
        assert_eq!(copy.says(), format!("{} {}", agreed[&0].port(), agreed[&1].port()));
    }
    assert_ne!(agreed[&0], agreed[&1]);
}

#[test]
fn clients_that_bind_to_any_port_go_out_as_ever() {
    if !can_trap() {
        return;
    }
    let (_reserved, address) = reserve_port();
    let (_server, _socket) = start_copy(address);
    let clients: Vec<Trapped> = (0..2).map(|_| Trapped::act("client", address.port())).collect();
    for client in &clients {
        let stream = client.next_call();
        assert_eq!(foreign::protocol_of(client.pid(), fd_of(stream)).unwrap(), Protocol::Tcp4);
        client.listener.let_through(stream.id).unwrap();
        let datagrams = client.next_call();
        assert_eq!(foreign::protocol_of(client.pid(), fd_of(datagrams)).unwrap(), Protocol::Udp4);
        client.listener.let_through(datagrams.id).unwrap();
        assert_eq!(client.says(), "served");
    }
}

#[test]
fn a_call_that_comes_twice_is_answered_twice_with_success() {
    if !can_trap() {
        return;
    }
    let (_reserved, address) = reserve_port();
    let copy = Trapped::act("raw", address.port());
    let bind = copy.next_call();
    let (socket, outcome) = perform(&copy.listener, bind);
    outcome.unwrap();
    // As if a signal had made the caller begin anew after we bound.
    let (_, outcome) = perform(&copy.listener, bind);
    copy.listener.answer(bind.id, outcome).unwrap();
    let listen = copy.next_call();
    for _ in 0..2 {
        perform(&copy.listener, listen).1.unwrap();
    }
    let elsewhere = bind_here(socket.unwrap().as_fd(), "127.0.0.2:0".parse().unwrap());
    assert_eq!(elsewhere.unwrap_err().raw_os_error(), Some(libc::EINVAL));
    copy.listener.answer(listen.id, Ok(())).unwrap();
    assert_eq!(copy.says(), "ok");
}

#[test]
fn what_cannot_be_looked_into_is_refused_with_the_kernels_number() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("undumpable", 0);
    let bind = program.next_call();
    let Kind::Bind { fd, address, length } = bind.kind else { panic!("{bind:?}") };
    let thread = foreign::open_thread(bind.thread).unwrap();
    let access = foreign::check_access(program.pid());
    let name = foreign::read_address(bind.thread, address, length);
    let socket = foreign::take_fd(thread.as_fd(), fd);
    if rustix::process::geteuid().is_root() {
        assert!(access.is_ok() && name.is_ok() && socket.is_ok(), "{access:?} {name:?} {socket:?}");
    } else {
        let errno = |result: Option<std::io::Error>| result.and_then(|error| error.raw_os_error());
        assert_eq!(errno(access.err()), Some(libc::EACCES));
        assert_eq!(errno(name.err()), Some(libc::EACCES));
        assert_eq!(errno(socket.err()), Some(libc::EPERM));
        assert_eq!(errno(foreign::protocol_of(program.pid(), fd).err()), Some(libc::EACCES));
    }
    // It can be let through all the same.
    program.listener.let_through(bind.id).unwrap();
    program.listener.let_through(program.next_call().id).unwrap();
    assert_eq!(program.says(), "ok");
}
