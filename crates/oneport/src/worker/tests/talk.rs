//! Messages and handles in both directions, and the primary's questions about connections it passed on.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;

use oneport_wire::node::message::{FromPrimary, HandleEnvelope, HandleKind, Json, SocketNote};

use super::{Connection, Primary, anywhere, poll_once, run, wait_until};
use crate::Handle;
use crate::worker::Channel;
use crate::worker::link::Role;

fn say_user(primary: &Primary, json: &str) {
    primary.say(&FromPrimary::User(Json::parse(json).expect("JSON")), None);
}

fn pass(primary: &Primary, kind: HandleKind<'_>, json: &str, key: Option<&str>, fd: Option<&OwnedFd>) {
    let message = Json::parse(json).expect("JSON");
    let envelope = HandleEnvelope { kind, message, key: key.map(Into::into) };
    primary.say(&FromPrimary::Handle(envelope), fd.map(AsFd::as_fd));
}

const ACK: &str = r#"{"cmd":"NODE_HANDLE_ACK"}"#;
const NACK: &str = r#"{"cmd":"NODE_HANDLE_NACK"}"#;

fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind(anywhere()).expect("a port")
}

#[test]
fn messages_that_came_before_anybody_asked_are_kept_in_order() {
    run(async {
        let (primary, link) = Primary::with_worker();
        say_user(&primary, r#"{"a":[1,null,{"x":"é\n"}]}"#);
        say_user(&primary, "42");
        say_user(&primary, "null");
        let channel = Channel(link);
        let first = channel.recv().await.expect("a message");
        assert_eq!(first.json(), r#"{"a":[1,null,{"x":"é\n"}]}"#);
        assert_eq!(channel.recv().await.expect("a message").parse::<u8>().expect("a number"), 42);
        assert_eq!(channel.recv().await.expect("a message").json(), "null");
    });
}

#[test]
fn what_was_said_before_the_end_is_received_before_it() {
    run(async {
        let (primary, link) = Primary::with_worker();
        say_user(&primary, "1");
        drop(primary);
        let channel = Channel(link);
        channel.disconnected().await;
        assert!(!channel.is_connected());
        assert_eq!(channel.recv().await.expect("a message").json(), "1");
        assert_eq!(channel.recv().await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        assert_eq!(channel.send("x").expect_err("the end").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_primary_that_speaks_and_ends_at_once_is_heard_out() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = primary.channel_listener(&link, "k").await;
        let channel = Channel(link.clone());
        let passed = OwnedFd::from(self::listener());
        let connection = Connection::new();
        // Held up until the primary has gone, so that nothing can be answered any more.
        let held = link.state();
        say_user(&primary, "1");
        pass(&primary, HandleKind::NetServer, "2", None, Some(&passed));
        primary.hand_over("k", 5, &connection.accepted);
        say_user(&primary, "3");
        drop(primary);
        drop(held);
        for expected in ["1", "2", "3"] {
            assert_eq!(channel.recv().await.expect("a message").json(), expected);
        }
        assert_eq!(channel.recv().await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        assert_eq!(listener.accept().await.expect("a connection").1, connection.client_addr());
        assert_eq!(listener.accept().await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn every_waiting_receiver_gets_a_message_and_a_dropped_one_loses_none() {
    run(async {
        let (primary, link) = Primary::with_worker();
        let channel = Channel(link);
        let receivers: Vec<_> = (0..3)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move {
                    channel.recv().await.expect("a message").parse::<u8>().expect("a number")
                })
            })
            .collect();
        tokio::task::yield_now().await; // now all of them wait
        {
            let mut dropped = pin!(channel.recv());
            assert!(poll_once(dropped.as_mut()).is_none());
            (0..4).for_each(|number| say_user(&primary, &number.to_string()));
        }
        let mut received = Vec::new();
        for receiver in receivers {
            received.push(receiver.await.expect("no panic"));
        }
        received.push(channel.recv().await.expect("a message").parse().expect("a number"));
        received.sort_unstable();
        assert_eq!(received, [0, 1, 2, 3]);
    });
}

#[test]
fn the_end_wakes_every_receiver() {
    run(async {
        let (primary, link) = Primary::with_worker();
        let channel = Channel(link);
        let (mut one, mut two) = (pin!(channel.recv()), pin!(channel.recv()));
        assert!(poll_once(one.as_mut()).is_none() && poll_once(two.as_mut()).is_none());
        drop(primary);
        assert_eq!(one.await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        assert_eq!(two.await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn what_is_sent_arrives_as_json_one_line_each() {
    let (mut primary, link) = Primary::with_worker();
    let channel = Channel(link);
    channel.send(&("é\n", 1, None::<()>)).expect("room");
    channel.send("ready").expect("room");
    assert_eq!(primary.hear(), r#"["é\n",1,null]"#);
    assert_eq!(primary.hear(), r#""ready""#);
    let large = "x".repeat(3 * 1024 * 1024);
    (0..6).for_each(|_| channel.send(&large).expect("room"));
    assert_eq!(channel.send("y").expect_err("too much waits").kind(), ErrorKind::WouldBlock);
    (0..6).for_each(|_| assert_eq!(primary.hear().len(), large.len() + 2));
    wait_until("room", || channel.send("y").is_ok());
    let longest = channel.send(&"x".repeat(16 * 1024 * 1024));
    assert_eq!(longest.expect_err("no such line").kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_received_handle_is_what_the_kernel_says_and_acknowledged() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let channel = Channel(link);
        let sent = listener();
        let addr = sent.local_addr().expect("bound");
        pass(&primary, HandleKind::NetServer, r#"{"my":"server"}"#, None, Some(&sent.into()));
        assert_eq!(primary.hear(), ACK);
        let mut message = channel.recv().await.expect("a message");
        assert_eq!(message.json(), r#"{"my":"server"}"#);
        assert!(matches!(message.handle(), Some(Handle::TcpListener(_))));
        let Some(Handle::TcpListener(server)) = message.take_handle() else { panic!("{message:?}") };
        assert_eq!(server.local_addr().expect("bound"), addr);
        assert!(message.handle().is_none());
    });
}

#[test]
fn a_handle_that_is_not_what_it_was_announced_as_is_an_error_of_that_message_alone() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let channel = Channel(link);
        pass(&primary, HandleKind::NetSocket, "1", None, Some(&listener().into()));
        pass(&primary, HandleKind::Other("net.Future".into()), "2", None, Some(&listener().into()));
        say_user(&primary, "3");
        assert_eq!(primary.hear(), ACK, "it arrived");
        assert_eq!(primary.hear(), ACK);
        for _ in 0..2 {
            assert_eq!(channel.recv().await.expect_err("no connection").kind(), ErrorKind::InvalidData);
        }
        assert_eq!(channel.recv().await.expect("a message").json(), "3");
    });
}

#[test]
fn a_handle_that_did_not_arrive_is_answered_with_nack_and_its_message_comes_again() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let channel = Channel(link);
        pass(&primary, HandleKind::NetServer, "1", None, None);
        assert_eq!(primary.hear(), NACK);
        pass(&primary, HandleKind::NetServer, "1", None, Some(&listener().into()));
        assert_eq!(primary.hear(), ACK);
        assert!(channel.recv().await.expect("a message").handle().is_some());
    });
}

#[test]
fn a_sent_handle_is_kept_until_it_is_acknowledged_and_later_messages_wait_behind_it() {
    let (mut primary, link) = Primary::with_worker();
    let channel = Channel(link.clone());
    let sent = Connection::new();
    let addr = sent.client_addr();
    let accepted = std::net::TcpStream::from(sent.accepted);
    channel.send("before").expect("room");
    channel.send_handle(&1, accepted).expect("room");
    channel.send("behind").expect("room");
    channel.send_handle(&2, std::net::UdpSocket::bind(anywhere()).expect("a port")).expect("room");
    channel.send("last").expect("room");
    // What the library itself says passes by.
    link.listening(super::tcp_query()).expect("room");
    assert_eq!(primary.hear(), r#""before""#);
    let (line, fd) = primary.hear_handle();
    assert_eq!(line, r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":1}"#);
    assert_eq!(std::net::TcpStream::from(fd).peer_addr().expect("connected"), addr);
    primary.hear_listening();
    assert!(primary.unread.is_empty());
    primary.say(&FromPrimary::HandleAck, None);
    assert_eq!(primary.hear(), r#""behind""#);
    let (line, _udp) = primary.hear_handle();
    assert_eq!(line, r#"{"cmd":"NODE_HANDLE","type":"dgram.Socket","msg":2,"dgramType":"udp4"}"#);
    primary.say(&FromPrimary::HandleAck, None);
    assert_eq!(primary.hear(), r#""last""#);
    // Both were closed here when they were acknowledged: nobody else has this connection.
    let mut client = &sent.client;
    client.set_read_timeout(Some(super::PATIENCE)).expect("a socket");
    assert_eq!(std::io::Read::read(&mut client, &mut [0]).expect("its end"), 0);
}

#[test]
fn a_handle_answered_with_nack_is_sent_three_times_again_and_then_given_up() {
    let (mut primary, link) = Primary::with_worker();
    let channel = Channel(link);
    channel.send_handle(&1, listener()).expect("room");
    channel.send("behind").expect("room");
    for _ in 0..4 {
        let (line, _fd) = primary.hear_handle();
        assert_eq!(line, r#"{"cmd":"NODE_HANDLE","type":"net.Server","msg":1}"#);
        primary.say(&FromPrimary::HandleNack, None);
    }
    assert_eq!(primary.hear(), r#""behind""#);
    // Answers to nothing change nothing.
    primary.say(&FromPrimary::HandleNack, None);
    primary.say(&FromPrimary::HandleAck, None);
    channel.send_handle(&2, listener()).expect("room");
    assert!(primary.hear_handle().0.ends_with(r#""msg":2}"#));
}

#[test]
fn handles_that_wait_are_bounded() {
    let (_primary, link) = Primary::with_worker();
    let channel = Channel(link);
    let mut sent = 0;
    let refusal = loop {
        match channel.send_handle(&sent, listener()) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        assert!(sent < 1000, "no bound");
    };
    assert_eq!((refusal.kind(), sent), (ErrorKind::WouldBlock, 257));
}

#[test]
fn connections_that_were_passed_on_are_counted_while_they_are_open() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let channel = Channel(link);
        let connections = Connection::several::<2>();
        for connection in &connections {
            pass(&primary, HandleKind::NetSocket, "1", Some("6::::80"), Some(&connection.accepted));
            assert_eq!(primary.hear(), ACK);
        }
        let (one, two) = (channel.recv().await, channel.recv().await);
        // This test plays both ends in one process: its own descriptors would count.
        let [first, second] = connections.map(|Connection { client, accepted }| {
            drop(accepted);
            client
        });
        let count = |primary: &mut Primary, key: &'static str| {
            primary.say(&FromPrimary::Sockets(SocketNote::GetCount { key: key.into() }), None);
            primary.hear()
        };
        let counted =
            |number: i64| format!(r#"{{"cmd":"NODE_SOCKET_COUNT","key":"6::::80","count":{number}}}"#);
        assert_eq!(count(&mut primary, "6::::80"), counted(2));
        assert!(count(&mut primary, "other").ends_with(r#""count":0}"#));
        drop(one);
        assert_eq!(count(&mut primary, "6::::80"), counted(1));
        primary.say(&FromPrimary::Sockets(SocketNote::NotifyClose { key: "6::::80".into() }), None);
        assert_eq!(count(&mut primary, "6::::80"), counted(1), "not closed yet");
        drop(two);
        assert_eq!(primary.hear(), r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"6::::80"}"#);
        drop((first, second));
    });
}

#[test]
fn a_child_that_was_forked_says_nothing_by_itself_and_can_talk() {
    run(async {
        let (mut primary, link) = Primary::with(Role::Child);
        let channel = Channel(link);
        channel.send("hello").expect("room");
        assert_eq!(primary.hear(), r#""hello""#);
        say_user(&primary, "1");
        assert_eq!(channel.recv().await.expect("a message").json(), "1");
        assert!(channel.is_connected());
        channel.disconnect();
        channel.disconnected().await;
        assert!(primary.hear_out().is_empty());
    });
}

#[test]
fn disconnecting_writes_what_was_sent_first() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let channel = Channel(link);
        let large = "x".repeat(1024 * 1024 - 100);
        channel.send(&large).expect("room");
        channel.send_handle(&1, listener()).expect("room");
        channel.send("last").expect("room");
        channel.disconnect();
        assert!(!channel.is_connected());
        assert_eq!(channel.send("late").expect_err("closed").kind(), ErrorKind::BrokenPipe);
        assert_eq!(primary.hear().len(), large.len() + 2);
        primary.hear_handle();
        primary.say(&FromPrimary::HandleAck, None);
        assert_eq!(primary.hear_out(), [r#""last""#]);
        channel.disconnected().await;
    });
}

#[test]
fn told_to_leave_who_lives_for_messages_gets_those_that_came_and_then_the_end() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let channel = Channel(link.clone());
        let mut waiting = pin!(channel.recv());
        assert!(poll_once(waiting.as_mut()).is_none());
        say_user(&primary, "1");
        assert_eq!(waiting.await.expect("a message").json(), "1");
        let mut waiting = pin!(channel.recv());
        assert!(poll_once(waiting.as_mut()).is_none());
        primary.disconnect();
        assert_eq!(waiting.await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        // Last words are still possible.
        channel.send("done").expect("an open channel");
        assert_eq!(primary.hear().trim_end(), r#""done""#);
    });
}

#[test]
fn told_to_leave_messages_come_for_as_long_as_a_listener_is_open() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        stream.hand_over(&Connection::several::<1>());
        let channel = Channel(link.clone());
        let mut waiting = pin!(channel.recv());
        assert!(poll_once(waiting.as_mut()).is_none());
        primary.disconnect();
        primary.hear_close("k");
        say_user(&primary, "1");
        assert_eq!(waiting.await.expect("a message").json(), "1");
        let mut waiting = pin!(channel.recv());
        assert!(poll_once(waiting.as_mut()).is_none());
        drop(listener);
        assert_eq!(waiting.await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
    });
}
