//! Connections over the channel and from shared sockets; Unix listeners; streams of connections; conversions.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::pin::{Pin, pin};

use futures_core::Stream;
use oneport_sys::fdpass;
use oneport_sys::listen::{UnixMode, V6, bind_tcp, bind_udp, bind_unix};
use oneport_wire::node::message::{FromWorker, NativeKind, Outcome};

use super::{Connection, Primary, anywhere, fast, poll_once, run, shared};
use crate::worker::{ListenOptions, TcpListener, UdpSocket, UnixListener};

async fn next<S: Stream + Unpin>(stream: &mut S) -> Option<S::Item> {
    poll_fn(|cx| Pin::new(&mut *stream).poll_next(cx)).await
}

/// A listener that accepts on a socket of the primary's, and that socket.
async fn shared_listener(primary: &mut Primary, link: &super::Arc<super::Link>) -> TcpListener {
    let socket = bind_tcp(anywhere(), V6::Dual).expect("a port");
    primary.listener(link, "s", shared(), Some(socket.as_fd())).await.expect("a listener")
}

#[test]
fn a_connection_right_behind_the_reply_is_accepted_before_the_asker_runs() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let options = ListenOptions::new();
        let wish = crate::worker::ask::Wish::Tcp(anywhere());
        let mut binding = pin!(TcpListener::one(Some(link.clone()), &options, wish));
        assert!(poll_once(binding.as_mut()).is_none());
        let (seq, _) = primary.hear_query();
        let connection = Connection::new();
        primary.reply(seq, "k", super::handed_over(4242), None);
        primary.hand_over("k", 5, &connection.accepted);
        assert!(primary.hear().contains("NODE_HANDLE_ACK"));
        let listener = binding.await.expect("a listener");
        primary.hear_listening();
        assert_eq!(listener.accept().await.expect("a connection").1, connection.client_addr());
        primary.hear_answer(5, true);
    });
}

#[test]
fn over_the_channel_a_connection_is_answered_when_the_program_gets_it() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = primary.channel_listener(&link, "k").await;
        let connections = Connection::several::<3>();
        for (ack, connection) in (5..).zip(&connections) {
            primary.hand_over("k", ack, &connection.accepted);
            assert!(primary.hear().contains("NODE_HANDLE_ACK"));
        }
        listener.accept().await.expect("a connection");
        primary.hear_answer(5, true);
        // What the program never got is the primary's again.
        drop(listener);
        primary.hear_answer(6, false);
        primary.hear_answer(7, false);
        primary.hear_close("k");
    });
}

#[test]
fn over_the_channel_what_waits_when_it_is_closed_stays_with_the_program() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = primary.channel_listener(&link, "k").await;
        let connection = Connection::new();
        primary.hand_over("k", 5, &connection.accepted);
        assert!(primary.hear().contains("NODE_HANDLE_ACK"));
        link.disconnect();
        primary.hear_close("k");
        primary.hear_answer(5, true);
        assert!(primary.hear_out().is_empty());
        assert_eq!(listener.accept().await.expect("a connection").1, connection.client_addr());
        assert_eq!(listener.accept().await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_connection_without_its_descriptor_is_answered_with_nack_alone() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = primary.channel_listener(&link, "k").await;
        let message = oneport_wire::node::message::FromPrimary::NewConn { key: "k".into(), seq: 5 };
        primary.say(&message, None);
        assert_eq!(primary.hear(), r#"{"cmd":"NODE_HANDLE_NACK"}"#);
        drop(listener);
        primary.hear_close("k");
    });
}

#[test]
fn over_the_channel_what_came_is_given_out_before_the_end() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = primary.channel_listener(&link, "k").await;
        let connection = Connection::new();
        primary.hand_over("k", 5, &connection.accepted);
        primary.disconnect();
        assert_eq!(listener.accept().await.expect("a connection").1, connection.client_addr());
        assert_eq!(listener.accept().await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_shared_socket_accepts_until_the_worker_is_to_leave() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = shared_listener(&mut primary, &link).await;
        let addr = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(addr).expect("it listens");
        let (_, peer) = listener.accept().await.expect("a connection");
        assert_eq!(peer, client.local_addr().expect("bound"));
        let mut accepting = pin!(listener.accept());
        assert!(poll_once(accepting.as_mut()).is_none());
        primary.disconnect();
        assert_eq!(accepting.await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        primary.hear_close("s");
    });
}

#[test]
fn a_stream_of_connections_ends_when_the_worker_is_to_leave() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let by_channel = primary.channel_listener(&link, "k").await;
        let (by_stream, stream) = primary.fast_listener(&link, "f").await;
        let by_itself = shared_listener(&mut primary, &link).await;
        let addr = by_itself.local_addr().expect("bound");
        let mut all = [by_channel, by_stream, by_itself].map(TcpListener::into_incoming);
        assert_eq!(all[2].listener().local_addr().expect("bound"), addr);
        let connections = Connection::several::<2>();
        primary.hand_over("k", 5, &connections[0].accepted);
        stream.hand_over(&connections[1..]);
        let client = std::net::TcpStream::connect(addr).expect("it listens");
        let clients =
            [connections[0].client_addr(), connections[1].client_addr(), client.local_addr().expect("bound")];
        for (incoming, client) in all.iter_mut().zip(clients) {
            let accepted = next(incoming).await.expect("not the end").expect("a connection");
            assert_eq!(accepted.peer_addr().expect("connected"), client);
        }
        for incoming in &mut all {
            assert!(poll_once(pin!(next(incoming)).as_mut()).is_none());
        }
        primary.disconnect();
        for incoming in &mut all {
            for _ in 0..2 {
                assert!(next(incoming).await.is_none());
            }
        }
    });
}

