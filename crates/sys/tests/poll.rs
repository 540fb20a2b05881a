//! Level-triggered waiting over real descriptors.

mod common;

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use oneport_sys::fdpass::channel_pair;
use oneport_sys::poll::{Interest, Poller, Readiness, Ready};

fn wait_now(poller: &Poller) -> Vec<Ready> {
    let mut readiness = Readiness::new();
    poller.wait(&mut readiness, Some(Duration::ZERO)).expect("wait");
    readiness.iter().collect()
}

fn write(fd: &OwnedFd) {
    rustix::io::write(fd, b"x").expect("write");
}

#[test]
fn what_was_not_read_is_reported_again() {
    let (ours, theirs) = channel_pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(ours.as_fd(), 7, Interest::READ).unwrap();
    assert!(wait_now(&poller).is_empty());
    write(&theirs);
    let expected = Ready { token: 7, readable: true, writable: false, hung_up: false };
    assert_eq!(wait_now(&poller), [expected]);
    assert_eq!(wait_now(&poller), [expected]);
}

#[test]
fn interest_and_token_can_change_and_end() {
    let (ours, theirs) = channel_pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(ours.as_fd(), 1, Interest::BOTH).unwrap();
    assert_eq!(poller.add(ours.as_fd(), 1, Interest::BOTH).unwrap_err().raw_os_error(), Some(libc::EEXIST));
    assert_eq!(wait_now(&poller), [Ready { token: 1, readable: false, writable: true, hung_up: false }]);
    write(&theirs);
    poller.modify(ours.as_fd(), 2, Interest::NONE).unwrap();
    assert!(wait_now(&poller).is_empty());
    poller.modify(ours.as_fd(), 3, Interest::WRITE).unwrap();
    assert_eq!(wait_now(&poller), [Ready { token: 3, readable: false, writable: true, hung_up: false }]);
    poller.remove(ours.as_fd()).unwrap();
    assert!(wait_now(&poller).is_empty());
    assert_eq!(poller.remove(ours.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn a_hang_up_is_told_without_being_asked() {
    let (ours, theirs) = channel_pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(ours.as_fd(), 1, Interest::NONE).unwrap();
    drop(theirs);
    assert!(wait_now(&poller)[0].hung_up);
}

#[test]
fn a_short_timeout_never_ends_early() {
    let poller = Poller::new().unwrap();
    let mut readiness = Readiness::new();
    for micros in [1, 400, 1001, 2500] {
        let timeout = Duration::from_micros(micros);
        let start = Instant::now();
        poller.wait(&mut readiness, Some(timeout)).unwrap();
        assert!(readiness.is_empty());
        assert!(start.elapsed() >= timeout, "{micros} us ended after {:?}", start.elapsed());
    }
}

#[test]
fn the_answers_of_the_last_wait_do_not_linger() {
    let (ours, theirs) = channel_pair().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(ours.as_fd(), 1, Interest::READ).unwrap();
    write(&theirs);
    let mut readiness = Readiness::new();
    poller.wait(&mut readiness, None).unwrap();
    assert_eq!(readiness.iter().count(), 1);
    rustix::io::read(&ours, &mut [0; 8]).unwrap();
    poller.wait(&mut readiness, Some(Duration::ZERO)).unwrap();
    assert_eq!(readiness.iter().count(), 0);
}
