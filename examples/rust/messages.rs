//! Messages both ways: workers report each request, the primary counts, and tells every worker the total.
//!
//!     cargo run -p oneport-examples --bin messages [PORT]
//!
//! The counting is that of Node's documentation (`numReqs`); the way back is added. Messages are whatever serde can
//! make JSON of, so either side may as well be a Node program.

use std::env;
use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use axum::Router;
use oneport::{Cluster, Event, Settings};
use serde::{Deserialize, Serialize};
use tokio::time::interval;

#[derive(Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "camelCase")]
enum ToPrimary {
    NotifyRequest,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "camelCase")]
enum ToWorker {
    Total { requests: u64 },
}

fn main() -> Result<(), Box<dyn Error>> {
    match oneport::worker() {
        None => primary(),
        Some(this) => Ok(worker(this)?),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn primary() -> Result<(), Box<dyn Error>> {
    let (cluster, mut events) = Cluster::start(Settings::this_program()?)?;
    for _ in 0..thread::available_parallelism()?.get() {
        cluster.fork(&[])?;
    }
    let mut requests = 0;
    let mut every_second = interval(Duration::from_secs(1));
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = every_second.tick() => {
                println!("numReqs = {requests}");
                continue;
            }
        };
        match event {
            Some(Event::Message { worker, message }) => match message.parse() {
                Ok(ToPrimary::NotifyRequest) => {
                    requests += 1;
                    for worker in cluster.workers() {
                        // One that is just leaving need not know.
                        let _ = worker.send(&ToWorker::Total { requests });
                    }
                }
                // A worker can say anything: that is its mistake, and no reason to stop.
                Err(error) => eprintln!("worker {}: {error}", worker.pid()),
            },
            Some(Event::Exit { .. }) if cluster.workers().is_empty() => return Ok(()),
            Some(_) => {}
            None => return Ok(()),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn worker(this: oneport::ThisWorker) -> io::Result<()> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into());
    let total = Arc::new(AtomicU64::new(0));

    let told = total.clone();
    tokio::spawn(async move {
        while let Ok(message) = this.recv().await {
            match message.parse() {
                Ok(ToWorker::Total { requests }) => told.store(requests, Ordering::Relaxed),
                Err(error) => eprintln!("{error}"),
            }
        }
    });

    let answer = move || async move {
        if let Err(error) = this.send(&ToPrimary::NotifyRequest) {
            eprintln!("{error}");
        }
        format!("hello world, {} requests so far\n", total.load(Ordering::Relaxed))
    };
    let listener = oneport::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let app = Router::new().fallback(answer);
    axum::serve(listener, app).with_graceful_shutdown(oneport::disconnected()).await
}
