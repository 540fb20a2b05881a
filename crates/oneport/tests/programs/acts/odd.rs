//! Programs that do what few do.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use oneport_sys::foreign::Blocking;
use oneport_sys::lane::set_blocking;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketType, accept, bind, connect, getsockname, listen, socket};

use super::SCRIPT;

/// The address it got, if connecting left it as it was.
pub(super) fn binds_before_it_connects(server: SocketAddr) -> io::Result<String> {
    let any = SocketAddr::new(if server.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, 0);
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let client = socket(family, SocketType::STREAM, None)?;
    bind(&client, &any)?;
    let before = SocketAddr::try_from(getsockname(&client)?)?;
    connect(&client, &server)?;
    let after = SocketAddr::try_from(getsockname(&client)?)?;
    assert_eq!(before.port(), after.port());
    // The server sees it as long as we live.
    std::mem::forget(client);
    Ok(after.to_string())
}

/// From now on only root may look into it.
pub(super) fn becomes_undumpable() -> io::Result<String> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    super::nothing()
}

fn listens(address: SocketAddr) -> io::Result<std::os::fd::OwnedFd> {
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&listener, &address)?;
    listen(&listener, 16)?;
    Ok(listener)
}

pub(super) fn listens_again_and_again(turns: u32, address: SocketAddr) -> io::Result<String> {
    for _ in 0..turns {
        drop(listens(address)?);
    }
    super::nothing()
}

/// How many of them listen, and how many were told that the address is taken.
pub(super) fn listens_with_many_threads(
    threads: u8,
    address: impl Fn(u8) -> SocketAddr + Sync,
) -> io::Result<String> {
    let start = Barrier::new(usize::from(threads));
    let outcomes: Vec<_> = std::thread::scope(|scope| {
        let (start, address) = (&start, &address);
        let threads: Vec<_> = (1..=threads)
            .map(|thread| {
                scope.spawn(move || {
                    start.wait();
                    listens(address(thread))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let taken = |outcome: &io::Result<_>| {
        outcome
            .as_ref()
            .is_err_and(|error: &io::Error| error.raw_os_error() == Some(Errno::ADDRINUSE.raw_os_error()))
    };
    let listening = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let taken = outcomes.iter().filter(|outcome| taken(outcome)).count();
    std::mem::forget(outcomes);
    Ok(format!("{listening} {taken}"))
}

/// Whatever comes of it.
pub(super) fn binds_without_end(threads: u8, address: SocketAddr) -> io::Result<String> {
    for _ in 0..threads {
        thread::spawn(move || {
            loop {
                let _ = socket(AddressFamily::INET, SocketType::STREAM, None)
                    .and_then(|listener| bind(&listener, &address));
            }
        });
    }
    super::nothing()
}

/// The next connection is a child's alone. It binds once somebody has written there, and answers if it could.
pub(super) fn leaves_a_connection_to_a_child(listener: BorrowedFd<'_>, path: &str) -> io::Result<String> {
    set_blocking(listener, Blocking::Waits)?;
    let connection = accept(listener)?;
    rustix::io::fcntl_setfd(&connection, FdFlags::empty())?;
    let fd = connection.as_raw_fd();
    let script = format!("given c {fd}; await {path}; socket b 4 tcp; bind b 127.0.0.1:0; answer c");
    Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(SCRIPT, script)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    super::nothing()
}

/// Starts this binary as a program of another script, without a line to anybody: its number.
pub(super) fn starts_another(script: &str) -> io::Result<String> {
    let mut command = std::process::Command::new("/proc/self/exe");
    command.args(std::env::args_os().skip(1)).env(super::SCRIPT, script);
    let null = std::process::Stdio::null;
    let child = command.stdin(null()).stdout(null()).stderr(null()).spawn()?;
    Ok(child.id().to_string())
}

pub(super) fn awaits(path: &str) -> io::Result<String> {
    while std::fs::read(path)?.is_empty() {
        thread::park_timeout(Duration::from_millis(2));
    }
    super::nothing()
}
