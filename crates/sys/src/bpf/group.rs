//! The selector of one listening address: its sockets by number, and a lane for each worker that listens there.
//!
//! A socket that changes its worker keeps its key and gets a fresh lane: connections that it had before are counted down
//! where they were counted up. Invariant: a lane is used anew only when nothing is open in it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::call::{self, MapKind, ProgramKind};
use super::layout::{BLOCK, COUNTED, KEEPER, KEYS, MOST_LANES, UNIT};
use super::table::{Table, Unit};
use super::{counter, raised, selector, too_long};
use crate::tcp::Info;

/// Lanes that the first program of an address knows; each further one knows twice as many and one more. What is scanned is
/// paid for with every connection.
pub(super) const FIRST_LANES: usize = 15;

/// The number of a socket in the selector's array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(u32);

/// The selector.
#[derive(Debug)]
pub struct Selector {
    table: Arc<Table>,
    /// Where a socket's lane lies, for the counter.
    storage: Option<Arc<OwnedFd>>,
    block: usize,
    sockets: OwnedFd,
    program: OwnedFd,
    /// Lanes that the program knows.
    lanes: usize,
    /// The program was not attached yet, or is another one since.
    fresh: bool,
    keys: Vec<bool>,
    units: Vec<Unit>,
}

/// What of a selector is in the kernel.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) sockets: OwnedFd,
    pub(super) program: OwnedFd,
    /// Lanes that the program knows.
    pub(super) lanes: usize,
}

impl Selector {
    pub(super) fn new(
        table: Arc<Table>,
        storage: Option<Arc<OwnedFd>>,
        block: usize,
        Parts { sockets, program, lanes }: Parts,
    ) -> Selector {
        let keys = vec![false; KEEPER as usize];
        for unit in Table::units_of(block) {
            table.lane(unit).shut();
        }
        Selector { table, storage, block, sockets, program, lanes, fresh: true, keys, units: Vec::new() }
    }

    pub(super) fn block(&self) -> usize {
        self.block
    }

    /// Makes the group of `socket`, which listens, choose by this; does nothing where it does already.
    /// `EINVAL`: the socket is not in a group.
    pub fn attach(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if self.fresh {
            self.attach_again(socket)?;
        }
        Ok(())
    }

    /// The same where something else was attached meanwhile.
    pub fn attach_again(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        crate::listen::attach_loaded(socket, self.program.as_raw_fd())?;
        self.fresh = false;
        Ok(())
    }

    /// Takes in a socket that listens. `ENOSPC`: there are [`MOST_LANES`] already; `EINVAL`, `EOPNOTSUPP`: multipath TCP.
    pub fn add(&mut self, socket: BorrowedFd<'_>) -> io::Result<Key> {
        let free = self.keys.iter().position(|taken| !taken);
        let key = free.ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSPC))?;
        let _raised = raised();
        call::put_socket(self.sockets.as_fd(), key as u32, socket)?;
        if let Some(taken) = self.keys.get_mut(key) {
            *taken = true;
        }
        Ok(Key(key as u32))
    }

    /// Takes in a socket under a key that it has already, in case it was taken out: a socket that is shut leaves by itself.
    pub fn put(&mut self, key: Key, socket: BorrowedFd<'_>) -> io::Result<()> {
        let _raised = raised();
        match call::put_socket(self.sockets.as_fd(), key.0, socket) {
            // It is there.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => Ok(()),
            outcome => outcome,
        }
    }

    /// Takes in the socket that gets connections while no lane is open.
    pub fn add_keeper(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let _raised = raised();
        call::put_socket(self.sockets.as_fd(), KEEPER, socket)
    }

    /// Gives up a socket.
    pub fn remove(&mut self, key: Key) {
        let _raised = raised();
        // One that was closed or shut has left by itself.
        let _ = call::take_socket(self.sockets.as_fd(), key.0);
        if let Some(taken) = self.keys.get_mut(key.0 as usize) {
            *taken = false;
        }
    }

    /// A fresh lane for the socket, in which its connections count from now on; it is not open yet. `ENOSPC`: every lane has a
    /// socket or connections; `E2BIG` and others: the program for more lanes is refused.
    pub fn begin(&mut self, key: Key, socket: BorrowedFd<'_>) -> io::Result<Unit> {
        let unit = loop {
            let free = Table::units_of(self.block)
                .take(self.lanes)
                .find(|unit| !self.units.contains(unit) && self.is_vacant(*unit));
            match free {
                Some(unit) => break unit,
                None => self.grow()?,
            }
        };
        self.table.lane(unit).begin(key.0);
        if let Some(storage) = &self.storage {
            let _raised = raised();
            call::store(storage.as_fd(), socket, unit.0)?;
        }
        self.units.push(unit);
        Ok(unit)
    }

    /// Whether nobody counts there any more. What was fed last, maybe after its end, does not count.
    fn is_vacant(&self, unit: Unit) -> bool {
        self.storage.is_none() || self.table.lane(unit).open() <= 0
    }

    /// Nothing new comes there; what is open goes on counting until it ends.
    pub fn end(&mut self, unit: Unit) {
        let lane = self.table.lane(unit);
        lane.shut();
        if self.storage.is_none() {
            // Nobody counts down what was fed.
            lane.feed(0);
        }
        self.units.retain(|used| *used != unit);
    }

    /// A connection that was accepted for one worker is given to another one: it counts there from now on.
    pub fn hand_over(&self, connection: BorrowedFd<'_>, to: Unit) {
        let Some(storage) = &self.storage else { return };
        let _raised = raised();
        let (stored, store) = (
            || call::stored(storage.as_fd(), connection).unwrap_or(0),
            |mark| call::store(storage.as_fd(), connection, mark),
        );
        let counted = COUNTED.cast_unsigned();
        let mark = stored();
        let from = Unit(mark & !counted);
        if mark & counted == 0 || from == to || store(to.0 | counted).is_err() {
            return;
        }
        // The first question waits for who changes the state now, and the second one sees what to.
        let _ = Info::of(connection);
        let is_over = Info::of(connection).is_ok_and(|info| counter::is_given_up(info.state()));
        if is_over && stored() & counted != 0 {
            // Reset by the client between the two calls: it was counted down where it was.
            let _ = store(to.0);
            return;
        }
        self.table.lane(to).add(1);
        self.table.lane(from).add(-1);
    }

    fn grow(&mut self) -> io::Result<()> {
        if self.lanes >= MOST_LANES {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        let lanes = (self.lanes * 2 + 1).min(MOST_LANES);
        let _raised = raised();
        self.program = load_program(&self.table, &self.sockets, self.block, lanes)?;
        (self.lanes, self.fresh) = (lanes, true);
        Ok(())
    }
}

/// Both parts of a selector, for one block.
pub(super) fn load(table: &Table, block: usize, lanes: usize) -> io::Result<Parts> {
    let _raised = raised();
    let sockets = call::make_map(MapKind::Sockets(KEYS), "oneport_sockets")?;
    let program = load_program(table, &sockets, block, lanes)?;
    Ok(Parts { sockets, program, lanes })
}

fn load_program(table: &Table, sockets: &OwnedFd, block: usize, lanes: usize) -> io::Result<OwnedFd> {
    let base = i32::try_from(block * BLOCK * UNIT).map_err(|_| too_long())?;
    let listing = selector::selector(table.map(), sockets.as_raw_fd(), base, lanes).ok_or_else(too_long)?;
    call::load_program(ProgramKind::Selector, &listing, "oneport_select")
}
