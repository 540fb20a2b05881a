//! Which socket of a `SO_REUSEPORT` group gets the next connection or datagram: a classic BPF program.
//!
//! What lives here: what may be asked for and its listing; in `packet` the pieces that look at addresses. What does not:
//! eBPF, and who is open. Invariant: nothing goes to a socket whose index was not given, as long as the indexes given
//! are those of sockets that exist.
//!
//! The kernel (6.18) numbers the sockets of a group 0, 1, 2 ... in the order they joined it: TCP by `listen`, UDP by
//! `bind`. When one leaves (its last descriptor closes, or it is shut down), the **last** of them moves into its place; the
//! others stay. The group exists as long as one socket is in it, and so does its program; a socket that joins later has the
//! next number, and gets nothing until a program names it. An answer beyond the group makes the kernel choose by its
//! hash among all sockets, so attach anew before or right after a socket leaves.

mod packet;

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

use libc::sock_filter;

use self::packet::{Part, Transport};
use super::bpf::{
    ADD, JUMP_IF_AT_LEAST, LOAD, MODULO, MOST_INSTRUCTIONS, RETURN, RETURN_IT, attach_program, instruction,
    set_option,
};
use super::{SocketKind, socket_kind};

/// A random number, as if it were a word of the packet.
const RANDOM: u32 = (libc::SKF_AD_OFF + libc::SKF_AD_RANDOM).cast_unsigned();

/// Who gets what comes from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Selection<'a> {
    /// The sockets, by their numbers in the group. One that is given twice gets twice as much.
    pub indexes: &'a [u32],
    /// How it is spread over them.
    pub spread: Spread,
    /// One client that goes somewhere else.
    pub exception: Option<Exception>,
}

/// How connections and datagrams are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Evenly and at random.
    AtRandom,
    /// By the source's address and port: all datagrams of one client go to one socket, as long as the same indexes are given;
    /// in every process, since the numbers that mix are always the same. When the count of indexes changes, most clients
    /// change their socket.
    ByFlow,
    /// By the source's address alone, likewise.
    ByAddress,
}

/// A client whose connections or datagrams go to one socket, chosen or not: how a single copy is asked whether it is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// The client's own address and port; an IPv4 address written as an IPv6 one is IPv4.
    pub from: SocketAddr,
    /// The socket's number in the group.
    pub index: u32,
}

/// Gives the whole group of `fd` this program, in place of the one it has, for the next connection or datagram on. What is
/// in a queue stays there. No privilege is needed. `EINVAL`: no index, more runs of successive indexes than fit (about
/// 1,300), or a socket that was bound without `SO_REUSEPORT`; `EPROTOTYPE`: neither TCP nor UDP; `EOPNOTSUPP`: multipath TCP,
/// whose sockets take no program but obey that of their group, attached to a plain TCP socket in it (Linux 6.18); `ENOMEM`: more than the administrator allows
/// (`net.core.optmem_max`).
pub fn attach(fd: BorrowedFd<'_>, selection: &Selection<'_>) -> io::Result<()> {
    let transport = match socket_kind(fd) {
        SocketKind::Tcp => Transport::Tcp,
        SocketKind::Udp => Transport::Udp,
        SocketKind::UnixStream | SocketKind::UnixDatagram | SocketKind::Other => {
            return Err(io::Error::from_raw_os_error(libc::EPROTOTYPE));
        }
    };
    let mut listing =
        listing(selection, transport).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    attach_program(fd, libc::SO_ATTACH_REUSEPORT_CBPF, &mut listing)
}

/// Takes the group's program away: the kernel's hash of the addresses chooses again among all sockets (Linux 5.3).
/// `ENOENT`: there was none.
pub fn detach(fd: BorrowedFd<'_>) -> io::Result<()> {
    set_option(fd, libc::SO_DETACH_REUSEPORT_BPF, &0i32)
}

/// The listing. Successive indexes are one run: chosen rank minus the run's first rank plus its first index.
fn listing(selection: &Selection<'_>, transport: Transport) -> Option<Vec<sock_filter>> {
    let Selection { indexes, spread, exception } = *selection;
    let count = u32::try_from(indexes.len()).ok().filter(|count| *count > 0)?;
    let mut listing = match exception {
        Some(Exception { from, index }) => {
            packet::if_from(from, transport, &[instruction(RETURN, index, 0, 0)])
        }
        None => Vec::new(),
    };
    match spread {
        Spread::AtRandom => listing.push(instruction(LOAD, RANDOM, 0, 0)),
        Spread::ByFlow => listing.extend(packet::number_of_source(transport, Part::AddressAndPort)),
        Spread::ByAddress => listing.extend(packet::number_of_source(transport, Part::Address)),
    }
    listing.push(instruction(MODULO, count, 0, 0)); // the chosen rank among those given
    let mut end: u32 = 0;
    for run in indexes.chunk_by(|one, next| one.checked_add(1) == Some(*next)) {
        let first = *run.first()?;
        let start = end;
        end += u32::try_from(run.len()).ok()?;
        listing.extend([
            instruction(JUMP_IF_AT_LEAST, end, 2, 0), // behind this run: to the next
            instruction(ADD, first.wrapping_sub(start), 0, 0), // its index (arithmetic wraps)
            instruction(RETURN_IT, 0, 0, 0),
        ]);
    }
    // Never reached, but the kernel wants a program to end with an answer.
    listing.push(instruction(RETURN_IT, 0, 0, 0));
    (listing.len() <= MOST_INSTRUCTIONS).then_some(listing)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::packet::Transport;
    use super::{ADD, JUMP_IF_AT_LEAST, LOAD, MODULO, RETURN_IT, Selection, Spread, listing};

    fn at_random(indexes: &[u32]) -> Selection<'_> {
        Selection { indexes, spread: Spread::AtRandom, exception: None }
    }

    fn length(selection: &Selection<'_>) -> Option<usize> {
        listing(selection, Transport::Tcp).map(|listing| listing.len())
    }

    /// What the kernel would do with the listing for one random number.
    fn choice(indexes: &[u32], random: u32) -> u32 {
        let listing = listing(&at_random(indexes), Transport::Tcp).expect("a listing");
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
        assert_eq!(length(&at_random(&all)), Some(6));
        let scattered: Vec<u32> = (0..1364).map(|index| index * 2).collect();
        assert_eq!(length(&at_random(&scattered)), Some(4095));
        let too_many: Vec<u32> = (0..1365).map(|index| index * 2).collect();
        assert_eq!(length(&at_random(&too_many)), None);
        assert_eq!(length(&at_random(&[])), None);
    }
}
