//! actix-web's own server, which accepts for itself and therefore needs a listening socket with a descriptor.
//!
//!     cargo run -p oneport-examples --bin actix_web [PORT]
//!     oneport run -i 4 -- target/debug/actix_web
//!
//! A worker has a socket of its own, or under `shared` that of all, so `into_std` gives it away. Under `rr` only the primary has
//! it, and `into_std` says so; `actix_web_rr` serves there, and everywhere else too.

use std::env;
use std::io;
use std::process;
use std::time::Duration;

use actix_web::{App, HttpServer, rt, web};

fn main() -> io::Result<()> {
    // actix's System is a tokio runtime of one thread: what a listener of ours needs.
    rt::System::new().block_on(serve())
}

async fn serve() -> io::Result<()> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into());
    let listener = oneport::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    let address = listener.local_addr()?;
    let socket = listener.into_std()?;
    println!("{} listens on {address}", process::id());

    // Processes are what is multiplied here, so one of actix's threads is enough.
    let server =
        HttpServer::new(|| App::new().default_service(web::to(hello))).workers(1).listen(socket)?.run();

    // Nobody closes a socket that was given away: whoever accepts has to be told when to end.
    let handle = server.handle();
    rt::spawn(async move {
        oneport::disconnected().await;
        // At `stop` actix drops connections that were accepted and not yet begun (actix-server 2.10). So accepting
        // ends first, siblings take what waits in the socket, and there is a moment to begin the rest.
        handle.pause().await;
        rt::time::sleep(Duration::from_millis(200)).await;
        handle.stop(true).await;
    });
    server.await
}

async fn hello() -> String {
    format!("hello from {}\n", process::id())
}
