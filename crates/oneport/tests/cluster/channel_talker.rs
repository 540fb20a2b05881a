//! Two worker programs for tests of messages and handles. `talker` uses the channel as a program does, `raw` speaks it
//! by hand; both do one order of their test after the other.

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};

use oneport::{Channel, Handle};
use rustix::event::PollFlags;
use serde_json::Value;

use crate::channel_kit::{Raw, accept, await_ready, read_line, write_line};
use crate::harness::{TestLine, programs};

programs! { talker, raw }

/// Every order is answered with one fact. Sockets that it has are numbered from 0, and keep their numbers.
///
/// | order | what it does, and tells |
/// |---|---|
/// | `role` | what this process is, by the library: `worker 1` or `child`, and the kind and text of the channel's error |
/// | `receive` | the next message: its JSON, and ` + ` what it has now if a handle came; the kind of the error |
/// | `send JSON`, `give N JSON`, `lend N JSON` | a message; with socket N, gone from here; with a clone: `sent`, the error |
/// | `long LETTER COUNT` | a string of that length |
/// | `flood` | sends 0, 1, 2 ... until one is refused: how many, and the kind of the error |
/// | `part`, `ended`, `connected` | `Channel::disconnect`: `parting`; waits for the end: `ended`; `is_connected` |
/// | `listen`, `connect ADDRESS` | makes sockets of its own: the number and the local address |
/// | `take N` | accepts a connection: its number |
/// | `write N TEXT`, `read N`, `close N` | on a connection: `written`, the line; `closed` |
/// | `echo N` | one datagram goes back where it came from: its text |
async fn talker() {
    let mut line = TestLine::open();
    let facts = line.facts();
    let mut sockets = Vec::new();
    while let Some(order) = until_to_leave(line.order()).await.flatten() {
        let (verb, object) = order.split_once(' ').unwrap_or((&order, ""));
        facts.tell(obey(&mut sockets, verb, object).await);
    }
    if let Ok(Some(channel)) = oneport::channel() {
        channel.disconnect();
        channel.disconnected().await; // everything is written then
    }
}

/// What comes of this, or `None` once this process is a worker that is to leave. A program that uses the channel ends by
/// itself then.
pub(crate) async fn until_to_leave<T>(what: impl Future<Output = T>) -> Option<T> {
    let to_leave = async {
        match oneport::worker().and_then(|worker| worker.channel().ok()) {
            Some(_) => oneport::disconnected().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        it = what => Some(it),
        () = to_leave => None,
    }
}

fn channel() -> Channel {
    oneport::channel().unwrap().unwrap()
}

fn said(sent: std::io::Result<()>) -> String {
    sent.map_or_else(|error| format!("{:?}", error.kind()), |()| "sent".into())
}

fn keep(sockets: &mut Vec<Option<Handle>>, handle: impl Into<Handle>) -> usize {
    sockets.push(Some(handle.into()));
    sockets.len() - 1
}

async fn obey(sockets: &mut Vec<Option<Handle>>, verb: &str, object: &str) -> String {
    let (first, rest) = object.split_once(' ').unwrap_or((object, ""));
    let number = || first.parse::<usize>().unwrap();
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    match verb {
        "role" => {
            let role = oneport::worker().map_or("child".into(), |worker| format!("worker {}", worker.id()));
            assert_eq!(oneport::is_worker(), oneport::worker().is_some());
            match oneport::channel() {
                Ok(channel) => format!("{role} {}", channel.is_some()),
                Err(error) => format!("{role} {:?} {error}", error.kind()),
            }
        }
        "receive" => match channel().recv().await {
            Ok(mut message) => match message.take_handle() {
                None => message.json().to_owned(),
                Some(handle) => {
                    let kind = format!("{handle:?}").split_once(['(', ' ']).unwrap().0.to_owned();
                    format!("{} + {kind} {}", message.json(), keep(sockets, handle))
                }
            },
            Err(error) => format!("{:?}", error.kind()),
        },
        "send" => said(channel().send(&json(object))),
        "give" => said(channel().send_handle(&json(rest), sockets[number()].take().unwrap())),
        "lend" => {
            let clone = sockets[number()].as_ref().unwrap().try_clone().unwrap();
            said(channel().send_handle(&json(rest), clone))
        }
        "long" => said(channel().send(&first.repeat(rest.parse().unwrap()))),
        "flood" => {
            let mut sent = 0;
            loop {
                match channel().send(&sent) {
                    Ok(()) => sent += 1,
                    Err(error) => return format!("{sent} {:?}", error.kind()),
                }
            }
        }
        "part" => {
            channel().disconnect();
            "parting".into()
        }
        "ended" => {
            channel().disconnected().await;
            "ended".into()
        }
        "connected" => channel().is_connected().to_string(),
        "listen" => {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            format!("{} {address}", keep(sockets, listener))
        }
        "connect" => {
            let stream = TcpStream::connect(first).unwrap();
            let address = stream.local_addr().unwrap();
            format!("{} {address}", keep(sockets, stream))
        }
        "take" => {
            let Some(Handle::TcpListener(listener)) = &sockets[number()] else { panic!("no listener") };
            let stream = accept(listener);
            keep(sockets, stream).to_string()
        }
        "write" => {
            match &sockets[number()] {
                Some(Handle::TcpStream(stream)) => write_line(stream, rest),
                Some(Handle::UnixStream(stream)) => write_line(stream, rest),
                other => panic!("cannot write to {other:?}"),
            }
            "written".into()
        }
        "read" => {
            let Some(Handle::TcpStream(stream)) = &sockets[number()] else { panic!("no connection") };
            read_line(stream)
        }
        "close" => {
            sockets[number()] = None;
            "closed".into()
        }
        "echo" => {
            let Some(Handle::UdpSocket(socket)) = &sockets[number()] else { panic!("no UDP socket") };
            echo(socket)
        }
        _ => panic!("no order is called {verb}"),
    }
}

/// Sends one datagram back where it came from.
pub(crate) fn echo(socket: &UdpSocket) -> String {
    await_ready(socket, PollFlags::IN);
    let mut bytes = [0; 100];
    let (length, from) = socket.recv_from(&mut bytes).unwrap();
    socket.send_to(&bytes[..length], from).unwrap();
    String::from_utf8(bytes[..length].to_vec()).unwrap()
}

/// | order | what it does, and tells |
/// |---|---|
/// | `say LINE` | writes it: `said` |
/// | `say-with-socket TEXT` | writes it, `|` for ends of lines, with one end of a new socket pair: `said` |
/// | `greet` | through the other end: `greeted` |
/// | `hear` | the next line, without the descriptor that may have come; `end` |
async fn raw() {
    let mut line = TestLine::open();
    let facts = line.facts();
    let mut raw = Raw::new(oneport_sys::startup::take_channel().unwrap().unwrap());
    let mut other_end = None;
    while let Some(order) = line.order().await {
        let (verb, object) = order.split_once(' ').unwrap_or((&order, ""));
        facts.tell(match verb {
            "say" => {
                raw.say(object);
                "said".to_owned()
            }
            "say-with-socket" => {
                let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
                let theirs = std::os::fd::OwnedFd::from(theirs);
                raw.write(object.replace('|', "\n").as_bytes(), Some(std::os::fd::AsFd::as_fd(&theirs)));
                other_end = Some(ours);
                "said".to_owned()
            }
            "greet" => {
                other_end.take().unwrap().write_all(b"hello\n").unwrap();
                "greeted".to_owned()
            }
            "hear" => raw.hear_line().unwrap_or_else(|| "end".to_owned()),
            _ => panic!("no order is called {verb}"),
        });
    }
}
