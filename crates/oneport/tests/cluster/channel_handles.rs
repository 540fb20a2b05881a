//! Sockets that pass between a primary and its workers beside messages: what arrives is the same open socket, belongs
//! to its message, and is closed by whoever gave it away.

use std::net::{TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use oneport::{Handle, Signal};
use oneport_sys::listen::{V6, bind_tcp};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::channel_kit::{accept, connection, eventually, handle, listener, message, read_line, write_line};
use crate::channel_talker::{echo, until_to_leave};
use crate::harness::{Test, connect, hear, programs};

programs! { gives_back, gives_and_gives_back, serves_what_it_is_given }

/// Sends back every message with its handle.
async fn gives_back() {
    let worker = oneport::worker().unwrap();
    while let Some(Ok(message)) = until_to_leave(worker.recv()).await {
        let value: Value = message.parse().unwrap();
        match message.into_parts().1 {
            Some(handle) => worker.send_handle(&value, handle).unwrap(),
            None => worker.send(&value).unwrap(),
        }
    }
}

#[test]
fn every_kind_of_socket_passes_both_ways_and_is_the_same_one() {
    let path = std::env::temp_dir().join(format!("oneport-kinds-{}", std::process::id()));
    let unix = UnixListener::bind(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let handles: [(&str, Handle); 7] = [
        ("TcpListener", listener().0.into()),
        ("TcpStream", connection().0.into()),
        ("UnixListener", unix.into()),
        ("UnixStream", UnixStream::pair().unwrap().0.into()),
        ("UdpSocket", UdpSocket::bind("127.0.0.1:0").unwrap().into()),
        ("UdpSocket", UdpSocket::bind("[::1]:0").unwrap().into()),
        ("TcpSocket", bind_tcp("127.0.0.1:0".parse().unwrap(), V6::Only).unwrap().try_into().unwrap()),
    ];
    let mut test = Test::forked(1, "gives_back", |_| {});
    for (name, given) in handles {
        let inode = inode(&given);
        test.worker(1).send_handle(&name, given).unwrap();
        let (message, back) = handle(&mut test, 1);
        assert_eq!(message, name);
        assert!(format!("{back:?}").starts_with(name), "{back:?} for {name}");
        assert_eq!(self::inode(&back), inode, "{name}");
        let flags = rustix::io::fcntl_getfd(&back).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }
    test.stop();
}

fn inode(fd: impl AsFd) -> u64 {
    rustix::fs::fstat(fd).unwrap().st_ino
}

#[test]
fn a_socket_given_away_is_closed_here_when_it_has_arrived() {
    let mut test = Test::forked(1, "talker", |_| {});
    let (client, server) = connection();
    test.worker(1).send_handle(&1, server).unwrap();
    assert_eq!(test.ask(1, "receive"), "1 + TcpStream 0");
    assert_eq!(test.ask(1, "write 0 hello"), "written");
    assert_eq!(read_line(&client), "hello");
    assert_eq!(test.ask(1, "close 0"), "closed");
    assert_eq!(read_line(&client), "", "nobody has it any more");
    test.stop();
}

#[test]
fn of_a_socket_sent_as_a_clone_both_sides_have_the_use() {
    let mut test = Test::forked(1, "talker", |_| {});
    let (client, server) = connection();
    test.worker(1).send_handle(&1, server.try_clone().unwrap()).unwrap();
    assert_eq!(test.ask(1, "receive"), "1 + TcpStream 0");
    assert_eq!(test.ask(1, "write 0 from the worker"), "written");
    assert_eq!(read_line(&client), "from the worker");
    assert_eq!(test.ask(1, "close 0"), "closed");
    write_line(&server, "from the primary");
    assert_eq!(read_line(&client), "from the primary");
    drop(server);
    assert_eq!(read_line(&client), "");
    test.stop();
}

#[test]
fn one_socket_sent_twice_arrives_twice() {
    let mut test = Test::forked(2, "talker", |_| {});
    let (client, server) = connection();
    for worker in [1, 1, 2] {
        test.worker(worker).send_handle(&"again", server.try_clone().unwrap()).unwrap();
    }
    drop(server);
    for (worker, number) in [(1, 0), (1, 1), (2, 0)] {
        assert_eq!(test.ask(worker, "receive"), format!("\"again\" + TcpStream {number}"));
        assert_eq!(test.ask(worker, &format!("write {number} {worker} {number}")), "written");
        assert_eq!(read_line(&client), format!("{worker} {number}"));
        assert_eq!(test.ask(worker, &format!("close {number}")), "closed");
    }
    assert_eq!(read_line(&client), "");
    test.stop();
}

#[test]
fn a_server_passed_on_is_accepted_from_on_both_sides() {
    let mut test = Test::forked(1, "talker", |_| {});
    let (listener, address) = listener();
    test.worker(1).send_handle(&"server", listener.try_clone().unwrap()).unwrap();
    assert_eq!(test.ask(1, "receive"), "\"server\" + TcpListener 0");
    let to_worker = connect(address);
    assert_eq!(test.ask(1, "take 0"), "1");
    let to_primary = connect(address);
    let here = accept(&listener);
    assert_eq!(test.ask(1, "write 1 worker"), "written");
    write_line(&here, "primary");
    assert_eq!((read_line(&to_worker), read_line(&to_primary)), ("worker".into(), "primary".into()));
    // Closed here it lives on there, and the other way round it ends with the last.
    drop(listener);
    let later = connect(address);
    assert_eq!(test.ask(1, "take 0"), "2");
    assert_eq!(test.ask(1, "write 2 still"), "written");
    assert_eq!(read_line(&later), "still");
    assert_eq!(test.ask(1, "close 0"), "closed");
    // A process that another test starts has it, too, for the moment between fork and exec.
    eventually(|| TcpStream::connect(address).is_err());
    test.stop();
}

#[test]
fn connections_of_one_server_are_spread_by_hand_over_workers() {
    let mut test = Test::forked(2, "talker", |_| {});
    let (listener, address) = listener();
    for number in 0..4 {
        for worker in [1, 2] {
            let client = connect(address);
            test.worker(worker).send_handle(&number, accept(&listener)).unwrap();
            assert_eq!(test.ask(worker, "receive"), format!("{number} + TcpStream {number}"));
            assert_eq!(test.ask(worker, &format!("write {number} by {worker}")), "written");
            assert_eq!(read_line(&client), format!("by {worker}"));
        }
    }
    test.stop();
}

#[test]
fn a_worker_gives_its_primary_a_connection_and_a_server_of_its_own() {
    let mut test = Test::forked(1, "talker", |_| {});
    let (listener, address) = listener();
    assert!(test.ask(1, &format!("connect {address}")).starts_with("0 "));
    let server = accept(&listener);
    assert_eq!(test.ask(1, "give 0 {\"socket\":1}"), "sent");
    let (told, Handle::TcpStream(stream)) = handle(&mut test, 1) else { panic!("no connection") };
    assert_eq!(told, json!({"socket": 1}));
    write_line(&stream, "through the primary");
    assert_eq!(read_line(&server), "through the primary");
    drop(stream);
    assert_eq!(read_line(&server), "", "the worker's own copy is closed");

    let told = test.ask(1, "listen");
    let address = told.split_once(' ').unwrap().1.parse().unwrap();
    assert_eq!(test.ask(1, "lend 1 \"server\""), "sent");
    let (_, Handle::TcpListener(listener)) = handle(&mut test, 1) else { panic!("no server") };
    let client = connect(address);
    write_line(accept(&listener), "by the primary");
    assert_eq!(read_line(&client), "by the primary");
    test.stop();
}

#[test]
fn datagrams_of_one_socket_are_answered_on_both_sides() {
    let mut test = Test::forked(1, "talker", |_| {});
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(socket.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    let answer = |text: &str| {
        let mut bytes = [0; 100];
        let length = client.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..length], text.as_bytes());
    };
    test.worker(1).send_handle(&"udp", socket.try_clone().unwrap()).unwrap();
    assert_eq!(test.ask(1, "receive"), "\"udp\" + UdpSocket 0");
    for round in 0..3 {
        client.send(format!("worker {round}").as_bytes()).unwrap();
        assert_eq!(test.ask(1, "echo 0"), format!("worker {round}"));
        answer(&format!("worker {round}"));
        client.send(format!("primary {round}").as_bytes()).unwrap();
        assert_eq!(echo(&socket), format!("primary {round}"));
        answer(&format!("primary {round}"));
    }
    test.stop();
}

/// Handles given by either side in the test of both at once; a worker refuses more than 64 that wait behind another.
const EACH: usize = 30;

/// Gives its own at once and sends back what it is given meanwhile.
async fn gives_and_gives_back() {
    let worker = oneport::worker().unwrap();
    let (listener, _) = listener();
    worker.recv().await.unwrap();
    for n in 0..EACH {
        worker.send_handle(&("own", n), listener.try_clone().unwrap()).unwrap();
    }
    gives_back().await;
}

#[test]
fn handles_in_both_directions_at_once_do_not_wait_for_each_other() {
    let mut test = Test::forked(1, "gives_and_gives_back", |_| {});
    test.worker(1).send(&"begin").unwrap();
    let pairs: Vec<_> = (0..EACH).map(|_| connection()).collect();
    let clients: Vec<TcpStream> = pairs
        .into_iter()
        .enumerate()
        .map(|(n, (client, server))| {
            test.worker(1).send_handle(&("primary's", n), server).unwrap();
            client
        })
        .collect();
    let (mut own, mut back) = (0, 0);
    while own < EACH || back < EACH {
        match handle(&mut test, 1) {
            (told, Handle::TcpListener(_)) => {
                assert_eq!(told, json!(["own", own]));
                own += 1;
            }
            (told, Handle::TcpStream(stream)) => {
                assert_eq!(told, json!(["primary's", back]));
                write_line(&stream, &format!("number {back}"));
                assert_eq!(read_line(&clients[back]), format!("number {back}"));
                back += 1;
            }
            (told, other) => panic!("{told} {other:?}"),
        }
    }
    test.stop();
}

#[test]
fn a_handle_stays_with_its_message_of_800_kilobytes_both_ways() {
    let mut test = Test::forked(1, "gives_back", |_| {});
    let long = json!({"text": "\u{e9}x".repeat(270_000)});
    let (client, server) = connection();
    test.worker(1).send(&"before").unwrap();
    test.worker(1).send_handle(&long, server).unwrap();
    test.worker(1).send(&"after").unwrap();
    assert_eq!(message(&mut test, 1).0, "before");
    let (told, Handle::TcpStream(stream)) = handle(&mut test, 1) else { panic!("no connection") };
    assert!(told == long, "{} bytes came back", told.to_string().len());
    let (told, none) = message(&mut test, 1);
    assert!(told == "after" && none.is_none());
    write_line(&stream, "the same");
    assert_eq!(read_line(&client), "the same");
    test.stop();
}

/// Answers requests on connections that come as handles.
async fn serves_what_it_is_given() {
    let worker = oneport::worker().unwrap();
    while let Some(Ok(mut message)) = until_to_leave(worker.recv()).await {
        let Some(Handle::TcpStream(stream)) = message.take_handle() else { panic!("no connection") };
        let mut stream = tokio::net::TcpStream::from_std(stream).unwrap();
        let mut request = String::new();
        while !request.ends_with("\r\n\r\n") {
            request.push(char::from(stream.read_u8().await.unwrap()));
        }
        let path = request.split(' ').nth(1).unwrap();
        let body = format!("{path} for {}\n", worker.id());
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }
}

#[test]
fn a_connection_passed_on_unread_is_served_by_the_workers_http_server() {
    let test = Test::forked(2, "serves_what_it_is_given", |_| {});
    let (listener, address) = listener();
    for worker in [1, 2, 1] {
        let client = connect(address);
        std::io::Write::write_all(&mut &client, b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        test.worker(worker).send_handle(&"socket", accept(&listener)).unwrap();
        let answer = hear(client).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("\r\n\r\n/page for {worker}\n")), "{answer}");
    }
    test.stop();
}

