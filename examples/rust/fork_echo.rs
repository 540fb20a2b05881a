//! One process per connection: the primary accepts, starts a child and passes it the connection; the child echoes
//! line by line until `:exit` or the end.
//!
//!     cargo run -p oneport-examples --bin fork_echo [PORT]        then: nc 127.0.0.1 4444
//!
//! A child that crashes takes one connection with it. What is passed is the open socket: nothing is copied through
//! the primary.

use std::env;
use std::error::Error;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::process;
use std::thread;
use std::time::Duration;

use oneport::{Cluster, Event, Events, Handle, Settings};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

fn main() -> Result<(), Box<dyn Error>> {
    match oneport::worker() {
        None => primary(),
        Some(this) => Ok(child(this)?),
    }
}

fn primary() -> Result<(), Box<dyn Error>> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "4444".into());
    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("{} listens on {}", process::id(), listener.local_addr()?);
    let (cluster, events) = Cluster::start(Settings::this_program()?)?;
    thread::spawn(move || tell(events));
    loop {
        let passed = match listener.accept() {
            Ok((connection, _)) => pass(&cluster, connection),
            Err(error) => Err(error.into()),
        };
        if let Err(error) = passed {
            // No process or no descriptor left, most likely: that passes.
            eprintln!("cannot serve connection: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

/// The primary closes its own copy of the socket once the child has it.
fn pass(cluster: &Cluster, connection: TcpStream) -> Result<(), Box<dyn Error>> {
    let child = cluster.fork(&[])?;
    child.send_handle(&"serve", connection)?;
    Ok(())
}

fn tell(mut events: Events) {
    loop {
        match events.blocking_recv() {
            Some(Event::Fork { worker, .. }) => println!("child {} started", worker.pid()),
            Some(Event::Error { worker, error }) => eprintln!("child {}: {error}", worker.pid()),
            Some(Event::Exit { worker, .. }) => println!("child {} is gone", worker.pid()),
            Some(_) => {}
            None => return,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn child(this: oneport::ThisWorker) -> io::Result<()> {
    let Some(Handle::TcpStream(connection)) = this.recv().await?.take_handle() else {
        return Err(io::Error::other("a message without a connection"));
    };
    echo(tokio::net::TcpStream::from_std(connection)?).await
}

/// The most that is kept of a line; a longer one is echoed in pieces.
const PIECE: u64 = 64 * 1024;

async fn echo(mut connection: tokio::net::TcpStream) -> io::Result<()> {
    let (reader, mut writer) = connection.split();
    let mut reader = BufReader::new(reader);
    let (mut piece, mut begins_a_line) = (Vec::new(), true);
    // Zero bytes are the end: the client has gone, or only stopped sending and still reads.
    while (&mut reader).take(PIECE).read_until(b'\n', &mut piece).await? > 0 {
        if begins_a_line && piece.trim_ascii_end() == b":exit" {
            break;
        }
        writer.write_all(&piece).await?;
        begins_a_line = piece.ends_with(b"\n");
        piece.clear();
    }
    writer.shutdown().await
}
