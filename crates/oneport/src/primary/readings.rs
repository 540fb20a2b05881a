//! Readings of `/proc` and of the kernel's sockets, shared by all threads of a primary that look after workers: when hundreds
//! of them leave at one time, all are looked for in the same tables, which are as long as there are workers.
//!
//! Invariant: nobody is given a reading that is older than the question, and none is kept that nobody waits for.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use oneport_sys::diag::{self, Connection};
use oneport_sys::proc::{self, Listening};
use oneport_sys::process::Pid;
use oneport_sys::tree::Table;

/// What is read. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Readings(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    table: Shared<Table>,
    listeners: Shared<(u64, Vec<Listening>)>,
    connections: Shared<Connections>,
    /// Ports that those have in mind who wait.
    ports: Mutex<BTreeSet<u16>>,
}

#[derive(Debug)]
struct Connections {
    /// In rising order.
    ports: Vec<u16>,
    /// `None`: not to be known.
    found: Option<Vec<Connection>>,
}

impl Readings {
    /// All processes, as they are now.
    pub(super) fn table(&self) -> Arc<Table> {
        self.0.table.get(Instant::now(), |_| true, Table::read)
    }

    /// The TCP ports on which processes of a tree listen, each in its own network namespace.
    pub(super) fn ports_of(&self, tree: &[Pid]) -> Vec<u16> {
        let mut ports = Vec::new();
        for pid in tree {
            let (held, Ok(network)) = (proc::open_sockets(*pid), proc::network_of(*pid)) else { continue };
            if held.is_empty() {
                continue;
            }
            let read = || (network, proc::listening_around(*pid));
            let listening = self.0.listeners.get(Instant::now(), |(of, _)| *of == network, read);
            let own = listening.1.iter().filter(|socket| held.binary_search(&socket.inode).is_ok());
            ports.extend(own.filter_map(|socket| socket.port));
        }
        ports
    }

    /// The TCP connections on these local ports that are `mine`. `None`: not to be known.
    pub(super) fn connections(
        &self,
        ports: &[u16],
        mine: impl Fn(&Connection) -> bool,
    ) -> Option<Vec<Connection>> {
        let asked = Instant::now();
        held(&self.0.ports).extend(ports);
        let covers = |known: &Connections| ports.iter().all(|port| known.ports.binary_search(port).is_ok());
        let read = || {
            let mut all = std::mem::take(&mut *held(&self.0.ports));
            all.extend(ports);
            let ports: Vec<u16> = all.into_iter().collect();
            Connections { found: diag::tcp_connections(&ports).ok(), ports }
        };
        let known = self.0.connections.get(asked, covers, read);
        let found = known.found.as_ref()?.iter();
        let wanted = found.filter(|one| ports.contains(&one.local.port()) && mine(one));
        Some(wanted.cloned().collect())
    }
}

/// A reading that serves all who wait for it when it begins.
#[derive(Debug)]
struct Shared<T> {
    waiting: AtomicUsize,
    last: Mutex<Option<(Instant, Arc<T>)>>,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { waiting: AtomicUsize::new(0), last: Mutex::new(None) }
    }
}

impl<T> Shared<T> {
    /// The last one, if it began no earlier than the question and serves for it.
    fn get(&self, asked: Instant, serves: impl Fn(&T) -> bool, read: impl FnOnce() -> T) -> Arc<T> {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let mut last = held(&self.last);
        let known = last.take().filter(|(began, value)| *began >= asked && serves(value));
        let (began, value) = known.unwrap_or_else(|| (Instant::now(), Arc::new(read())));
        if self.waiting.fetch_sub(1, Ordering::AcqRel) > 1 {
            *last = Some((began, value.clone()));
        }
        value
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::Barrier;
    use std::thread;

    use oneport_sys::process::own_pid;

    use super::*;

    /// How many readings so many cause who ask at one time.
    fn readings_for(asking: usize) -> usize {
        let (shared, read) = (Shared::<()>::default(), AtomicUsize::new(0));
        let about_to_ask = Barrier::new(asking + 1);
        thread::scope(|scope| {
            // Nobody is served before all have asked.
            let busy = held(&shared.last);
            for _ in 0..asking {
                scope.spawn(|| {
                    about_to_ask.wait();
                    shared.get(Instant::now(), |()| true, || _ = read.fetch_add(1, Ordering::Relaxed));
                });
            }
            about_to_ask.wait();
            while shared.waiting.load(Ordering::Relaxed) < asking {
                thread::yield_now();
            }
            drop(busy);
        });
        assert!(held(&shared.last).is_none(), "nobody waits any more");
        read.into_inner()
    }

    #[test]
    fn those_who_ask_at_one_time_share_a_reading() {
        assert_eq!(readings_for(1), 1);
        assert_eq!(readings_for(16), 1);
    }

    #[test]
    fn nobody_gets_a_reading_older_than_the_question_or_one_that_does_not_serve() {
        let shared = Shared::default();
        // As if somebody waited all the time.
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        let early = Instant::now();
        let first = shared.get(early, |_| true, || 1);
        assert_eq!(*shared.get(early, |_| true, || 2), 1);
        assert_eq!(*shared.get(early, |known| *known != 1, || 3), 3);
        assert_eq!(*shared.get(Instant::now(), |_| true, || 4), 4);
        assert_eq!(*first, 1);
    }

    #[test]
    fn ports_and_connections_of_this_process_are_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let readings = Readings::default();
        assert!(readings.ports_of(&[own_pid()]).contains(&port));
        let found = readings.connections(&[port], |one| one.remote == client.local_addr().unwrap());
        assert_eq!(found.unwrap().len(), 1);
        assert_eq!(readings.connections(&[port], |_| false), Some(Vec::new()));
    }
}
