//! Who connects to the primary without being the library.

use std::os::fd::OwnedFd;
use std::time::Duration;

use oneport_sys::preload::ShimListener;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketType, connect, getsockname, recv, send, socket,
};

use crate::harness::{Primary, Program, is_readable_within, listening, probe, skipped, wait_readable};

fn connected(listener: &ShimListener) -> OwnedFd {
    let address = getsockname(listener.socket()).unwrap();
    let address = SocketAddrUnix::try_from(address).unwrap();
    let stranger = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
    connect(&stranger, &address).unwrap();
    stranger
}

/// Not at once: another test may be between fork and exec, with a duplicate of everything.
fn wait_closed(stranger: &OwnedFd) {
    wait_readable(stranger);
    assert!(is_closed(stranger));
}

fn is_closed(stranger: &OwnedFd) -> bool {
    match recv(stranger, &mut [0; 16][..], RecvFlags::DONTWAIT) {
        Ok((length, _)) => length == 0,
        Err(error) => error != Errno::AGAIN,
    }
}

const NOBODY: u32 = 65_534;

/// Done by another user: credentials are a thread's own.
#[expect(unsafe_code, reason = "the C library would change the user of all threads")]
fn as_nobody<T: Send>(done: impl FnOnce() -> T + Send) -> T {
    let nobody = libc::c_long::from(NOBODY);
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: takes numbers.
            assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody) }, 0);
            done()
        });
        thread.join().unwrap()
    })
}

#[test]
fn another_user_is_no_primary() {
    let Some(probe) = probe() else { return };
    if !rustix::process::geteuid().is_root() {
        return skipped("another_user_is_no_primary", "only root can become somebody else");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // The listener has the credentials of whoever called `listen`.
    let mut stranger = as_nobody(Primary::new);
    let program = Program::start(probe, "calls", taken.local_addr().unwrap().port(), &stranger);
    assert_eq!(program.line(), format!("bind errno {}", libc::EADDRINUSE));
    program.wait();
    // It came, looked, and said nothing.
    assert!(is_readable_within(&stranger.listener, Duration::ZERO));
    assert!(stranger.next_within(Duration::ZERO).is_none());
}

#[test]
fn users_who_run_no_worker_take_nobodys_place_but_their_own() {
    if !rustix::process::geteuid().is_root() {
        return skipped("users_who_run_no_worker", "only root can become somebody else");
    }
    let mut primary = Primary::new();
    let silent = |primary: &mut Primary, count: usize| {
        let connect = |_| {
            let stranger = connected(&primary.listener);
            assert!(primary.next_within(Duration::ZERO).is_none());
            stranger
        };
        (0..count).map(connect).collect::<Vec<_>>()
    };
    let open = |strangers: &[OwnedFd]| strangers.iter().filter(|stranger| !is_closed(stranger)).count();
    let first = silent(&mut primary, 50);
    let foreign = as_nobody(|| silent(&mut primary, 20));
    assert_eq!((open(&first), open(&foreign), open(&foreign[12..])), (50, 8, 8));
    // And give way first.
    let second = silent(&mut primary, 14);
    assert_eq!((open(&first), open(&second), open(&foreign)), (50, 14, 0));
    let foreign = as_nobody(|| silent(&mut primary, 1));
    assert_eq!((open(&first), open(&foreign)), (50, 0));
    // Those who are known to run workers are no foreigners.
    primary.listener.trust(NOBODY);
    let known = as_nobody(|| silent(&mut primary, 9));
    assert_eq!((open(&first[9..]), open(&known)), (41, 9));
}

#[test]
fn silent_ones_are_bounded_and_the_oldest_goes_first() {
    let mut primary = Primary::new();
    let mut strangers = Vec::new();
    for _ in 0..65 {
        strangers.push(connected(&primary.listener));
        assert!(primary.next_within(Duration::ZERO).is_none());
    }
    wait_closed(&strangers[0]);
    assert!(!strangers[1..].iter().any(is_closed));
    // They are not asked again and again.
    assert!(!is_readable_within(&primary.listener, Duration::ZERO));
    let Some(probe) = probe() else { return };
    let (shared, _) = listening();
    let program = Program::start(probe, "calls", 9, &primary);
    primary.serve_one(&shared);
    assert_eq!(program.line(), "bind 0");
}

#[test]
fn nonsense_costs_its_connection_alone() {
    let mut primary = Primary::new();
    let quiet = connected(&primary.listener);
    for packet in [&b"GET / HTTP/1.1"[..], &[1; 168], &[0; 168], &[1; 169], &[1; 4000]] {
        let stranger = connected(&primary.listener);
        send(&stranger, packet, SendFlags::NOSIGNAL).unwrap();
        assert!(primary.next_within(Duration::ZERO).is_none());
        wait_closed(&stranger);
    }
    assert!(!is_closed(&quiet));
}

#[test]
fn one_that_leaves_is_forgotten() {
    let mut primary = Primary::new();
    let stranger = connected(&primary.listener);
    assert!(primary.next_within(Duration::ZERO).is_none());
    drop(stranger);
    wait_readable(&primary.listener);
    assert!(primary.next_within(Duration::ZERO).is_none());
    assert!(!is_readable_within(&primary.listener, Duration::ZERO));
}
