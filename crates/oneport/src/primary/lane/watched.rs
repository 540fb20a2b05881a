//! One lane that is measured, and what is done with that.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use oneport_sys::bpf::{LaneCells, Table};
use oneport_sys::lane::queue_length;
use oneport_sys::proc::OpenFiles;

use super::gauge::Post;
use super::handicap;
use super::load::Load;

/// A lane that was chosen so often, and where no connection was ever counted, is one that the counter does not see.
const UNCOUNTED: u32 = 64;

/// What is done with what is measured.
#[derive(Clone, Debug)]
pub(in crate::primary) enum Use {
    /// The kernel counts and chooses.
    Counted(Arc<Table>),
    /// The kernel chooses by what is fed.
    Fed(Arc<Table>),
    /// The kernel chooses by chance, with these weights.
    Weighed,
}

#[derive(Debug)]
pub(super) struct Watched {
    pub(super) post: Post,
    pub(super) used: Use,
    pub(super) load: Load,
    handicap: handicap::Seen,
}

impl Watched {
    /// It has begun to listen and has no connection yet.
    pub(super) fn new(post: Post, used: Use) -> Watched {
        let load = Load::of(OpenFiles::of(post.root).ok().into_iter().collect(), post.root);
        Watched { post, used, load, handicap: handicap::Seen::default() }
    }

    /// Its lane in the table that the kernel chooses by, if it does.
    fn cells(&self) -> Option<LaneCells<'_>> {
        match (&self.used, self.post.unit) {
            (Use::Counted(table) | Use::Fed(table), Some(unit)) => Some(table.lane(unit)),
            (Use::Counted(_) | Use::Fed(_), None) | (Use::Weighed, _) => None,
        }
    }

    pub(super) fn is_counted(&self) -> bool {
        match self.used {
            Use::Counted(_) => true,
            Use::Fed(_) | Use::Weighed => false,
        }
    }

    pub(super) fn is_weighed(&self) -> bool {
        match self.used {
            Use::Weighed => true,
            Use::Counted(_) | Use::Fed(_) => false,
        }
    }

    /// The kernel does not choose by a table any more. What it has open is known all the same: its descriptors were counted when
    /// it began to listen.
    pub(super) fn weigh(&mut self) {
        (self.used, self.post.unit) = (Use::Weighed, None);
    }

    /// Whether anything is going on.
    pub(super) fn look(&mut self, now: Instant) -> bool {
        let established =
            if self.is_counted() { self.cells().map(|cells| cells.established()) } else { None };
        let socket = self.post.socket.clone();
        let queue = || queue_length(socket.as_fd()).unwrap_or(0);
        let busy = self.load.look(queue, established, now);
        if let Some(cells) = self.cells().filter(|_| !self.is_counted()) {
            cells.feed(self.load.open());
        }
        busy
    }

    /// Whether its listener was made in another cgroup than ours. With nothing open it would be sent everybody.
    pub(super) fn is_unseen(&self) -> bool {
        let Some(cells) = self.cells().filter(|_| self.is_counted()) else { return false };
        // Chosen it is for every SYN: many clients far away, or a flood of SYNs, have established nothing yet.
        let suspect = cells.selected() >= UNCOUNTED && cells.established() == 0;
        suspect && self.load.has_some() && cells.established() == 0
    }

    /// Lowers its handicap by as much as is due.
    pub(super) fn fade(&mut self, now: Instant) {
        let Some(bias) = self.cells().map(|cells| cells.bias()) else { return };
        let left = self.handicap.fade(bias, now);
        if let Some(cells) = self.cells().filter(|_| left != bias) {
            cells.set_bias(left);
        }
    }
}
