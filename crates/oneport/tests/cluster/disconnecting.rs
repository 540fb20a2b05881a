//! One worker leaves: asked by its primary, or because it wants to. What it has is finished, what it listened on is left
//! to the others.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use oneport::{EndCause, Exit, Policy, State};

use crate::harness::{Test, connect, eventually, hear, who, who_holds};

#[test]
fn an_asked_worker_is_told_stops_listening_and_leaves_with_a_code_of_its_own() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let address: std::net::SocketAddr = test.ask(1, "listen 127.0.0.1:0").parse().unwrap();
    test.event(1, "listening");
    assert_eq!(test.ask(1, "flags"), "true None");
    assert_eq!(test.ask(1, "mind"), "minding");
    let worker = test.worker(1).clone();
    worker.disconnect().unwrap();
    assert_eq!(test.fact(1), "to leave");
    assert_eq!(worker.exited_after_disconnect(), Some(true));
    // Its channel is its own to close, and it may still use it.
    assert_eq!(test.ask(1, "flags"), "true Some(true)");
    assert!(worker.is_connected() && !worker.is_dead());
    assert_eq!(test.ask(1, "send {\"last\":\"words\"}"), "sent");
    test.tell(1, "exit 42");
    assert_eq!(test.exit(1), (Exit::Code(42), EndCause::Asked));
    assert_eq!(test.life(1), ["fork", "online", "listening", "message", "disconnect", "exit"]);
    assert_eq!(test.messages(1), ["{\"last\":\"words\"}"]);
    assert_eq!((worker.state(), worker.exited_after_disconnect()), (State::Dead, Some(true)));
    assert!(!worker.is_connected() && worker.is_dead());
    // It was the only one there: the port is free.
    eventually("the port is free", || TcpListener::bind(address).is_ok());
    test.stop();
}

#[test]
fn a_worker_that_never_asks_when_to_leave_is_helped_out() {
    let mut test = Test::forked(1, "puppet", |_| {});
    test.ask(1, "listen 127.0.0.1:0");
    test.event(1, "listening");
    test.worker(1).disconnect().unwrap();
    // The library closes the channel in its place; its process has nothing left to serve, and is signalled.
    assert_eq!(test.exit(1), (Exit::Signal(15), EndCause::Asked));
    assert_eq!(test.life(1), ["fork", "online", "listening", "disconnect", "exit"]);
    assert_eq!(test.worker(1).exited_after_disconnect(), Some(true));
    test.stop();
}

#[test]
fn a_worker_whose_program_is_its_listener_ends_with_zero() {
    let mut test = Test::forked(1, "serve", |_| {});
    test.event(1, "listening");
    test.worker(1).disconnect().unwrap();
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Asked));
    test.stop();
}

#[test]
fn a_worker_that_listens_nowhere_can_be_asked_to_leave() {
    let mut test = Test::forked(1, "puppet", |_| {});
    test.ask(1, "online");
    test.ask(1, "mind");
    test.event(1, "online");
    test.worker(1).disconnect().unwrap();
    assert_eq!(test.fact(1), "to leave");
    test.tell(1, "exit 0");
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Asked));
    assert_eq!(test.life(1), ["fork", "online", "disconnect", "exit"]);
    test.stop();
}

#[test]
fn a_worker_that_wants_to_leave_is_acknowledged_before_its_channel_closes() {
    let mut test = Test::forked(1, "puppet", |_| {});
    test.ask(1, "listen 127.0.0.1:0");
    test.event(1, "listening");
    assert_eq!(test.ask(1, "disconnect"), "disconnected");
    // The primary took note of it before anything else could tell it.
    assert_eq!(test.worker(1).exited_after_disconnect(), Some(true));
    assert_eq!(test.ask(1, "flags"), "false Some(true)");
    assert_eq!(test.ask(1, "send 1"), "BrokenPipe");
    test.tell(1, "exit 0");
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Voluntary));
    test.stop();
}