#[test]
fn a_handle_for_a_worker_that_is_gone_is_refused_and_closed() {
    let mut test = Test::forked(1, "puppet", |_| {});
    test.tell(1, "exit 0");
    test.exit(1);
    let (client, server) = connection();
    test.worker(1).send_handle(&"late", server).unwrap_err();
    assert_eq!(read_line(&client), "");
    test.stop();
}

#[test]
fn handles_on_their_way_to_a_worker_that_dies_are_closed() {
    let mut test = Test::forked(1, "talker", |_| {});
    assert_eq!(test.ask(1, "role"), "worker 1 true");
    test.worker(1).kill(Signal::STOP).unwrap();
    let clients: Vec<TcpStream> = (0..10)
        .map(|n| {
            let (client, server) = connection();
            test.worker(1).send_handle(&n, server).unwrap();
            client
        })
        .collect();
    test.worker(1).kill(Signal::KILL).unwrap();
    test.exit(1);
    for client in clients {
        // Closed; or reset, where what lay in the dead worker's channel is cleared away.
        assert_eq!(read_line(&client), "");
    }
    test.stop();
}

#[test]
fn a_message_a_handle_and_a_message_read_at_once_are_told_apart_by_the_primary() {
    let mut test = Test::forked(1, "raw", |_| {});
    let envelope = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{"n":1}}"#;
    assert_eq!(test.ask(1, &format!("say-with-socket \"before\"|{envelope}|\"after\"|")), "said");
    assert_eq!(message(&mut test, 1).0, "before");
    let (told, Handle::UnixStream(stream)) = handle(&mut test, 1) else { panic!("no connection") };
    assert_eq!(told, json!({"n": 1}));
    let (told, none) = message(&mut test, 1);
    assert!(told == "after" && none.is_none());
    assert_eq!(test.ask(1, "hear"), crate::channel_kit::ACK);
    assert_eq!(test.ask(1, "greet"), "greeted");
    assert_eq!(read_line(&stream), "hello");
}

