//! Choosing the socket of a new connection in the kernel, by how many connections each has open: eBPF, by our own few calls.
//!
//! What lives here: the two programs as listings, the table that they share with the primary, loading them. What does not:
//! who may be chosen (that is decided elsewhere and written into the table), classic BPF (`listen::selector`), and when counts
//! are fed. Invariant: everything ends with the last copy of its descriptors; nothing stays in the kernel.

mod asm;
mod call;
mod counter;
pub mod grant;
mod group;
mod layout;
mod probe;
mod selector;
mod table;
mod vmlinux;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use crate::caps::{Capability, Raised};
use crate::cgroup;

pub use group::{Key, Selector};
pub use layout::{BLOCKS, MOST_LANES};
pub use probe::{Probe, probe};
pub use table::{LaneCells, Placed, Table, Unit};

/// How the lane with the fewest open connections is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    /// The kernel counts and chooses. CAP_BPF, and CAP_NET_ADMIN with the second version of cgroups, or CAP_PERFMON.
    A,
    /// The kernel chooses by counts that the primary feeds. CAP_BPF.
    B,
    /// The kernel chooses by chance, weighted by what the primary sees. No privilege.
    C,
}

/// Where connections are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// In the cgroup of the primary.
    Cgroup,
    /// At a tracepoint that all sockets of the system pass.
    Tracepoint,
}

/// What could not be had.
#[derive(Debug)]
pub struct Refused {
    /// For which tier it is needed.
    pub tier: Tier,
    /// What was tried: completes "cannot".
    pub what: &'static str,
    /// The kernel's answer.
    pub error: io::Error,
}

impl Refused {
    fn new(tier: Tier, what: &'static str) -> impl FnOnce(io::Error) -> Refused {
        move |error| Refused { tier, what, error }
    }
}

/// Everything that one primary has loaded: the table, and in tier A the counter.
#[derive(Debug)]
pub struct Loaded {
    table: Arc<Table>,
    counting: Option<Counting>,
    blocks: [bool; BLOCKS],
    /// Selectors made in advance, by block, the last first; `None`: they are made when they are needed.
    granted: Option<Vec<group::Parts>>,
}

#[derive(Debug)]
struct Counting {
    storage: Arc<OwnedFd>,
    link: OwnedFd,
    counter: Counter,
}

/// What maps and the selector need. Lowered again behind every call.
fn raised() -> Raised {
    Raised::new(&[Capability::Bpf])
}

impl Loaded {
    /// Loads what `tier` needs. Tier C needs nothing of this, and is refused.
    pub fn load(tier: Tier) -> Result<Loaded, Refused> {
        let _raised = raised();
        let table = Table::new().map(Arc::new).map_err(Refused::new(tier, "make a table"))?;
        let counting = match tier {
            Tier::A => Some(count(&table)?),
            Tier::B => None,
            Tier::C => {
                let error = io::ErrorKind::InvalidInput.into();
                return Err(Refused { tier, what: "load programs that it does not need", error });
            }
        };
        Ok(Loaded { table, counting, blocks: [false; BLOCKS], granted: None })
    }

    /// Which tier this is.
    pub fn tier(&self) -> Tier {
        if self.counting.is_some() { Tier::A } else { Tier::B }
    }

    /// Where connections are counted; `None`: nowhere.
    pub fn counter(&self) -> Option<Counter> {
        self.counting.as_ref().map(|counting| counting.counter)
    }

    /// The table.
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// What keeps the counter at work: whoever has a copy of it makes counts go on when the primary is gone.
    pub fn link(&self) -> Option<BorrowedFd<'_>> {
        self.counting.as_ref().map(|counting| counting.link.as_fd())
    }

    /// The selector of one more listening address. `ENOSPC`: there are [`BLOCKS`] already.
    pub fn selector(&mut self) -> Result<Selector, Refused> {
        let tier = self.tier();
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let block = self.blocks.iter().position(|taken| !taken);
        let block = block.ok_or_else(full).map_err(Refused::new(tier, "choose on one more address"))?;
        let storage = self.counting.as_ref().map(|counting| counting.storage.clone());
        let parts = match &mut self.granted {
            // Each is made for one block, and these are used up in their order.
            Some(granted) => granted.pop().ok_or_else(full),
            None => group::load(&self.table, block, group::FIRST_LANES),
        };
        let parts = parts.map_err(Refused::new(tier, "load the selector"))?;
        let selector = Selector::new(self.table.clone(), storage, block, parts);
        if let Some(taken) = self.blocks.get_mut(block) {
            *taken = true;
        }
        Ok(selector)
    }

    /// The address is closed: its block is free once its last connection is.
    pub fn give_back(&mut self, selector: &Selector) {
        if self.granted.is_some() {
            // What was made in advance is used once.
            return;
        }
        if let Some(taken) = self.blocks.get_mut(selector.block()) {
            *taken = false;
        }
    }
}

fn count(table: &Table) -> Result<Counting, Refused> {
    let types = call::load_types().map_err(Refused::new(Tier::A, "describe the storage of sockets"))?;
    let storage = call::make_map(call::MapKind::Storage(types.as_fd()), "oneport_lane")
        .map_err(Refused::new(Tier::A, "make a storage of sockets"))?;
    let (counter, link) = match count_in_cgroup(table, &storage) {
        Ok(link) => (Counter::Cgroup, link),
        // What stands in the way there is what is told: it is what can be changed most easily.
        Err(refused) => match count_traced(table, &storage) {
            Ok(link) => (Counter::Tracepoint, link),
            Err(_) => return Err(refused),
        },
    };
    Ok(Counting { storage: Arc::new(storage), link, counter })
}

fn count_in_cgroup(table: &Table, storage: &OwnedFd) -> Result<OwnedFd, Refused> {
    let refused = |what| Refused::new(Tier::A, what);
    let _raised = Raised::new(&[Capability::Bpf, Capability::NetAdmin]);
    let cgroup = cgroup::open_own().map_err(refused("find the cgroup of this process"))?;
    let listing = counter::in_cgroup(table.map(), storage.as_raw_fd()).ok_or_else(too_long);
    let program = listing
        .and_then(|listing| call::load_program(call::ProgramKind::SocketOps, &listing, "oneport_count"))
        .map_err(refused("load the counter"))?;
    call::link_to_cgroup(program.as_fd(), cgroup.as_fd())
        .map_err(refused("count in the cgroup of this process"))
}

fn count_traced(table: &Table, storage: &OwnedFd) -> io::Result<OwnedFd> {
    let _raised = Raised::new(&[Capability::Bpf, Capability::Perfmon]);
    let number = vmlinux::typedef("btf_trace_inet_sock_set_state")?;
    let listing = counter::traced(table.map(), storage.as_raw_fd()).ok_or_else(too_long)?;
    let program = call::load_program(call::ProgramKind::Traced(number), &listing, "oneport_count")?;
    call::link_to_tracepoint(program.as_fd())
}

fn too_long() -> io::Error {
    io::Error::from_raw_os_error(libc::E2BIG)
}
