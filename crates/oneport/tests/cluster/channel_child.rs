//! A program that was merely forked with a channel (Node's `child_process.fork`), against a parent spoken by hand:
//! what it is, what crosses the channel, and how the channel ends.

use std::os::fd::AsFd;

use oneport_sys::process::Exit;
use serde_json::{Value, json};

use crate::channel_kit::{ACK, Forked, NACK, connection, eventually, is_readable, read_line, write_line};
use crate::harness::{TestLine, programs};

programs! { ends_with_an_open_channel, tells_what_its_children_inherit }

/// An envelope with a connection as Node writes it, without its end of line.
fn envelope(message: &str, key: Option<&str>) -> String {
    let key = key.map_or(String::new(), |key| format!(r#","key":"{key}""#));
    format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{message}{key}}}"#)
}

#[test]
fn a_forked_child_talks_both_ways_and_is_no_worker() {
    let mut child = Forked::start("talker");
    assert_eq!(child.ask("role"), "child true");
    for value in [json!("text"), json!(42), json!(1.5), json!(true), json!(null), json!({"a": [1, {}]})] {
        child.raw().say(&value.to_string());
        assert_eq!(child.ask("receive"), value.to_string());
        assert_eq!(child.ask(&format!("send {value}")), "sent");
        assert_eq!(child.raw().hear(), value);
    }
}

/// Runs a program and tells which variables of a channel it has, and how many descriptors above 2 that are sockets.
async fn tells_what_its_children_inherit() {
    let mut line = TestLine::open();
    let _ = oneport::channel().unwrap().unwrap();
    let script =
        "env | grep -c -e ^NODE_CHANNEL -e ^NODE_UNIQUE -e ^ONEPORT_SLOT; test -e /proc/self/fd/3 && echo 3";
    while line.order().await.is_some() {
        let told = std::process::Command::new("sh").args(["-c", script]).output().unwrap();
        line.facts().tell(String::from_utf8(told.stdout).unwrap().trim_end());
    }
}

#[test]
fn what_a_child_starts_inherits_neither_channel_nor_variables() {
    let env = [("NODE_CHANNEL_SERIALIZATION_MODE", "json"), ("NODE_UNIQUE_ID", "7"), ("ONEPORT_SLOT", "0")];
    for env in [&env[..1], &env] {
        let mut child = Forked::start_with("tells_what_its_children_inherit", env);
        let slot = usize::from(std::env::var_os("ONEPORT_SLOT").is_some());
        assert_eq!(child.ask("tell"), slot.to_string());
    }
}

#[test]
fn a_parent_that_insists_on_advanced_serialization_is_refused_by_name() {
    let mode = ("NODE_CHANNEL_SERIALIZATION_MODE", "advanced");
    for (env, role) in [(&[mode][..], "child"), (&[mode, ("NODE_UNIQUE_ID", "3")], "worker 3")] {
        let mut child = Forked::start_with("talker", env);
        let told = child.ask("role");
        assert_eq!(
            told,
            format!(
                "{role} Unsupported cannot talk to primary: it insists on `advanced` serialization, not `json`"
            )
        );
    }
}

#[test]
fn a_message_a_handle_and_a_message_read_at_once_are_told_apart() {
    let mut child = Forked::start("talker");
    let (client, server) = connection();
    let lines = format!("\"before\"\n{}\n\"after\"\n", envelope("{\"n\":1}", None));
    child.raw().write(lines.as_bytes(), Some(server.as_fd()));
    drop(server);
    assert_eq!(child.ask("receive"), "\"before\"");
    assert_eq!(child.ask("receive"), "{\"n\":1} + TcpStream 0");
    assert_eq!(child.ask("receive"), "\"after\"");
    assert_eq!(child.raw().hear_line().as_deref(), Some(ACK));
    assert_eq!(child.ask("write 0 hello"), "written");
    assert_eq!(read_line(&client), "hello");
}

