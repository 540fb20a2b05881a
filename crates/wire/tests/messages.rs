//! What is Node's own and what is a user's, what is a breach and what is not: the borders that transcripts of
//! well-behaved programs do not touch.

use std::borrow::Cow;

use oneport_wire::Violation;
use oneport_wire::node::message::{AddressType, FromPrimary, FromWorker, HandleKind, Json, Query};

#[track_caller]
fn worker(line: &str) -> FromWorker<'_> {
    FromWorker::decode(line.as_bytes()).expect(line)
}

#[track_caller]
fn why(line: &str) -> String {
    FromWorker::decode(line.as_bytes()).expect_err(line).to_string()
}

#[track_caller]
fn why_primary(line: &str) -> String {
    FromPrimary::decode(line.as_bytes()).expect_err(line).to_string()
}

#[test]
fn only_an_object_with_a_node_command_is_internal() {
    for line in [
        r#"{"cmd":"NODE_"}"#,
        r#"{"cmd":"NODE"}"#,
        r#"{"cmd":"node_cluster"}"#,
        r#"{"cmd":" NODE_CLUSTER"}"#,
        r#"{"cmd":null}"#,
        r#"{"cmd":{"cmd":"NODE_CLUSTER"}}"#,
        r#"[{"cmd":"NODE_CLUSTER"}]"#,
        r#""NODE_CLUSTER""#,
        r#"{"CMD":"NODE_CLUSTER"}"#,
        r#"{"cmd":"NODE_CLUSTER","cmd":"mine"}"#,
        r#"{"a":"\ud800","seq":"x","act":{},"ack":[]}"#,
        "0",
    ] {
        assert_eq!(worker(line), FromWorker::User(Json::parse(line).expect("JSON")));
    }
    for (line, cmd) in [
        (r#"{"cmd":"NODE_X"}"#, "NODE_X"),
        (r#"{"c\u006dd":"NOD\u0045_X"}"#, "NODE_X"),
        (r#"{"cmd":"mine","cmd":"NODE_X"}"#, "NODE_X"),
        (r#"{"cmd":"NODE_\ud800"}"#, "NODE_\u{fffd}\u{fffd}\u{fffd}"),
        (r#"{"cmd":"NODE_DEBUG_ENABLED","key":7,"seq":"x"}"#, "NODE_DEBUG_ENABLED"),
    ] {
        assert_eq!(worker(line), FromWorker::Internal { cmd: cmd.into() });
    }
}

#[test]
fn white_space_around_a_message_is_no_part_of_it() {
    assert_eq!(worker(" \t{\"cmd\":\"NODE_HANDLE_ACK\"} \r"), FromWorker::HandleAck);
    assert_eq!(worker(" 42\r"), FromWorker::User(Json::parse("42").expect("JSON")));
}

#[test]
fn what_is_not_one_json_text_is_a_breach() {
    let lines: [&[u8]; 12] = [
        b"",
        b" ",
        b"{",
        b"{\"a\":1,}",
        b"1 2",
        b"01",
        b"undefined",
        b"'a'",
        b"\"\xff\"",
        b"\"a\x01\"",
        b"\xef\xbb\xbf1",
        b"\x02{\"cmd\":\"NODE_CLUSTER\"}",
    ];
    for line in lines {
        assert_eq!(FromWorker::decode(line), Err(Violation::NotJson), "{line:?}");
        assert_eq!(FromPrimary::decode(line), Err(Violation::NotJson), "{line:?}");
    }
    assert_eq!(Violation::NotJson.to_string(), "cannot read message: not JSON");
}

#[test]
fn a_bare_control_character_in_a_name_is_a_breach() {
    // Passed on to a Node worker such a line would end it: `JSON.parse` refuses it in names and values alike.
    for line in [
        "{\"a\u{1}\":1}",
        "{\"\\u0041\u{1f}\":1}",
        "{\"cmd\":\"NODE_HANDLE_ACK\",\"\t\":1}",
        "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1,\"\r\":1}",
    ] {
        assert_eq!(FromWorker::decode(line.as_bytes()), Err(Violation::NotJson), "{line:?}");
        assert_eq!(FromPrimary::decode(line.as_bytes()), Err(Violation::NotJson), "{line:?}");
    }
    let lawful = "{\t\"a\\u0001\" :\r1}";
    assert_eq!(worker(lawful), FromWorker::User(Json::parse(lawful).expect("JSON")));
}

#[test]
fn an_internal_message_with_wrong_fields_names_them() {
    assert_eq!(
        why(r#"{"cmd":"NODE_CLUSTER","act":"close","seq":1}"#),
        "cannot read `close` message: `key` is missing"
    );
    assert_eq!(
        why(r#"{"cmd":"NODE_CLUSTER","act":"queryServer","addressType":5,"seq":1}"#),
        "cannot read `queryServer` message: `addressType` is not one of 4, 6, -1, udp4, udp6, null"
    );
    assert_eq!(
        why(r#"{"cmd":"NODE_CLUSTER","act":"queryServer","addressType":4,"port":{},"seq":1}"#),
        "cannot read `queryServer` message: `port` is not a whole number"
    );
    assert_eq!(
        why(r#"{"cmd":"NODE_CLUSTER","act":"queryServer","addressType":4,"port":80}"#),
        "cannot read `queryServer` message: `seq` is missing"
    );
    assert_eq!(
        why(r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":"yes"}"#),
        "cannot read `NODE_CLUSTER` message: `accepted` is not true or false"
    );
    assert_eq!(
        why(r#"{"cmd":"NODE_HANDLE","type":"net.Socket"}"#),
        "cannot read `NODE_HANDLE` message: `msg` is missing"
    );
    assert_eq!(
        why(r#"{"cmd":"NODE_SOCKET_COUNT","key":"k","count":null}"#),
        "cannot read `NODE_SOCKET_COUNT` message: `count` is missing"
    );
    assert_eq!(
        why_primary(r#"{"cmd":"NODE_CLUSTER","act":"newconn","key":"k","seq":1}"#),
        "cannot read `newconn` message: it came without its envelope"
    );
    assert_eq!(
        why_primary(r#"{"cmd":"NODE_CLUSTER","errno":7,"key":"k","ack":1,"seq":1}"#),
        "cannot read `reply` message: `errno` is not null, zero or a negative number"
    );
}

#[test]
fn a_worker_may_ask_in_javascripts_loose_numbers() {
    let line = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":"8080","addressType":4,"flags":1.0,"backlog":1e99,"readableAll":1,"writableAll":"","seq":9}"#;
    let FromWorker::Query { seq: 9, query } = worker(line) else { panic!("{line}") };
    assert_eq!((query.port, query.flags, query.backlog), (Some(8080), Some(1), Some(i32::MAX)));
    assert_eq!((query.readable_all, query.writable_all), (true, false));
    assert!(why(&line.replace("\"8080\"", "8e20")).ends_with("`port` is not a whole number in range"));
}

#[test]
fn nesting_of_any_depth_is_carried() {
    const DEPTH: usize = 100_000;
    let arrays = format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let objects = format!("{}1{}", "{\"cmd\":".repeat(DEPTH), "}".repeat(DEPTH));
    for deep in [arrays, objects] {
        assert_eq!(worker(&deep), FromWorker::User(Json::parse(&*deep).expect("JSON")));
        let handle = format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{deep}}}"#);
        let FromPrimary::Handle(envelope) = FromPrimary::decode(handle.as_bytes()).expect("lawful") else {
            panic!("a handle")
        };
        assert_eq!(envelope.message.get(), deep);
        let open = &deep[..deep.len() - 1];
        assert_eq!(FromWorker::decode(open.as_bytes()), Err(Violation::NotJson));
    }
}

#[test]
fn the_answers_to_a_hand_off_are_read_as_node_writes_them() {
    assert_eq!(worker(r#"{"cmd":"NODE_HANDLE_ACK"}"#), FromWorker::HandleAck);
    assert_eq!(worker(r#"{"cmd":"NODE_HANDLE_NACK"}"#), FromWorker::HandleNack);
    assert_eq!(
        worker(r#"{"cmd":"NODE_CLUSTER","ack":2,"accepted":true,"seq":3}"#),
        FromWorker::Answer { ack: 2, accepted: Some(true), seq: Some(3) }
    );
}

#[test]
fn the_hand_off_line_is_written_in_place_and_escaped() {
    let mut out = Vec::with_capacity(256);
    let before = out.as_ptr();
    let key = Cow::Borrowed("/run/\"a\\b\u{1}é:-1:-1:undefined:0");
    FromPrimary::NewConn { key, seq: 7 }.encode(&mut out);
    assert_eq!(
        std::str::from_utf8(&out).expect("UTF-8"),
        "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\
         \"key\":\"/run/\\\"a\\\\b\\u0001é:-1:-1:undefined:0\",\"seq\":7}}\n"
    );
    assert_eq!(out.as_ptr(), before);
}

#[test]
fn plain_strings_are_lent_from_the_line() {
    let line = r#"{"cmd":"NODE_CLUSTER","act":"close","key":"null:80:4:undefined:0","seq":4}"#;
    let FromWorker::Close { key: Cow::Borrowed(key), .. } = worker(line) else { panic!("a borrowed key") };
    assert!(line.as_bytes().as_ptr_range().contains(&key.as_ptr()));
}

#[test]
fn a_users_text_with_newlines_stays_one_line() {
    let mut out = Vec::new();
    FromPrimary::User(Json::parse("{\n  \"a\": \"b\\n\"\n}").expect("JSON")).encode(&mut out);
    assert_eq!(out, b"{   \"a\": \"b\\n\" }\n");
    assert_eq!(Json::parse("{\"a\":1"), Err(Violation::NotJson));
}

#[test]
fn a_handle_of_a_kind_yet_unknown_is_readable() {
    let line = r#"{"cmd":"NODE_HANDLE","type":"net.FutureThing","msg":null}"#;
    let FromWorker::Handle(envelope) = worker(line) else { panic!("a handle") };
    assert_eq!(envelope.kind, HandleKind::Other("net.FutureThing".into()));
}

#[test]
fn a_question_without_a_place_is_readable() {
    // Node 18, a worker that was given a Server by its primary; Node's own primary ends over it.
    let line = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":-1,"addressType":-1,"backlog":0,"seq":1}"#;
    let FromWorker::Query { query, .. } = worker(line) else { panic!("a query") };
    assert_eq!((query.address, query.port, query.address_type), (None, Some(-1), AddressType::Pipe));
}

#[test]
fn address_types_pass_serde_as_node_spells_them() {
    for (kind, text) in [
        (AddressType::Tcp4, "4"),
        (AddressType::Tcp6, "6"),
        (AddressType::Pipe, "-1"),
        (AddressType::Udp4, "\"udp4\""),
        (AddressType::Udp6, "\"udp6\""),
        (AddressType::Fd, "null"),
    ] {
        assert_eq!(serde_json::to_string(&kind).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<AddressType>(text).expect(text), kind);
    }
    for text in ["5", "-2", "\"udp\"", "true", "4.5", "[]", "18446744073709551615"] {
        assert!(serde_json::from_str::<AddressType>(text).is_err(), "{text}");
    }
}

#[test]
fn an_owned_query_outlives_its_line_unchanged() {
    let line = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":2,"data":{"ticketKeys":"00"},"address":"::1","port":443,"addressType":6,"flags":1,"backlog":5,"seq":1}"#
        .to_owned();
    let FromWorker::Query { query, .. } = worker(&line) else { panic!("a query") };
    let owned: Query<'static> = query.clone().into_owned();
    assert_eq!(owned, query);
    drop(line);
    assert_eq!(owned.data.expect("data").get(), r#"{"ticketKeys":"00"}"#);
}
