//! A Rust program under somebody else's primary or parent, as its users write them. `ROLE` says which one it is:
//! `serve` listens at `ADDRESS` and never uses its channel; `puppet` does what comes in messages and ends in order.
//!
//! Connections are greeted with `hello from PID`, and each line is answered with itself and `from PID`. Started by
//! tests; never by a person.
#![allow(clippy::unwrap_used, reason = "a test program says so by failing")]

use std::io;
use std::process::ExitCode;

use oneport::{Channel, Handle, Message, TcpListener, UdpSocket, UnixListener};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let served = match std::env::var("ROLE").unwrap().as_str() {
        "serve" => serve(&std::env::var("ADDRESS").unwrap()).await,
        "puppet" => puppet().await,
        role => panic!("no role is called {role}"),
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Something that listens, by its address: a path, `udp:` and an address, an address, or a bare port for any.
enum Server {
    Tcp(TcpListener),
    Unix(UnixListener),
    Udp(UdpSocket),
}

impl Server {
    async fn bind(address: &str) -> io::Result<Server> {
        Ok(match (address.strip_prefix("udp:"), address.parse::<u16>()) {
            (Some(address), _) => Server::Udp(UdpSocket::bind(address).await?),
            (None, Ok(port)) => Server::Tcp(TcpListener::bind_any(port).await?),
            (None, Err(_)) if address.starts_with('/') => Server::Unix(UnixListener::bind(address).await?),
            (None, Err(_)) => Server::Tcp(TcpListener::bind(address).await?),
        })
    }

    fn address(&self) -> Value {
        match self {
            Server::Tcp(listener) => json!(listener.local_addr().unwrap().to_string()),
            Server::Udp(socket) => json!(socket.local_addr().unwrap().to_string()),
            Server::Unix(_) => Value::Null,
        }
    }

    /// Until there are no more connections; each keeps a clone of `alive` while it is open.
    async fn run(self, alive: mpsc::Sender<()>) {
        match self {
            Server::Tcp(listener) => {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(converse(stream, alive.clone()));
                }
            }
            Server::Unix(listener) => {
                while let Ok((stream, _)) = listener.accept().await {
                    tokio::spawn(converse(stream, alive.clone()));
                }
            }
            Server::Udp(socket) => echo(&socket).await,
        }
    }
}

async fn serve(address: &str) -> io::Result<()> {
    let server = Server::bind(address).await?;
    server.run(mpsc::channel(1).0).await;
    Ok(())
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, _alive: mpsc::Sender<()>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let pid = std::process::id();
    stream.write_all(format!("hello from {pid}\n").as_bytes()).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        stream.write_all(format!("{} from {pid}\n", line.trim_end()).as_bytes()).await?;
        line.clear();
    }
    Ok(())
}

async fn echo(socket: &tokio::net::UdpSocket) {
    let mut bytes = [0; 1000];
    while let Ok((length, from)) = socket.recv_from(&mut bytes).await {
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let answer = format!("{text} from {}", std::process::id());
        let _ = socket.send_to(answer.as_bytes(), from).await;
    }
}

/// Obeys until it is to leave, or its parent is gone; ends when its connections have.
async fn puppet() -> io::Result<()> {
    let channel = oneport::channel()?.expect("a channel");
    let (alive, mut all_closed) = mpsc::channel(1);
    let mut servers = Vec::new();
    let mut farewell = None;
    loop {
        tokio::select! {
            biased;
            message = channel.recv() => match message {
                Ok(message) if message.parse::<Value>()? == json!(["leave"]) => {
                    farewell = Some(tokio::spawn(oneport::worker().unwrap().disconnect()));
                }
                Ok(message) => {
                    if let Some(answer) = obey(&channel, message, &alive, &mut servers).await? {
                        channel.send(&answer)?;
                    }
                }
                Err(_) => break,
            },
            () = oneport::disconnected() => break,
        }
    }
    servers.iter().for_each(AbortHandle::abort);
    drop(alive);
    all_closed.recv().await;
    if let Some(farewell) = farewell {
        // Node's primary dies of EPIPE when it acknowledges to somebody who has hung up (seen with Node 20).
        farewell.await.unwrap()?;
    }
    channel.disconnect();
    channel.disconnected().await;
    Ok(())
}

