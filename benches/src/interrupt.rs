//! Ctrl-C, SIGTERM and SIGHUP: end everything that was started, then leave.
//!
//! Dropping a `Server` does this in every other case; a signal's default action would drop nothing.

use crate::end::end_descendants;
use crate::error::{Cannot, Result};
use rustix::process::{getpid, set_child_subreaper};
use std::process::exit;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// Set once a signal came: nothing more is started.
static LEAVING: AtomicBool = AtomicBool::new(false);

/// Whether the run is being ended by a signal.
pub(crate) fn leaving() -> bool {
    LEAVING.load(Ordering::SeqCst)
}

/// Adopts orphans from now on, and watches for signals on a thread of its own.
pub(crate) fn guard() -> Result<()> {
    let what = || "watch for signals".to_owned();
    set_child_subreaper(Some(getpid())).cannot(|| "become the subreaper of what is started".into())?;
    let runtime = Builder::new_current_thread().enable_io().build().cannot(what)?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::interrupt()).cannot(what)?,
            signal(SignalKind::terminate()).cannot(what)?,
            signal(SignalKind::hangup()).cannot(what)?,
        )
    };
    let watch = move || {
        runtime.block_on(async {
            // Whichever comes first; without tokio's macros there is no `select!`.
            std::future::poll_fn(|context| {
                let arrived = interrupt.poll_recv(context).is_ready()
                    || terminate.poll_recv(context).is_ready()
                    || hangup.poll_recv(context).is_ready();
                if arrived { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
            })
            .await;
        });
        LEAVING.store(true, Ordering::SeqCst);
        eprintln!("bench: interrupted, ending what was started");
        end_descendants();
        exit(130);
    };
    thread::Builder::new().name("signals".into()).spawn(watch).cannot(what)?;
    Ok(())
}
