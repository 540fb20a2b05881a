//! Accepting without ever failing, as servers want it that cannot be told of an error (axum).
//!
//! Invariant: nothing spins: a lasting error is waited out, and the end is waited at.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::leave::Stage;
use super::link::Link;
use super::source::{Flavor, Source};

/// How long an error that is not of one connection is waited out.
const PAUSE: Duration = Duration::from_secs(1);

/// The next connection; never comes again once the worker is to leave.
pub(super) async fn accept_for_ever<F: Flavor>(source: &Source<F>) -> (F::Stream, F::Addr) {
    loop {
        let error = match source.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => error,
        };
        if let Some(link) = source.ended_link() {
            end_if_orphan(link).await;
            std::future::pending::<()>().await;
        }
        let of_one_connection = matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::ConnectionReset
        );
        if !of_one_connection {
            tracing::error!(event = "accept_failed", error = %error, "cannot accept connection");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Waits for the end of the channel, and ends a process whose primary is gone without its program knowing.
async fn end_if_orphan(link: &Link) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    link.reached(Stage::Ended).await;
    let knows = link.notices.load(Ordering::Relaxed) || !link.was_lost();
    if !knows && !TOLD.swap(true, Ordering::Relaxed) {
        tracing::error!(event = "orphaned", "primary is gone: ending this process");
        // Cannot fail: it is ours.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
    }
}
