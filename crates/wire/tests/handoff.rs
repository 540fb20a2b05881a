//! The compact hand-off: how it is offered, agreed on and spoken, and what is left alone by those who know nothing of
//! it.

use std::borrow::Cow;

use oneport_wire::Violation;
use oneport_wire::handoff::{Answer, CONNECTION, VERSION};
use oneport_wire::node::Inbox;
use oneport_wire::node::message::{Family, FromPrimary, FromWorker, NativeKind, Outcome, Query, SockName};
use proptest::prelude::*;

fn query(line: &str) -> Query<'_> {
    let FromWorker::Query { query, .. } = FromWorker::decode(line.as_bytes()).expect(line) else {
        panic!("{line}")
    };
    query
}

fn outcome(line: &str) -> Result<Outcome<'_>, Violation> {
    let FromPrimary::Reply { outcome, .. } = FromPrimary::decode(line.as_bytes())? else { panic!("{line}") };
    Ok(outcome)
}

/// A reply in the envelope of `kind`, with more fields.
fn enclosed(kind: &str, fields: &str) -> String {
    format!(
        r#"{{"cmd":"NODE_HANDLE","type":"{kind}","msg":{{"cmd":"NODE_CLUSTER","key":"k","ack":1,"data":null,"seq":0{fields}}}}}"#
    )
}

