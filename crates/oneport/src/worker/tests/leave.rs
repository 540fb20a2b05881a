//! Being told to leave, leaving, and being left.

use std::io::ErrorKind;
use std::pin::pin;
use std::sync::Arc;

use oneport_wire::node::message::{FromPrimary, FromWorker};

use super::{Connection, Link, Primary, poll_once, run, wait_until};
use crate::worker::Channel;
use crate::worker::leave::Stage;

fn farewell(line: &str) -> i64 {
    let said = FromWorker::decode(line.as_bytes()).expect("a message");
    let FromWorker::ExitedAfterDisconnect { seq } = said else { panic!("{said:?}") };
    seq
}

#[test]
fn told_to_leave_a_program_that_never_used_the_channel_has_it_closed_once_its_listeners_are() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = primary.channel_listener(&link, "k").await;
        let connection = Connection::new();
        primary.hand_over("k", 5, &connection.accepted);
        assert!(primary.hear().contains("NODE_HANDLE_ACK"));
        primary.disconnect();
        primary.hear_close("k");
        assert_eq!(link.was_intended(), Some(true));
        // Something is left to give out: not yet.
        assert!(link.is_connected());
        listener.accept().await.expect("the connection");
        assert!(primary.hear().contains(r#""accepted":true"#));
        listener.accept().await.expect_err("the end");
        assert!(primary.hear_out().is_empty());
        link.reached(Stage::Ended).await;
    });
}

#[test]
fn told_to_leave_a_program_whose_listeners_are_dropped_has_its_channel_closed() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        stream.hand_over(&Connection::several::<1>());
        primary.disconnect();
        primary.hear_close("k");
        assert!(link.is_connected());
        drop(listener);
        assert_eq!(stream.answers_to_the_end(), "r");
        assert!(primary.hear_out().is_empty());
    });
}

#[test]
fn told_to_leave_a_program_without_listeners_has_its_channel_closed_at_once() {
    let (mut primary, _link) = Primary::with_worker();
    primary.disconnect();
    assert!(primary.hear_out().is_empty());
}

#[test]
fn told_to_leave_a_program_that_talks_keeps_its_channel_until_it_closes_it() {
    type Use = fn(&Arc<Link>);
    let uses: [Use; 3] = [
        |link| Channel(link.clone()).send("x").expect("room"),
        |link| assert!(poll_once(pin!(Channel(link.clone()).recv()).as_mut()).is_none()),
        |link| drop(Channel(link.clone()).disconnected()),
    ];
    for talk in uses {
        run(async {
            let (mut primary, link) = Primary::with_worker();
            talk(&link);
            let listener = primary_listener(&mut primary, &link).await;
            primary.disconnect();
            assert_eq!(listener.accept().await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
            drop(listener);
            primary.hear_close("k");
            let channel = Channel(link.clone());
            assert!(channel.is_connected());
            channel.send("last words").expect("a channel");
            assert_eq!(primary.hear(), r#""last words""#);
            link.leave_by_itself();
            assert!(primary.hear_out().is_empty(), "the primary knows that it leaves");
        });
    }
}

/// A listener, after whatever was said before.
async fn primary_listener(primary: &mut Primary, link: &Arc<Link>) -> crate::TcpListener {
    // A message of the test's own is put aside.
    if link.converses.load(std::sync::atomic::Ordering::Relaxed) {
        Channel(link.clone()).send("mark").expect("room");
        while primary.hear() != r#""mark""# {}
    }
    primary.channel_listener(link, "k").await
}

#[test]
fn told_to_leave_no_query_waits_for_an_answer_and_a_late_one_is_closed() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        link.converse();
        let options = crate::ListenOptions::new();
        let wish = || crate::worker::ask::Wish::Tcp(super::anywhere());
        let mut binding = pin!(crate::TcpListener::one(Some(link.clone()), &options, wish()));
        assert!(poll_once(binding.as_mut()).is_none());
        let (seq, _) = primary.hear_query();
        primary.disconnect();
        assert_eq!(binding.await.expect_err("leaving").kind(), ErrorKind::BrokenPipe);
        let later = crate::TcpListener::one(Some(link.clone()), &options, wish()).await;
        assert_eq!(later.expect_err("leaving").kind(), ErrorKind::BrokenPipe);
        primary.reply(seq, "k", super::handed_over(4242), None);
        primary.hear_close("k");
    });
}

#[test]
fn leaving_by_itself_closes_every_listener_says_so_and_waits_for_its_acknowledgement() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = primary.channel_listener(&link, "k").await;
        assert_eq!(link.was_intended(), None);
        link.leave_by_itself();
        link.leave_by_itself();
        assert_eq!(link.was_intended(), Some(true));
        primary.hear_close("k");
        let seq = farewell(&primary.hear());
        assert_eq!(listener.accept().await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        // An acknowledgement of something else is none of this.
        primary.say(&FromPrimary::Acknowledge { ack: seq + 1, seq: None }, None);
        Channel(link.clone()).send("still here").expect("a channel");
        assert_eq!(primary.hear(), r#""still here""#);
        primary.say(&FromPrimary::Acknowledge { ack: seq, seq: None }, None);
        assert!(primary.hear_out().is_empty());
        link.reached(Stage::Ended).await;
        assert_eq!(link.was_intended(), Some(true));
    });
}

#[test]
fn a_primary_that_ends_without_a_word_was_not_asked_to() {
    run(async {
        let (primary, link) = Primary::with_worker();
        let mut leaving = pin!(link.leave());
        assert!(poll_once(leaving.as_mut()).is_none());
        drop(primary);
        leaving.await;
        wait_until("the end", || link.was_intended().is_some());
        assert_eq!(link.was_intended(), Some(false));
        assert!(!link.is_connected());
    });
}
