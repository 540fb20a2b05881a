//! Many workers that end at one time: more than are killed in one turn.

use oneport_sys::process::Pid;
use oneport_sys::tree::Table;

use crate::harness::Test;

/// More than the primary kills at the same time.
const CROWD: u32 = 100;

/// Workers that are deaf to the stop signal, each with a process in a session of its own, which no signal to the group
/// reaches; the numbers of those.
fn crowd(script: &str) -> (Test, Vec<Pid>) {
    let mut test = Test::forked(CROWD, "none", |settings| {
        settings.exec = "/bin/sh".into();
        settings.args = ["-c", script].map(Into::into).to_vec();
    });
    let hidden = (1..=CROWD).map(|worker| Pid::new(test.fact(worker).parse().unwrap()).unwrap()).collect();
    (test, hidden)
}

fn assert_ended(pids: &[Pid]) {
    let table = Table::read();
    let alive: Vec<_> = pids.iter().filter(|pid| !table.members(**pid, "no.such.mark").is_empty()).collect();
    assert!(alive.is_empty(), "{alive:?}");
}

#[test]
fn the_trees_of_a_crowd_are_all_ended_before_the_cluster_has_stopped() {
    let script = "trap '' TERM; setsid sleep 1000 & echo fact: $! >&4; while :; do wait; done";
    let (mut test, hidden) = crowd(script);
    test.cluster.stop_now().unwrap();
    test.until("the stop", |test| (test.count("stopped") == 1).then_some(()));
    assert_eq!(test.count("exit"), CROWD as usize);
    assert_ended(&hidden);
}

#[test]
fn what_a_crowd_leaves_behind_is_asked_to_follow_and_then_killed() {
    // Every worker ends in order; what it started is deaf, so that it is killed after the kill timeout.
    let script = "trap '' TERM; setsid sleep 1000 & echo fact: $! >&4; trap 'exit 0' TERM; read -r end <&4";
    let (mut test, hidden) = crowd(script);
    for worker in 1..=CROWD {
        test.tell(worker, "end");
    }
    test.until("the exits", |test| (test.count("exit") == CROWD as usize).then_some(()));
    assert_ended(&hidden);
    test.stop();
}
