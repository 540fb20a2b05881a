//! Children that are not ours to know: orphans that fall to this process because it is PID 1 of a container, or
//! the nearest subreaper. Somebody has to wait for them. Workers belong to their primary, which waits by pidfd.

use oneport::Cluster;
use oneport_sys::proc::zombie_children;
use oneport_sys::process::{become_subreaper, peek_zombie, reap_stranger};
use tracing::{debug, warn};

/// Makes orphans of the workers fall to us instead of init.
pub(crate) fn adopt_orphans() {
    if let Err(cause) = become_subreaper() {
        warn!(%cause, "cannot become subreaper; orphans of workers fall to init");
    }
}

/// Waits for all that ended, where no worker is. To be called on SIGCHLD.
pub(crate) fn reap_all() {
    for pid in zombie_children() {
        if let Err(cause) = reap_stranger(pid) {
            debug!(%cause, pid = pid.get(), "cannot reap orphan");
        }
    }
}

/// Waits for those that ended. To be called on SIGCHLD.
pub(crate) fn reap(cluster: &Cluster) {
    if peek_zombie().is_none() {
        return;
    }
    for pid in zombie_children() {
        cluster.unless_worker(pid.get(), || match reap_stranger(pid) {
            Ok(_) => debug!(pid = pid.get(), "orphan reaped"),
            Err(cause) => debug!(%cause, pid = pid.get(), "cannot reap orphan"),
        });
    }
}
