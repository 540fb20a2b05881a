//! An axum server of which several can run behind one port.
//!
//!     cargo run -p oneport-examples --bin axum [PORT]          alone: an ordinary server
//!     oneport run -i 4 -- target/debug/axum                    four of it; SIGHUP replaces them and loses nothing
//!
//! Two lines differ from any other axum server: where the listener comes from, and what ends it.

use std::env;
use std::io;
use std::process;

use axum::Router;
use axum::routing::get;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into());
    let app = Router::new().route("/", get(|| async { format!("hello from {}\n", process::id()) }));

    // Alone this binds. Under a primary it asks for the port, which all workers share.
    let listener = oneport::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("{} listens on {}", process::id(), listener.local_addr()?);

    // Told to leave, it finishes the requests it has and closes idle connections. Alone that never comes.
    axum::serve(listener, app).with_graceful_shutdown(oneport::disconnected()).await
}
