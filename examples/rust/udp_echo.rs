//! A UDP echo: under a primary all workers read one and the same socket, and whoever is first answers.
//!
//!     cargo run -p oneport-examples --bin udp_echo [PORT]
//!     oneport run -i 4 -- target/debug/udp_echo

use std::env;
use std::io;
use std::pin::pin;
use std::process;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port = env::args().nth(1).or_else(|| env::var("PORT").ok()).unwrap_or_else(|| "8000".into());
    let socket = oneport::UdpSocket::bind(format!("127.0.0.1:{port}")).await?;
    println!("{} listens on {}", process::id(), socket.local_addr()?);

    let mut datagram = vec![0; 65_536];
    // There is no end of a UDP socket to be told of, so this is waited for beside it.
    let mut leaving = pin!(oneport::disconnected());
    loop {
        let (length, from) = tokio::select! {
            received = socket.recv_from(&mut datagram) => received?,
            () = &mut leaving => return Ok(()),
        };
        let mut answer = datagram[..length].to_vec();
        answer.extend(format!(" from {}", process::id()).bytes());
        if let Err(error) = socket.send_to(&answer, from).await {
            eprintln!("cannot answer {from}: {error}");
        }
    }
}
