//! Which socket of a `SO_REUSEPORT` group gets the next connection: a classic BPF program.
//!
//! What does not live here: eBPF, and who is open. Invariant: no connection goes to a socket whose index was not given, as
//! long as the indexes given are those of sockets that exist.
//!
//! The kernel (6.18) numbers the sockets of a group 0, 1, 2 ... in the order they joined it: TCP by `listen`, UDP by
//! `bind`. When one leaves (its last descriptor closes, or it is shut down), the **last** of them moves into its place; the
//! others stay. The group exists as long as one socket is in it, and so does its program; a socket that joins later has the
//! next number, and gets nothing until a program names it. An answer beyond the group makes the kernel choose by its
//! hash among all sockets, so attach anew before or right after a socket leaves.
#![expect(unsafe_code, reason = "socket options of the group's program: rustix has none")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::sock_filter;

/// Longest program the kernel takes (`BPF_MAXINSNS`).
const MOST_INSTRUCTIONS: usize = 4096;

/// A random number, as if it were a word of the packet.
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const MODULO: u32 = libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K;
const ADD: u32 = libc::BPF_ALU | libc::BPF_ADD | libc::BPF_K;
const JUMP_IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const RETURN_IT: u32 = libc::BPF_RET | libc::BPF_A;

/// Spreads new connections evenly and at random over the sockets with these indexes, for the whole group of `fd`, from the
/// next connection on; an index given twice gets twice as much. Connections already in a queue stay there. No privilege
/// is needed. `EINVAL`: no index, more runs of successive indexes than fit (about 1,300), or a socket that was bound without
/// `SO_REUSEPORT`; `ENOMEM`: more than the administrator allows (`net.core.optmem_max`).
pub fn attach_selector(fd: BorrowedFd<'_>, indexes: &[u32]) -> io::Result<()> {
    let mut listing = listing(indexes).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: listing.len() as u16, filter: listing.as_mut_ptr() };
    set_option(fd, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Takes the group's program away: the kernel's hash of the addresses chooses again among all sockets (Linux 5.3).
/// `ENOENT`: there was none.
pub fn detach_selector(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SO_DETACH_REUSEPORT_BPF, &0i32)
}

/// The listing. Successive indexes are one run: chosen rank minus the run's first rank plus its first index.
fn listing(indexes: &[u32]) -> Option<Vec<sock_filter>> {
    let count = u32::try_from(indexes.len()).ok().filter(|count| *count > 0)?;
    let mut listing = vec![
        instruction(LOAD, RANDOM, 0),  // a random number
        instruction(MODULO, count, 0), // the chosen rank among those given
    ];
    let mut end: u32 = 0;
    for run in indexes.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        let first = *run.first()?;
        let start = end;
        end += u32::try_from(run.len()).ok()?;
        listing.extend([
            instruction(JUMP_IF_AT_LEAST, end, 2), // behind this run: to the next
            instruction(ADD, first.wrapping_sub(start), 0), // its index (arithmetic wraps)
            instruction(RETURN_IT, 0, 0),
        ]);
    }
    // Never reached, but the kernel wants a program to end with an answer.
    listing.push(instruction(RETURN_IT, 0, 0));
    (listing.len() <= MOST_INSTRUCTIONS).then_some(listing)
}

/// One instruction; a condition that does not hold goes on with the next. Every code fits: classic BPF has 16 bits for it.
fn instruction(code: u32, k: u32, jt: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf: 0, k }
}

fn set_option<T>(fd: BorrowedFd<'_>, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: `value` is readable for `length` bytes, and a program's listing lives until its caller returns.
    let failed = unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, value, length) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{ADD, JUMP_IF_AT_LEAST, LOAD, MODULO, RETURN_IT, listing};

    /// What the kernel would do with the listing for one random number.
    fn choice(indexes: &[u32], random: u32) -> u32 {
        let listing = listing(indexes).expect("a listing");
        let (mut at, mut value) = (0, 0u32);
        loop {
            let step = listing[at];
            at += 1;
            match u32::from(step.code) {
                LOAD => value = random,
                MODULO => value %= step.k,
                ADD => value = value.wrapping_add(step.k),
                JUMP_IF_AT_LEAST => at += usize::from(if value >= step.k { step.jt } else { step.jf }),
                RETURN_IT => return value,
                other => panic!("no such instruction: {other}"),
            }
        }
    }

    fn shares(indexes: &[u32]) -> BTreeMap<u32, usize> {
        let mut shares = BTreeMap::new();
        for random in 0..u32::try_from(indexes.len()).unwrap() * 3 {
            *shares.entry(choice(indexes, random)).or_default() += 1;
        }
        shares
    }

    #[test]
    fn every_index_has_its_share_and_no_other_is_chosen() {
        for indexes in [&[0][..], &[5], &[0, 1, 2], &[0, 2], &[3, 1, 2, 9], &[4, 3, 2, 1, 0], &[u32::MAX, 0]]
        {
            let expected: BTreeMap<u32, usize> = indexes.iter().map(|index| (*index, 3)).collect();
            assert_eq!(shares(indexes), expected, "{indexes:?}");
        }
        assert_eq!(shares(&[0, 1, 1, 2, 1]), BTreeMap::from([(0, 3), (1, 9), (2, 3)]));
    }

    #[test]
    fn a_program_is_short_for_runs_and_refused_when_too_long() {
        let all: Vec<u32> = (0..5000).collect();
        assert_eq!(listing(&all).unwrap().len(), 6);
        let scattered: Vec<u32> = (0..1364).map(|index| index * 2).collect();
        assert_eq!(listing(&scattered).unwrap().len(), 4095);
        let too_many: Vec<u32> = (0..1365).map(|index| index * 2).collect();
        assert!(listing(&too_many).is_none());
        assert!(listing(&[]).is_none());
    }
}
