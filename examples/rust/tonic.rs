//! A gRPC server: tonic over the stream of connections, with the standard health service as its only one.
//!
//!     cargo run -p oneport-examples --bin tonic [PORT]
//!     oneport run -i 4 -- target/debug/tonic
//!
//! A gRPC client keeps one connection for all of its calls, and connections are what is shared out: many clients
//! spread over the workers, the calls of one client do not.

use std::env;
use std::error::Error;
use std::process;

use tonic::transport::Server;
use tonic_health::ServingStatus;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into());
    let listener = oneport::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("{} listens on {}", process::id(), listener.local_addr()?);

    let (reporter, health) = tonic_health::server::health_reporter();
    tokio::spawn(async move {
        oneport::disconnected().await;
        // Those who watch learn it, and go elsewhere.
        reporter.set_service_status("", ServingStatus::NotServing).await;
    });
    // The end of the stream would do to end the server, but tonic waits for running calls only where it is given a
    // signal, too; without one they would be cut off.
    let server = Server::builder().add_service(health);
    Ok(server.serve_with_incoming_shutdown(listener.into_incoming(), oneport::disconnected()).await?)
}
