//! Programs that do what no server should, or nothing at all: none of them costs the primary or a sibling anything.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use oneport::{EndCause, Event, Exit, Oddity, Phase, ProgramWay, Signal, WorkerId};

use crate::harness::{
    Load, Test, ask, ask_often, call, call_often, free_port, hear, hear_all, in_both_ways, skipped,
};

in_both_ways! {
    a_program_that_never_listens_is_proven_by_staying_and_can_be_replaced,
    a_program_that_ends_at_once_is_given_up,
    one_that_listens_without_end_delays_no_other_and_is_not_told_without_end,
    one_address_is_given_to_one_of_many_threads,
    many_threads_get_an_address_each,
    a_program_that_root_alone_may_look_into_is_one_like_others_for_root,
    a_copy_that_shuts_its_listener_leaves_its_share_to_the_others,
    a_copy_that_listens_once_more_on_what_it_shut_has_its_share_again,
    a_copy_whose_accept_is_woken_by_a_shutdown_can_leave,
    a_copy_that_closes_its_listener_for_good_costs_nobody_an_answer,
    a_copy_that_does_not_accept_is_told,
}

fn server() -> String {
    format!("server a 127.0.0.1:{}", free_port())
}

fn a_program_that_never_listens_is_proven_by_staying_and_can_be_replaced(way: ProgramWay) {
    let mut test = Test::start(2, way, "pid");
    let proven = |test: &Test| test.count(|event| matches!(event, Event::Proven { .. }));
    test.until("both are proven", |test| (proven(test) == 2).then_some(()));
    test.cluster.reload().unwrap();
    let replaced = test.wait("the reload", |event| match event {
        Event::ReloadDone { replaced, .. } => Some(*replaced),
        _ => None,
    });
    assert_eq!((replaced, proven(&test)), (2, 4));
    assert_eq!([test.exit(1), test.exit(2)], [(Exit::Signal(15), EndCause::Asked); 2]);
    test.stop();
}

fn a_program_that_ends_at_once_is_given_up(way: ProgramWay) {
    let mut test = Test::start_with(1, "exit 3", |settings| {
        settings.program.way = way;
        settings.conduct.max_restarts = 3;
        settings.conduct.min_uptime = Duration::from_secs(20);
    });
    test.until("everything is given up", |test| {
        (test.count(|event| matches!(event, Event::AllErrored)) == 1).then_some(())
    });
    let exits = test.count(|event| matches!(event, Event::Exit { exit: Exit::Code(3), .. }));
    assert_eq!((exits, test.workers.len()), (3, 3));
    test.stop();
}

fn one_that_listens_without_end_delays_no_other_and_is_not_told_without_end(way: ProgramWay) {
    let storm = free_port();
    let mut test = Test::start(2, way, &server());
    let address = test.proven(2);
    // Nobody takes events meanwhile.
    for _ in 0..12 {
        assert_eq!(test.order(1, &format!("storm 100 127.0.0.1:{storm}")), "ok");
    }
    test.catch_up();
    let listening = test.listening().filter(|address| address.port() == storm).count();
    assert!((1..=1100).contains(&listening), "{listening} of 1200 were told");
    // And now for ever.
    test.order_without_answer(1, &format!("storm {} 127.0.0.1:{storm}", u32::MAX));
    for _ in 0..20 {
        test.barrier(2);
        assert_eq!(ask_often(address, 2).values().sum::<usize>(), 2);
    }
    test.cluster.scale(3).unwrap();
    test.pid(3);
    test.played(3);
    test.stop();
}

fn one_address_is_given_to_one_of_many_threads(way: ProgramWay) {
    let mut test = Test::start(1, way, "pid");
    assert_eq!(test.order(1, &format!("crowd 200 127.0.0.1:{}", free_port())), "ok 1 199");
    test.stop();
}

fn many_threads_get_an_address_each(way: ProgramWay) {
    // Each address costs a few BPF programs, of which a kernel may not like to free many at once.
    const THREADS: usize = 40;
    let mut test = Test::start(2, way, "pid");
    let port = free_port();
    for worker in [1, 2] {
        assert_eq!(test.order(worker, &format!("crowd-apart {THREADS} {port}")), format!("ok {THREADS} 0"));
    }
    test.until("all are told", |test| (test.listening().count() == 2 * THREADS).then_some(()));
    assert_eq!(test.listening().collect::<BTreeSet<_>>().len(), THREADS);
    test.stop();
}

