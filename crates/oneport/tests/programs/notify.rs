//! What copies say of themselves on `NOTIFY_SOCKET`, and what they are not told of the primary's own service manager.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oneport::{
    Attach, EndCause, Event, Exit, ListenFd, Phase, Policy, ProgramWay, Readiness, ReadyOn, Settings,
    WorkerId,
};

use crate::acts::said::NOBODY;
use crate::harness::{Test, ask_often, free_port, in_both_ways, skipped};

in_both_ways! {
    a_copy_gets_nothing_before_it_says_that_it_is_ready,
    a_copy_that_says_that_it_stops_gets_nothing_more,
}

/// What a service manager may have told the primary.
const OF_A_MANAGER: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
];

fn notifying(settings: &mut Settings) {
    settings.program.ready_on = ReadyOn::Notify;
    settings.conduct.readiness = Readiness::Message;
}

/// One that speaks and listens nowhere of itself.
fn speaker(change: impl FnOnce(&mut Settings)) -> Test {
    Test::start_with(1, "", |settings| {
        settings.program.way = ProgramWay::ListenFds { sockets: vec![somewhere()] };
        settings.conduct.policy = Policy::Shared;
        notifying(settings);
        change(settings);
    })
}

fn somewhere() -> ListenFd {
    ListenFd { address: SocketAddr::from(([127, 0, 0, 1], 0)), name: "any".into() }
}

fn say(test: &mut Test, worker: u32, words: &str) {
    assert_eq!(test.order(worker, &format!("say {words}")), "ok");
}

fn ready(test: &mut Test, copies: usize) {
    test.until("the copy is ready", |test| {
        (test.count(|event| matches!(event, Event::Ready { .. })) == copies).then_some(())
    });
}

/// What copies said of their state so far; waits for so many.
fn statuses(test: &mut Test, count: usize) -> Vec<String> {
    test.until("a status", |test| {
        let told = test.told.iter().filter_map(|event| match event {
            Event::Status { text, .. } => Some(text.clone()),
            _ => None,
        });
        let told: Vec<String> = told.collect();
        (told.len() >= count).then_some(told)
    })
}

fn a_copy_gets_nothing_before_it_says_that_it_is_ready(way: ProgramWay) {
    let mut test = Test::start_with(1, &format!("server a 127.0.0.1:{}", free_port()), |settings| {
        settings.program.way = way;
        notifying(settings);
    });
    say(&mut test, 1, "READY=1");
    let address = test.proven(1);
    test.cluster.scale(2).unwrap();
    test.until("the second listens", |test| (test.listening().count() == 2).then_some(()));
    test.barrier(2);
    assert_eq!(ask_often(address, 40).into_keys().collect::<Vec<_>>(), [test.pid(1)]);
    say(&mut test, 2, "READY=1");
    test.proven(2);
    assert_eq!(ask_often(address, 40).len(), 2);
    test.stop();
}

fn a_copy_that_says_that_it_stops_gets_nothing_more(way: ProgramWay) {
    let mut test = Test::start_with(2, &format!("server a 127.0.0.1:{}", free_port()), |settings| {
        settings.program.way = way;
        notifying(settings);
    });
    say(&mut test, 1, "READY=1");
    say(&mut test, 2, "READY=1");
    let address = test.proven(2);
    say(&mut test, 1, "STOPPING=1");
    test.until("the copy leaves", |test| {
        test.told.iter().find_map(|event| match event {
            Event::Moved { worker, to: Phase::Leaving, .. } => Some(worker.id()),
            _ => None,
        })
    });
    test.barrier(2);
    assert_eq!(ask_often(address, 40).into_keys().collect::<Vec<_>>(), [test.pid(2)]);
    test.order(1, "say STATUS=bye");
    assert_eq!(statuses(&mut test, 1), ["bye"]);
    test.order_without_answer(1, "exit 0");
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Voluntary));
    test.stop();
}

#[test]
fn the_last_word_of_a_copy_is_why_it_ended() {
    let mut test = speaker(|settings| settings.conduct.max_restarts = 0);
    say(&mut test, 1, "READY=1");
    ready(&mut test, 1);
    for _ in 0..5 {
        say(&mut test, 1, "STATUS=working");
    }
    say(&mut test, 1, "STOPPING=1");
    test.order_without_answer(1, "exit 0");
    assert_eq!(test.exit(1).1, EndCause::Voluntary);
    assert_eq!(statuses(&mut test, 5).len(), 5);
    test.stop();
}

#[test]
fn a_status_is_told_in_the_copys_own_words_and_no_more_than_256_bytes_of_it() {
    let mut test = speaker(|_| {});
    say(&mut test, 1, "STATUS=half = full of it|X_UNKNOWN=1|RELOADING=1|MAINPID=1");
    say(&mut test, 1, &format!("STATUS={}", "\u{e9}".repeat(200)));
    assert_eq!(statuses(&mut test, 2), ["half = full of it".to_owned(), "\u{e9}".repeat(128)]);
    test.stop();
}

#[test]
fn statuses_without_end_do_not_fill_the_owners_queue() {
    let mut test = speaker(|_| {});
    for _ in 0..3000 {
        say(&mut test, 1, "STATUS=again");
    }
    // Nobody took any event meanwhile but those of the start.
    say(&mut test, 1, "READY=1");
    ready(&mut test, 1);
    let told = test.count(|event| matches!(event, Event::Status { .. }));
    assert!(0 < told && told < 1100, "{told}");
    test.stop();
}

