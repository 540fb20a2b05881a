//! The same server with hyper alone: a loop that accepts, and an end that is waited for.
//!
//!     cargo run -p oneport-examples --bin hyper [PORT]
//!     oneport run -i 4 -- target/debug/hyper

use std::convert::Infallible;
use std::env;
use std::io::{self, ErrorKind};
use std::process;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;

async fn hello(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(format!("hello from {}\n", process::id())))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into());
    let listener = oneport::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("{} listens on {}", process::id(), listener.local_addr()?);

    let connections = GracefulShutdown::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Comes after everything that was handed over, and only when this worker is to leave.
            Err(end) if end.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => {
                // Out of descriptors, most likely: that passes, and asking at once again would only spin.
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let serving = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service_fn(hello));
        let serving = connections.watch(serving);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                eprintln!("connection failed: {error}");
            }
        });
    }
    // Running requests are answered, idle connections closed.
    connections.shutdown().await;
    Ok(())
}