fn a_program_that_root_alone_may_look_into_is_one_like_others_for_root(way: ProgramWay) {
    if !rustix::process::geteuid().is_root() {
        return skipped("a_program_that_root_alone_may_look_into", "needs root");
    }
    let mut test = Test::start(2, way, &format!("undumpable; {}", server()));
    let address = test.proven(2);
    assert_eq!(ask_often(address, 40).len(), 2);
    assert_eq!(test.count(|event| matches!(event, Event::Oddity { .. })), 0, "{}", test.history());
    test.stop();
}

fn a_copy_that_shuts_its_listener_leaves_its_share_to_the_others(way: ProgramWay) {
    let mut test = Test::start(3, way.clone(), &server());
    let address = test.proven(3);
    assert_eq!(test.order(1, "shut a"), "ok");
    if way == ProgramWay::Own {
        // Nobody asks before it is done; it is noticed at once, not only when somebody waits.
        assert_eq!(closed(&mut test), (WorkerId(1), Some(address)));
    }
    let others: BTreeSet<i32> = [test.pid(2), test.pid(3)].into();
    // Whoever were sent to nobody would come again after a second.
    let began = Instant::now();
    assert_eq!(ask_often(address, 200).into_keys().collect::<BTreeSet<_>>(), others);
    assert!(began.elapsed() < Duration::from_secs(5), "clients had to come again");
    // It lives on, and one more gets its share.
    test.cluster.scale(4).unwrap();
    test.proven(4);
    let all: BTreeSet<i32> = others.into_iter().chain([test.pid(4)]).collect();
    assert_eq!(ask_often(address, 120).into_keys().collect::<BTreeSet<_>>(), all);
    test.stop();
}

fn a_copy_that_listens_once_more_on_what_it_shut_has_its_share_again(way: ProgramWay) {
    let mut test = Test::start(3, way, &server());
    let address = test.proven(3);
    // In a row, so that nobody has time to notice what was shut.
    for step in ["pause a", "shut a", "listen a", "serve a"] {
        assert_eq!(test.order(1, step), "ok");
    }
    // Whoever were sent to nobody would come again after a second.
    let began = Instant::now();
    assert_eq!(ask_often(address, 200).into_keys().collect::<BTreeSet<_>>(), test.pids());
    assert!(began.elapsed() < Duration::from_secs(5), "clients had to come again");
    // It is the last of the kernel's order now, and has that number when another one is left out.
    assert_eq!(test.order(3, "close a"), "ok");
    let _waiting = call_often(address, 40);
    test.oddity("it is said that the other closed", |worker, oddity| match oddity {
        Oddity::Closed { .. } => (worker.id() == WorkerId(3)).then_some(()),
        _ => None,
    });
    test.barrier(1);
    let others = [test.pid(1), test.pid(2)].into();
    assert_eq!(ask_often(address, 60).into_keys().collect::<BTreeSet<_>>(), others);
    test.stop();
}

fn a_copy_whose_accept_is_woken_by_a_shutdown_can_leave(way: ProgramWay) {
    let script = format!("socket a 4 tcp; bind a 127.0.0.1:{}; listen a; wakes a", free_port());
    let mut test = Test::start_with(2, &script, |settings| {
        settings.program.way = way;
        // Which ends no program: its test tells it that it came.
        settings.stop_signal = Signal::WINCH;
        settings.conduct.kill_timeout = Duration::from_secs(15);
    });
    test.proven(2);
    test.cluster.scale(1).unwrap();
    test.wait("its stop signal", |event| match event {
        Event::Moved { worker, to: Phase::Stopping, .. } if worker.id().0 == 2 => Some(()),
        _ => None,
    });
    test.order_without_answer(2, "shut a");
    assert_eq!(test.exit(2), (Exit::Code(0), EndCause::Asked));
    assert_eq!(test.count(|event| matches!(event, Event::Oddity { .. })), 0, "{}", test.history());
    test.cluster.stop_now().unwrap();
    test.stopped();
}

