//! A wake is never lost, and many are one.

mod common;

use std::os::fd::AsFd;
use std::time::Duration;

use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::waker::Waker;

fn is_awake(poller: &Poller) -> bool {
    let mut readiness = Readiness::new();
    poller.wait(&mut readiness, Some(Duration::ZERO)).expect("wait");
    !readiness.is_empty()
}

#[test]
fn it_is_readable_from_wake_to_clear() {
    let waker = Waker::new().unwrap();
    let poller = Poller::new().unwrap();
    poller.add(waker.as_fd(), 1, Interest::READ).unwrap();
    assert!(!is_awake(&poller));
    waker.wake().unwrap();
    waker.wake().unwrap();
    assert!(is_awake(&poller));
    waker.clear().unwrap();
    assert!(!is_awake(&poller));
    waker.clear().unwrap(); // clearing twice does not block
}

#[test]
fn it_ends_a_wait_in_another_thread() {
    let waker = std::sync::Arc::new(Waker::new().unwrap());
    let other = waker.clone();
    let thread = std::thread::spawn(move || common::wait_readable(other.as_fd()));
    waker.wake().unwrap();
    thread.join().unwrap();
}
