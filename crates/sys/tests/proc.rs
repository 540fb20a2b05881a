//! What `/proc` says, checked on ourselves and on a child.

mod common;

use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;

use oneport_sys::proc::{
    ListeningKind, cpu_ns, holder_of, holder_of_unix, listening_sockets, open_sockets, rests, rss,
    start_ticks,
};
use oneport_sys::process::{Pid, own_pid};

use common::{Running, command};

fn inode_of(socket: &impl std::os::fd::AsFd) -> u64 {
    let duplicate: std::fs::File = socket.as_fd().try_clone_to_owned().expect("dup").into();
    duplicate.metadata().expect("metadata").ino()
}

#[test]
fn a_process_is_named_by_pid_and_start() {
    let own = start_ticks(own_pid()).unwrap();
    let child = Running::start(command("sleep", &["1000"]));
    let later = start_ticks(child.0.pid).unwrap();
    assert!(own <= later);
    assert_eq!(start_ticks(child.0.pid).unwrap(), later);
    let nobody = Pid::new(i32::MAX).unwrap();
    assert_eq!(start_ticks(nobody).unwrap_err().kind(), std::io::ErrorKind::NotFound);
    assert!(rss(nobody).is_err());
    assert!(cpu_ns(nobody).is_err());
    assert_eq!(open_sockets(nobody), []);
    assert_eq!(listening_sockets(nobody), []);
}

#[test]
fn memory_grows_with_what_is_touched() {
    let before = rss(own_pid()).unwrap();
    let touched = vec![1u8; 64 * 1024 * 1024];
    let after = rss(own_pid()).unwrap();
    assert!(after >= before + 32 * 1024 * 1024, "{before} -> {after}");
    drop(touched);
}

#[test]
fn processor_time_counts_other_threads() {
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = stop.clone();
    let before = cpu_ns(own_pid()).unwrap();
    let thread = std::thread::spawn(move || {
        while !seen.load(std::sync::atomic::Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    common::eventually("50 ms of work", || cpu_ns(own_pid()).unwrap() >= before + 50_000_000);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    thread.join().unwrap();
}

#[test]
fn one_rests_when_its_first_thread_sleeps_and_no_processor_is_wanted() {
    let sleeps = Running::start(command("sleep", &["1000"]));
    common::eventually("sleep to sleep", || rests(sleeps.0.pid));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(sleeps.0.pid.get()).unwrap(),
        rustix::process::Signal::STOP,
    )
    .unwrap();
    common::eventually("it to be stopped", || !rests(sleeps.0.pid));
    let works = Running::start(command("sh", &["-c", "while :; do :; done"]));
    common::eventually("a loop to run", || !rests(works.0.pid));
    assert!(!rests(Pid::new(i32::MAX).unwrap()), "nobody does not rest");
}

#[test]
fn our_listening_sockets_are_found_and_others_are_not() {
    let scratch = common::Scratch::new();
    let path = scratch.join("with blank");
    let four = TcpListener::bind("127.0.0.1:0").unwrap();
    let six = TcpListener::bind("[::1]:0").unwrap();
    let unix = UnixListener::bind(&path).unwrap();
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let found = listening_sockets(own_pid());
    for (address, inode) in
        [(four.local_addr().unwrap(), inode_of(&four)), (six.local_addr().unwrap(), inode_of(&six))]
    {
        let one = found.iter().find(|socket| socket.inode == inode).unwrap();
        assert_eq!(one.address, address.to_string());
        assert_eq!((one.kind, one.port), (ListeningKind::Tcp, Some(address.port())));
    }
    let one = found.iter().find(|socket| socket.inode == inode_of(&unix)).unwrap();
    assert_eq!(one.address, path.to_str().unwrap());
    assert_eq!((one.kind, one.port), (ListeningKind::Unix, None));
    assert!(open_sockets(own_pid()).contains(&inode_of(&datagrams)));
    assert!(!found.iter().any(|socket| socket.inode == inode_of(&datagrams)));
    // The same for another process: a child that inherits nothing holds none of them.
    let child = Running::start(command("sleep", &["1000"]));
    assert_eq!(listening_sockets(child.0.pid), []);
}

#[test]
fn the_holder_of_a_port_is_named_for_every_conflicting_address() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for conflicting in ["127.0.0.1", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]"] {
        let (pid, command) = holder_of(format!("{conflicting}:{port}").parse().unwrap()).unwrap();
        assert_eq!(pid, own_pid(), "{conflicting}");
        assert!(command.contains("proc"), "{command}");
        assert!(command.chars().count() <= 80);
    }
    assert_eq!(holder_of(format!("127.0.0.2:{port}").parse().unwrap()), None);
    assert_eq!(holder_of(format!("[::1]:{port}").parse().unwrap()), None);
    let wildcard = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = wildcard.local_addr().unwrap().port();
    assert_eq!(holder_of(format!("127.0.0.2:{port}").parse().unwrap()).unwrap().0, own_pid());
    drop(wildcard);
    assert_eq!(holder_of(format!("127.0.0.2:{port}").parse().unwrap()), None);
}

#[test]
fn the_holder_of_a_unix_path_is_named() {
    let scratch = common::Scratch::new();
    let path = scratch.join("s");
    assert_eq!(holder_of_unix(&path), None);
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(holder_of_unix(&path).unwrap().0, own_pid());
    drop(listener);
    assert_eq!(holder_of_unix(&path), None);
}
