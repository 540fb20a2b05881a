//! Everything that happens in a cluster, one line each: two workers are forked, listen, say a word, and are asked to
//! leave; then the primary ends.
//!
//!     cargo run -p oneport-examples --bin primary_events
//!
//! The order per worker is a promise: fork, online, listening, message, disconnect, exit, and nothing after that.

use std::error::Error;
use std::fmt::Display;
use std::io::{self, ErrorKind};

use oneport::{Cluster, Event, Settings, Worker};

const WORKERS: usize = 2;

fn main() -> Result<(), Box<dyn Error>> {
    match oneport::worker() {
        None => primary(),
        Some(this) => Ok(worker(this)?),
    }
}

fn primary() -> Result<(), Box<dyn Error>> {
    let (cluster, mut events) = Cluster::start(Settings::this_program()?)?;
    for _ in 0..WORKERS {
        cluster.fork(&[("GREETING", "here I am")])?;
    }
    let mut heard = 0;
    loop {
        match events.blocking_recv() {
            Some(Event::Setup { settings }) => println!("setup: {}", settings.exec.display()),
            Some(Event::Fork { worker, .. }) => say(&worker, format!("fork, process {}", worker.pid())),
            Some(Event::Error { worker, error }) => say(&worker, format!("error: {error}")),
            Some(Event::Online { worker }) => say(&worker, "online"),
            Some(Event::Listening { worker, address }) => say(&worker, format!("listening on {address}")),
            Some(Event::Message { worker, message }) => {
                say(&worker, format!("message {}", message.json()));
                heard += 1;
                if heard == WORKERS {
                    // Takes effect at once. The future it returns tells when all are gone; so does an event, below.
                    drop(cluster.disconnect()?);
                }
            }
            Some(Event::Disconnect { worker }) => say(&worker, "disconnect"),
            Some(Event::Exit { worker, exit, .. }) => {
                let asked = worker.exited_after_disconnect() == Some(true);
                say(&worker, format!("exit, {exit:?}, {}", if asked { "asked" } else { "by itself" }));
            }
            Some(Event::Disconnected) => {
                println!("disconnected: all are gone, and the primary lives on");
                cluster.stop()?;
            }
            Some(Event::Stopped) => println!("stopped"),
            // Steps that Node has no events for.
            Some(Event::Moved { worker, from, to }) => say(&worker, format!("  from {from:?} to {to:?}")),
            Some(Event::Ready { worker }) => say(&worker, "  ready"),
            Some(Event::Proven { worker }) => say(&worker, "  proven"),
            Some(other) => println!("{other:?}"),
            None => return Ok(()),
        }
    }
}

fn say(worker: &Worker, what: impl Display) {
    println!("worker {}: {what}", worker.id());
}

#[tokio::main(flavor = "current_thread")]
async fn worker(this: oneport::ThisWorker) -> io::Result<()> {
    let listener = oneport::TcpListener::bind("127.0.0.1:0").await?;
    this.send(&std::env::var("GREETING").unwrap_or_default())?;
    loop {
        match listener.accept().await {
            // Not a server anybody could use.
            Ok((connection, _)) => drop(connection),
            // Asked to leave.
            Err(end) if end.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
