//! Copies that are asked over HTTP whether they are well, each alone; and settings that cannot work.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use oneport::{Attach, Cluster, Event, ListenFd, Policy, ProgramWay, Readiness, ReadyOn, Settings};

use crate::harness::{PATIENCE, Test, eventually, free_port, in_both_ways, settings};

in_both_ways! {
    a_copy_is_asked_until_it_is_well_and_gets_nothing_before,
    only_the_copy_that_is_not_ready_is_asked_while_the_others_serve,
    copies_that_begin_together_are_all_asked,
    a_copy_is_asked_wherever_it_listens,
    a_copy_that_never_answers_is_not_ready_and_delays_no_other,
    a_copy_that_dies_is_asked_no_more_and_its_successor_is,
}

fn asked(settings: &mut Settings, way: ProgramWay) {
    settings.program.way = way;
    settings.program.ready_on = ReadyOn::Http { path: "/health".into(), patience: Duration::from_secs(2) };
    settings.conduct.readiness = Readiness::Message;
}

/// Listens and answers, with this health.
fn server(address: &str, health: u16) -> String {
    let family = if address.starts_with('[') { "6" } else { "4" };
    format!(
        "health {health}; socket a {family} tcp; option a reuse_address; bind a {address}; listen a; http a"
    )
}

fn local() -> String {
    format!("127.0.0.1:{}", free_port())
}

/// Who answers an ordinary request.
fn who(address: SocketAddr) -> i32 {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer.rsplit("\r\n").next().unwrap().parse().unwrap()
}

fn times_asked(test: &mut Test, worker: u32) -> u32 {
    test.order(worker, "asked").strip_prefix("ok ").unwrap().parse().unwrap()
}

fn is_asked_again(test: &mut Test, worker: u32) {
    let before = times_asked(test, worker);
    eventually("the copy is asked again", || times_asked(test, worker) > before + 1);
}

fn ready(test: &mut Test, copies: usize) {
    test.until("copies are ready", |test| {
        (test.count(|event| matches!(event, Event::Ready { .. })) == copies).then_some(())
    });
}

fn a_copy_is_asked_until_it_is_well_and_gets_nothing_before(way: ProgramWay) {
    let mut test = Test::start_with(1, &server(&local(), 503), |settings| asked(settings, way));
    test.played(1);
    is_asked_again(&mut test, 1);
    let address = test.until("it listens", |test| test.listening().next());
    // The question came in, and nobody else does.
    let early = TcpStream::connect_timeout(&address, Duration::from_millis(300));
    assert_eq!(early.map(drop).map_err(|error| error.kind()), Err(std::io::ErrorKind::TimedOut));
    test.order(1, "health 399");
    test.proven(1);
    assert_eq!(who(address), test.pid(1));
    let last = times_asked(&mut test, 1);
    test.order(1, "health 503");
    test.barrier(1);
    assert_eq!(times_asked(&mut test, 1), last);
    assert_eq!(test.count(|event| matches!(event, Event::Ready { .. })), 1);
    test.stop();
}

fn only_the_copy_that_is_not_ready_is_asked_while_the_others_serve(way: ProgramWay) {
    let mut test = Test::start_with(2, &server(&local(), 503), |settings| asked(settings, way));
    test.played(1);
    test.played(2);
    test.order(1, "health 204");
    test.order(2, "health 204");
    let address = test.proven(2);
    let before = [times_asked(&mut test, 1), times_asked(&mut test, 2)];
    test.cluster.scale(3).unwrap();
    test.played(3);
    let others = [test.pid(1), test.pid(2)];
    for _ in 0..40 {
        assert!(others.contains(&who(address)));
    }
    is_asked_again(&mut test, 3);
    for _ in 0..40 {
        assert!(others.contains(&who(address)));
    }
    assert_eq!([times_asked(&mut test, 1), times_asked(&mut test, 2)], before);
    test.order(3, "health 200");
    test.proven(3);
    let third = test.pid(3);
    eventually("the third serves", || who(address) == third);
    test.stop();
}

fn copies_that_begin_together_are_all_asked(way: ProgramWay) {
    let mut test = Test::start_with(6, &server(&local(), 200), |settings| asked(settings, way));
    test.proven(6);
    for worker in 1..=6 {
        assert_eq!(times_asked(&mut test, worker), 1, "{worker}");
    }
    test.stop();
}

fn a_copy_is_asked_wherever_it_listens(way: ProgramWay) {
    for address in ["0.0.0.0", "[::]", "[::1]", "127.0.0.3", "[::ffff:127.0.0.1]"] {
        let script = server(&format!("{address}:{}", free_port()), 200);
        let mut test = Test::start_with(2, &script, |settings| asked(settings, way.clone()));
        ready(&mut test, 2);
        test.stop();
    }
    // A port of the kernel's choice, and only IPv6.
    let script = "health 200; socket a 6 tcp; option a only_v6; bind a [::]:0; listen a; http a";
    let mut test = Test::start_with(2, script, |settings| asked(settings, way));
    ready(&mut test, 2);
    test.stop();
}