#[test]
fn a_stream_of_connections_tells_a_breach_once_and_ends() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        fdpass::send(stream.0.as_fd(), b"?", None).expect("room");
        let mut incoming = listener.into_incoming();
        let error = next(&mut incoming).await.expect("an error").expect_err("nonsense");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        assert!(next(&mut incoming).await.is_none());
    });
}

#[test]
fn a_unix_listener_accepts_by_every_way() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let options = ListenOptions::new();
        let dir = std::env::temp_dir();
        let path = dir.join(format!("oneport-test-{}-ways.sock", std::process::id()));
        let (ours, theirs) = fdpass::channel_pair().expect("a socket pair");
        let (socket, identity) = bind_unix(&path, UnixMode::default()).expect("a path");
        let by_stream = Outcome::HandOff { sockname: None, version: 1 };
        let ways = [
            ("k", Outcome::RoundRobin { sockname: None }, None),
            ("f", by_stream, Some(theirs.as_fd())),
            ("s", shared(), Some(socket.as_fd())),
        ];
        for (key, outcome, fd) in ways {
            let mut binding = pin!(UnixListener::one(Some(link.clone()), &options, &path));
            primary.answer_bind(binding.as_mut(), key, outcome, fd);
            let listener = binding.await.expect("a listener");
            assert_eq!(primary.hear_listening().port, Some(-1));
            assert_eq!(listener.local_addr().expect("told").as_pathname(), Some(path.as_path()));
            let (accepted, client) = std::os::unix::net::UnixStream::pair().expect("a pair");
            accepted.set_nonblocking(true).expect("a socket");
            let connected = match key {
                "k" => {
                    primary.hand_over(key, 5, &accepted);
                    client
                }
                "f" => {
                    fdpass::send_many(ours.as_fd(), b"c", &[accepted.as_fd()]).expect("room");
                    client
                }
                _ => std::os::unix::net::UnixStream::connect(&path).expect("it listens"),
            };
            drop(accepted);
            let mut incoming = listener.into_incoming();
            let stream = next(&mut incoming).await.expect("not the end").expect("a connection");
            drop(connected);
            stream.readable().await.expect("the end of its client");
            drop(incoming);
            while !primary.hear().contains(r#""act":"close""#) {}
        }
        assert!(path.exists(), "what the primary made is the primary's to remove");
        oneport_sys::listen::unlink_if_ours(&path, &identity).expect("a path");
    });
}

#[test]
fn a_udp_socket_is_the_primarys_and_closed_with_it() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let socket = bind_udp(anywhere(), V6::Dual, oneport_sys::listen::Reuse::Exclusive).expect("a port");
        let options = ListenOptions::new();
        let mut binding = pin!(UdpSocket::one(Some(link.clone()), &options, anywhere()));
        let dgram = Outcome::Shared { kind: NativeKind::Dgram };
        primary.answer_bind(binding.as_mut(), "u", dgram, Some(socket.as_fd()));
        let udp = binding.await.expect("a socket");
        let addr = udp.local_addr().expect("bound");
        assert_eq!(primary.hear_listening().port, Some(i32::from(addr.port())));
        let client = std::net::UdpSocket::bind(anywhere()).expect("a port");
        client.send_to(b"hello", addr).expect("sent");
        let mut buffer = [0; 16];
        assert_eq!(udp.recv_from(&mut buffer).await.expect("a datagram").0, 5);
        drop(udp);
        primary.hear_close("u");
    });
}

#[test]
fn a_listener_without_a_socket_says_why_it_cannot_give_one() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let by_channel = primary.channel_listener(&link, "k").await;
        let (by_stream, _stream) = primary.fast_listener(&link, "f").await;
        for (key, listener) in [("k", by_channel), ("f", by_stream)] {
            let error = listener.into_std().expect_err("no socket");
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains("`shared`"), "{error}");
            primary.hear_close(key);
        }
        let (_ours, theirs) = fdpass::channel_pair().expect("a socket pair");
        let listener = primary.listener(&link, "t", fast(), Some(theirs.as_fd())).await.expect("a listener");
        assert_eq!(listener.into_tokio().expect_err("no socket").kind(), ErrorKind::Unsupported);
    });
}

#[test]
fn a_shared_socket_that_was_taken_out_keeps_its_key() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let listener = shared_listener(&mut primary, &link).await;
        let socket = listener.into_std().expect("a socket");
        let line = primary.hear();
        let said = FromWorker::decode(line.as_bytes()).expect("a message");
        assert!(matches!(said, FromWorker::Released { ref key, .. } if key == "s"), "{said:?}");
        drop(socket);
        primary.disconnect();
        super::wait_until("told to leave", || link.is_leaving());
        // Neither closed nor the channel: whatever else is said comes first now.
        crate::worker::Channel(link.clone()).send("still here").expect("a channel");
        assert_eq!(primary.hear(), r#""still here""#);
    });
}
