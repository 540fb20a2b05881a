//! At the limit of open descriptors. A binary of its own, one test at a time: the limit is the whole process's.

mod common;

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Mutex, MutexGuard};

use oneport_sys::accept::{Accepted, accept};
use oneport_sys::fdpass::{channel_pair, receive, receive_many, send, send_many};
use oneport_sys::process::set_nofile_to_hard;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

static ALONE: Mutex<()> = Mutex::new(());

fn run_alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs something while no further descriptor can be opened.
fn at_the_limit<T>(work: impl FnOnce() -> T) -> T {
    with_room_for(0, work)
}

/// Runs something while only so many further descriptors can be opened.
fn with_room_for<T>(count: usize, work: impl FnOnce() -> T) -> T {
    let before = getrlimit(Resource::Nofile);
    let mut free: Vec<_> =
        (0..=count).map(|_| rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 0).expect("dup")).collect();
    let end = u64::try_from(free.pop().expect("at least one").as_raw_fd()).expect("not negative");
    drop(free);
    setrlimit(Resource::Nofile, Rlimit { current: Some(end), maximum: before.maximum }).expect("setrlimit");
    let result = work();
    setrlimit(Resource::Nofile, before).expect("setrlimit");
    result
}

#[test]
fn a_descriptor_that_cannot_be_received_is_told_as_truncated() {
    let _alone = run_alone();
    let (ours, theirs) = channel_pair().unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    send(ours.as_fd(), b"lost", Some(writer.as_fd())).unwrap();
    drop(writer);
    let received = at_the_limit(|| receive(theirs.as_fd(), &mut [0; 8])).unwrap();
    assert_eq!(received.bytes, 4);
    assert!(received.fd.is_none());
    assert!(received.truncated);
    // The kernel dropped it: nobody holds the write end any more.
    common::wait_readable(&reader);
    assert_eq!(rustix::io::read(&reader, &mut [0; 1]).unwrap(), 0);
}

#[test]
fn of_several_descriptors_the_first_arrive_and_the_lost_are_told() {
    let _alone = run_alone();
    let (ours, theirs) = channel_pair().unwrap();
    let pipes: Vec<_> = (0..3).map(|_| rustix::pipe::pipe().unwrap()).collect();
    let writers: Vec<_> = pipes.iter().map(|(_, writer)| writer.as_fd()).collect();
    send_many(ours.as_fd(), b"abc", &writers).unwrap();
    drop(writers);
    let readers: Vec<_> = pipes.into_iter().map(|(reader, _)| reader).collect();
    let mut fds = Vec::with_capacity(4);
    let received = with_room_for(2, || receive_many(theirs.as_fd(), &mut [0; 8], &mut fds)).unwrap();
    assert_eq!((received.bytes, received.truncated, fds.len()), (3, true, 2));
    for (number, (fd, reader)) in fds.iter().zip(&readers).enumerate() {
        let sent = [u8::try_from(number).unwrap()];
        rustix::io::write(fd, &sent).unwrap();
        let mut byte = [255];
        rustix::io::read(reader, &mut byte).unwrap();
        assert_eq!(byte, sent);
    }
    common::wait_readable(&readers[2]);
    assert_eq!(rustix::io::read(&readers[2], &mut [0; 1]).unwrap(), 0);
}

#[test]
fn accepting_without_a_free_descriptor_is_exhausted_and_keeps_the_connection() {
    let _alone = run_alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    common::wait_readable(&listener);
    let accepted = at_the_limit(|| accept(listener.as_fd()));
    let Accepted::Exhausted(error) = accepted else { panic!("{accepted:?}") };
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    assert!(matches!(accept(listener.as_fd()), Accepted::Connection(_)));
}

#[test]
fn raising_the_limit_answers_what_it_was() {
    let _alone = run_alone();
    let before = getrlimit(Resource::Nofile);
    let lower = Rlimit { current: Some(200), maximum: before.maximum };
    setrlimit(Resource::Nofile, lower).unwrap();
    assert_eq!(set_nofile_to_hard().unwrap(), 200);
    let raised = getrlimit(Resource::Nofile);
    assert_eq!(raised.current, before.maximum);
    assert_eq!(set_nofile_to_hard().unwrap(), before.maximum.unwrap_or(u64::MAX));
    setrlimit(Resource::Nofile, before).unwrap();
}
