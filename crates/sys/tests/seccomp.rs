//! A program's `bind` and `listen` are asked about and answered, however it makes them, and nothing else is.

mod common;

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};

use oneport_sys::fdpass::channel_pair;
use oneport_sys::foreign::{self, AtExec, Name};
use oneport_sys::listen::{V6, bind_tcp, bound_to, start_listening};
use oneport_sys::seccomp::{Call, Delivery, Kind, Listener, Shutdown, Traps};

use common::traps::{Trapped, all_again_as_nobody, can_trap, trapped};
use common::{Running, command, read_to_end};

#[test]
fn is_the_program() {
    common::program::run();
}

#[test]
fn all_of_it_works_without_privileges() {
    all_again_as_nobody("all_of_it_works_without_privileges");
}

fn address_in(call: Call) -> Name {
    let Kind::Bind { address, length, .. } = call.kind else { panic!("{call:?}") };
    foreign::read_address(call.thread, address, length).expect("an address")
}

fn let_through(listener: &Listener, call: Call) {
    assert_eq!(listener.let_through(call.id).expect("let through"), Delivery::Delivered);
}

/// Sees a program bind to `port` and listen, both carried out by the kernel; answers the threads that called.
fn watch_bind_and_listen(program: &Trapped, port: u16) -> [Call; 2] {
    let bind = program.next_call();
    assert_eq!(address_in(bind), Name::Ip(([127, 0, 0, 1], port).into()));
    assert!(program.listener.is_waiting(bind.id));
    let_through(&program.listener, bind);
    let listen = program.next_call();
    assert!(matches!(listen.kind, Kind::Listen { .. }), "{listen:?}");
    let_through(&program.listener, listen);
    assert!(!program.listener.is_waiting(listen.id));
    [bind, listen]
}

#[test]
fn bind_and_listen_through_the_c_library_are_asked_about() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("std", 0);
    let [bind, listen] = watch_bind_and_listen(&program, 0);
    let (Kind::Bind { fd, length, .. }, Kind::Listen { fd: listened, .. }) = (bind.kind, listen.kind) else {
        panic!("{bind:?} {listen:?}");
    };
    assert_eq!((fd, length), (listened, 16));
    assert_eq!(program.says(), "ok");
    program.ends_well();
}

#[test]
fn raw_calls_are_asked_about_with_their_arguments() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("raw", 0);
    let [_, listen] = watch_bind_and_listen(&program, 0);
    assert!(matches!(listen.kind, Kind::Listen { backlog: 7, .. }), "{listen:?}");
    assert_eq!(program.says(), "ok");
}

#[test]
fn a_thread_that_calls_belongs_to_its_process() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("thread", 0);
    let bind = program.next_call();
    assert_ne!(bind.thread, program.pid());
    assert_eq!(foreign::process_of(bind.thread).unwrap(), program.pid());
    let_through(&program.listener, bind);
    let_through(&program.listener, program.next_call());
    assert_eq!(program.says(), "ok");
}

#[test]
fn a_grandchild_behind_shells_is_asked_about_like_the_child() {
    if !can_trap() {
        return;
    }
    let mut shell = trapped("raw", 0);
    // Two shells that stay, because more commands follow.
    let script = "sh -c '\"$@\"; true' sh \"$@\"; true";
    let arguments = std::mem::take(&mut shell.args);
    shell.args = ["-c", script, "sh"].into_iter().map(Into::into).collect();
    shell.args.push(std::mem::replace(&mut shell.program, "sh".into()));
    shell.args.extend(arguments);
    let program = Trapped::start(shell);
    let [bind, _] = watch_bind_and_listen(&program, 0);
    assert_eq!(program.says(), "ok");
    program.ends_well();
    assert_ne!(bind.thread, program.pid());
}

#[test]
fn the_answer_is_what_the_program_gets() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("raw", 0);
    let bind = program.next_call();
    let refused = std::io::Error::from_raw_os_error(libc::EADDRNOTAVAIL);
    assert_eq!(program.listener.answer(bind.id, Err(refused)).unwrap(), Delivery::Delivered);
    assert_eq!(program.says(), format!("errno {}", libc::EADDRNOTAVAIL));

    // An error without a number of its own.
    let program = Trapped::act("raw", 0);
    let nameless = std::io::Error::other("whatever");
    program.listener.answer(program.next_call().id, Err(nameless)).unwrap();
    assert_eq!(program.says(), format!("errno {}", libc::EIO));

    // Success that nobody earned.
    let program = Trapped::act("raw", 0);
    program.listener.answer(program.next_call().id, Ok(())).unwrap();
    let listen = program.next_call();
    let Kind::Listen { fd, .. } = listen.kind else { panic!("{listen:?}") };
    let thread = foreign::open_thread(listen.thread).unwrap();
    let socket = foreign::take_fd(thread.as_fd(), fd).unwrap();
    assert_eq!(bound_to(socket.as_fd()).unwrap(), None);
    program.listener.answer(listen.id, Ok(())).unwrap();
    assert_eq!(program.says(), "ok");
}

#[test]
fn an_answered_call_cannot_be_answered_again() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("raw", 0);
    let bind = program.next_call();
    let_through(&program.listener, bind);
    let again = program.listener.answer(bind.id, Ok(()));
    // Until the caller has run on, the kernel still knows the call.
    assert!(
        matches!(again, Ok(Delivery::CallerGone))
            || again.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EINPROGRESS)),
        "{again:?}"
    );
    let_through(&program.listener, program.next_call());
    assert_eq!(program.says(), "ok");
}

