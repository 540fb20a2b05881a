//! The life of copies in order: who is trusted, reloads, scaling, the stop. These programs have no signal handler, and
//! lose nobody all the same.

use std::net::TcpStream;
use std::time::Duration;

use oneport::{
    Cluster, EndCause, Event, Exit, Phase, ProgramWay, Readiness, ReadyOn, ReloadFailure, WorkerId,
};

use crate::acts::Scratch;
use crate::harness::{
    Knocking, Load, Test, Watched, ask, ask_often, call, call_often, free_port, hear, hear_all, in_both_ways,
    queues, settings,
};

in_both_ways! {
    an_unproven_copy_gets_nothing_while_a_proven_one_serves,
    a_copy_gets_nothing_before_its_owner_says_that_it_is_ready,
    a_reload_loses_nobody,
    a_copy_that_is_replaced_serves_what_waits_before_it_is_signalled,
    a_reload_whose_new_copy_ends_at_once_leaves_the_old_one_serving,
    at_a_stop_what_waits_is_served_and_nobody_new_gets_in,
    scaling_down_loses_nobody,
    copies_that_are_ended_by_their_owner_leaving_end_at_once,
    a_copy_that_never_takes_what_waits_is_signalled_when_its_drain_time_is_over,
}

/// Ended by the signal, as one without a handler is, because we asked.
const SIGNALLED: (Exit, EndCause) = (Exit::Signal(15), EndCause::Asked);

fn server() -> String {
    format!("server a 127.0.0.1:{}", free_port())
}

fn reloaded(test: &mut Test) {
    test.cluster.reload().unwrap();
    test.until("the reload", |test| {
        (test.count(|event| matches!(event, Event::ReloadDone { .. })) == 1).then_some(())
    });
}

fn an_unproven_copy_gets_nothing_while_a_proven_one_serves(way: ProgramWay) {
    let mut test = Test::start_with(1, &server(), |settings| {
        settings.program.way = way;
        settings.program.ready_on = ReadyOn::Owner;
        settings.conduct.readiness = Readiness::Message;
    });
    test.until("the first listens", |test| test.listening().next());
    test.workers[&WorkerId(1)].mark_ready().unwrap();
    let address = test.proven(1);
    test.cluster.scale(2).unwrap();
    test.until("the second listens", |test| (test.listening().count() == 2).then_some(()));
    // Whatever its listening led to is done.
    test.barrier(2);
    assert_eq!(ask_often(address, 80).into_keys().collect::<Vec<_>>(), [test.pid(1)]);
    test.workers[&WorkerId(2)].mark_ready().unwrap();
    test.proven(2);
    assert_eq!(ask_often(address, 80).len(), 2);
    test.stop();
}

fn a_copy_gets_nothing_before_its_owner_says_that_it_is_ready(way: ProgramWay) {
    let mut test = Test::start_with(2, &server(), |settings| {
        settings.program.way = way;
        settings.program.ready_on = ReadyOn::Owner;
        settings.conduct.readiness = Readiness::Message;
    });
    let address =
        test.until("both listen", |test| test.listening().next().filter(|_| test.listening().count() == 2));
    // Nobody is ready, so nobody gets in: whoever comes now is let in when somebody is.
    let early = Knocking::at(address);
    for worker in [1, 2] {
        test.barrier(worker);
    }
    assert!(early.is_outside());
    assert_eq!(queues(address), [0, 0]);
    test.workers[&WorkerId(2)].mark_ready().unwrap();
    test.until("one is proven", |test| {
        (test.count(|event| matches!(event, Event::Proven { .. })) == 1).then_some(())
    });
    assert_eq!(early.gets_in(), test.pid(2));
    assert_eq!(ask_often(address, 40).into_keys().collect::<Vec<_>>(), [test.pid(2)]);
    test.workers[&WorkerId(1)].mark_ready().unwrap();
    test.proven(2);
    assert_eq!(ask_often(address, 80).len(), 2);
    test.stop();
}

fn a_reload_loses_nobody(way: ProgramWay) {
    let mut test = Test::start(2, way, &server());
    let address = test.proven(2);
    let (slow, quick) = (Load::start(address, b's', 8), Load::start(address, b'?', 2));
    reloaded(&mut test);
    assert_eq!([test.exit(1), test.exit(2)], [SIGNALLED; 2]);
    // The load goes on meanwhile: the last one to come gets its share of it.
    assert_eq!(ask_often(address, 40).len(), 2);
    let (slow, quick) = (slow.stop(), quick.stop());
    for answers in [slow, quick] {
        assert!(test.pids().iter().all(|pid| answers.contains_key(pid)), "{answers:?}");
    }
    test.stop();
}

