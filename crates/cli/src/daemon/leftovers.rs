//! Processes that a primary has left behind: known by a mark in their environment, and where this service has control groups of
//! its own (systemd's `Delegate=`) by that of their app, which also has whoever has cleared its environment.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use oneport_sys::cgroup::Below;
use oneport_sys::process::{self, Pid};
use oneport_sys::tree::Table as Processes;
use oneport_wire::control::AppSpec;

use super::launch::open_pidfd;

/// Whether what a worker has started ends with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeRule {
    EndsWithIt,
    LeftAlone,
}

impl TreeRule {
    pub(super) fn of(spec: &AppSpec) -> TreeRule {
        match spec.treekill {
            Some(false) => TreeRule::LeftAlone,
            Some(true) | None => TreeRule::EndsWithIt,
        }
    }
}

/// What the control group of an app is called.
pub(super) fn group_of(mark: &str) -> String {
    format!("oneport-{mark}")
}

/// An app has ended in order. What has left its tree and cleared its environment is still in its control group.
pub(super) async fn close_group(mark: String, tree: TreeRule) {
    let closing = move || {
        let Some(group) = Below::find(&group_of(&mark)) else { return };
        match tree {
            TreeRule::EndsWithIt => empty(&group),
            TreeRule::LeftAlone => {}
        }
        // One in which somebody is goes with the service.
        let _ = group.remove();
    };
    let _ = tokio::task::spawn_blocking(closing).await;
}

/// Kills everybody in it and waits for that.
fn empty(group: &Below) {
    let until = Instant::now() + Duration::from_secs(2);
    let _ = group.kill_all();
    while group.remove().is_err() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends whatever a primary left behind when it was killed: nobody looks after it, and it may hold the port. Node's workers end
/// by themselves when their channel closes; other programs do not.
pub(super) async fn end_leftovers(mark: &str) -> usize {
    if mark.is_empty() {
        return 0;
    }
    let mark = mark.to_owned();
    let ending = tokio::task::spawn_blocking(move || {
        let mut ended = 0;
        // By the mark alone: numbers end at 2^22 (pid_max), so nobody descends from this one.
        let Some(nobody) = Pid::new(i32::MAX) else { return 0 };
        // Who is started between two readings is found by the next.
        for _ in 0..5 {
            let members = Processes::read().members(nobody, &mark);
            let found: Vec<OwnedFd> = members.iter().filter_map(|pid| open_pidfd(*pid).ok()).collect();
            if found.is_empty() {
                break;
            }
            for pidfd in &found {
                // One that has ended meanwhile needs no signal.
                let _ = process::signal(pidfd.as_fd(), process::Signal::KILL);
            }
            ended += found.len();
            oneport_sys::tree::wait_dead(found, Instant::now() + Duration::from_secs(2));
        }
        // And whoever is not known by the mark.
        if let Some(group) = Below::find(&group_of(&mark)) {
            empty(&group);
        }
        ended
    });
    ending.await.unwrap_or(0)
}
