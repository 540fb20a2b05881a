//! Writing to our own standard streams so that somebody else can see whether it goes on. A reader that has stopped
//! reading blocks the thread that writes, and nothing can be done about that from inside it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

/// A write to a pipe returns only when all of it is written (pipe(7)): small enough that a slow reader does not look
/// like one that has stopped.
const AT_ONCE: usize = 16 * 1024;

/// How much has been written so far. Clones count together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes since the start.
    pub(crate) fn seen(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Writes everything, waiting where it has to. When nobody reads any more (EPIPE) the output is lost, and the
/// workers serve on.
pub(crate) fn write_all(target: BorrowedFd<'_>, mut bytes: &[u8], progress: &Progress) {
    while !bytes.is_empty() {
        match rustix::io::write(target, &bytes[..bytes.len().min(AT_ONCE)]) {
            Ok(n) => {
                progress.add(n);
                bytes = &bytes[n..];
            }
            Err(Errno::INTR) => {}
            // Somebody made our output non-blocking, as Node does to a terminal or pipe it shares with us.
            Err(Errno::AGAIN) => {
                let mut wanted = [PollFd::new(&target, PollFlags::OUT)];
                match rustix::event::poll(&mut wanted, None) {
                    Ok(_) | Err(Errno::INTR) => {}
                    Err(_) => return,
                }
            }
            Err(_) => return,
        }
    }
}
