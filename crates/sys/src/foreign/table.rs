//! A descriptor table that a thread has for itself, in which a socket can stand under a number that this process uses for
//! something else.
//!
//! Invariant: the process's own table is never changed here. The copy holds every file of the process open once more,
//! so it is emptied before its thread ends: joining a thread does not wait until its files are closed.
#![expect(
    unsafe_code,
    reason = "close_range, dup2 and epoll_ctl by bare number, in a table nobody else sees"
)]

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

/// One registration that is to follow: the set by our number, the rest as the other process has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Move {
    pub(super) set: RawFd,
    pub(super) number: RawFd,
    pub(super) events: u32,
    pub(super) data: u64,
}

/// Registers `to` wherever `from` is, and ends the registrations of `from`; if one cannot be made, none was. For a thread of its
/// own, which has no descriptors afterwards.
pub(super) fn carry_out(moves: &[Move], from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let table = Table::unshare()?;
    let (mut from, mut to, mut moves) = (from.as_raw_fd(), to.as_raw_fd(), moves.to_vec());
    let numbers: Vec<RawFd> = moves.iter().map(|one| one.number).collect();
    // Nothing that is still needed may lie where something is put.
    for needed in moves.iter_mut().map(|one| &mut one.set).chain([&mut from, &mut to]) {
        if numbers.contains(needed) {
            *needed = table.duplicate_above(*needed, numbers.iter().copied().max().unwrap_or(0))?;
        }
    }
    for (made, one) in moves.iter().enumerate() {
        // EEXIST: the process has the same set under two numbers.
        if let Err(error) = table.add(to, one)
            && error.raw_os_error() != Some(libc::EEXIST)
        {
            for one in moves.iter().take(made) {
                let _ = table.delete(to, one);
            }
            return Err(error);
        }
    }
    for one in &moves {
        // Gone already: the same set under two numbers, or the process ended it.
        let _ = table.delete(from, one);
    }
    Ok(())
}

/// The thread's own table. Stays with its thread.
struct Table(PhantomData<*const ()>);

impl Table {
    /// Gives the calling thread a copy of the process's table. `close_range` can do that (Linux 5.9) also where a
    /// container's filter forbids `unshare`; the range is one that no descriptor is in.
    fn unshare() -> io::Result<Self> {
        close_range(u32::MAX, libc::CLOSE_RANGE_UNSHARE)?;
        Ok(Self(PhantomData))
    }

    /// The same file under a number above that one.
    fn duplicate_above(&self, fd: RawFd, number: RawFd) -> io::Result<RawFd> {
        // SAFETY: takes plain numbers; the new one is this table's alone.
        let duplicate = unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, number.saturating_add(1)) };
        if duplicate < 0 { Err(io::Error::last_os_error()) } else { Ok(duplicate) }
    }

    fn add(&self, socket: RawFd, to: &Move) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket, to)
    }

    fn delete(&self, socket: RawFd, from: &Move) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_DEL, socket, from)
    }

    /// With the socket under the number that the other process has for it.
    fn control(&self, operation: libc::c_int, socket: RawFd, one: &Move) -> io::Result<()> {
        // SAFETY: whatever it closes is open in the process's table all the same.
        if unsafe { libc::dup2(socket, one.number) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut event = libc::epoll_event { events: one.events, u64: one.data };
        // SAFETY: the event is valid memory of the right type; the kernel only reads it.
        if unsafe { libc::epoll_ctl(one.set, operation, one.number, &mut event) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // If it cannot: the files are closed a moment after the thread has ended.
        let _ = close_range(0, 0);
    }
}

/// Everything from that number on.
fn close_range(first: u32, flags: u32) -> io::Result<()> {
    // SAFETY: plain numbers. Without the flag it is called in a table of the thread's own only.
    let failed = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, flags) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