#[test]
fn a_handle_that_is_not_what_it_is_called_is_closed_and_its_message_comes_alone() {
    let mut test = Test::forked(1, "raw", |_| {});
    let envelope = r#"{"cmd":"NODE_HANDLE","type":"net.Server","msg":"no server"}"#;
    assert_eq!(test.ask(1, &format!("say-with-socket {envelope}|")), "said");
    let (told, none) = message(&mut test, 1);
    assert!(told == "no server" && none.is_none());
    assert_eq!(test.ask(1, "hear"), crate::channel_kit::ACK);
}

/// What `data` the primary answers to a query of a worker that speaks by hand.
fn data_answered(test: &mut Test, worker: u32, data: &str) -> Value {
    let query = format!(
        r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":{data},"address":"127.0.0.1","port":0,"addressType":4,"flags":0,"backlog":0,"seq":1}}"#
    );
    assert_eq!(test.ask(worker, &format!("say {query}")), "said");
    let line: Value = serde_json::from_str(&test.ask(worker, "hear")).unwrap();
    let reply = if line["cmd"] == "NODE_HANDLE" { line["msg"].clone() } else { line };
    assert_eq!(reply["ack"], 1, "{reply}");
    reply["data"].clone()
}

#[test]
fn what_the_first_worker_lays_down_for_a_server_all_are_told() {
    // Node's TLS servers put the keys of their session tickets there, so that a session resumes in any worker.
    for policy in [oneport::Policy::RoundRobin, oneport::Policy::Shared] {
        let mut test = Test::forked(4, "raw", |settings| settings.conduct.policy = policy);
        let first = json!({"ticketKeys": "00ff".repeat(24)});
        assert_eq!(data_answered(&mut test, 1, "null"), Value::Null);
        assert_eq!(data_answered(&mut test, 2, &first.to_string()), first);
        assert_eq!(data_answered(&mut test, 3, &json!({"ticketKeys": "11"}).to_string()), first);
        assert_eq!(data_answered(&mut test, 4, "null"), first);
    }
}

#[test]
fn a_descriptor_that_is_no_socket_is_no_handle() {
    let null = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
    let error = Handle::try_from(null).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}
