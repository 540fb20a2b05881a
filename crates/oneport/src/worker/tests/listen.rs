//! What is asked for, and what is made of the answers.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::pin::pin;

use oneport_sys::fdpass;
use oneport_sys::listen::{V6, bind_tcp};
use oneport_wire::node::message::{AddressType, NativeKind, Outcome, Query};

use super::{Primary, anywhere, failed, fast, handed_over, poll_once, run, shared, tcp_query, wait_until};
use crate::worker::ask::Wish;
use crate::worker::{ListenOptions, TcpListener, UdpSocket, UnixListener};

/// What a bind asks; it is refused.
fn asked(
    primary: &mut Primary,
    link: &super::Arc<super::Link>,
    wish: Wish<'_>,
    options: &ListenOptions,
) -> Query<'static> {
    async fn bind(
        link: super::Arc<super::Link>,
        options: &ListenOptions,
        wish: Wish<'_>,
    ) -> std::io::Result<()> {
        match wish {
            Wish::Tcp(_) | Wish::Any(_) => TcpListener::one(Some(link), options, wish).await.map(drop),
            Wish::Unix(path) => UnixListener::one(Some(link), options, path).await.map(drop),
            Wish::Udp(addr) => UdpSocket::one(Some(link), options, addr).await.map(drop),
        }
    }
    run(async {
        let mut binding = pin!(bind(link.clone(), options, wish));
        let query = primary.answer_bind(binding.as_mut(), "k", failed(98), None);
        assert_eq!(binding.await.expect_err("refused").kind(), ErrorKind::AddrInUse);
        query
    })
}

#[test]
fn options_are_asked_for_as_node_spells_them() {
    let (mut primary, link) = Primary::with_worker();
    let mut ask = |wish: Wish<'_>, options: ListenOptions| asked(&mut primary, &link, wish, &options);
    let options = ListenOptions::new;
    assert_eq!(ask(Wish::Tcp(anywhere()), options()), tcp_query());
    assert_eq!(ask(Wish::Tcp(anywhere()), options().backlog(7)), Query { backlog: Some(7), ..tcp_query() });
    assert_eq!(ask(Wish::Tcp(anywhere()), options().backlog(0)), tcp_query());
    let v6: SocketAddr = "[::1]:80".parse().expect("an address");
    let expected = Query {
        address: Some("::1".into()),
        port: Some(80),
        address_type: AddressType::Tcp6,
        flags: Some(1),
        ..tcp_query()
    };
    assert_eq!(ask(Wish::Tcp(v6), options().ipv6_only(true)), expected);
    assert_eq!(ask(Wish::Any(80), options()), Query { address: None, port: Some(80), ..tcp_query() });
    let any = Query { address: None, port: None, address_type: AddressType::Fd, flags: None, ..tcp_query() };
    assert_eq!(ask(Wish::Any(0), options().fd(9)), Query { fd: Some(9), ..any });
}

#[test]
fn a_unix_path_is_asked_for_from_the_root_and_with_its_permissions() {
    let (mut primary, link) = Primary::with_worker();
    let options = ListenOptions::new().readable_all(true).writable_all(true);
    let here = std::env::current_dir().expect("a directory").join("x.sock");
    let expected = Query {
        address: Some(here.to_str().expect("UTF-8").to_owned().into()),
        port: Some(-1),
        address_type: AddressType::Pipe,
        flags: None,
        readable_all: true,
        writable_all: true,
        ..tcp_query()
    };
    assert_eq!(asked(&mut primary, &link, Wish::Unix("./x.sock".as_ref()), &options), expected);
    let name = asked(&mut primary, &link, Wish::Unix("\0name".as_ref()), &ListenOptions::new()).address;
    assert_eq!(name.as_deref(), Some("\0name"));
}

#[test]
fn udp_is_asked_for_with_its_flags_and_never_handed_over() {
    let (mut primary, link) = Primary::with_worker();
    let expected = Query {
        address: Some("::".into()),
        port: Some(53),
        address_type: AddressType::Udp6,
        fd: Some(-1),
        flags: Some(5),
        backlog: None,
        handoff: None,
        ..tcp_query()
    };
    let addr: SocketAddr = "[::]:53".parse().expect("an address");
    let options = ListenOptions::new().ipv6_only(true).reuse_address(true);
    assert_eq!(asked(&mut primary, &link, Wish::Udp(addr), &options), expected);
    let by_number = Query { address: None, port: None, fd: Some(9), flags: None, ..expected };
    assert_eq!(asked(&mut primary, &link, Wish::Udp(addr), &ListenOptions::new().fd(9)), by_number);
    run(async {
        let options = ListenOptions::new();
        let mut binding = pin!(UdpSocket::one(Some(link.clone()), &options, anywhere()));
        primary.answer_bind(binding.as_mut(), "u", handed_over(53), None);
        assert_eq!(binding.await.expect_err("nonsense").kind(), ErrorKind::InvalidData);
        primary.hear_close("u");
    });
}

