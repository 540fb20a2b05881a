//! The table that selector and counter work on, as memory of this process.
//!
//! Invariant: every access is one atomic one, because the kernel writes here at any time.
#![expect(unsafe_code, reason = "memory that is shared with the kernel")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use super::call::{MapKind, make_map};
use super::layout::{
    BIAS, BLOCK, BYTES, ESTABLISHED, EVEN, KEY, LAST, OFF, OPEN, PENDING, SELECTED, STAMP, UNIT, WEIGHT,
};

/// The number of a lane in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit(pub(super) u32);

/// The table.
#[derive(Debug)]
pub struct Table {
    map: OwnedFd,
    memory: NonNull<AtomicU32>,
}

// SAFETY: the memory is there until the table is dropped, whichever thread does that.
unsafe impl Send for Table {}
// SAFETY: it is only read and written atomically.
unsafe impl Sync for Table {}

impl Table {
    pub(super) fn new() -> io::Result<Table> {
        let table = Table::over(make_map(MapKind::Table(BYTES as u32), "oneport_table")?)?;
        for unit in 0..(BYTES / UNIT) {
            table.lane(Unit(unit as u32)).shut();
        }
        Ok(table)
    }

    /// The table that is behind a descriptor.
    pub(super) fn over(map: OwnedFd) -> io::Result<Table> {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, at an address of the kernel's choice, of a descriptor that we hold.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, protection, flags, map.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let memory = NonNull::new(at.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Table { map, memory })
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }

    pub(super) fn map(&self) -> i32 {
        self.map.as_raw_fd()
    }

    /// One lane of it.
    pub fn lane(&self, unit: Unit) -> LaneCells<'_> {
        LaneCells { table: self, at: (unit.0 as usize * UNIT) % BYTES }
    }

    /// The numbers of the lanes of a block.
    pub(super) fn units_of(block: usize) -> impl Iterator<Item = Unit> {
        (1..BLOCK).map(move |lane| Unit((block * BLOCK + lane) as u32))
    }

    fn cell(&self, at: usize, offset: i16) -> &AtomicU32 {
        let index = (at + usize::from(offset.cast_unsigned())) % BYTES / size_of::<AtomicU32>();
        // SAFETY: below the end of the mapping, which is a whole number of cells.
        let cell = unsafe { self.memory.add(index) };
        // SAFETY: mapped, aligned, and nobody ever accesses it but atomically.
        unsafe { cell.as_ref() }
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and no reference into it outlives the table.
        let _ = unsafe { libc::munmap(self.memory.as_ptr().cast(), BYTES) };
    }
}

/// What the selector has sent to a lane until one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// As [`LaneCells::selected`].
    pub selected: u32,
    /// Chosen and not established, or not fed, yet.
    pub pending: i32,
}

/// What is known of one lane, and what may be told about it.
#[derive(Clone, Copy, Debug)]
pub struct LaneCells<'a> {
    table: &'a Table,
    at: usize,
}

impl LaneCells<'_> {
    fn get(&self, offset: i16) -> u32 {
        self.table.cell(self.at, offset).load(Ordering::Relaxed)
    }

    fn set(&self, offset: i16, value: u32) {
        self.table.cell(self.at, offset).store(value, Ordering::Relaxed);
    }

    /// Connections that are open, as counted by the kernel or fed last.
    pub fn open(&self) -> i32 {
        self.get(OPEN).cast_signed()
    }

    /// Connections established so far, where the kernel counts; it begins anew at 2^32.
    pub fn established(&self) -> u32 {
        self.get(ESTABLISHED)
    }

    /// Times that the selector chose it so far; it begins anew at 2^32.
    pub fn selected(&self) -> u32 {
        self.get(SELECTED)
    }

    /// How many more open connections it counts as having.
    pub fn bias(&self) -> u32 {
        self.get(BIAS)
    }

    /// Says how many connections are open where the kernel does not count; those that were on their way are among them.
    pub fn feed(&self, open: u32) {
        self.set(OPEN, open);
        self.set(PENDING, 0);
    }

    /// How often it was chosen so far, and what of that counts as being on its way.
    pub fn placed(&self) -> Placed {
        Placed { selected: self.selected(), pending: self.get(PENDING).cast_signed() }
    }

    /// [`feed`](LaneCells::feed) while connections arrive: what was chosen since `before` goes on counting as being on its way, and
    /// so many of those before, whose handshakes may not have ended.
    pub fn feed_since(&self, before: Placed, open: u32, on_their_way: u32) {
        self.set(OPEN, open);
        let change = on_their_way.cast_signed().wrapping_sub(before.pending);
        self.table.cell(self.at, PENDING).fetch_add(change.cast_unsigned(), Ordering::Relaxed);
    }

    /// Lets it count as having so many more open connections: a newcomer would get everything otherwise, until it has as many
    /// as its siblings.
    pub fn set_bias(&self, bias: u32) {
        self.set(BIAS, bias);
    }

    /// Lets the selector choose it.
    pub fn open_up(&self) {
        self.set(WEIGHT, EVEN);
    }

    /// Lets the selector pass it over.
    pub fn shut(&self) {
        self.set(WEIGHT, OFF);
    }

    /// Lets the selector choose it after all others, if it may choose it at all.
    pub fn put_last(&self) {
        self.weigh_instead_of(EVEN, LAST);
    }

    /// Ends that.
    pub fn put_even(&self) {
        self.weigh_instead_of(LAST, EVEN);
    }

    /// Not if somebody has shut it meanwhile.
    fn weigh_instead_of(&self, before: u32, weight: u32) {
        let cell = self.table.cell(self.at, WEIGHT);
        let _ = cell.compare_exchange(before, weight, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Whether the selector may choose it.
    pub fn is_open(&self) -> bool {
        self.get(WEIGHT) != OFF
    }

    /// One connection more that counts here, and one less: it changed its worker.
    pub(super) fn add(&self, connections: i32) {
        self.table.cell(self.at, OPEN).fetch_add(connections.cast_unsigned(), Ordering::Relaxed);
    }

    /// Begins anew for a socket with this key, not to be chosen yet. Of what is open only that is taken off which is seen: a
    /// client of the last socket may come to be counted in this moment.
    pub(super) fn begin(&self, key: u32) {
        self.shut();
        self.add(self.open().wrapping_neg());
        for offset in [ESTABLISHED, PENDING, STAMP, SELECTED, BIAS] {
            self.set(offset, 0);
        }
        self.set(KEY, key);
    }
}