#[test]
fn a_copy_that_falls_silent_is_ended_and_one_that_speaks_is_not() {
    let span = Duration::from_secs(1);
    let mut test = speaker(|settings| settings.conduct.watchdog = Some(span));
    assert_eq!(test.order(1, "env WATCHDOG_USEC"), "ok 1000000");
    assert_eq!(test.order(1, "env WATCHDOG_PID"), "ok unset");
    say(&mut test, 1, "READY=1");
    let end = Instant::now() + 2 * span;
    while Instant::now() < end {
        say(&mut test, 1, "WATCHDOG=1");
    }
    test.catch_up();
    assert_eq!(test.count(|event| matches!(event, Event::Condemned { .. })), 0);
    assert_eq!(test.exit(1).1, EndCause::Hung);
    assert_eq!(reason(&test), "it did not say within the watchdog time that it is alive");
    test.pid(2);
    test.stop();
}

#[test]
fn a_copy_that_says_that_it_hangs_is_ended() {
    let mut test = speaker(|_| {});
    say(&mut test, 1, "READY=1");
    test.order_without_answer(1, "say WATCHDOG=trigger");
    assert_eq!(test.exit(1).1, EndCause::Hung);
    assert_eq!(reason(&test), "it said that it hangs (WATCHDOG=trigger)");
    test.stop();
}

fn reason(test: &Test) -> String {
    let told = test.told.iter().find_map(|event| match event {
        Event::Condemned { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    told.unwrap()
}

#[test]
fn a_copy_that_asks_for_more_time_to_begin_gets_it() {
    let mut test = speaker(|settings| settings.conduct.listen_timeout = Duration::from_secs(2));
    say(&mut test, 1, "EXTEND_TIMEOUT_USEC=60000000");
    test.cluster.scale(2).unwrap();
    // The second, which came later and did not ask, is the first whose time is over.
    let late = test.until("somebody is not ready", |test| {
        test.told.iter().find_map(|event| match event {
            Event::NotReadyYet { worker, .. } => Some(worker.id()),
            _ => None,
        })
    });
    assert_eq!(late, WorkerId(2));
    test.stop();
}

#[test]
fn a_strangers_word_does_not_count_and_that_of_a_copys_child_does_whoever_it_runs_as() {
    let name = "a_strangers_word_does_not_count_and_that_of_a_copys_child_does_whoever_it_runs_as";
    if !rustix::process::getuid().is_root() {
        return skipped(name, "other users' processes need root");
    }
    let mut test = speaker(|_| {});
    // Copies of another cluster are in another tree.
    let mut other = speaker(|_| {});
    let socket = test.order(1, "env NOTIFY_SOCKET");
    let socket = socket.strip_prefix("ok ").unwrap();
    if other.order(1, &format!("nobody at {socket} READY=1|STATUS=stranger")).starts_with("errno 13") {
        return skipped(name, "other users cannot execute this binary");
    }
    // Each has heard the one before when it hears the next.
    say(&mut test, 1, "STATUS=mine");
    assert_eq!(statuses(&mut test, 1), ["mine"]);
    assert_eq!(test.count(|event| matches!(event, Event::Ready { .. })), 0);
    assert_eq!(test.order(1, &format!("nobody at {socket} READY=1|STATUS=child")), "ok");
    ready(&mut test, 1);
    assert_eq!(statuses(&mut test, 2), ["mine", "child"]);
    assert_ne!(rustix::process::getuid().as_raw(), NOBODY);
    other.stop();
    test.stop();
}

/// Every variable that a manager may have set for the primary, as its workers find them.
fn told_of_a_manager(attach: Attach, change: impl FnOnce(&mut Settings)) -> Vec<String> {
    let mut test = Test::start_with(1, "", |settings| {
        settings.program.way = ProgramWay::ListenFds { sockets: vec![somewhere()] };
        settings.conduct.policy = Policy::Shared;
        settings.conduct.attach = attach;
        settings.env.extend(OF_A_MANAGER.map(|name| (name.into(), "the primary's".into())));
        change(settings);
    });
    let found = OF_A_MANAGER.map(|name| test.order(1, &format!("env {name}")));
    test.stop();
    found.to_vec()
}

#[test]
fn a_worker_with_a_channel_is_told_nothing_of_the_primarys_service_manager() {
    assert_eq!(told_of_a_manager(Attach::Channel, |_| {}), ["ok unset"; 7]);
}

#[test]
fn a_worker_that_is_not_attached_is_told_nothing_of_the_primarys_service_manager() {
    assert_eq!(told_of_a_manager(Attach::Nothing, |_| {}), ["ok unset"; 7]);
}

#[test]
fn a_program_is_told_what_is_its_own_and_nothing_of_the_primarys_service_manager() {
    let found = told_of_a_manager(Attach::Program, |_| {});
    assert_eq!(found[..3], ["ok unset"; 3]);
    assert!(!found.contains(&"ok the primary's".to_owned()), "{found:?}");
    let found = told_of_a_manager(Attach::Program, notifying);
    assert!(found[0].starts_with("ok @"), "{found:?}");
    assert_eq!(found[1..3], ["ok unset"; 2]);
    assert_eq!(found[6], "ok unset");
}

#[test]
fn a_trapped_program_is_told_nothing_of_the_primarys_service_manager() {
    let found = told_of_a_manager(Attach::Program, |settings| settings.program.way = ProgramWay::Own);
    assert_eq!(found, ["ok unset"; 7]);
}
