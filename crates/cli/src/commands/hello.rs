//! The demo's server: answers every request with its own worker number. It is an ordinary worker of the library
//! and would serve alone just as well.

use std::net::Ipv4Addr;
use std::process::ExitCode;

use oneport::TcpListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Done;
use crate::error::Failure;

pub(crate) fn run() -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|cause| Failure::new(format!("cannot start runtime: {cause}")))?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.map_err(|cause| Failure::new(format!("cannot listen: {cause}")))?;
        let id = oneport::worker().map_or(0, |worker| worker.id().0);
        // Ends when the primary tells this worker to leave: what is open is finished below.
        let mut open = tokio::task::JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while open.try_join_next().is_some() {}
            open.spawn(answer(stream, id));
        }
        while open.join_next().await.is_some() {}
        Ok(ExitCode::SUCCESS)
    })
}

async fn answer(mut stream: TcpStream, id: u32) -> std::io::Result<()> {
    let mut request = [0; 1024];
    if stream.read(&mut request).await? == 0 {
        return Ok(());
    }
    let body = format!("worker {id}\n");
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(format!("{head}{body}").as_bytes()).await?;
    stream.shutdown().await
}
