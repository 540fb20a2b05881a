//! The Rust server under test: accept, read a request, answer, close; one loop and one handler for every way to listen.
//!
//! What differs between its variants is the listener and nothing else: tokio's, oneport's, or one SO_REUSEPORT
//! socket per process. Not a real HTTP server: requests are small and come in one segment.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, getppid, set_parent_process_death_signal, wait};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;

const HELP: &str = "\
respond tokio ADDR          one process, tokio's listener
respond oneport ADDR        one process, oneport's listener without a primary
respond worker ADDR         one worker of `oneport run`
respond reuseport ADDR N    N processes, each with an SO_REUSEPORT socket of its own
";

/// Length of the accept queue: what tokio's own `bind` takes.
const BACKLOG: u32 = 1024;
/// How long a request for `/block` keeps the event loop from doing anything else.
const BLOCK: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("respond: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[&str]) -> io::Result<ExitCode> {
    match words {
        ["tokio", addr] => block_on(async { serve(tokio::net::TcpListener::bind(*addr).await?).await }),
        // Two words for one listener, so that neither is ever measured in place of the other.
        ["oneport", addr] if oneport::worker().is_none() => block_on(oneport_listener(addr)),
        ["worker", addr] if oneport::worker().is_some() => block_on(oneport_listener(addr)),
        ["reuseport", addr, count] => reuseport(addr, count.parse().map_err(io::Error::other)?),
        ["one-of-many", addr, parent] => {
            end_with_parent(parent.parse().map_err(io::Error::other)?)?;
            block_on(async { serve(reuseport_socket(addr.parse().map_err(io::Error::other)?)?).await })
        }
        ["oneport" | "worker", _] => {
            Err(io::Error::other("cannot listen: `worker` needs a primary, `oneport` none"))
        }
        _ => {
            eprint!("{HELP}");
            Ok(ExitCode::from(2))
        }
    }
}

fn block_on(server: impl Future<Output = io::Result<()>>) -> io::Result<ExitCode> {
    Builder::new_current_thread().enable_io().build()?.block_on(server)?;
    Ok(ExitCode::SUCCESS)
}

/// What the variants differ in.
trait Listen {
    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)>;
}

impl Listen for tokio::net::TcpListener {
    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept().await
    }
}

impl Listen for oneport::TcpListener {
    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept().await
    }
}

/// The loop of every variant: until the listener ends.
async fn serve(listener: impl Listen) -> io::Result<()> {
    let pid = std::process::id();
    let answer: &'static str = format!(
        "HTTP/1.1 200 OK\r\nX-Worker: {pid}\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n"
    )
    .leak();
    loop {
        let stream = match listener.next().await {
            Ok((stream, _peer)) => stream,
            // The primary told this worker to leave.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        };
        tokio::spawn(respond(stream, answer.as_bytes()));
    }
}

/// One connection. A client that goes away early is its own affair.
async fn respond(mut stream: TcpStream, answer: &[u8]) {
    let mut request = [0; 1024];
    let Ok(length) = stream.read(&mut request).await else { return };
    if request[..length].starts_with(b"GET /block ") {
        std::thread::sleep(BLOCK); // not tokio's: the whole loop stands still
    }
    let _client_left = stream.write_all(answer).await;
}

async fn oneport_listener(addr: &str) -> io::Result<()> {
    serve(oneport::TcpListener::bind(addr).await?).await
}

fn reuseport_socket(addr: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Starts `count` copies and waits; the first to end ends all.
fn reuseport(addr: &str, count: u32) -> io::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let parent = getpid().as_raw_pid().to_string();
    let start = |_| Command::new(&program).args(["one-of-many", addr, &parent]).stdin(Stdio::null()).spawn();
    let _children = (0..count).map(start).collect::<io::Result<Vec<Child>>>()?;
    wait(WaitOptions::empty())?;
    // The others end with this process.
    Err(io::Error::other("cannot go on: a process has ended"))
}

/// Has the kernel end this process when `parent` ends, however that happens.
fn end_with_parent(parent: i32) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before the call: then this process was adopted by another.
    if getppid().map(Pid::as_raw_pid) != Some(parent) {
        return Err(io::Error::other("cannot serve: the parent has ended"));
    }
    Ok(())
}
