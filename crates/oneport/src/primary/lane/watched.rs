//! One lane that is measured, and what is done with that.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oneport_sys::bpf::{LaneCells, Table};
use oneport_sys::lane::queue_length;

use super::gauge::Post;
use super::handicap;
use super::load::Load;

/// A lane that was chosen so often, and where no connection was ever counted, is one that the counter does not see.
const UNCOUNTED: u32 = 64;

/// Handshakes of one lane that may be under way at one time where clients are near.
const FEW: u32 = 2;
/// One that hung is tried again after so long, should nothing show that it goes on.
const LONGEST_HANG: Duration = Duration::from_secs(1);
/// Most looks at one lane in a row.
const MOST_LOOKS: usize = 3;

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
    fed: Fed,
    /// It hung when others were given what waited for it.
    hung: Option<Hung>,
    /// Looks in a row at which it seemed not to be counted.
    unseen: u32,
}

#[derive(Clone, Copy, Debug)]
struct Hung {
    /// How often it had gone to wait then: with the next time it has gone on.
    waits: Option<u64>,
    /// When it is tried again at the latest.
    until: Instant,
}

/// What was fed last.
#[derive(Debug, Default)]
struct Fed {
    open: u32,
    on_their_way: u32,
    /// How often the lane had been chosen then.
    selected: u32,
}

impl Hung {
    fn is_over(self, waits: Option<u64>, now: Instant) -> bool {
        now >= self.until || waits != self.waits
    }
}

impl Fed {
    /// How many of those that the selector sent since the last time are not among `open` yet, because their handshakes are under
    /// way. They may as well have come and gone: then it would count as busier than it is. So only a few are believed to be
    /// under way, and only where most of the others were seen.
    fn on_their_way(&mut self, open: u32, selected: u32) -> u32 {
        let recent = selected.wrapping_sub(self.selected);
        let expected = self.open.saturating_add(self.on_their_way).saturating_add(recent);
        let missing = expected.saturating_sub(open);
        let on_their_way = if missing <= FEW && missing <= recent / 2 { missing } else { 0 };
        *self = Fed { open, on_their_way, selected };
        on_their_way
    }
}

impl Watched {
    /// It has begun to listen and has no connection yet.
    pub(super) fn new(post: Post, used: Use) -> Watched {
        let load = Load::of(post.root);
        Watched {
            post,
            used,
            load,
            handicap: handicap::Seen::default(),
            fed: Fed::default(),
            hung: None,
            unseen: 0,
        }
    }

    /// Its lane in the table that the kernel chooses by, if it does.
    fn cells(&self) -> Option<LaneCells<'_>> {
        match (&self.used, self.post.unit) {
            (Use::Counted(table) | Use::Fed(table), Some(unit)) => Some(table.lane(unit)),
            (Use::Counted(_) | Use::Fed(_), None) | (Use::Weighed, _) => None,
        }
    }

    /// Whether the kernel may choose it by that table; `None`: it does not choose by a table.
    pub(super) fn is_open(&self) -> Option<bool> {
        self.cells().map(|cells| cells.is_open())
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
        self.look_whether_it_goes_on(now);
        match (&self.used, self.post.unit) {
            (Use::Fed(table), Some(unit)) => {
                let table = table.clone();
                self.feed(&table.lane(unit), now)
            }
            (Use::Counted(table), Some(unit)) => {
                let established = table.lane(unit).established();
                self.load.look(queue_of(&self.post), Some(established), now)
            }
            (Use::Fed(_) | Use::Counted(_), None) | (Use::Weighed, _) => {
                self.load.look(queue_of(&self.post), None, now)
            }
        }
    }

    /// Looks again if somebody was sent there meanwhile: whether he is among those that were seen is not known.
    fn feed(&mut self, cells: &LaneCells<'_>, now: Instant) -> bool {
        let (mut busy, mut placed) = (false, cells.placed());
        for _ in 0..MOST_LOOKS {
            busy |= self.load.look(queue_of(&self.post), None, now);
            let since = cells.placed();
            if since.selected == placed.selected {
                break;
            }
            placed = since;
        }
        let on_their_way = self.fed.on_their_way(self.load.open(), placed.selected);
        cells.feed_since(placed, self.load.open(), on_their_way);
        busy || on_their_way > 0
    }

    /// Whether its listener was made in another cgroup than ours. With nothing open it would be sent everybody.
    pub(super) fn is_unseen(&mut self) -> bool {
        let Some(cells) = self.cells().filter(|_| self.is_counted() && self.post.elsewhere) else {
            return false;
        };
        // Chosen it is for every SYN: many clients far away, or a flood of SYNs, have established nothing yet.
        let suspect = cells.selected() >= UNCOUNTED && cells.established() == 0;
        // One that is in the queue is counted a moment later.
        self.unseen = if suspect && self.load.has_some() { self.unseen + 1 } else { 0 };
        self.unseen > 1
    }

    /// Others were given what waited for it: until it goes on it is chosen after all others.
    pub(super) fn hangs(&mut self, now: Instant) {
        self.load.was_seen_to(now);
        self.hung = Some(Hung { waits: self.load.waits(), until: now + LONGEST_HANG });
        if let Some(cells) = self.cells() {
            cells.put_last();
        }
    }

    pub(super) fn is_hung(&self) -> bool {
        self.hung.is_some()
    }

    fn look_whether_it_goes_on(&mut self, now: Instant) {
        if self.hung.is_some_and(|hung| hung.is_over(self.load.waits(), now)) {
            self.goes_on();
        }
    }

    /// It is chosen like all others.
    pub(super) fn goes_on(&mut self) {
        self.hung = None;
        if let Some(cells) = self.cells() {
            cells.put_even();
        }
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

fn queue_of(post: &Post) -> impl Fn() -> u32 + '_ {
    || queue_length(post.socket.as_fd()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Fed, Hung};

    #[test]
    fn one_that_hung_is_over_it_when_it_goes_to_wait_again_or_after_a_while() {
        let now = Instant::now();
        let hung = Hung { waits: Some(7), until: now + Duration::from_secs(1) };
        assert!(!hung.is_over(Some(7), now));
        assert!(hung.is_over(Some(8), now));
        assert!(hung.is_over(Some(7), now + Duration::from_secs(1)));
    }

    #[test]
    fn the_last_of_many_who_come_counts_until_the_next_look() {
        let mut fed = Fed::default();
        assert_eq!(fed.on_their_way(7, 8), 1);
        assert_eq!(fed.on_their_way(8, 8), 0);
        assert_eq!(fed.on_their_way(14, 16), 2);
    }

    #[test]
    fn those_who_come_and_go_are_not_taken_for_some_who_come() {
        let mut fed = Fed::default();
        for selected in 1..10 {
            assert_eq!(fed.on_their_way(0, selected), 0);
        }
        assert_eq!(fed.on_their_way(3, 20), 0);
    }
}