#[test]
fn listeners_of_one_address_are_counted_until_all_are_closed() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let options = ListenOptions::new();
        let mut open = Vec::new();
        for (number, expected) in [0, 1, 2].into_iter().enumerate() {
            let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere())));
            let key = format!("k{number}");
            let query = primary.answer_bind(binding.as_mut(), &key, handed_over(4242), None);
            assert_eq!(query.index, expected);
            open.push(binding.await.expect("a listener"));
            assert_eq!(primary.hear_listening().index, expected);
        }
        // One closed: counting goes on.
        drop(open.remove(0));
        primary.hear_close("k0");
        let next = |primary: &mut Primary, expected| {
            let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere())));
            let query = primary.answer_bind(binding.as_mut(), "x", failed(98), None);
            assert_eq!(query.index, expected);
            // Carried out below: the answer arrives on another thread.
            wait_until("an answer", || poll_once(binding.as_mut()).is_some());
        };
        next(&mut primary, 3);
        // Another address has its own count.
        let mut other = pin!(TcpListener::one(Some(link.clone()), &options, Wish::Any(0)));
        assert_eq!(primary.answer_bind(other.as_mut(), "y", failed(98), None).index, 0);
        open.clear();
        primary.hear_close("k1");
        primary.hear_close("k2");
        next(&mut primary, 0);
        // And the refused ones are given back.
        next(&mut primary, 0);
    });
}

#[test]
fn another_port_than_the_one_asked_for_is_in_use() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let options = ListenOptions::new();
        let wish = Wish::Tcp(([127, 0, 0, 1], 4000).into());
        for (key, outcome) in [("a", handed_over(80)), ("b", fast())] {
            let (_ours, theirs) = fdpass::channel_pair().expect("a socket pair");
            let fd = matches!(outcome, Outcome::HandOff { .. }).then(|| theirs.as_fd());
            let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, wish));
            primary.answer_bind(binding.as_mut(), key, outcome, fd);
            assert_eq!(binding.await.expect_err("another port").kind(), ErrorKind::AddrInUse);
            primary.hear_close(key);
        }
    });
}

#[test]
fn one_key_for_two_listeners_is_in_use_and_the_first_one_stays() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let first = primary.channel_listener(&link, "k").await;
        let refused = primary.listener(&link, "k", handed_over(4242), None).await.expect_err("in use");
        assert_eq!(refused.kind(), ErrorKind::AddrInUse);
        let connection = super::Connection::new();
        primary.hand_over("k", 5, &connection.accepted);
        assert_eq!(first.accept().await.expect("a connection").1, connection.client_addr());
    });
}

#[test]
fn a_refusal_has_the_kind_that_the_kernel_gives_it() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        for (errno, kind) in [(13, ErrorKind::PermissionDenied), (98, ErrorKind::AddrInUse)] {
            let error = primary.listener(&link, "k", failed(errno), None).await.expect_err("refused");
            assert_eq!((error.kind(), error.raw_os_error()), (kind, Some(errno)));
        }
    });
}

#[test]
fn a_shared_socket_of_the_wrong_kind_is_refused_and_closed() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let udp = std::net::UdpSocket::bind(anywhere()).expect("a port");
        let connection = super::Connection::new();
        let null = std::fs::File::open("/dev/null").expect("there");
        for (key, fd) in [("a", udp.as_fd()), ("b", connection.accepted.as_fd()), ("c", null.as_fd())] {
            let error = primary.listener(&link, key, shared(), Some(fd)).await.expect_err("no listener");
            assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
            primary.hear_close(key);
        }
        let tcp = bind_tcp(anywhere(), V6::Dual).expect("a port");
        let options = ListenOptions::new();
        let mut binding = pin!(UdpSocket::one(Some(link.clone()), &options, anywhere()));
        let dgram = Outcome::Shared { kind: NativeKind::Dgram };
        primary.answer_bind(binding.as_mut(), "d", dgram, Some(tcp.as_fd()));
        assert_eq!(binding.await.expect_err("no socket").kind(), ErrorKind::InvalidData);
        primary.hear_close("d");
    });
}

