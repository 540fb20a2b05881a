//! Connections on a stream of their own.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;

use oneport_sys::fdpass;
use oneport_wire::handoff::{CONNECTION, VERSION};
use oneport_wire::node::message::Outcome;
use tokio::io::AsyncWriteExt;

use super::{Connection, Primary, fast, poll_once, run, sockname, wait_until};

#[test]
fn connections_come_in_order_and_each_is_answered_when_it_is_given_out() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        assert_eq!(listener.local_addr().expect("told").port(), 4242);
        let connections = Connection::several::<3>();
        stream.hand_over(&connections);
        for connection in &connections {
            let (mut accepted, peer) = listener.accept().await.expect("a connection");
            assert_eq!(peer, connection.client_addr());
            accepted.write_all(b"x").await.expect("a client");
            std::io::Read::read_exact(&mut &connection.client, &mut [0]).expect("a server");
            assert_eq!(stream.answers(1), "t");
        }
        assert!(stream.is_unanswered());
    });
}

#[test]
fn a_listener_that_is_dropped_refuses_what_it_did_not_give_out() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        let first = Connection::several::<4>();
        stream.hand_over(&first);
        drop(listener.accept().await.expect("a connection"));
        // Three are in the listener now, and these in its socket.
        let second = Connection::several::<2>();
        stream.hand_over(&second);
        drop(listener);
        assert_eq!(stream.answers_to_the_end(), "trrrrr");
        primary.hear_close("k");
    });
}

#[test]
fn nothing_gets_into_a_listener_while_it_is_dropped() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        drop(listener);
        let connection = Connection::new();
        let refused = fdpass::send_many(stream.0.as_fd(), &[CONNECTION], &[connection.accepted.as_fd()]);
        assert_eq!(refused.expect_err("closed").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn at_the_end_of_the_stream_what_came_is_given_out_first() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        stream.hand_over(&Connection::several::<2>());
        stream.hand_over(&Connection::several::<1>());
        drop(stream);
        for _ in 0..3 {
            listener.accept().await.expect("a connection");
        }
        for _ in 0..2 {
            let end = listener.accept().await.expect_err("the end");
            assert_eq!(end.kind(), ErrorKind::BrokenPipe);
        }
        primary.hear_close("k");
    });
}

#[test]
fn told_to_leave_a_waiting_accept_ends_and_the_primary_can_send_no_more() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        let mut accepting = pin!(listener.accept());
        assert!(poll_once(accepting.as_mut()).is_none());
        primary.disconnect();
        assert_eq!(accepting.await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        primary.hear_close("k");
        let refused = fdpass::send(stream.0.as_fd(), &[CONNECTION], None);
        assert_eq!(refused.expect_err("closed").kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn told_to_leave_what_was_handed_over_is_given_out_first() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        let connections = Connection::several::<3>();
        stream.hand_over(&connections);
        primary.disconnect();
        primary.hear_close("k");
        for connection in &connections {
            assert_eq!(listener.accept().await.expect("a connection").1, connection.client_addr());
        }
        assert_eq!(listener.accept().await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        assert_eq!(stream.answers(3), "ttt");
    });
}

#[test]
fn the_death_of_the_primary_ends_a_waiting_accept() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        let mut accepting = pin!(listener.accept());
        assert!(poll_once(accepting.as_mut()).is_none());
        drop(primary);
        // Its end of the stream may live on, in a child of its, say.
        assert_eq!(accepting.await.expect_err("the end").kind(), ErrorKind::BrokenPipe);
        drop(stream);
    });
}

#[test]
fn of_several_tasks_that_accept_none_is_forgotten() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        let listener = Arc::new(listener);
        let accept_each = |count: usize| {
            (0..count)
                .map(|_| {
                    let listener = listener.clone();
                    tokio::spawn(async move { listener.accept().await.expect("a connection").1 })
                })
                .collect::<Vec<_>>()
        };
        for at_once in [true, false] {
            let tasks = accept_each(4);
            tokio::task::yield_now().await; // now all of them wait
            let connections = Connection::several::<4>();
            if at_once {
                stream.hand_over(&connections);
            } else {
                connections.chunks(1).for_each(|one| stream.hand_over(one));
            }
            let mut served = Vec::new();
            for task in tasks {
                served.push(task.await.expect("no panic"));
            }
            served.sort();
            let mut clients: Vec<_> = connections.iter().map(Connection::client_addr).collect();
            clients.sort();
            assert_eq!(served, clients);
            assert_eq!(stream.answers(4), "tttt");
        }
    });
}