#[test]
fn an_offer_is_a_number_from_one_up() {
    let offer = |field: &str| {
        let line = format!(
            r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":80,"addressType":4,"seq":1{field}}}"#
        );
        query(&line).handoff
    };
    assert_eq!(offer(""), None);
    assert_eq!(offer(r#","handoff":1"#), Some(VERSION));
    assert_eq!(offer(r#","handoff":2"#), Some(2));
    assert_eq!(offer(r#","handoff":4294967295"#), Some(u32::MAX));
    for nothing in ["0", "-1", "-0", "1.0", "1e0", "4294967296", "null", "true", "\"1\"", "{}", "[1]"] {
        assert_eq!(offer(&format!(r#","handoff":{nothing}"#)), None, "{nothing}");
    }
}

#[test]
fn an_offer_is_written_only_where_it_is_made() {
    let line = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":80,"addressType":4,"backlog":0,"handoff":1,"seq":1}"#;
    let query = query(line);
    let mut out = Vec::new();
    FromWorker::Query { seq: 1, query: query.clone().into_owned() }.encode(&mut out);
    assert_eq!(out, [line.as_bytes(), b"\n"].concat());
    out.clear();
    FromWorker::Query { seq: 1, query: Query { handoff: None, ..query } }.encode(&mut out);
    assert_eq!(out, [line.replace(",\"handoff\":1", "").as_bytes(), b"\n"].concat());
}

#[test]
fn the_reply_says_that_a_stream_comes_along() {
    let message = FromPrimary::Reply {
        ack: 1,
        seq: 2,
        key: "null:80:4:undefined".into(),
        data: None,
        outcome: Outcome::HandOff {
            sockname: Some(SockName { address: Cow::Borrowed("::"), family: Family::Ipv6, port: 80 }),
            version: VERSION,
        },
    };
    assert!(message.carries_handle());
    let mut out = Vec::new();
    message.encode(&mut out);
    assert_eq!(
        std::str::from_utf8(&out).expect("UTF-8"),
        "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\",\"errno\":0,\
         \"key\":\"null:80:4:undefined\",\"ack\":1,\"data\":null,\
         \"sockname\":{\"address\":\"::\",\"family\":\"IPv6\",\"port\":80},\"handoff\":1,\"seq\":2}}\n"
    );
    let mut inbox = Inbox::new(1000);
    inbox.space()[..out.len()].copy_from_slice(&out);
    inbox.received(out.len(), Some('a')).expect("lawful");
    assert_eq!(inbox.next_from_primary(), Ok(Some((message, Some('a')))));
}

#[test]
fn without_a_version_the_socket_is_the_listener_itself() {
    for field in ["", r#","handoff":null"#, r#","handoff":0"#, r#","handoff":"1""#, r#","sockname":7"#] {
        let line = enclosed("net.Native", field);
        assert_eq!(outcome(&line), Ok(Outcome::Shared { kind: NativeKind::Net }), "{field}");
    }
    let line = enclosed("net.Native", r#","errno":0,"handoff":3"#);
    assert_eq!(outcome(&line), Ok(Outcome::HandOff { sockname: None, version: 3 }));
    // Datagrams have no connections to hand over.
    let line = enclosed("dgram.Native", r#","handoff":1"#);
    assert_eq!(outcome(&line), Ok(Outcome::Shared { kind: NativeKind::Dgram }));
}

#[test]
fn a_version_in_a_reply_without_a_descriptor_means_nothing() {
    let reply = |errno: &str| {
        format!(r#"{{"cmd":"NODE_CLUSTER","errno":{errno},"key":"k","ack":1,"seq":0,"handoff":1}}"#)
    };
    assert_eq!(outcome(&reply("null")), Ok(Outcome::RoundRobin { sockname: None }));
    assert!(matches!(outcome(&reply("-98")), Ok(Outcome::Failed { .. })));
}

#[test]
fn a_stream_with_a_broken_name_or_a_failure_is_a_breach() {
    let why = |fields: &str| outcome(&enclosed("net.Native", fields)).expect_err(fields).to_string();
    assert_eq!(
        why(r#","handoff":1,"sockname":7"#),
        "cannot read `reply` message: `sockname` is not an object"
    );
    assert_eq!(
        why(r#","handoff":1,"sockname":{"family":"IPv4","port":65536,"address":""}"#),
        "cannot read `reply` message: `port` is not a port number"
    );
    assert_eq!(
        why(r#","handoff":1,"errno":-98"#),
        "cannot read `reply` message: it failed and yet came with a descriptor"
    );
}

#[test]
fn two_bytes_are_answers_and_no_other_is() {
    let answers: Vec<_> = (0..=u8::MAX).filter_map(|byte| Some((byte, Answer::decode(byte).ok()?))).collect();
    assert_eq!(answers, [(b'r', Answer::Refused), (b't', Answer::Taken)]);
    for (byte, answer) in answers {
        assert_eq!(answer.encode(), byte);
    }
    let violation = Answer::decode(CONNECTION).expect_err("a connection is no answer");
    assert_eq!(violation, Violation::NoAnswer { byte: b'c' });
    assert_eq!(violation.to_string(), "cannot understand the answer to a hand-off: unknown byte 0x63");
}

proptest! {
    #[test]
    fn any_offer_survives_whatever_else_is_asked(version in proptest::option::of(1..=u32::MAX), udp: bool) {
        let kind = if udp { "\"udp4\"" } else { "4" };
        let line = format!(r#"{{"cmd":"NODE_CLUSTER","act":"listening","addressType":{kind},"seq":1}}"#);
        let Ok(FromWorker::Listening { seq, query }) = FromWorker::decode(line.as_bytes()) else {
            panic!("{line}")
        };
        let message = FromWorker::Listening { seq, query: Query { handoff: version, ..query } };
        let mut out = Vec::new();
        message.encode(&mut out);
        out.pop();
        prop_assert_eq!(FromWorker::decode(&out), Ok(message));
    }
}

#[test]
fn what_a_read_brought_before_a_breach_counts() {
    let paired = |bytes: &[u8], handles: u8, truncated| {
        let mut given = Vec::new();
        let outcome = oneport_wire::handoff::pair(bytes, 0..handles, truncated, |handle| given.push(handle));
        (outcome, given)
    };
    assert_eq!(paired(b"ccc", 3, false), (Ok(()), vec![Some(0), Some(1), Some(2)]));
    assert_eq!(paired(b"ccc", 1, true), (Ok(()), vec![Some(0), None, None]));
    assert_eq!(paired(b"ccc", 1, false), (Err(Violation::MissingHandle), vec![Some(0)]));
    assert_eq!(paired(b"c?c", 3, false), (Err(Violation::NoConnection { byte: b'?' }), vec![Some(0)]));
    assert_eq!(paired(b"c", 2, false), (Err(Violation::UnnamedHandle), vec![Some(0)]));
}

#[test]
fn answers_go_to_the_oldest_hand_off_and_to_none_that_was_not_made() {
    let matched = |bytes: &[u8]| {
        let mut awaiting = std::collections::VecDeque::from([7, 8]);
        let mut given = Vec::new();
        let outcome =
            oneport_wire::handoff::match_answers(bytes, &mut awaiting, |of, answer| given.push((of, answer)));
        (outcome, given, awaiting.len())
    };
    let (taken, refused) = ((7, Answer::Taken), (8, Answer::Refused));
    assert_eq!(matched(b"tr"), (Ok(()), vec![taken, refused], 0));
    assert_eq!(matched(b"t?"), (Err(Violation::NoAnswer { byte: b'?' }), vec![taken], 1));
    assert_eq!(matched(b"trt"), (Err(Violation::UnaskedAnswer), vec![taken, refused], 0));
}