#[test]
fn a_shared_socket_that_nobody_could_bind_is_in_use() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (inet, stream) = (rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM);
        let unbound = rustix::net::socket(inet, stream, None).expect("a socket");
        let addr = SocketAddr::from(([127, 0, 0, 1], 4242));
        for (key, wish) in [("a", Wish::Tcp(addr)), ("b", Wish::Any(4242))] {
            let options = ListenOptions::new();
            let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, wish));
            primary.answer_bind(binding.as_mut(), key, shared(), Some(unbound.as_fd()));
            assert_eq!(binding.await.expect_err("no listener").kind(), ErrorKind::AddrInUse);
            primary.hear_close(key);
        }
    });
}

#[test]
fn a_shared_socket_that_did_not_arrive_is_refused_and_closed() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let options = ListenOptions::new();
        let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere())));
        primary.answer_bind(binding.as_mut(), "k", shared(), None);
        assert_eq!(primary.hear(), r#"{"cmd":"NODE_HANDLE_NACK"}"#);
        primary.hear_close("k");
        assert_eq!(binding.await.expect_err("no listener").kind(), ErrorKind::InvalidData);
    });
}

#[test]
fn a_bind_that_is_dropped_closes_what_it_is_answered_with() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let options = ListenOptions::new();
        let seq = {
            let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere())));
            assert!(poll_once(binding.as_mut()).is_none());
            primary.hear_query().0
        };
        primary.reply(seq, "k", handed_over(4242), None);
        primary.hear_close("k");
        let connection = super::Connection::new();
        primary.hand_over("k", 5, &connection.accepted);
        assert_eq!(primary.hear(), r#"{"cmd":"NODE_HANDLE_ACK"}"#);
        assert!(primary.hear().contains(r#""accepted":false"#));
    });
}

#[test]
fn the_death_of_the_primary_ends_a_bind_at_once_and_every_later_one() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let options = ListenOptions::new();
        let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere())));
        assert!(poll_once(binding.as_mut()).is_none());
        primary.hear_query();
        drop(primary);
        assert_eq!(binding.await.expect_err("nobody answers").kind(), ErrorKind::BrokenPipe);
        let later = TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere())).await;
        assert_eq!(later.expect_err("nobody answers").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn nonsense_of_the_primary_is_named_by_every_call_pending_and_later() {
    let breaches: [&[u8]; 3] = [b"?\n", b"{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\"}\n", b"\n"];
    for breach in breaches {
        run(async {
            let (mut primary, link) = Primary::with_worker();
            let listener = primary.channel_listener(&link, "k").await;
            let options = ListenOptions::new();
            let mut accepting = pin!(listener.accept());
            let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere())));
            assert!(poll_once(accepting.as_mut()).is_none());
            assert!(poll_once(binding.as_mut()).is_none());
            primary.write(breach, None);
            let later = TcpListener::one(Some(link.clone()), &options, Wish::Tcp(anywhere()));
            let errors = [
                binding.await.expect_err("nonsense"),
                accepting.await.expect_err("nonsense"),
                later.await.expect_err("nonsense"),
                crate::worker::Channel(link.clone()).send("x").expect_err("nonsense"),
                crate::worker::Channel(link.clone()).recv().await.expect_err("nonsense"),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
                let text = error.to_string();
                assert!(text.starts_with("cannot talk to primary: cannot read "), "{text}");
            }
            // Such a primary is left, not listened to any longer.
            primary.hear_out();
        });
    }
}

#[test]
fn while_the_primary_does_not_read_binds_are_refused_and_its_words_are_still_heard() {
    let (mut primary, link) = Primary::with_worker();
    let mut said = 0;
    let refusal = loop {
        match link.listening(tcp_query()) {
            Ok(()) => said += 1,
            Err(error) => break error,
        }
        assert!(said < 100_000, "no bound");
    };
    assert_eq!(refusal.kind(), ErrorKind::WouldBlock);
    // Nothing was read yet, and still the reading thread takes what comes.
    link.converse(); // or the channel would be closed
    primary.disconnect();
    wait_until("the reading thread is stuck", || link.is_leaving());
    // What waited arrives whole and in order once the primary reads.
    for _ in 0..said {
        primary.hear_listening();
    }
    // And there is room again, in both directions.
    link.listening(tcp_query()).expect("room");
    primary.hear_listening();
}
