//! Worker programs that any test may use: `serve`, which listens and answers, and `puppet`, which does what its test
//! tells it, one order after the other.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use oneport::{ListenOptions, TcpListener, UdpSocket};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::{TestLine, programs};

programs! { serve, puppet }

/// Listens on a port of the kernel's choice and answers each connection with the worker's number and slot, until
/// it is to leave.
pub(crate) async fn serve() {
    match TcpListener::bind("127.0.0.1:0").await {
        Ok(listener) => answer(listener).await,
        // Told to leave before it came to that.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe),
    }
}

/// What a puppet has.
#[derive(Default)]
struct Strings {
    listeners: Vec<JoinHandle<()>>,
    sockets: Vec<UdpSocket>,
    held: Arc<Mutex<Vec<TcpStream>>>,
    owned: BTreeMap<String, TcpListener>,
}

/// Does what it is told until its test is over. Every order but the last kind is answered with one fact.
///
/// | order | what it does, and tells |
/// |---|---|
/// | `online` | opens the channel: `online` |
/// | `listen ADDRESS` | answers connections with its number and slot: the address, or the kind of the error |
/// | `hold ADDRESS` | the same, and keeps them open |
/// | `ignore ADDRESS` | listens and never accepts |
/// | `exclusive ADDRESS` | as `listen`, for itself alone |
/// | `bind ADDRESS` | a UDP socket |
/// | `close` | closes its listeners and sockets: `closed` |
/// | `release` | closes the connections it holds: how many |
/// | `disconnect` | `ThisWorker::disconnect`: `disconnected` when that is done |
/// | `hang-up` | `Channel::disconnect`: `hung up` when the channel is closed |
/// | `mind` | waits for `oneport::disconnected()` from now on: `minding`, and `to leave` when it comes |
/// | `send JSON`, `receive` | a message to the primary: `sent`, or the kind of the error; one from it: its JSON |
/// | `flags` | `is_connected`, `exited_after_disconnect` |
/// | `variable NAME`, `directory`, `arguments` | its surroundings |
/// | `exit CODE`, `abort`, `panic`, `spin` | ends, or never does anything again |
async fn puppet() {
    let mut line = TestLine::open();
    let facts = line.facts();
    let mut strings = Strings::default();
    while let Some(order) = line.order().await {
        let (verb, object) = order.split_once(' ').unwrap_or((&order, ""));
        facts.tell(obey(&mut strings, verb, object, facts.clone()).await);
    }
}

async fn obey(strings: &mut Strings, verb: &str, object: &str, facts: crate::harness::Facts) -> String {
    let channel = || oneport::channel().unwrap().unwrap();
    let worker = || oneport::worker().unwrap();
    match verb {
        "online" => {
            channel();
            "online".into()
        }
        "listen" | "hold" | "ignore" | "exclusive" => {
            let options = ListenOptions::new().exclusive(verb == "exclusive");
            let listener = match options.listen(object).await {
                Ok(listener) => listener,
                Err(error) => return format!("{:?}", error.kind()),
            };
            let address = listener.local_addr().unwrap().to_string();
            if verb == "ignore" {
                strings.owned.insert(address.clone(), listener);
            } else if verb == "hold" {
                strings.listeners.push(tokio::spawn(hold(listener, strings.held.clone())));
            } else {
                strings.listeners.push(tokio::spawn(answer(listener)));
            }
            address
        }
        "bind" => match UdpSocket::bind(object).await {
            Ok(socket) => {
                let address = socket.local_addr().unwrap().to_string();
                strings.sockets.push(socket);
                address
            }
            Err(error) => format!("{:?}", error.kind()),
        },
        "close" => {
            for listener in strings.listeners.drain(..) {
                listener.abort();
                assert!(listener.await.is_err());
            }
            strings.sockets.clear();
            strings.owned.clear();
            "closed".into()
        }
        "release" => strings.held.lock().unwrap().drain(..).count().to_string(),
        "disconnect" => {
            worker().disconnect().await.unwrap();
            "disconnected".into()
        }
        "hang-up" => {
            channel().disconnect();
            channel().disconnected().await;
            "hung up".into()
        }
        "mind" => {
            let to_leave = oneport::disconnected();
            tokio::spawn(async move {
                to_leave.await;
                facts.tell("to leave");
            });
            "minding".into()
        }
        "send" => {
            let message: Value = serde_json::from_str(object).unwrap();
            channel().send(&message).map_or_else(|error| format!("{:?}", error.kind()), |()| "sent".into())
        }
        "receive" => match channel().recv().await {
            Ok(message) => message.json().to_owned(),
            Err(error) => format!("{:?}", error.kind()),
        },
        "flags" => format!("{} {:?}", worker().is_connected(), worker().exited_after_disconnect()),
        "variable" => format!("{:?}", std::env::var(object).ok()),
        "directory" => std::env::current_dir().unwrap().display().to_string(),
        "arguments" => std::env::args().skip(1).collect::<Vec<_>>().join(" "),
        "exit" => std::process::exit(object.parse().unwrap()),
        "abort" => std::process::abort(),
        "panic" => panic!("as ordered"),
        "spin" => {
            facts.tell("spinning");
            loop {
                std::hint::spin_loop();
            }
        }
        _ => panic!("no order is called {verb}"),
    }
}

/// Who this worker is, in a line.
fn name() -> String {
    let worker = oneport::worker().unwrap();
    format!("{} {}\n", worker.id().0, worker.slot().map_or(-1, |slot| i64::from(slot.0)))
}

/// Answers every connection, until there are no more to come.
pub(crate) async fn answer(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.write_all(name().as_bytes()).await;
    }
}

/// As [`answer`], and keeps them open.
async fn hold(listener: TcpListener, held: Arc<Mutex<Vec<TcpStream>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let _ = stream.write_all(name().as_bytes()).await;
        held.lock().unwrap().push(stream);
    }
}
