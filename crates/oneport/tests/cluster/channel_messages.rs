//! Messages between a primary and its workers: what can be said, in which order it arrives, what is refused.

use std::collections::BTreeMap;

use oneport::{Exit, Signal, TcpListener};
use serde_json::{Value, json};

use crate::channel_kit::{eventually, message, read_line, write_line};
use crate::harness::{Test, connect, programs};

programs! { echo, echo_and_serve, two_receivers }

/// Sends back what it receives, until the end.
async fn echo() {
    let worker = oneport::worker().unwrap();
    while let Ok(message) = worker.recv().await {
        worker.send(&message.parse::<Value>().unwrap()).unwrap();
    }
}

/// The same, and does so with lines on connections too.
async fn echo_and_serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serving = async {
        while let Ok((stream, _)) = listener.accept().await {
            let (mut from, mut to) = stream.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
        }
    };
    tokio::join!(echo(), serving);
}

#[test]
fn every_value_of_json_goes_there_and_back() {
    let mut test = Test::forked(1, "echo", |_| {});
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1.5e-7),
        json!(u64::MAX),
        json!(""),
        json!("line\nend \u{2028} \u{0} \"quoted\" \u{1F980}"),
        json!([[], {}, [null]]),
        json!({"": 1, "cmd": "NODE_", "nested": {"\u{e9}": ["\u{10FFFF}"]}}),
    ];
    for value in &values {
        test.worker(1).send(value).unwrap();
    }
    for value in values {
        let (told, handle) = message(&mut test, 1);
        assert_eq!(told, value);
        assert!(handle.is_none());
    }
    test.stop();
}

#[test]
fn a_text_of_many_byte_characters_is_not_torn_however_it_is_cut() {
    let mut test = Test::forked(1, "echo", |_| {});
    // Characters of 2, 3 and 4 bytes, and an odd one in front: reads end within some of them.
    let text = format!("x{}", "\u{df}\u{20ac}\u{1F980}".repeat(100_000));
    test.worker(1).send(&text).unwrap();
    assert_eq!(message(&mut test, 1).0, text);
    test.stop();
}

#[test]
fn messages_and_connections_do_not_get_in_each_others_way() {
    let mut test = Test::forked(2, "echo_and_serve", |_| {});
    let address = test.listening(2);
    for round in 0..20 {
        let stream = connect(address);
        for worker in [1, 2] {
            test.worker(worker).send(&round).unwrap();
        }
        write_line(&stream, "ping");
        assert_eq!(read_line(&stream), "ping");
        for worker in [1, 2] {
            test.until("the echo", |test| {
                let told = test.messages(worker);
                (told.len() == round + 1).then(|| assert_eq!(told[round], round.to_string()))
            });
        }
    }
    test.stop();
}

#[test]
fn messages_that_nobody_asked_for_yet_are_kept_in_order() {
    let mut test = Test::forked(1, "talker", |_| {});
    assert_eq!(test.ask(1, "role"), "worker 1 true");
    for n in 0..1000 {
        test.worker(1).send(&n).unwrap();
    }
    // Behind them, so that it is known that they were read.
    let worker = test.worker(1).clone();
    eventually(|| worker.waiting() == 0);
    for n in 0..1000 {
        assert_eq!(test.ask(1, "receive"), n.to_string());
    }
    test.stop();
}