#[test]
fn a_handle_whose_message_comes_in_pieces_waits_for_the_last_one() {
    let (mut child, its_end) = Forked::start_watched("talker");
    assert_eq!(child.ask("role"), "child true"); // it reads from now on
    let (client, server) = connection();
    let line = format!("{}\n", envelope("[]", None));
    let mut fd = Some(server.as_fd());
    for piece in [&line[..20], &line[20..40]] {
        child.raw().write(piece.as_bytes(), fd.take());
        eventually(|| !is_readable(&its_end));
    }
    // It has read the second piece, so it is done with the first.
    assert!(!child.raw().has_more(), "nothing to acknowledge yet");
    child.raw().write(&line.as_bytes()[40..], None);
    assert_eq!(child.ask("receive"), "[] + TcpStream 0");
    assert_eq!(child.raw().hear_line().as_deref(), Some(ACK));
    write_line(&client, "hello");
    assert_eq!(child.ask("read 0"), "hello");
}

#[test]
fn an_envelope_without_its_handle_is_answered_so_and_reaches_no_program() {
    let mut child = Forked::start("talker");
    child.raw().say(&envelope("\"lost\"", None));
    child.raw().say("\"next\"");
    assert_eq!(child.ask("receive"), "\"next\"");
    assert_eq!(child.raw().hear_line().as_deref(), Some(NACK));
}