fn a_copy_that_is_replaced_serves_what_waits_before_it_is_signalled(way: ProgramWay) {
    let mut test = Test::start(1, way, &server());
    let address = test.proven(1);
    assert_eq!(test.order(1, "pause a"), "ok");
    let waiting = call_often(address, 5);
    test.cluster.reload().unwrap();
    test.wait("its successor is proven", |event| matches!(event, Event::Replaced { .. }).then_some(()));
    test.barrier(2);
    // Longer than it would take to see an empty queue.
    let (old, new) = (test.pid(1), test.pid(2));
    assert_eq!(hear(call(address, b's').unwrap()).unwrap(), new);
    assert_eq!(ask_often(address, 20).into_keys().collect::<Vec<_>>(), [new]);
    test.catch_up();
    let drains = |event: &Event| matches!(event, Event::Moved { worker, to: Phase::Draining, .. } if worker.id().0 == 1);
    let leaves = |event: &Event| matches!(event, Event::Moved { worker, from: Phase::Draining, .. } if worker.id().0 == 1);
    assert_eq!((test.count(drains), test.count(leaves)), (1, 0), "{}", test.history());
    assert_eq!(test.order(1, "serve a"), "ok");
    assert_eq!(hear_all(waiting), [(old, 5)].into());
    assert_eq!(test.exit(1), SIGNALLED);
    test.stop();
}

fn a_reload_whose_new_copy_ends_at_once_leaves_the_old_one_serving(way: ProgramWay) {
    let broken = Scratch::new();
    let mut test = Test::start(1, way, &format!("exit-if {broken}; {}", server()));
    let address = test.proven(1);
    broken.write("0");
    let load = Load::start(address, b'?', 2);
    test.cluster.reload().unwrap();
    let failure = test.wait("the reload is given up", |event| match event {
        Event::ReloadAborted { failure, .. } => Some(*failure),
        _ => None,
    });
    assert!(matches!(failure, ReloadFailure::Died(Exit::Code(1))), "{failure:?}");
    assert_eq!(load.stop().into_keys().collect::<Vec<_>>(), [test.pid(1)]);
    test.stop();
}

fn at_a_stop_what_waits_is_served_and_nobody_new_gets_in(way: ProgramWay) {
    let mut test = Test::start(2, way, &server());
    let address = test.proven(2);
    for worker in [1, 2] {
        assert_eq!(test.order(worker, "pause a"), "ok");
    }
    let waiting = call_often(address, 10);
    test.cluster.stop().unwrap();
    let drains = |event: &Event| matches!(event, Event::Moved { to: Phase::Draining, .. });
    test.until("both drain", |test| (test.count(drains) == 2).then_some(()));
    test.barrier(1);
    let late = Knocking::at(address);
    test.barrier(2);
    assert!(late.is_outside());
    assert_eq!(queues(address).iter().sum::<u32>(), 10);
    for worker in [1, 2] {
        assert_eq!(test.order(worker, "serve a"), "ok");
    }
    assert_eq!(hear_all(waiting).len(), 2);
    assert_eq!([test.exit(1), test.exit(2)], [SIGNALLED; 2]);
    test.stopped();
    assert!(TcpStream::connect(address).is_err());
}

fn scaling_down_loses_nobody(way: ProgramWay) {
    let mut test = Test::start(3, way, &server());
    let address = test.proven(3);
    let load = Load::start(address, b's', 8);
    test.cluster.scale(1).unwrap();
    assert_eq!([test.exit(2), test.exit(3)], [SIGNALLED; 2]);
    assert!(load.stop().contains_key(&test.pid(1)));
    assert_eq!(ask_often(address, 20).into_keys().collect::<Vec<_>>(), [test.pid(1)]);
    test.stop();
}

fn copies_that_are_ended_by_their_owner_leaving_end_at_once(way: ProgramWay) {
    let mut settings = settings(&server());
    settings.program.way = way;
    let (cluster, mut events) = Cluster::start(settings).unwrap();
    let worker = cluster.fork(&[]).unwrap();
    // Kept, because it would end with its standard input, too.
    let mut lines = Vec::new();
    let address = loop {
        match events.blocking_recv().unwrap() {
            Event::Fork { output, .. } => lines.push(output),
            Event::Listening { address, .. } => break address.socket.unwrap(),
            _ => {}
        }
    };
    let watched = Watched::new(worker.pid());
    assert_eq!(ask(address), worker.pid());
    drop((cluster, events));
    watched.ended();
    drop(lines);
}

fn a_copy_that_never_takes_what_waits_is_signalled_when_its_drain_time_is_over(way: ProgramWay) {
    let mut test = Test::start_with(2, &server(), |settings| {
        settings.program.way = way;
        settings.conduct.drain_timeout = Duration::from_secs(2);
    });
    let address = test.proven(2);
    assert_eq!(test.order(2, "pause a"), "ok");
    let waiting = call_often(address, 40);
    test.cluster.scale(1).unwrap();
    assert_eq!(test.exit(2), SIGNALLED);
    // Nobody takes its socket over, so one comes who does.
    let temporary = test.until("a temporary copy", |test| {
        test.told.iter().find_map(|event| match event {
            Event::Temporary { worker } => Some(worker.pid()),
            _ => None,
        })
    });
    let answers = hear_all(waiting);
    assert_eq!(
        answers.into_keys().collect::<std::collections::BTreeSet<_>>(),
        [test.pid(1), temporary].into()
    );
    test.stop();
}