#[test]
fn messages_sent_before_a_disconnect_arrive_and_receiving_ends_with_the_last_listener() {
    for listening in [&[][..], &["listen 127.0.0.1:0"], &["ignore 127.0.0.1:0", "ignore 127.0.0.2:0"]] {
        let mut test = Test::forked(1, "puppet", |_| {});
        assert_eq!(test.ask(1, "mind"), "minding");
        for order in listening {
            test.ask(1, order);
        }
        let worker = test.worker(1).clone();
        worker.send(&"first").unwrap();
        worker.send(&"second").unwrap();
        worker.disconnect().unwrap();
        let _ = worker.send(&"third");
        assert_eq!(test.fact(1), "to leave");
        for message in ["\"first\"", "\"second\""] {
            assert_eq!(test.ask(1, "receive"), message);
        }
        if listening.len() > 1 {
            // Still open, as nobody has asked them for all they have.
            assert_eq!(test.ask(1, "close"), "closed");
        }
        // What was sent after the word may come before the end.
        let last = test.ask(1, "receive");
        let end = if last == "\"third\"" { test.ask(1, "receive") } else { last };
        assert_eq!(end, "BrokenPipe");
        assert!(worker.is_connected() && !worker.is_dead());
        test.tell(1, "exit 0");
        assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Asked));
        test.stop();
    }
}

#[test]
fn open_connections_delay_no_disconnect_and_the_process_lives_for_them() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let address = test.ask(1, "hold 127.0.0.1:0").parse().unwrap();
    let (_, client) = who_holds(address);
    assert_eq!(test.ask(1, "disconnect"), "disconnected");
    test.event(1, "disconnect");
    assert!(!test.worker(1).is_dead());
    assert_eq!(test.ask(1, "release"), "1");
    assert_eq!(hear(client).unwrap(), "");
    test.tell(1, "exit 0");
    assert_eq!(test.exit(1).0, Exit::Code(0));
    test.stop();
}

/// Two workers are told to leave, one of them with a request that it has not answered; before that `change` happens.
fn leave_with_a_request(change: impl FnOnce(&mut Test, SocketAddr)) {
    let mut test = Test::forked(2, "puppet", |_| {});
    let busy = test.ask(1, "hold 127.0.0.1:0").parse().unwrap();
    test.ask(2, "hold 127.0.0.2:0");
    test.event(1, "listening");
    let (_, mut client) = who_holds(busy);
    client.write_all(b"a request").unwrap();
    change(&mut test, busy);
    for worker in [1, 2] {
        test.worker(worker).disconnect().unwrap();
        test.event(worker, "disconnect");
    }
    // Both were told the same; the idle one is long gone when the busy one still has its client.
    assert_eq!(test.exit(2), (Exit::Signal(15), EndCause::Asked));
    assert_eq!(test.ask(1, "release"), "1");
    assert_eq!(test.exit(1), (Exit::Signal(15), EndCause::Asked));
    test.stop();
}

#[test]
fn a_worker_with_an_unanswered_request_is_given_time() {
    leave_with_a_request(|_, _| {});
}

#[test]
fn an_unanswered_request_is_given_time_after_its_port_is_closed_too() {
    leave_with_a_request(|test, address| {
        test.ask(1, "close");
        eventually("the port is free", || TcpListener::bind(address).is_ok());
    });
}

#[test]
fn a_worker_may_leave_because_it_was_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let mut test = Test::forked(1, "puppet", |settings| settings.conduct.policy = policy);
        assert_eq!(test.ask(1, &format!("listen {}", taken.local_addr().unwrap())), "AddrInUse");
        test.event(1, "listen-failed");
        assert_eq!(test.ask(1, "disconnect"), "disconnected");
        test.tell(1, "exit 0");
        assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Voluntary));
        assert_eq!(test.life(1), ["fork", "online", "disconnect", "exit"]);
        test.stop();
    }
}

