//! How a process that nobody waits for comes to be: the daemon, and each primary below it.

use std::io::{self, Write};

/// No terminal and no directory holds this process.
pub(crate) fn stand_alone() {
    // Fails where it leads a session already.
    let _ = rustix::process::setsid();
    // The root is always there.
    let _ = std::env::set_current_dir("/");
}

/// Tells who started this that it answers, and lets go of the pipe.
pub(crate) fn say_ready() {
    // Whoever waited may have gone.
    let _ = io::stdout().write_all(b"{}\n").and_then(|()| io::stdout().flush());
    if let Ok(nothing) = std::fs::File::options().write(true).open("/dev/null") {
        let _ = rustix::stdio::dup2_stdout(&nothing);
    }
}