/// What is answered.
async fn obey(
    channel: &Channel,
    mut message: Message,
    alive: &mpsc::Sender<()>,
    servers: &mut Vec<AbortHandle>,
) -> io::Result<Option<Value>> {
    let order: Value = message.parse()?;
    if let Some(handle) = message.take_handle() {
        return Ok(Some(json!(["got", serve_handle(handle, alive, servers)?, order])));
    }
    let word = |n: usize| order[n].as_str().unwrap();
    Ok(match word(0) {
        "echo" => Some(json!(["echo", order[1]])),
        "listen" => match Server::bind(word(1)).await {
            Ok(server) => {
                let address = server.address();
                servers.push(tokio::spawn(server.run(alive.clone())).abort_handle());
                Some(json!(["listen", address]))
            }
            Err(error) => Some(json!(["listen", {"error": format!("{:?}", error.kind())}])),
        },
        "give" => {
            give(channel, word(1), &order[2])?;
            None
        }
        "role" => {
            let id = oneport::worker().map(|worker| worker.id().0);
            let args: Vec<String> = std::env::args().skip(1).collect();
            Some(json!(["role", id, args]))
        }
        "grandchild" => {
            let told = std::process::Command::new("env").output()?.stdout;
            let told = String::from_utf8_lossy(&told).into_owned();
            Some(json!(["grandchild", told.lines().collect::<Vec<_>>()]))
        }
        "hang-up" => {
            channel.send(&["last words"])?;
            channel.disconnect();
            None
        }
        verb => panic!("no order is called {verb}"),
    })
}

/// Serves what came with a message; says what it is.
fn serve_handle(
    handle: Handle,
    alive: &mpsc::Sender<()>,
    servers: &mut Vec<AbortHandle>,
) -> io::Result<&'static str> {
    Ok(match handle {
        Handle::TcpListener(listener) => {
            let server = Server::Tcp(TcpListener::from_std(listener)?);
            servers.push(tokio::spawn(server.run(alive.clone())).abort_handle());
            "server"
        }
        Handle::TcpStream(stream) => {
            tokio::spawn(converse(tokio::net::TcpStream::from_std(stream)?, alive.clone()));
            "socket"
        }
        Handle::UdpSocket(socket) => {
            let socket = tokio::net::UdpSocket::from_std(socket)?;
            servers.push(tokio::spawn(async move { echo(&socket).await }).abort_handle());
            "udp"
        }
        other @ (Handle::UnixListener(_) | Handle::UnixStream(_) | Handle::TcpSocket(_)) => {
            panic!("nobody sends {other:?}")
        }
    })
}

/// Gives away a new socket, with what it is and its port; a connection is made to `port`.
fn give(channel: &Channel, what: &str, port: &Value) -> io::Result<()> {
    let anywhere = "127.0.0.1:0";
    let (handle, port) = match what {
        "server" => {
            let listener = std::net::TcpListener::bind(anywhere)?;
            let port = listener.local_addr()?.port();
            (Handle::from(listener), port)
        }
        "socket" => {
            let port = u16::try_from(port.as_u64().unwrap()).unwrap();
            let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
            let port = stream.local_addr()?.port();
            (Handle::from(stream), port)
        }
        "udp" => {
            let socket = std::net::UdpSocket::bind(anywhere)?;
            let port = socket.local_addr()?.port();
            (Handle::from(socket), port)
        }
        what => panic!("nothing is called {what}"),
    };
    channel.send_handle(&json!([what, port]), handle)
}