fn closed(test: &mut Test) -> (WorkerId, Option<SocketAddr>) {
    test.oddity("it is said that it closed", |worker, oddity| match oddity {
        Oddity::Closed { address } => Some((worker.id(), address.socket)),
        _ => None,
    })
}

fn a_copy_that_closes_its_listener_for_good_costs_nobody_an_answer(way: ProgramWay) {
    let mut test = Test::start_with(2, &server(), |settings| {
        settings.program.way = way;
        settings.conduct.listen_timeout = Duration::from_secs(3);
    });
    let address = test.proven(2);
    assert_eq!(test.order(1, "close a"), "ok");
    // Nothing tells at first, so some go there.
    let waiting = call_often(address, 40);
    assert_eq!(closed(&mut test), (WorkerId(1), Some(address)));
    test.barrier(2);
    assert_eq!(ask_often(address, 40).into_keys().collect::<Vec<_>>(), [test.pid(2)]);
    let temporary = test.until("a temporary copy", |test| {
        test.told.iter().find_map(|event| match event {
            Event::Temporary { worker } => Some(worker.pid()),
            _ => None,
        })
    });
    let answers = hear_all(waiting).into_keys().collect::<BTreeSet<_>>();
    assert_eq!(answers, [test.pid(2), temporary].into());
    test.stop();
}

fn a_copy_that_does_not_accept_is_told(way: ProgramWay) {
    let mut test = Test::start(1, way, &server());
    let address = test.proven(1);
    assert_eq!(test.order(1, "pause a"), "ok");
    let waiting = call(address, b'?').unwrap();
    let who = test.oddity("it is said that it does not accept", |worker, oddity| match oddity {
        Oddity::NotAccepting { .. } => Some(worker.id()),
        _ => None,
    });
    assert_eq!(who, WorkerId(1));
    assert_eq!(test.order(1, "serve a"), "ok");
    assert_eq!(hear(waiting).unwrap(), test.pid(1));
    test.stop();
}

#[test]
fn a_program_that_polls_before_it_binds_is_one_like_others_where_its_socket_is_its_own() {
    let script = format!(
        "socket a 4 tcp; option a reuse_address; poll a; bind a 127.0.0.1:{}; listen a; serve a",
        free_port()
    );
    let mut test = Test::start(2, ProgramWay::Own, &script);
    let address = test.proven(2);
    assert_eq!(ask_often(address, 40).len(), 2);
    let load = Load::start(address, b's', 4);
    test.cluster.reload().unwrap();
    test.wait("the reload", |event| matches!(event, Event::ReloadDone { .. }).then_some(()));
    load.stop();
    test.stop();
}

/// What nobody may look into is let through: the first copy has the address, and the owner is told why no other has.
#[test]
fn a_program_that_root_alone_may_look_into_is_told_where_the_primary_is_not_root() {
    if rustix::process::geteuid().is_root() {
        // Said by the test that runs all again as somebody else.
        return;
    }
    let port = free_port();
    let mut test = Test::start(2, ProgramWay::Own, &format!("undumpable; try server a 127.0.0.1:{port}"));
    test.oddity("it is said that it cannot be seen", |_, oddity| match oddity {
        Oddity::Unseen { error } => {
            assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
            Some(())
        }
        _ => None,
    });
    let mut facts = [1, 2].map(|worker| test.played(worker)[1].clone());
    facts.sort();
    assert_eq!(facts, ["errno 98".to_owned(), format!("ok 127.0.0.1:{port}")]);
    let address = ([127, 0, 0, 1], port).into();
    assert!(test.pids().contains(&ask(address)));
    test.stop();
}

#[test]
fn own_mode_works_without_privileges() {
    if !rustix::process::geteuid().is_root() {
        return; // All tests run so anyway.
    }
    let mut again = Command::new("/proc/self/exe");
    again.args(["sharing::own", "claims::own", "life::own", "root_alone", "--test-threads=2"]);
    again.uid(65534).gid(65534).current_dir("/").env("TMPDIR", std::env::temp_dir());
    // What needs root was run as root; the list of what was skipped is root's as well.
    again.env_remove("ONEPORT_SKIP_FILE");
    let output = again.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().take(40).collect::<Vec<_>>();
    assert!(output.status.success() && !text.contains("running 0 tests"), "{last:#?}");
}
