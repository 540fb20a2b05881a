//! A state written out and read back goes on exactly as the original would have.

mod sim;

use oneport_core::{Cluster, Event, Settings};
use sim::{Sim, ms, settings, worker};

/// In the middle of everything: a queue, hand-offs, a reload, a restart that waits, a port that is closing.
fn busy() -> Sim {
    let mut sim = Sim::serving(Settings { hang_timeout: Some(ms(5000)), ..settings() }, 3);
    sim.listen(worker(1), 81);
    sim.exit(worker(3), 1);
    sim.connect_many(80, 9);
    sim.event(Event::Reload);
    sim.boot(worker(4), 80);
    sim.close(worker(1), 81);
    sim.take();
    sim
}

/// What happens then, to either of them.
fn go_on(sim: &mut Sim) {
    sim.refuse(worker(1));
    sim.pass(ms(500));
    sim.event(Event::Reload);
    sim.accept_all();
    sim.connect_many(80, 3);
    sim.pass(ms(1000));
    sim.event(Event::Scale(5));
    sim.exit(worker(2), 1);
    sim.pass(ms(20_000));
    sim.event(Event::Stop);
    sim.pass(ms(20_000));
}

#[test]
fn a_restored_cluster_does_the_same_on_whatever_follows() {
    let mut original = busy();
    let mut restored = original.clone();
    restored.cluster = Cluster::restore(original.cluster.snapshot());
    go_on(&mut original);
    go_on(&mut restored);
    let effects = original.take();
    assert!(effects.len() > 50 && original.check.is_stopped());
    assert_eq!(effects, restored.take());
    assert_eq!(original.cluster, restored.cluster);
}

#[test]
fn a_snapshot_is_not_changed_by_what_happens_after() {
    let mut sim = busy();
    let (snapshot, before) = (sim.cluster.snapshot(), sim.cluster.clone());
    go_on(&mut sim);
    assert_eq!(Cluster::restore(snapshot), before);
}

#[test]
fn deadlines_that_passed_meanwhile_are_due_at_once() {
    let mut sim = Sim::serving(settings(), 1);
    sim.exit(worker(1), 1);
    let snapshot = sim.cluster.snapshot();
    sim.cluster = Cluster::restore(snapshot);
    sim.now = sim.now.after(ms(3_600_000));
    sim.pass(ms(0));
    assert_eq!(sim.spawned(), [worker(2)]);
}
