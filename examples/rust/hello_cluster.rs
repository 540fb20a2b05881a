//! Node's cluster example in Rust: as many workers as CPUs on one port, and one line when one of them dies.
//!
//!     cargo run -p oneport-examples --bin hello_cluster [PORT]
//!
//! The program is its own worker: the primary starts it again, and `is_primary` tells the two apart. Kill a worker
//! and the others serve on; kill all and the primary is done.

use std::env;
use std::error::Error;
use std::io;
use std::process;
use std::thread;

use axum::Router;
use oneport::{Cluster, Event, Settings};

fn main() -> Result<(), Box<dyn Error>> {
    if oneport::is_primary() { primary() } else { Ok(worker()?) }
}

/// Serves nothing itself, and needs no async runtime: the cluster has a thread of its own.
fn primary() -> Result<(), Box<dyn Error>> {
    println!("Primary {} is running", process::id());
    let (cluster, mut events) = Cluster::start(Settings::this_program()?)?;
    for _ in 0..thread::available_parallelism()?.get() {
        cluster.fork(&[])?;
    }
    while let Some(event) = events.blocking_recv() {
        if let Event::Exit { worker, .. } = event {
            println!("worker {} died", worker.pid());
            if cluster.workers().is_empty() {
                break;
            }
        }
    }
    Ok(())
}

/// One thread is enough: there is a worker for every CPU.
#[tokio::main(flavor = "current_thread")]
async fn worker() -> io::Result<()> {
    let listener = oneport::TcpListener::bind(format!("127.0.0.1:{}", port())).await?;
    println!("Worker {} started", process::id());
    axum::serve(listener, Router::new().fallback(|| async { "hello world\n" })).await
}

/// The workers have the primary's arguments and environment, so they agree; 0 is one free port for all of them.
fn port() -> String {
    env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into())
}
