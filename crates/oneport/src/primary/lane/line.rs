//! The line to a thread that watches descriptors: an order wakes it, and it ends when nobody can order any more.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, mpsc};

use oneport_sys::poll::{Interest, Poller};
use oneport_sys::waker::Waker;

/// What the poller reports when there are orders.
pub(super) const WAKER: u64 = u64::MAX;

/// The loop's end.
#[derive(Debug)]
pub(super) struct Orders<T> {
    sender: mpsc::Sender<T>,
    waker: Arc<Waker>,
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct Received<T> {
    receiver: mpsc::Receiver<T>,
    waker: Arc<Waker>,
}

/// Both ends, and the poller that is woken.
pub(super) fn open<T>() -> io::Result<(Orders<T>, Received<T>, Poller)> {
    let (sender, receiver) = mpsc::channel();
    let waker = Arc::new(Waker::new()?);
    let poller = Poller::new()?;
    poller.add(waker.as_fd(), WAKER, Interest::READ)?;
    Ok((Orders { sender, waker: waker.clone() }, Received { receiver, waker }, poller))
}

impl<T> Orders<T> {
    pub(super) fn give(&self, order: T) {
        // The thread lives as long as this end.
        let _ = self.sender.send(order);
        let _ = self.waker.wake();
    }
}

impl<T> Drop for Orders<T> {
    fn drop(&mut self) {
        // So that the thread sees that nobody orders any more.
        (self.sender, _) = mpsc::channel();
        let _ = self.waker.wake();
    }
}

impl<T> Received<T> {
    /// Before the orders are read of which the poller has told.
    pub(super) fn clear(&self) {
        // Should it not clear, the next wait returns at once and finds no order; nothing is lost.
        let _ = self.waker.clear();
    }

    /// `Disconnected`: nobody orders any more.
    pub(super) fn next(&self) -> Result<T, mpsc::TryRecvError> {
        self.receiver.try_recv()
    }
}
