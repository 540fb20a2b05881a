//! Signals as messages. They are blocked before any other thread starts, so no handler of ours ever runs.

use std::fs::File;
use std::sync::mpsc::SyncSender;
use std::thread;

use oneport_sys::process::Signal;
use oneport_sys::signals::{block, is_ignored};

use crate::error::Failure;

/// Begins to pass signals on. To be called before other threads start.
pub(crate) fn listen<M: Send + 'static>(
    sender: SyncSender<M>,
    message: impl Fn(Signal) -> M + Send + 'static,
) -> Result<(), Failure> {
    let mut wanted = vec![Signal::TERM, Signal::INT, Signal::QUIT, Signal::CHILD];
    // Started by `nohup`: an ignored hang-up stays ignored.
    if !is_ignored(Signal::HUP) {
        wanted.push(Signal::HUP);
    }
    let signals = block(&wanted).map_err(|cause| Failure::new(format!("cannot receive signals: {cause}")))?;
    let work = move || {
        while let Ok(signal) = signals.wait() {
            if sender.send(message(signal)).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(work)
        .map_err(|cause| Failure::new(format!("cannot receive signals: {cause}")))?;
    Ok(())
}

/// Whether this process had a terminal. SIGHUP also comes when that goes away, and means something else then.
pub(crate) fn has_terminal() -> bool {
    File::open("/dev/tty").is_ok()
}