fn a_copy_that_never_answers_is_not_ready_and_delays_no_other(way: ProgramWay) {
    let script = format!("health 200; socket a 4 tcp; bind a {}; listen a", local());
    let mut test = Test::start_with(3, &script, |settings| {
        asked(settings, way);
        settings.conduct.listen_timeout = Duration::from_secs(1);
    });
    for worker in [2, 3] {
        test.played(worker);
        assert_eq!(test.order(worker, "http a"), "ok");
    }
    test.proven(2);
    test.until("the first is not ready", |test| {
        let first = |event: &Event| matches!(event, Event::NotReadyYet { worker, .. } if worker.id().0 == 1);
        (test.count(first) == 1).then_some(())
    });
    // It is asked on.
    assert_eq!(test.order(1, "http a"), "ok");
    test.proven(3);
    test.stop();
}

fn a_copy_that_dies_is_asked_no_more_and_its_successor_is(way: ProgramWay) {
    let mut test = Test::start_with(1, &server(&local(), 503), |settings| asked(settings, way));
    test.played(1);
    is_asked_again(&mut test, 1);
    test.signal(1, oneport::Signal::KILL);
    test.exit(1);
    test.played(2);
    is_asked_again(&mut test, 2);
    test.order(2, "health 200");
    test.proven(1);
    test.stop();
}

/// What `Cluster::start` says about such settings.
fn refused(change: impl FnOnce(&mut Settings)) -> String {
    let mut settings = settings("");
    change(&mut settings);
    Cluster::start(settings).map(drop).unwrap_err().to_string()
}

#[test]
fn what_makes_ready_has_to_fit_the_conduct() {
    let message = |ready_on: ReadyOn| {
        move |settings: &mut Settings| {
            settings.program.ready_on = ready_on;
            settings.conduct.readiness = Readiness::Message;
        }
    };
    let http = |path: &str, secs| ReadyOn::Http { path: path.into(), patience: Duration::from_secs(secs) };
    for ready_on in [ReadyOn::Notify, ReadyOn::Owner, http("/", 1)] {
        let said = refused(|settings| settings.program.ready_on = ready_on);
        assert_eq!(
            said,
            "cannot wait for a program to be ready: the conduct's readiness has to be `Message`"
        );
    }
    for path in ["", "health", "/a b", "/a\r\nX: y"] {
        assert!(refused(message(http(path, 1))).ends_with("has only printable ASCII"), "{path}");
    }
    assert!(refused(message(http("/", 0))).ends_with("no time for the answer"));
    let shared = refused(|settings| {
        message(http("/", 1))(settings);
        settings.conduct.policy = Policy::Shared;
    });
    assert!(shared.ends_with("none can be asked alone"), "{shared}");
    let silent = refused(|settings| settings.conduct.watchdog = Some(Duration::from_secs(1)));
    assert!(silent.ends_with("it can say that it is alive"), "{silent}");
}

#[test]
fn sockets_that_a_program_cannot_be_started_with_are_refused() {
    let given = |sockets: &[(&str, &str)]| {
        let sockets = sockets
            .iter()
            .map(|(address, name)| ListenFd { address: address.parse().unwrap(), name: (*name).into() })
            .collect();
        move |settings: &mut Settings| settings.program.way = ProgramWay::ListenFds { sockets }
    };
    let any = ("127.0.0.1:0", "web");
    assert!(refused(given(&[])).ends_with("none is named"));
    let twice = [("127.0.0.1:80", "a"), any, ("127.0.0.1:80", "b")];
    assert!(refused(given(&twice)).ends_with("one address is there twice"));
    for name in ["a:b", "a\nb", &"x".repeat(256)] {
        let said = refused(given(&[(any.0, name)]));
        assert!(said.contains("a name is longer than 255 bytes"), "{said}");
    }
    let said = refused(|settings| {
        given(&[any, any])(settings);
        settings.extra_pipes = 1;
    });
    assert!(said.ends_with("its extra pipes have the same numbers"), "{said}");
    // They mean nothing to those who are no programs.
    let mut channel = settings("");
    given(&[])(&mut channel);
    channel.conduct.attach = Attach::Channel;
    let (cluster, _events) = Cluster::start(channel).unwrap();
    let mut attached = cluster.settings();
    attached.exec_args = vec!["x".into()];
    cluster.setup_primary(attached).unwrap();
    cluster.stop_now().unwrap();
}

#[test]
fn later_settings_have_to_fit_as_well() {
    let (cluster, _events) = Cluster::start(settings("")).unwrap();
    let mut later = cluster.settings();
    later.program.ready_on = ReadyOn::Notify;
    // The conduct is the one that the cluster was started with, whatever is said here.
    later.conduct.readiness = Readiness::Message;
    let said = cluster.setup_primary(later).unwrap_err().to_string();
    assert!(said.starts_with("cannot wait for a program to be ready"), "{said}");
    cluster.stop_now().unwrap();
}