#[test]
fn one_worker_leaves_while_another_joins() {
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let mut test = Test::forked(2, "puppet", |settings| settings.conduct.policy = policy);
        test.ask(1, "listen 127.0.0.1:0");
        test.tell(1, "disconnect");
        test.tell(2, "listen 127.0.0.1:0");
        assert_eq!(test.fact(1), "disconnected");
        // It has the other's port, or one of its own if it came too late for that.
        let address = test.fact(2).parse().unwrap();
        assert_eq!(who(address).0, 2);
        test.tell(1, "exit 0");
        test.exit(1);
        assert_eq!(who(address).0, 2);
        test.stop();
    }
}

#[test]
fn a_worker_without_a_port_leaves_it_to_the_others() {
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let mut test = Test::forked(2, "puppet", |settings| settings.conduct.policy = policy);
        let address = test.ask(1, "listen 127.0.0.1:0").parse().unwrap();
        test.ask(2, "online");
        test.ask(2, "disconnect");
        test.tell(2, "exit 0");
        assert_eq!(test.exit(2), (Exit::Code(0), EndCause::Voluntary));
        assert_eq!(who(address), (1, -1));
        test.ask(1, "disconnect");
        test.tell(1, "exit 0");
        assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Voluntary));
        test.stop();
    }
}

#[test]
fn a_worker_without_a_udp_socket_leaves_it_to_the_others() {
    let mut test = Test::forked(2, "puppet", |_| {});
    let address = test.ask(1, "bind 127.0.0.1:0");
    test.ask(2, "online");
    test.ask(2, "disconnect");
    test.tell(2, "exit 0");
    assert_eq!(test.exit(2), (Exit::Code(0), EndCause::Voluntary));
    // Still theirs.
    let taken = std::net::UdpSocket::bind(&address).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    test.ask(1, "close");
    eventually("the address is free", || std::net::UdpSocket::bind(&address).is_ok());
    test.tell(1, "exit 0");
    assert_eq!(test.exit(1).0, Exit::Code(0));
    test.stop();
}

#[test]
fn a_worker_that_leaves_with_a_live_connection_keeps_nothing_open() {
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let mut test = Test::forked(1, "puppet", |settings| settings.conduct.policy = policy);
        let address = test.ask(1, "hold 127.0.0.1:0").parse().unwrap();
        let (_, client) = who_holds(address);
        test.event(1, "listening");
        test.worker(1).disconnect().unwrap();
        test.exit(1);
        assert_eq!(hear(client).unwrap_or_default(), "");
        eventually("the port is free", || TcpListener::bind(address).is_ok());
        test.stop();
    }
}

#[test]
fn a_worker_that_closes_its_last_listener_leaves_no_client_waiting() {
    for policy in [Policy::RoundRobin, Policy::Shared] {
        let mut test = Test::forked(1, "puppet", |settings| settings.conduct.policy = policy);
        let address = test.ask(1, "ignore 127.0.0.1:0").parse().unwrap();
        test.event(1, "listening");
        // More than its credits: some wait at the worker, some in the primary.
        let clients: Vec<_> = (0..6).map(|_| connect(address)).collect();
        assert_eq!(test.ask(1, "close"), "closed");
        for client in clients {
            match hear(client) {
                Ok(answer) => assert_eq!(answer, ""),
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
            }
        }
        test.stop();
    }
}

#[test]
fn what_a_worker_did_not_accept_goes_to_the_others_when_it_closes_its_listener() {
    let mut test = Test::forked(2, "puppet", |_| {});
    let address = test.ask(1, "ignore 127.0.0.1:0");
    assert_eq!(test.ask(2, "listen 127.0.0.1:0"), address);
    let clients: Vec<_> = (0..6).map(|_| connect(address.parse().unwrap())).collect();
    assert_eq!(test.ask(1, "close"), "closed");
    for client in clients {
        assert_eq!(crate::harness::who_answers(client).unwrap().0, 2);
    }
    test.stop();
}