#[test]
fn another_socket_can_be_put_in_place_of_the_callers() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("serve", 0);
    program.listener.answer(program.next_call().id, Ok(())).unwrap();
    let listen = program.next_call();
    let Kind::Listen { fd, backlog } = listen.kind else { panic!("{listen:?}") };
    let ours = bind_tcp("127.0.0.1:0".parse().unwrap(), V6::Dual).unwrap();
    rustix::io::ioctl_fionbio(&ours, false).unwrap();
    start_listening(ours.as_fd(), u32::try_from(backlog).unwrap_or(16)).unwrap();
    let too_high = program.listener.put(listen.id, i32::MAX, ours.as_fd(), AtExec::Stays);
    assert_eq!(too_high.unwrap_err().raw_os_error(), Some(libc::EBADF));
    let placed = program.listener.put(listen.id, fd, ours.as_fd(), AtExec::Closes).unwrap();
    assert_eq!(placed, Delivery::Delivered);
    program.listener.answer(listen.id, Ok(())).unwrap();
    // It takes listen's 0 for success: any other number would have been an error to it.
    assert_eq!(program.says(), "listening");
    let (_, at_exec) = foreign::fd_flags(program.pid(), fd).unwrap();
    assert_eq!(at_exec, AtExec::Closes);
    let address = bound_to(ours.as_fd()).unwrap().unwrap();
    let mut connection = TcpStream::connect(address).unwrap();
    connection.read_exact(&mut [0; 1]).unwrap();
}

#[test]
fn serving_connections_is_never_asked_about() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("serve", 0);
    let socket = program.serve_until_listening();
    assert_eq!(program.says(), "listening");
    let address = bound_to(socket.as_fd()).unwrap().unwrap();
    for _ in 0..50 {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.read_exact(&mut [0; 1]).unwrap();
    }
    assert_eq!(program.listener.receive().unwrap(), None);
}

#[test]
fn shutdown_is_asked_about_only_when_it_ends_reading_and_only_if_wished() {
    if !can_trap() {
        return;
    }
    let mut command = trapped("shutdown", 0);
    command.trap = Some(Traps { shutdown: Shutdown::Trapped, keep: None });
    let program = Trapped::start(command);
    let [bind, _] = watch_bind_and_listen(&program, 0);
    let Kind::Bind { fd: listening, .. } = bind.kind else { panic!("{bind:?}") };
    let read = program.next_call();
    let Kind::Shutdown { fd, how: libc::SHUT_RD } = read.kind else { panic!("{read:?}") };
    assert_ne!(fd, listening);
    let_through(&program.listener, read);
    let both = program.next_call();
    assert_eq!(both.kind, Kind::Shutdown { fd: listening, how: libc::SHUT_RDWR });
    let thread = foreign::open_thread(both.thread).unwrap();
    let socket = foreign::take_fd(thread.as_fd(), listening).unwrap();
    program.listener.answer(both.id, Ok(())).unwrap();
    assert_eq!(program.says(), "0");
    program.ends_well();
    assert!(oneport_sys::listen::is_listening(socket.as_fd()), "the answer was all that happened");

    let program = Trapped::act("shutdown", 0);
    watch_bind_and_listen(&program, 0);
    assert_eq!(program.says(), "0");
}

#[test]
fn a_trapped_child_inherits_nothing_more() {
    if !can_trap() {
        return;
    }
    let numbers = |traps: Option<Traps>| {
        let (_ours, theirs) = channel_pair().unwrap();
        let mut listing = command("sh", &["-c", "ls /proc/self/fd; grep NoNewPrivs /proc/self/status"]);
        (listing.channel, listing.extra_pipes, listing.trap) = (Some(theirs), 2, traps);
        let mut child = Running::start(listing);
        let kept = child.0.notify.as_ref().and_then(Listener::kept);
        (read_to_end(child.take_output()).split_whitespace().collect::<Vec<_>>().join(" "), kept)
    };
    // 6 is the directory that ls reads.
    assert_eq!(numbers(None), ("0 1 2 3 4 5 6 NoNewPrivs: 0".into(), None));
    assert_eq!(numbers(Some(Traps::default())), ("0 1 2 3 4 5 6 NoNewPrivs: 1".into(), None));
    let keep = Traps { shutdown: Shutdown::Untouched, keep: Some(900) };
    assert_eq!(numbers(Some(keep)), ("0 1 2 3 4 5 6 900 NoNewPrivs: 1".into(), Some(900)));
}

#[test]
fn a_program_that_cannot_run_is_an_error_of_spawn_under_traps_too() {
    for (keep, program, errno) in [
        (None, "/nonexistent/program", libc::ENOENT),
        (None, "/", libc::EACCES),
        (Some(900), "/nonexistent/program", libc::ENOENT),
        (Some(i32::MAX), "true", libc::EINVAL),
    ] {
        if !can_trap() {
            return;
        }
        let mut missing = command(program, &[]);
        missing.trap = Some(Traps { shutdown: Shutdown::Untouched, keep });
        assert_eq!(missing.spawn().unwrap_err().raw_os_error(), Some(errno), "{program}");
    }
}

#[test]
fn the_notify_descriptor_closes_at_exec_and_nothing_else_passes_for_one() {
    if !can_trap() {
        return;
    }
    let program = Trapped::act("raw", 0);
    let fd = program.listener.as_fd();
    assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    let duplicate = fd.try_clone_to_owned().unwrap();
    let number = duplicate.as_raw_fd();
    let waits = program.listener.waits();
    let again = Listener::take_over(duplicate, waits, Some(number)).unwrap();
    assert_eq!((again.waits(), again.kept()), (waits, Some(number)));
    let_through(&again, common::traps::next_call(&again));
    for other in [std::fs::File::open("/dev/null").unwrap().into(), channel_pair().unwrap().0] {
        let refused = Listener::take_over(other, waits, None).unwrap_err();
        assert_eq!(refused.raw_os_error(), Some(libc::EINVAL));
    }
}
