//! A server with axum and plain tokio, as people write them: it does not use crate `oneport`. Its argument is the port.

use axum::Router;
use axum::routing::get;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "8000".to_owned());
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let app = Router::new().route("/", get(|| async { format!("hello from {}\n", std::process::id()) }));
    axum::serve(listener, app).await
}
