//! A server that finishes what it has begun: `/slow/MS` takes that many milliseconds, and is answered even when the
//! server is told to stop meanwhile.
//!
//!     cargo run -p oneport-examples --bin graceful_shutdown [PORT]            alone; stop it with Ctrl-C
//!     oneport run -i 4 -- target/debug/graceful_shutdown                      reload with SIGHUP, stop with Ctrl-C
//!     WORKERS=4 cargo run -p oneport-examples --bin graceful_shutdown [PORT]  its own primary, the same signals

use std::env;
use std::error::Error;
use std::io;
use std::process;
use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use oneport::{Cluster, Event, Settings};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> Result<(), Box<dyn Error>> {
    match env::var("WORKERS") {
        // The workers inherit the variable, and are no primary.
        Ok(count) if oneport::is_primary() => primary(count.parse()?),
        _ => Ok(server()?),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn server() -> io::Result<()> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into());
    let app = Router::new()
        .route("/", get(|| async { format!("hello from {}\n", process::id()) }))
        .route("/slow/{ms}", get(slow));
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let listener = oneport::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("{} listens on {}", process::id(), listener.local_addr()?);

    let stop = async move {
        tokio::select! {
            () = oneport::disconnected() => {}  // under a primary: it says when
            _ = interrupt.recv() => {}          // alone: Ctrl-C
            _ = terminate.recv() => {}          // and from whoever has no terminal
        }
        println!("{} finishes what it has", process::id());
    };
    axum::serve(listener, app).with_graceful_shutdown(stop).await?;
    println!("{} leaves", process::id());
    Ok(())
}

async fn slow(Path(ms): Path<u32>) -> String {
    println!("{} begins something slow", process::id());
    tokio::time::sleep(Duration::from_millis(ms.min(60_000).into())).await;
    format!("slow hello from {}\n", process::id())
}

/// What `oneport run` does, in a few lines: the number of workers is kept, a crashed one replaced.
#[tokio::main(flavor = "current_thread")]
async fn primary(count: u32) -> Result<(), Box<dyn Error>> {
    let (mut interrupt, mut terminate, mut hang_up) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let (cluster, mut events) = Cluster::start(Settings::this_program()?)?;
    cluster.scale(count)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => cluster.stop()?,
            _ = terminate.recv() => cluster.stop()?,
            _ = hang_up.recv() => cluster.reload()?,
            event = events.recv() => match event {
                Some(Event::ReloadDone { replaced, .. }) => println!("{replaced} workers replaced"),
                Some(Event::ReloadAborted { failure, .. }) => println!("nothing replaced: {failure:?}"),
                Some(Event::AllErrored) => return Err("every worker fails".into()),
                Some(Event::Stopped) | None => return Ok(()),
                Some(_) => {}
            },
        }
    }
}