#[test]
fn over_several_threads_every_connection_is_given_out_and_answered_once() {
    const TASKS: usize = 8;
    const ROUNDS: usize = 200;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let (mut primary, link) = Primary::with_worker();
    let (listener, stream) = runtime.block_on(primary.fast_listener(&link, "k"));
    let listener = Arc::new(listener);
    let (sender, mut served) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..TASKS {
        let (listener, sender) = (listener.clone(), sender.clone());
        runtime.spawn(async move {
            while let Ok((_, peer)) = listener.accept().await {
                let _ = sender.send(peer);
            }
        });
    }
    let connections = Connection::several::<4>();
    for round in 0..ROUNDS {
        // One message of one to four, as many as there are credits.
        let handed = &connections[..1 + round % 4];
        stream.hand_over(handed);
        assert_eq!(stream.answers(handed.len()), "t".repeat(handed.len()));
        for _ in handed {
            let next = runtime.block_on(async { tokio::time::timeout(super::PATIENCE, served.recv()).await });
            assert!(next.expect("in time").is_some());
        }
        assert!(served.try_recv().is_err() && stream.is_unanswered());
    }
}

#[test]
fn an_accept_that_is_dropped_loses_nothing() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        {
            let mut accepting = pin!(listener.accept());
            assert!(poll_once(accepting.as_mut()).is_none());
            stream.hand_over(&Connection::several::<1>());
        }
        listener.accept().await.expect("the connection");
        assert_eq!(stream.answers(1), "t");
    });
}

#[test]
fn a_descriptor_that_is_no_connection_is_passed_over() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (listener, stream) = primary.fast_listener(&link, "k").await;
        let (unix, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let null = std::fs::File::open("/dev/null").expect("there");
        let listening = std::net::TcpListener::bind(super::anywhere()).expect("a port");
        let good = Connection::new();
        let fds: [OwnedFd; 4] =
            [unix.into(), null.into(), listening.into(), good.accepted.try_clone().expect("a descriptor")];
        let fds = fds.each_ref().map(AsFd::as_fd);
        fdpass::send_many(stream.0.as_fd(), &[CONNECTION; 4], &fds).expect("room");
        assert_eq!(listener.accept().await.expect("a connection").1, good.client_addr());
        assert_eq!(stream.answers(4), "tttt");
    });
}

#[test]
fn answers_that_find_no_room_are_kept_in_order() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (ours, theirs) = fdpass::channel_pair().expect("a socket pair");
        let filling = theirs.try_clone().expect("a descriptor");
        let listener = primary.listener(&link, "k", fast(), Some(theirs.as_fd())).await.expect("a listener");
        let stream = super::Stream(ours);
        let mut filler = 0;
        while let Ok(written) = fdpass::send(filling.as_fd(), b"x", None) {
            filler += written;
        }
        stream.hand_over(&Connection::several::<2>());
        listener.accept().await.expect("a connection");
        assert_eq!(stream.answers(filler), "x".repeat(filler));
        assert!(stream.is_unanswered(), "it waits for the next turn");
        listener.accept().await.expect("a connection");
        assert_eq!(stream.answers(2), "tt");
        // And at the end whatever is left is said.
        while fdpass::send(filling.as_fd(), b"x", None).is_ok() {}
        stream.hand_over(&Connection::several::<1>());
        listener.accept().await.expect("a connection");
        wait_until("room", || {
            let _ = fdpass::receive(stream.0.as_fd(), &mut [0; 64]);
            fdpass::send(filling.as_fd(), b"y", None).is_ok()
        });
        stream.hand_over(&Connection::several::<1>());
        drop(listener);
        drop((filling, theirs));
        assert!(stream.answers_to_the_end().ends_with("ytr"));
    });
}

#[test]
fn a_stream_that_talks_nonsense_is_an_error_that_says_so() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let connection = Connection::new();
        let fd = [connection.accepted.as_fd()];
        let nonsense: [(&[u8], &[_]); 3] =
            [(b"?", &fd), (&[CONNECTION], &[]), (&[CONNECTION], &[fd[0], fd[0]])];
        for (number, (bytes, fds)) in nonsense.into_iter().enumerate() {
            let key = format!("k{number}");
            let (listener, stream) = primary.fast_listener(&link, &key).await;
            fdpass::send_many(stream.0.as_fd(), bytes, fds).expect("room");
            let mut refused = listener.accept().await;
            if let Ok((_, peer)) = refused {
                assert_eq!(peer, connection.client_addr(), "what came before the breach counts");
                refused = listener.accept().await;
            }
            let error = refused.expect_err("nonsense");
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            assert!(error.to_string().starts_with("cannot talk to primary: "), "{error}");
            let again = listener.accept().await.expect_err("for ever");
            assert_eq!(again.kind(), ErrorKind::InvalidData);
            drop(listener);
            primary.hear_close(&key);
        }
    });
}

#[test]
fn a_stream_that_was_not_offered_or_is_none_is_refused_and_closed() {
    run(async {
        let (mut primary, link) = Primary::with_worker();
        let (_ours, theirs) = fdpass::channel_pair().expect("a socket pair");
        let other = Outcome::HandOff { sockname: Some(sockname(1)), version: VERSION + 1 };
        let null = std::fs::File::open("/dev/null").expect("there");
        for (key, outcome, fd) in [("a", other, theirs.as_fd()), ("b", fast(), null.as_fd())] {
            let error = primary.listener(&link, key, outcome, Some(fd)).await.expect_err("no listener");
            assert_eq!(error.kind(), ErrorKind::InvalidData);
            primary.hear_close(key);
        }
    });
}