/// Two tasks that receive; each tells what it got.
async fn two_receivers() {
    let worker = oneport::worker().unwrap();
    let receive = async |name: &str| {
        while let Ok(message) = worker.recv().await {
            worker.send(&(name, message.parse::<u32>().unwrap())).unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(receive("one"), receive("other"));
}

#[test]
fn of_several_receivers_each_message_reaches_one() {
    let mut test = Test::forked(1, "two_receivers", |_| {});
    for n in 0..100_u32 {
        test.worker(1).send(&n).unwrap();
    }
    let mut told: Vec<(String, u32)> =
        (0..100).map(|_| serde_json::from_value(message(&mut test, 1).0).unwrap()).collect();
    told.sort_by_key(|(_, n)| *n);
    assert!(told.iter().map(|(_, n)| *n).eq(0..100), "{told:?}");
    test.stop();
}

#[test]
fn the_channels_own_words_reach_nobody_and_harm_nobody() {
    let mut test = Test::forked(1, "talker", |_| {});
    let own = [
        json!({"cmd": "NODE_CLUSTER", "ack": -1}),
        json!({"cmd": "NODE_FOO", "x": 1}),
        json!({"cmd": "NODE_DEBUG_ENABLED"}),
    ];
    for word in own {
        assert_eq!(test.ask(1, &format!("send {word}")), "sent");
        test.worker(1).send(&word).unwrap();
    }
    assert_eq!(test.ask(1, r#"send {"cmd":"NODE_"}"#), "sent");
    test.worker(1).send(&json!({"cmd": "NODE_"})).unwrap();
    assert_eq!(message(&mut test, 1).0, json!({"cmd": "NODE_"}));
    assert_eq!(test.ask(1, "receive"), r#"{"cmd":"NODE_"}"#);
    assert!(test.worker(1).is_connected() && test.count("condemned") == 0);
    test.stop();
}

#[test]
fn what_json_cannot_say_is_refused_and_nothing_of_it_sent() {
    let mut test = Test::forked(1, "echo", |_| {});
    let error = test.worker(1).send(&BTreeMap::from([((1, 2), 3)])).unwrap_err();
    assert!(error.to_string().contains("cannot spell message"), "{error}");
    for text in ["{\"half\":", "", "1 2", "undefined"] {
        let error = test.worker(1).send_json(text).unwrap_err();
        assert!(error.to_string().contains("it is not JSON"), "{error}");
    }
    assert_eq!(test.worker(1).waiting(), 0);
    test.worker(1).send(&"whole").unwrap();
    assert_eq!(message(&mut test, 1).0, "whole");
    test.stop();
}

#[test]
fn what_waits_for_a_worker_that_does_not_read_is_told_until_it_does() {
    let mut test = Test::forked(1, "echo", |_| {});
    test.worker(1).send(&0).unwrap();
    message(&mut test, 1);
    test.worker(1).kill(Signal::STOP).unwrap();
    let text = "x".repeat(1000);
    for _ in 0..1000 {
        test.worker(1).send(&text).unwrap();
    }
    // What Node's `send` answers `false` above; the socket itself takes some.
    assert!(test.worker(1).waiting() > 131_072);
    test.worker(1).kill(Signal::CONT).unwrap();
    for _ in 0..1000 {
        assert_eq!(message(&mut test, 1).0, text);
    }
    assert_eq!(test.worker(1).waiting(), 0);
    test.stop();
}

#[test]
fn a_message_to_a_worker_that_is_gone_is_refused() {
    let mut test = Test::forked(1, "puppet", |_| {});
    assert_eq!(test.ask(1, "hang-up"), "hung up");
    test.event(1, "disconnect");
    let error = test.worker(1).send(&"late").unwrap_err();
    assert!(error.to_string().contains("its channel is closed"), "{error}");
    assert_eq!(test.ask(1, "send \"late\""), "BrokenPipe");
    test.tell(1, "exit 3");
    assert_eq!(test.exit(1).0, Exit::Code(3));
    test.worker(1).send(&"later").unwrap_err();
    assert_eq!(test.worker(1).waiting(), 0);
    test.stop();
}

#[test]
fn what_a_worker_sent_before_it_left_arrives_before_its_end_is_told() {
    let mut test = Test::forked(1, "talker", |_| {});
    assert_eq!(test.ask(1, "long y 700000"), "sent");
    assert_eq!(test.ask(1, "part"), "parting");
    test.event(1, "disconnect");
    assert_eq!(test.messages(1), [serde_json::to_string(&"y".repeat(700_000)).unwrap()]);
    assert_eq!(test.life(1), ["fork", "online", "message", "disconnect"]);
    test.stop();
}
