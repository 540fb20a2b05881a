//! Ends whatever this process started, by pid.
//!
//! The runner is the subreaper of everything it starts, so a daemon that detaches itself (PM2's) and a worker whose
//! primary died are still its descendants.

use crate::procfs;
use rustix::process::{Signal, WaitOptions, getpid, kill_process, waitpid};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Kills and reaps every process this one ever started, in at most two seconds.
pub(crate) fn end_descendants() {
    let deadline = Instant::now() + Duration::from_secs(2);
    loop {
        let left = procfs::descendants(getpid());
        if left.is_empty() || Instant::now() > deadline {
            return;
        }
        for pid in left {
            let _gone_is_fine = kill_process(pid, Signal::KILL);
        }
        reap();
        sleep(Duration::from_millis(2));
    }
}

/// Collects children that ended, adopted ones included.
///
/// By pid, zombies only: a child is waited for here or by its [`Child`](std::process::Child), and both accept that the other was first.
pub(crate) fn reap() {
    for pid in procfs::descendants(getpid()) {
        if procfs::state(pid) == Some('Z') {
            let _not_ours_yet = waitpid(Some(pid), WaitOptions::NOHANG);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::set_child_subreaper;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn a_stopped_orphan_is_ended_too() {
        let _only_one = procfs::tests::with_children();
        set_child_subreaper(Some(getpid())).expect("a process may be a subreaper");
        // The shell leaves, its sleeper stays behind, stopped.
        let script = "sleep 300 & kill -STOP $!; exit 0";
        let mut shell = Command::new("sh").args(["-c", script]).process_group(0).spawn().expect("sh");
        assert!(shell.wait().expect("shell ends").success());
        assert_eq!(procfs::descendants(getpid()).len(), 1, "the sleeper became ours");
        end_descendants();
        assert!(procfs::descendants(getpid()).is_empty());
    }
}
