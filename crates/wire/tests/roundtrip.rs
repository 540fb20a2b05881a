//! Every message that can be said is read again as it was meant, through an inbox and any cut of the stream; and no
//! bytes whatsoever do more than be refused.

use std::borrow::Cow;

use oneport_wire::node::Inbox;
use oneport_wire::node::errno::Errno;
use oneport_wire::node::message::{
    AddressType, DgramType, Family, FromPrimary, FromWorker, HandleEnvelope, HandleKind, Json, NativeKind,
    Outcome, Query, SockName, SocketNote,
};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

/// Strings that need escapes as often as not.
fn text() -> BoxedStrategy<Cow<'static, str>> {
    prop_oneof![
        select(vec!["", "null:80:4:undefined:0", "::1", "\"", "\\", "\u{0}\n\u{7f}\u{2028}é😀"])
            .prop_map(Cow::Borrowed),
        proptest::collection::vec(any::<char>(), 0..12)
            .prop_map(|text| Cow::Owned(text.into_iter().collect())),
    ]
    .boxed()
}

/// Users' values, none of them null or one of Node's own messages.
fn json() -> BoxedStrategy<Json<'static>> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        text().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let name =
            prop_oneof![text(), select(vec!["cmd", "act", "seq", "key", "msg"]).prop_map(Cow::Borrowed)];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::vec((name.prop_map(Cow::into_owned), inner), 0..4)
                .prop_map(|fields| fields.into_iter().collect()),
        ]
    })
    .prop_map(|value| Json::parse(value.to_string()).expect("JSON"))
    .boxed()
}

fn address_type() -> impl Strategy<Value = AddressType> {
    use AddressType::{Fd, Pipe, Tcp4, Tcp6, Udp4, Udp6};
    select(vec![Tcp4, Tcp6, Pipe, Udp4, Udp6, Fd])
}

fn query() -> BoxedStrategy<Query<'static>> {
    let numbers = (of(any::<i32>()), of(any::<i32>()), of(any::<u32>()), of(any::<i32>()), any::<u32>());
    (of(text()), address_type(), numbers, any::<(bool, bool)>(), of(json()), of(1..=u32::MAX))
        .prop_map(
            |(
                address,
                address_type,
                (port, fd, flags, backlog, index),
                (readable_all, writable_all),
                data,
                handoff,
            )| {
                Query {
                    address,
                    port,
                    address_type,
                    fd,
                    flags,
                    backlog,
                    readable_all,
                    writable_all,
                    index,
                    data,
                    handoff,
                }
            },
        )
        .boxed()
}

fn envelope() -> BoxedStrategy<HandleEnvelope<'static>> {
    let kind = select(vec![
        HandleKind::NetNative,
        HandleKind::DgramNative,
        HandleKind::NetServer,
        HandleKind::NetSocket,
        HandleKind::DgramSocket(DgramType::Udp4),
        HandleKind::DgramSocket(DgramType::Udp6),
        HandleKind::NetBoundSocket,
        HandleKind::Other("net.\"Other\"".into()),
    ]);
    (kind, json(), of(text())).prop_map(|(kind, message, key)| HandleEnvelope { kind, message, key }).boxed()
}

fn note() -> BoxedStrategy<SocketNote<'static>> {
    prop_oneof![
        text().prop_map(|key| SocketNote::GetCount { key }),
        (text(), any::<i64>()).prop_map(|(key, count)| SocketNote::Count { key, count }),
        text().prop_map(|key| SocketNote::NotifyClose { key }),
        text().prop_map(|key| SocketNote::AllClosed { key }),
    ]
    .boxed()
}

fn unknown() -> impl Strategy<Value = Cow<'static, str>> {
    select(vec!["", "unheard of", "\"\\"]).prop_map(Cow::Borrowed)
}

fn command() -> impl Strategy<Value = Cow<'static, str>> {
    select(vec!["NODE_X", "NODE_DEBUG_ENABLED", "NODE_HANDLE_", "NODE_\\"]).prop_map(Cow::Borrowed)
}

fn from_worker() -> BoxedStrategy<FromWorker<'static>> {
    let seq = || of(any::<i64>());
    prop_oneof![
        seq().prop_map(|seq| FromWorker::Online { seq }),
        (any::<i64>(), query()).prop_map(|(seq, query)| FromWorker::Query { seq, query }),
        (seq(), query()).prop_map(|(seq, query)| FromWorker::Listening { seq, query }),
        (text(), seq()).prop_map(|(key, seq)| FromWorker::Close { key, seq }),
        (text(), seq()).prop_map(|(key, seq)| FromWorker::Released { key, seq }),
        any::<i64>().prop_map(|seq| FromWorker::ExitedAfterDisconnect { seq }),
        (any::<i64>(), of(any::<bool>()), seq()).prop_map(|(ack, accepted, seq)| FromWorker::Answer {
            ack,
            accepted,
            seq
        }),
        Just(FromWorker::HandleAck),
        Just(FromWorker::HandleNack),
        envelope().prop_map(FromWorker::Handle),
        note().prop_map(FromWorker::Sockets),
        command().prop_map(|cmd| FromWorker::Internal { cmd }),
        unknown().prop_map(|act| FromWorker::UnknownAct { act }),
        json().prop_map(FromWorker::User),
    ]
    .boxed()
}

