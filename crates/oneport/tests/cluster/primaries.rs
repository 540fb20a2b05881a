//! Primaries as whole processes: how they end, what their workers make of it, and two that want one address.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use oneport::{Cluster, Event, Events, Signal, Stdio};
use tokio::sync::Mutex;

use crate::apart::Apart;
use crate::harness::{Facts, Test, TestLine, programs, settings, who};

programs! { primary_of_two, serve_and_tell }

/// Serves until it is to leave, and says that it ends.
async fn serve_and_tell() {
    let facts = Facts::open();
    crate::puppet::serve().await;
    facts.tell("a worker leaves");
}

/// Two workers that share its standard output; then it does as it is told: `exit CODE` and `panic`, or `catch`, which
/// panics over an event and tells `caught`.
async fn primary_of_two() {
    let mut line = TestLine::open();
    let facts = line.facts();
    let mut settings = settings("serve_and_tell");
    (settings.stdout, settings.extra_pipes) = (Stdio::Inherit, 0);
    let (cluster, mut events) = Cluster::start(settings).unwrap();
    for _ in 0..2 {
        cluster.fork(&[("A", "b")]).unwrap();
    }
    let mut address = None;
    for _ in 0..2 {
        address = loop {
            if let Event::Listening { address, .. } = events.recv().await.unwrap() {
                break Some(address);
            }
        };
    }
    facts.tell(address.unwrap());
    let events = Arc::new(Mutex::new(events));
    while let Some(order) = line.order().await {
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("exit", code) => std::process::exit(code.parse().unwrap()),
            ("panic", _) => panic!("as ordered"),
            ("catch", _) => {
                let going_on = tokio::spawn(panic_over_setup(events.clone()));
                cluster.setup_primary(cluster.settings()).unwrap();
                assert!(going_on.await.unwrap_err().is_panic());
                facts.tell("caught");
            }
            order => panic!("no order is called {order:?}"),
        }
    }
}

/// A loop over events that ends in a panic; the events themselves are left to others.
async fn panic_over_setup(events: Arc<Mutex<Events>>) {
    let mut events = events.lock().await;
    while let Some(event) = events.recv().await {
        assert!(!matches!(event, Event::Setup { .. }), "as ordered");
    }
}

/// Such a primary whose two workers serve, and where.
fn primary() -> (Apart, SocketAddr) {
    let mut apart = Apart::start("primary_of_two", &[]);
    let address = apart.fact().parse().unwrap();
    both_serve(address);
    (apart, address)
}

fn both_serve(address: SocketAddr) {
    assert_eq!(BTreeSet::from([who(address).0, who(address).0]), BTreeSet::from([1, 2]));
}

#[test]
fn a_primary_that_panics_takes_its_workers_along() {
    let (mut apart, _) = primary();
    apart.tell("panic");
    assert_eq!(apart.end().code(), Some(101));
}

#[test]
fn a_primary_that_catches_its_panic_chooses_the_code_it_ends_with() {
    let (mut apart, address) = primary();
    apart.tell("catch");
    assert_eq!(apart.fact(), "caught");
    // Its workers have no part in that.
    both_serve(address);
    apart.tell("exit 42");
    assert_eq!(apart.end().code(), Some(42));
}

#[test]
fn a_primary_that_exits_leaves_no_worker_behind() {
    let (mut apart, _) = primary();
    apart.tell("exit 0");
    assert_eq!(apart.end().code(), Some(0));
}

#[test]
fn workers_of_a_killed_primary_leave_by_themselves() {
    let (mut apart, _) = primary();
    apart.kill(Signal::KILL);
    // Each ends its listening when its channel does, and comes to its own end.
    for _ in 0..2 {
        assert_eq!(apart.fact(), "a worker leaves");
    }
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&apart.end()), Some(9));
}

#[test]
fn a_second_primary_is_refused_the_first_ones_address() {
    let (mut first, address) = primary();
    for policy in [oneport::Policy::RoundRobin, oneport::Policy::Shared] {
        let mut second = Test::forked(1, "puppet", |settings| settings.conduct.policy = policy);
        assert_eq!(second.ask(1, &format!("listen {address}")), "AddrInUse");
        let refused = second.event(1, "listen-failed");
        assert!(refused.text.unwrap().contains("in use"));
        assert_eq!(second.count("listening"), 0);
        // It goes on, and may listen elsewhere.
        let elsewhere = second.ask(1, "listen 127.0.0.1:0").parse().unwrap();
        assert_eq!(who(elsewhere), (1, -1));
        second.stop();
    }
    both_serve(address);
    first.tell("exit 0");
    assert!(first.end().success());
}