#[test]
fn sockets_passed_on_are_counted_for_their_server_until_they_are_closed() {
    let mut child = Forked::start("talker");
    let count = |child: &mut Forked, key: &str| {
        child.raw().say(&format!(r#"{{"cmd":"NODE_SOCKET_GET_COUNT","key":"{key}"}}"#));
        let answer = child.raw().hear();
        assert_eq!((&answer["cmd"], &answer["key"]), (&json!("NODE_SOCKET_COUNT"), &json!(key)));
        answer["count"].as_i64().unwrap()
    };
    assert_eq!(child.ask("role"), "child true"); // it reads from now on
    assert_eq!(count(&mut child, "6::::80"), 0);
    let mut clients = Vec::new();
    for number in 0..3 {
        let (client, server) = connection();
        let line = format!("{}\n", envelope("{}", Some("6::::80")));
        child.raw().write(line.as_bytes(), Some(server.as_fd()));
        clients.push(client);
        assert_eq!(child.ask("receive"), format!("{{}} + TcpStream {number}"));
        assert_eq!(child.raw().hear_line().as_deref(), Some(ACK));
        assert_eq!(count(&mut child, "6::::80"), number + 1);
    }
    assert_eq!(child.ask("close 1"), "closed");
    assert_eq!(count(&mut child, "6::::80"), 2);
    // Of a server that passed nothing on everything is closed; of the other one it is told when it is so.
    child.raw().say(r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"6::::80"}"#);
    child.raw().say(r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"6::::81"}"#);
    let all_closed = |key: &str| json!({"cmd": "NODE_SOCKET_ALL_CLOSED", "key": key});
    assert_eq!(child.raw().hear(), all_closed("6::::81"));
    assert_eq!(child.ask("close 0"), "closed");
    assert_eq!(count(&mut child, "6::::80"), 1);
    assert_eq!(child.ask("close 2"), "closed");
    assert_eq!(child.raw().hear(), all_closed("6::::80"));
}

#[test]
fn a_handle_that_does_not_arrive_is_sent_three_times_more_and_then_given_up() {
    let mut child = Forked::start("talker");
    child.ask("listen");
    assert_eq!(child.ask("give 0 \"take this\""), "sent");
    assert_eq!(child.ask("send \"behind\""), "sent");
    for _ in 0..4 {
        let (envelope, _) = child.raw().hear_handle();
        assert_eq!(envelope["msg"], "take this");
        assert!(!child.raw().has_more(), "what follows waits for the answer");
        child.raw().say(NACK);
    }
    assert_eq!(child.raw().hear(), "behind");
}

#[test]
fn what_a_parent_does_not_read_is_bounded_and_arrives_in_order_when_it_does() {
    let mut child = Forked::start("talker");
    let told = child.ask("flood");
    let (sent, kind) = told.split_once(' ').unwrap();
    assert_eq!(kind, "WouldBlock");
    let sent: u64 = sent.parse().unwrap();
    assert!(sent > 100_000, "only {sent} messages fit");
    for n in 0..sent {
        assert_eq!(child.raw().hear(), n);
    }
    assert_eq!(child.ask("send \"more\""), "sent");
    assert_eq!(child.raw().hear(), "more");
}

#[test]
fn what_was_sent_before_the_child_disconnected_arrives_whole() {
    let mut child = Forked::start("talker");
    assert_eq!(child.ask("long \u{e9} 450000"), "sent");
    assert_eq!(child.ask("part"), "parting");
    assert_eq!(child.ask("send 1"), "BrokenPipe");
    assert_eq!(child.ask("connected"), "false");
    assert_eq!(child.raw().hear(), "\u{e9}".repeat(450_000));
    assert_eq!(child.raw().hear_line(), None);
    assert_eq!(child.ask("ended"), "ended");
}

#[test]
fn a_child_that_disconnects_first_waits_for_the_handle_on_its_way() {
    let mut child = Forked::start("talker");
    let told = child.ask("listen");
    let address = told.split_once(' ').unwrap().1;
    assert_eq!(child.ask("give 0 1"), "sent");
    assert_eq!(child.ask("send 2"), "sent");
    assert_eq!(child.ask("part"), "parting");
    let (_, listener) = child.raw().hear_handle();
    child.raw().say(ACK);
    assert_eq!(child.raw().hear(), 2);
    assert_eq!(child.raw().hear_line(), None);
    let listener = std::net::TcpListener::from(listener);
    assert_eq!(listener.local_addr().unwrap().to_string(), address);
}

#[test]
fn a_parent_that_hangs_up_ends_the_channel_and_not_the_program() {
    let mut child = Forked::start("talker");
    child.raw().say("\"last\"");
    child.raw = None;
    assert_eq!(child.ask("ended"), "ended");
    assert_eq!(child.ask("receive"), "\"last\"");
    assert_eq!(child.ask("receive"), "BrokenPipe");
    assert_eq!(child.ask("connected"), "false");
    assert_eq!(child.ask("send 1"), "BrokenPipe");
    // A child that is no worker listens for itself, with a channel and without.
    assert!(child.ask("listen").starts_with("0 127.0.0.1:"));
}

#[test]
fn a_handle_sent_after_the_end_is_refused_and_closed() {
    let mut child = Forked::start("talker");
    let (listener, address) = crate::channel_kit::listener();
    child.ask(&format!("connect {address}"));
    let server = crate::channel_kit::accept(&listener);
    child.raw = None;
    assert_eq!(child.ask("ended"), "ended");
    assert_eq!(child.ask("give 0 {}"), "BrokenPipe");
    assert_eq!(read_line(&server), "", "the end of the connection");
}

async fn ends_with_an_open_channel() {
    let channel = oneport::channel().unwrap().unwrap();
    let receiving = tokio::spawn(async { oneport::channel().unwrap().unwrap().recv().await });
    channel.send("going").unwrap();
    tokio::task::yield_now().await;
    assert!(!receiving.is_finished() && channel.is_connected());
}

#[test]
fn an_open_channel_keeps_no_program_from_ending() {
    let mut child = Forked::start("ends_with_an_open_channel");
    assert_eq!(child.raw().hear(), "going");
    assert_eq!(child.exit(), Exit::Code(0));
    assert_eq!(child.raw().hear_line(), None);
}

#[test]
fn the_channels_own_words_reach_no_program() {
    let mut child = Forked::start("talker");
    for own in [r#"{"cmd":"NODE_FOO"}"#, r#"{"cmd":"NODE_CLUSTER","ack":-1}"#, r#"{"cmd":"NODE_CLUSTER"}"#] {
        child.raw().say(own);
    }
    for users in [json!({"cmd": "NODE_"}), json!({"cmd": "node_foo"}), json!({"cmd": 1}), json!(["NODE_FOO"])]
    {
        child.raw().say(&users.to_string());
        let told: Value = serde_json::from_str(&child.ask("receive")).unwrap();
        assert_eq!(told, users);
    }
}
