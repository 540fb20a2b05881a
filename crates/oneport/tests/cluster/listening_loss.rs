//! Nobody is lost: workers that stand still, die or are replaced under load, and many connections.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use oneport::{Event, Signal};

use crate::harness::{PATIENCE, Test, connect, hear, programs};
use crate::listening_accept::CREDITS;
use crate::listening_apart::{run_apart, test_apart};
use crate::listening_ways::{Crowd, Way, in_every_way, in_ways, open_port, until_seen};

programs! { serves_ten_thousand }

/// Clients that connect again and again.
pub(crate) struct Load {
    tally: Arc<(Mutex<Tally>, Condvar)>,
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    served: usize,
    pub(crate) lost: usize,
    /// The answers, and how often each was heard.
    answers: BTreeMap<String, usize>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, clients: usize) -> Load {
        let (tally, over) = (Arc::<(Mutex<Tally>, Condvar)>::default(), Arc::<AtomicBool>::default());
        let client = |_| {
            let (tally, over) = (tally.clone(), over.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answer = hear(connect(address));
                    let (mut tally, changed) = (tally.0.lock().unwrap(), &tally.1);
                    match answer {
                        Ok(answer) if !answer.is_empty() => {
                            tally.served += 1;
                            *tally.answers.entry(answer).or_default() += 1;
                        }
                        _ => tally.lost += 1,
                    }
                    changed.notify_all();
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Load { tally, over, clients }
    }

    /// Waits until so many more are served.
    pub(crate) fn go_on(&self, more: usize) {
        let tally = self.tally.0.lock().unwrap();
        let enough = tally.served + more;
        let waited = self.tally.1.wait_timeout_while(tally, PATIENCE, |tally| tally.served < enough);
        assert!(!waited.unwrap().1.timed_out(), "clients wait in vain");
    }

    pub(crate) fn end(self) -> Tally {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        self.tally.0.lock().unwrap().clone()
    }
}

in_every_way! {
    fn a_worker_that_stands_still_holds_no_more_than_its_credits_and_its_death_frees_them(way: Way) {
        let mut test = way.cluster(3);
        let address = [1, 2, 3].map(|worker| open_port(&mut test, worker, "tcp a 127.0.0.1:0"))[0];
        let still = test.worker(1).pid();
        test.worker(1).kill(Signal::STOP).unwrap();
        until_seen("that it stands still", || {
            let stat = std::fs::read_to_string(format!("/proc/{still}/stat")).unwrap();
            stat.rsplit_once(") ").unwrap().1.starts_with('T')
        });
        let mut crowd = Crowd::connect(address, 200);
        crowd.until_answered(if matches!(way, Way::Shared | Way::Lanes) { 200 } else { 200 - CREDITS });
        assert!(crowd.by(2) > 0 && crowd.by(3) > 0);
        test.worker(1).kill(Signal::KILL).unwrap();
        crowd.until_answered(200);
        assert_eq!(crowd.by(1), 0);
        test.stop();
    }
}

in_ways! { Stream, Channel;
    fn a_worker_killed_under_load_loses_nothing_that_its_program_did_not_get(way: Way) {
        let mut test = way.cluster(2);
        let address = [1, 2].map(|worker| open_port(&mut test, worker, "tcp a 127.0.0.1:0"))[0];
        let load = Load::start(address, 4);
        for victim in 1..=KILLS {
            // From here on whatever it has was not given to its program.
            assert_eq!(test.ask(victim, "deafen a"), "deaf");
            // Clients take turns at the workers: by then it has what it may have.
            load.go_on(4 * CREDITS);
            test.worker(victim).kill(Signal::KILL).unwrap();
            replace(&mut test, victim, address);
            load.go_on(4);
        }
        let tally = load.end();
        assert_eq!(tally.lost, 0, "{tally:?}");
        test.stop();
    }
}

const KILLS: u32 = 30;

/// Starts the successor of a worker that was killed and that had one sibling.
fn replace(test: &mut Test, killed: u32, address: SocketAddr) {
    test.exit(killed);
    let next = test.fork().id().0;
    assert_eq!(open_port(test, next, "tcp a 127.0.0.1:0"), address);
    test.event(next, "proven");
}

in_every_way! {
    /// Each program has one connection in hand at most.
    fn a_worker_killed_at_any_moment_loses_at_most_what_its_program_has_in_hand(way: Way) {
        let mut test = way.cluster(2);
        let address = [1, 2].map(|worker| open_port(&mut test, worker, "tcp a 127.0.0.1:0"))[0];
        let load = Load::start(address, 4);
        for victim in 1..=KILLS {
            load.go_on(20);
            test.worker(victim).kill(Signal::KILL).unwrap();
            replace(&mut test, victim, address);
        }
        let tally = load.end();
        assert!(tally.lost <= KILLS as usize, "{tally:?}");
        test.stop();
    }
}

/// Replaces every worker while 200 and more come.
fn reload_under_load(way: Way) {
    let mut test = Test::supervised(2, "serve", |settings| way.arrange(settings));
    let load = Load::start(test.listening(2), 20);
    for _ in 0..3 {
        load.go_on(100);
        test.cluster.reload().unwrap();
        let replaced = test.wait("the reload", |event| match event {
            Event::ReloadDone { replaced, .. } => Some(*replaced),
            Event::ReloadAborted { .. } => panic!("the reload is aborted"),
            _ => None,
        });
        assert_eq!(replaced, 2);
    }
    load.go_on(100);
    let tally = load.end();
    assert_eq!(tally.lost, 0, "{tally:?}");
    assert_eq!(test.count("exit"), 6);
    test.stop();
}

in_ways! { Stream, Shared;
    fn reloads_under_load_lose_nobody(way: Way) {
        reload_under_load(way);
    }
}

in_every_way! {
    fn ten_thousand_connections_are_all_served_and_leave_nothing_behind(way: Way) {
        run_apart("serves_ten_thousand", way, "", |_| {});
    }
}

async fn serves_ten_thousand() {
    test_apart(|way| {
        let open_here = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let mut test = way.cluster(2);
        let address = [1, 2].map(|worker| open_port(&mut test, worker, "tcp a 127.0.0.1:0 tasks=2"))[0];
        for worker in 1..=2 {
            test.event(worker, "proven");
        }
        let before = (open_here(), [1, 2].map(|worker| test.ask(worker, "descriptors")));
        let load = Load::start(address, 4);
        for _ in 0..100 {
            load.go_on(100);
        }
        let tally = load.end();
        assert!(tally.lost == 0 && tally.served >= 10_000, "{tally:?}");
        if way != Way::Shared {
            let workers: BTreeSet<_> = tally.answers.keys().map(|answer| answer.split(' ').next()).collect();
            assert_eq!(workers.len(), 2, "one had no part: {tally:?}");
        }
        until_seen("the primary's last descriptor", || open_here() == before.0);
        assert_eq!([1, 2].map(|worker| test.ask(worker, "descriptors")), before.1);
        test.stop();
    });
}
