//! The worker of the listening tests: it opens, closes and uses named sockets as its test tells it, one order after the
//! other. How a test starts it is in `listening_ways`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;

use oneport::{Handle, ListenOptions, TcpListener, UdpSocket, UnixListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::harness::{TestLine, programs};

programs! { ear }

/// A socket, and the tasks that use it.
struct Ear {
    /// `None` where only its tasks have it still.
    socket: Option<Socket>,
    tasks: Vec<JoinHandle<()>>,
    closing: watch::Sender<bool>,
}

#[derive(Clone)]
enum Socket {
    Tcp(Arc<TcpListener>),
    Unix(Arc<UnixListener>),
    Udp(Arc<UdpSocket>),
}

/// What an order says beyond the address.
#[derive(Default)]
struct Wishes {
    options: ListenOptions,
    tasks: u32,
    holds: bool,
    datagrams: Option<u32>,
}

/// Does what it is told until its test is over; every order is answered with one fact.
///
/// | order | what it does, and tells |
/// |---|---|
/// | `tcp NAME ADDRESS[,ADDRESS] OPTION...` | listens and answers connections: where, or the kind of the error |
/// | `any NAME PORT OPTION...` | the same on every address |
/// | `unix NAME PATH OPTION...` | the same on a path |
/// | `udp NAME ADDRESS OPTION...` | binds and answers datagrams |
/// | `own-tcp NAME ADDRESS`, `own-unix NAME PATH` | listens with a socket that it made without the library |
/// | `passed NAME -` | the same with one that its primary sends in a message |
/// | `hear NAME N` | N more tasks answer there: `hearing` |
/// | `deafen NAME` | they answer no more, and nothing is taken: `deaf` |
/// | `send NAME TO` | sends its number in a datagram: `sent` |
/// | `close NAME` | closes it: `closed` |
/// | `way NAME` | how its connections come: `Alone`, `Shared`, `Channel`, `Stream` |
/// | `descriptors` | how many it has open |
///
/// Options: `exclusive`, `v6only`, `reuse`, `readable`, `writable`, `backlog=N`, `fd=N`; `deaf`: answers nobody until it
/// is told to `hear`; `tasks=N`: so many accept at once; `hold`: each waits for its client's end before the next;
/// `datagrams=N`: is closed after so many. An answer is the worker's number and the task's.
async fn ear() {
    let mut line = TestLine::open();
    let facts = line.facts();
    let mut ears = BTreeMap::new();
    while let Some(order) = line.order().await {
        let words: Vec<&str> = order.split(' ').collect();
        facts.tell(obey(&mut ears, &words).await);
    }
}

async fn obey(ears: &mut BTreeMap<String, Ear>, words: &[&str]) -> String {
    match words {
        ["hear", name, tasks] => {
            hear(
                ears.get_mut(*name).unwrap(),
                &Wishes { tasks: tasks.parse().unwrap(), ..Wishes::default() },
            );
            "hearing".into()
        }
        ["send", name, to] => {
            let Some(Socket::Udp(socket)) = &ears[*name].socket else { panic!("only UDP sends") };
            socket.send_to(number().to_string().as_bytes(), to).await.unwrap();
            "sent".into()
        }
        ["deafen", name] => {
            deafen(ears.get_mut(*name).unwrap()).await;
            "deaf".into()
        }
        ["close", name] => {
            let mut ear = ears.remove(*name).unwrap();
            deafen(&mut ear).await;
            drop(ear);
            "closed".into()
        }
        ["way", name] => {
            let text = match &ears[*name].socket {
                Some(Socket::Tcp(listener)) => format!("{listener:?}"),
                Some(Socket::Unix(listener)) => format!("{listener:?}"),
                Some(Socket::Udp(_)) | None => panic!("{name} has no way"),
            };
            let (_, source) = text.split_once("source: ").unwrap();
            source.chars().take_while(char::is_ascii_alphabetic).collect()
        }
        ["descriptors"] => std::fs::read_dir("/proc/self/fd").unwrap().count().to_string(),
        [kind, name, address, wishes @ ..] => {
            let wishes = understand(wishes);
            match open(kind, address, &wishes.options).await {
                Ok(socket) => {
                    let (address, closing) = (place(&socket), watch::Sender::new(false));
                    let mut ear = Ear { socket: Some(socket), tasks: Vec::new(), closing };
                    hear(&mut ear, &wishes);
                    assert!(ears.insert((*name).to_owned(), ear).is_none(), "two are called {name}");
                    address
                }
                Err(error) => format!("{:?}", error.kind()),
            }
        }
        _ => panic!("no order reads {words:?}"),
    }
}

fn understand(words: &[&str]) -> Wishes {
    let mut wishes = Wishes { tasks: 1, ..Wishes::default() };
    for word in words {
        let (word, value) = word.split_once('=').unwrap_or((word, ""));
        let number = || value.parse::<u32>().unwrap();
        let options = wishes.options.clone();
        match word {
            "exclusive" => wishes.options = options.exclusive(true),
            "v6only" => wishes.options = options.ipv6_only(true),
            "reuse" => wishes.options = options.reuse_address(true),
            "readable" => wishes.options = options.readable_all(true),
            "writable" => wishes.options = options.writable_all(true),
            "backlog" => wishes.options = options.backlog(number()),
            "fd" => wishes.options = options.fd(number().cast_signed()),
            "deaf" => wishes.tasks = 0,
            "tasks" => wishes.tasks = number(),
            "hold" => wishes.holds = true,
            "datagrams" => wishes.datagrams = Some(number()),
            _ => panic!("no option is called {word}"),
        }
    }
    wishes
}

async fn open(kind: &str, address: &str, options: &ListenOptions) -> std::io::Result<Socket> {
    Ok(match kind {
        "any" => tcp(options.listen_any(address.parse().unwrap()).await?),
        "tcp" if address.contains(',') => {
            let all: Vec<SocketAddr> = address.split(',').map(|one| one.parse().unwrap()).collect();
            tcp(options.listen(&*all).await?)
        }
        "tcp" => tcp(options.listen(address).await?),
        "unix" => unix(options.listen_unix(address).await?),
        "udp" => Socket::Udp(Arc::new(options.bind_udp(address).await?)),
        "own-tcp" => tcp(TcpListener::from_std(std::net::TcpListener::bind(address)?)?),
        "own-unix" => unix(UnixListener::from_std(std::os::unix::net::UnixListener::bind(address)?)?),
        "passed" => {
            let channel = oneport::channel().unwrap().unwrap();
            match channel.recv().await?.take_handle().unwrap() {
                Handle::TcpListener(listener) => tcp(TcpListener::from_std(listener)?),
                Handle::UnixListener(listener) => unix(UnixListener::from_std(listener)?),
                other => panic!("{other:?} was passed on"),
            }
        }
        _ => panic!("nothing is called {kind}"),
    })
}

fn tcp(listener: TcpListener) -> Socket {
    Socket::Tcp(Arc::new(listener))
}

fn unix(listener: UnixListener) -> Socket {
    Socket::Unix(Arc::new(listener))
}

/// Where it is; nothing for a path that is too long for an address.
fn place(socket: &Socket) -> String {
    match socket {
        Socket::Tcp(listener) => listener.local_addr().unwrap().to_string(),
        Socket::Udp(socket) => socket.local_addr().unwrap().to_string(),
        Socket::Unix(listener) => {
            let address = listener.local_addr().ok();
            address.and_then(|address| Some(address.as_pathname()?.display().to_string())).unwrap_or_default()
        }
    }
}

fn hear(ear: &mut Ear, wishes: &Wishes) {
    let (holds, datagrams) = (wishes.holds, wishes.datagrams);
    for task in 0..wishes.tasks {
        let text = format!("{} {task}\n", number());
        let mut closing = ear.closing.subscribe();
        let closing = async move { closing.wait_for(|closing| *closing).await.map(|_| ()) };
        ear.tasks.push(match ear.socket.clone().unwrap() {
            Socket::Tcp(listener) => tokio::spawn(async move {
                let mut closing = pin!(closing);
                while let Some(Ok((stream, _))) = before(closing.as_mut(), listener.accept()).await {
                    answer(stream, &text, holds).await;
                }
            }),
            Socket::Unix(listener) => tokio::spawn(async move {
                let mut closing = pin!(closing);
                while let Some(Ok((stream, client))) = before(closing.as_mut(), listener.accept()).await {
                    assert!(client.is_unnamed());
                    answer(stream, &text, holds).await;
                }
            }),
            Socket::Udp(socket) => tokio::spawn(async move {
                let (mut closing, mut buffer) = (pin!(closing), [0; 64]);
                for _ in 0..datagrams.unwrap_or(u32::MAX) {
                    let Some(received) = before(closing.as_mut(), socket.recv_from(&mut buffer)).await else {
                        return;
                    };
                    socket.send_to(text.as_bytes(), received.unwrap().1).await.unwrap();
                }
            }),
        });
    }
    if datagrams.is_some() {
        // The last task to end closes it then.
        ear.socket = None;
    }
}

/// Ends the tasks. Whoever has taken a connection answers it first.
async fn deafen(ear: &mut Ear) {
    ear.closing.send_replace(true);
    for task in ear.tasks.drain(..) {
        task.await.unwrap();
    }
    ear.closing.send_replace(false);
}

/// What comes of `work`; `None` where the end comes first. Both are cancellation safe.
async fn before<T>(end: impl Future, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        _ = end => None,
        done = work => Some(done),
    }
}

/// A client may be gone already: no matter.
async fn answer(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, text: &str, holds: bool) {
    let _ = stream.write_all(text.as_bytes()).await;
    if holds {
        let _ = stream.read(&mut [0]).await;
    }
}

fn number() -> u32 {
    oneport::worker().unwrap().id().0
}
