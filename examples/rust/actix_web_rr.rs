//! An actix-web application behind a listener without a descriptor: actix's server is left out, and its HTTP service
//! is given each connection.
//!
//!     cargo run -p oneport-examples --bin actix_web_rr [PORT]
//!     oneport run -i 4 -- target/debug/actix_web_rr
//!
//! Works under every policy. What is lost is what `HttpServer` does around it: its threads, its signals, its limit of
//! connections, and the name of the host for requests that do not tell it.

use std::env;
use std::io::{self, ErrorKind};
use std::process;
use std::time::Duration;

use actix_http::HttpService;
use actix_service::{Service, ServiceFactory, map_config};
use actix_web::dev::AppConfig;
use actix_web::{App, rt, web};
use tokio::task::JoinSet;

fn main() -> io::Result<()> {
    rt::System::new().block_on(serve())
}

async fn serve() -> io::Result<()> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into());
    let listener = oneport::TcpListener::bind(format!("127.0.0.1:{port}")).await?;
    println!("{} listens on {}", process::id(), listener.local_addr()?);

    let app = map_config(App::new().default_service(web::to(hello)), |()| AppConfig::default());
    let http = HttpService::build().finish(app).tcp().new_service(());
    let http = http.await.map_err(|()| io::Error::other("the application cannot be built"))?;

    let mut connections = JoinSet::new();
    loop {
        // Those that have ended; what became of each is the client's to know.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, _)) => _ = connections.spawn_local(http.call(stream)),
            // Comes after everything that was handed over, and only when this worker is to leave.
            Err(end) if end.kind() == ErrorKind::BrokenPipe => break,
            Err(error) => {
                // Out of descriptors, most likely: that passes, and asking at once again would only spin.
                eprintln!("cannot accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    // Running requests are answered. Idle connections end after actix's keep-alive of five seconds.
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn hello() -> String {
    format!("hello from {}\n", process::id())
}
