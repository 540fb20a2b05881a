//! The bounds of a channel, the order in which things wait, and what becomes of descriptors that got lost.

use super::*;
use oneport_wire::node::message::{HandleKind, Json};

fn pair() -> (Channel, OwnedFd) {
    let (ours, theirs) = fdpass::channel_pair().expect("a socket pair");
    (Channel::new(ours, Kin::Cluster), theirs)
}

fn long_message() -> FromPrimary<'static> {
    let text = format!("\"{}\"", "x".repeat(64 * 1024));
    FromPrimary::User(Json::parse(text).expect("JSON"))
}

#[test]
fn a_worker_that_leaves_our_answers_lying_is_not_read() {
    let (mut channel, _worker) = pair();
    let message = long_message();
    assert!(channel.wants_read());
    for _ in 0..40 {
        channel.send_user(&message, 1);
    }
    assert!(!channel.wants_read() && channel.wants_write());
}

#[test]
fn what_waited_arrives_whole_and_in_order_once_the_worker_reads() {
    let (mut channel, worker) = pair();
    for n in 0..20_000 {
        let number = Json::parse(n.to_string()).expect("JSON");
        channel.send_user(&FromPrimary::User(number), 1);
    }
    let mut received = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while received.iter().filter(|byte| **byte == b'\n').count() < 20_000 {
        let read = fdpass::receive(worker.as_fd(), &mut buffer).expect("more");
        received.extend_from_slice(&buffer[..read.bytes]);
        channel.flush(|_| None);
    }
    let expected: String = (0..20_000).map(|n| format!("{n}\n")).collect();
    assert!(received == expected.as_bytes());
    assert!(!channel.wants_write() && channel.outbox.waiting() == 0 && channel.take_written() == 20_000);
}

#[test]
fn a_connection_answered_with_nack_is_named_and_expected_no_more() {
    let (mut channel, _worker) = pair();
    let (conn, _client) = fdpass::channel_pair().expect("a socket pair");
    for number in 0..2 {
        let message = FromPrimary::NewConn { key: "k".into(), seq: number };
        channel.send(&message, Carried::Connection(ConnId(7 + number as u64)), |_| Some(conn.as_fd()));
        channel.expect(number, ConnId(7 + number as u64));
    }
    assert_eq!(channel.nacked(), Ok(Receipt::ConnectionLost(ConnId(7))));
    assert_eq!(channel.acked(), Ok(Receipt::Nothing));
    assert_eq!(channel.unanswered(), [ConnId(8)]);
    assert_eq!(channel.answered(0), None);
    assert_eq!(channel.answered(1), Some(ConnId(8)));
    assert_eq!(channel.acked(), Err(Unasked));
}

#[test]
fn a_descriptor_lost_in_the_middle_of_its_line_ends_the_trust() {
    let (mut channel, worker) = pair();
    fdpass::send(worker.as_fd(), b"1\n{\"cmd\":\"NODE_HAN", None).expect("room");
    assert_eq!(channel.receive(), Ok(Read::Part));
    channel.note_lost_descriptor();
    assert_eq!(channel.next().map(|_| ()), Err(Violation::StrayHandle));
}

#[test]
fn a_descriptor_lost_with_a_whole_line_is_that_lines_alone() {
    let (mut channel, worker) = pair();
    let line = b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":1}\n";
    fdpass::send(worker.as_fd(), line, None).expect("room");
    assert_eq!(channel.receive(), Ok(Read::Part));
    channel.note_lost_descriptor();
    assert!(matches!(channel.next(), Ok(Some((FromWorker::Handle(_), None)))));
    assert!(matches!(channel.next(), Ok(None)));
}

#[test]
fn answers_behind_a_breach_of_the_protocol_still_count() {
    let (mut channel, worker) = pair();
    channel.expect(3, ConnId(1));
    channel.expect(4, ConnId(2));
    let said = b"{nonsense\n{\"cmd\":\"NODE_CLUSTER\",\"ack\":3,\"accepted\":true}\n";
    fdpass::send(worker.as_fd(), said, None).expect("room");
    drop(worker);
    assert_eq!(channel.receive(), Ok(Read::Part));
    assert_eq!(channel.next().map(|_| ()), Err(Violation::NotJson));
    assert_eq!(channel.last_answers(), [(ConnId(1), true)]);
    assert_eq!(channel.unanswered(), [ConnId(2)]);
}

#[test]
fn a_handle_is_kept_until_it_is_confirmed_and_sent_three_times_at_most() {
    let (mut channel, worker) = pair();
    let (passed, other) = fdpass::channel_pair().expect("a socket pair");
    let message = Json::parse("{}").expect("JSON");
    let envelope = HandleEnvelope { kind: HandleKind::NetSocket, message, key: None };
    channel.send_handle(envelope, passed, 7);
    let mut buffer = vec![0; 1024];
    for again in [true, true, false] {
        let received = fdpass::receive(worker.as_fd(), &mut buffer).expect("the envelope");
        assert!(received.fd.is_some());
        let expected = if again { Receipt::Nothing } else { Receipt::HandleLost };
        assert_eq!(channel.nacked(), Ok(expected));
    }
    assert_eq!(channel.take_written(), 7);
    assert_eq!(channel.acked(), Err(Unasked));
    // Given up, it is closed: the other end of the pair reads the end.
    assert_eq!(fdpass::receive(other.as_fd(), &mut buffer).expect("the end").bytes, 0);
}