fn outcome() -> BoxedStrategy<Outcome<'static>> {
    let sockname = (text(), select(vec![Family::Ipv4, Family::Ipv6]), any::<u16>())
        .prop_map(|(address, family, port)| SockName { address, family, port });
    prop_oneof![
        of(sockname.clone()).prop_map(|sockname| Outcome::RoundRobin { sockname }),
        (of(sockname), 1..=u32::MAX).prop_map(|(sockname, version)| Outcome::HandOff { sockname, version }),
        select(vec![NativeKind::Net, NativeKind::Dgram]).prop_map(|kind| Outcome::Shared { kind }),
        any::<i32>().prop_map(|errno| Outcome::Failed { errno: Errno::from_os(errno) }),
    ]
    .boxed()
}

fn from_primary() -> BoxedStrategy<FromPrimary<'static>> {
    let seq = || of(any::<i64>());
    prop_oneof![
        (any::<(i64, i64)>(), text(), of(json()), outcome()).prop_map(|((ack, seq), key, data, outcome)| {
            FromPrimary::Reply { ack, seq, key, data, outcome }
        }),
        (text(), any::<i64>()).prop_map(|(key, seq)| FromPrimary::NewConn { key, seq }),
        seq().prop_map(|seq| FromPrimary::Disconnect { seq }),
        (any::<i64>(), seq()).prop_map(|(ack, seq)| FromPrimary::Acknowledge { ack, seq }),
        Just(FromPrimary::HandleAck),
        Just(FromPrimary::HandleNack),
        envelope().prop_map(FromPrimary::Handle),
        note().prop_map(FromPrimary::Sockets),
        command().prop_map(|cmd| FromPrimary::Internal { cmd }),
        unknown().prop_map(|act| FromPrimary::UnknownAct { act }),
        json().prop_map(FromPrimary::User),
    ]
    .boxed()
}

proptest! {
    #[test]
    fn what_a_worker_says_is_heard(messages in proptest::collection::vec(from_worker(), 1..8), cut in 1..200_usize) {
        let mut heard = Vec::new();
        let mut inbox = Inbox::<()>::new(1 << 20);
        let mut bytes = Vec::new();
        for message in &messages {
            let before = bytes.len();
            message.encode(&mut bytes);
            prop_assert_eq!(bytes[before..].iter().position(|byte| *byte == b'\n'), Some(bytes.len() - before - 1));
        }
        for piece in bytes.chunks(cut) {
            inbox.space()[..piece.len()].copy_from_slice(piece);
            inbox.received(piece.len(), None).expect("lawful");
            while let Some((message, _)) = inbox.next_from_worker().expect("lawful") {
                heard.push(format!("{message:?}"));
            }
        }
        prop_assert_eq!(heard, messages.iter().map(|message| format!("{message:?}")).collect::<Vec<_>>());
    }

    #[test]
    fn a_workers_message_survives(message in from_worker()) {
        let mut line = Vec::new();
        message.encode(&mut line);
        line.pop();
        prop_assert_eq!(FromWorker::decode(&line), Ok(message));
    }

    #[test]
    fn a_primarys_message_survives(message in from_primary()) {
        let mut line = Vec::new();
        message.encode(&mut line);
        line.pop();
        prop_assert_eq!(FromPrimary::decode(&line), Ok(message));
    }

    #[test]
    fn no_bytes_do_more_than_be_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = FromWorker::decode(&bytes);
        let _ = FromPrimary::decode(&bytes);
        let mut inbox = Inbox::new(100);
        for piece in bytes.chunks(37) {
            let n = piece.len().min(inbox.space().len());
            inbox.space()[..n].copy_from_slice(&piece[..n]);
            let _ = inbox.received(n, Some(()));
            while let Ok(Some(_)) = inbox.next_from_worker() {}
            while let Ok(Some(_)) = inbox.next_from_primary() {}
        }
    }

    #[test]
    fn no_field_of_any_type_does_more_than_be_refused(
        cmd in select(vec!["NODE_CLUSTER", "NODE_HANDLE", "NODE_SOCKET_COUNT"]),
        act in select(vec!["online", "queryServer", "listening", "close", "newconn", "disconnect", "?"]),
        fields in proptest::collection::vec(
            (
                select(vec![
                    "act", "seq", "ack", "accepted", "key", "type", "msg", "errno", "data", "sockname", "index",
                    "address", "port", "addressType", "fd", "flags", "backlog", "readableAll", "dgramType", "count",
                    "handoff",
                ]),
                select(vec![
                    "null", "true", "\"\"", "\"udp4\"", "-1", "4", "1e400", "9223372036854775808", "{}", "[]",
                    "\"\\ud800\"", "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\"}", "\"net.Native\"",
                ]),
            ),
            0..8,
        ),
    ) {
        let mut line = format!("{{\"cmd\":\"{cmd}\",\"act\":\"{act}\"");
        for (name, value) in fields {
            line.push_str(&format!(",\"{name}\":{value}"));
        }
        line.push('}');
        for result in [
            FromWorker::decode(line.as_bytes()).map(|_| ()),
            FromPrimary::decode(line.as_bytes()).map(|_| ()),
        ] {
            if let Err(violation) = result {
                prop_assert!(violation.to_string().starts_with("cannot read `"), "{violation}: {line}");
            }
        }
    }
}
