//! Whether something works here, found out by doing it once. Each trial takes less than a millisecond and leaves nothing.
#![expect(unsafe_code, reason = "io_uring_setup has no safe call that fails on purpose")]

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::accept::{Accepted, accept};
use crate::lane;
use crate::listen::selector::{self, Selection, Spread};
use crate::listen::{V6, bound_to, start_listening};

/// What begins on the loopback interface is over in the same moment; this is for a machine that is slow.
const PATIENCE: Duration = Duration::from_millis(500);

/// Two sockets share a port, and a program of ours sends a client to the second. `ENOPROTOOPT`: no shared ports, or no program
/// among them; `EPROTO`: the client came to the first.
pub fn reuse_port() -> io::Result<()> {
    let anywhere: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
    let first = lane::make_tcp(anywhere[0], V6::Dual).or_else(|_| lane::make_tcp(anywhere[1], V6::Dual))?;
    let address = bound_to(first.as_fd())?.ok_or(io::ErrorKind::AddrNotAvailable)?;
    let second = lane::make_tcp(address, V6::Dual)?;
    // They are numbered in the order in which they listen.
    for socket in [&first, &second] {
        start_listening(socket.as_fd(), 1)?;
    }
    let chosen = Selection { indexes: &[1], spread: Spread::AtRandom, exception: None };
    selector::attach(first.as_fd(), &chosen)?;
    let client = TcpStream::connect_timeout(&address, PATIENCE)?;
    let came = comes_to(&second, client.local_addr()?)?;
    if came { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EPROTO)) }
}

/// Whether that client comes there. Somebody else may find the port, too.
fn comes_to(listener: &OwnedFd, client: SocketAddr) -> io::Result<bool> {
    let until = Instant::now() + PATIENCE;
    loop {
        match accept(listener.as_fd()) {
            Accepted::Connection(connection) => {
                if TcpStream::from(connection).peer_addr().is_ok_and(|peer| peer == client) {
                    return Ok(true);
                }
            }
            Accepted::Skipped => {}
            // The client knows that it is connected before the listener does.
            Accepted::Empty => {
                let left = until.saturating_duration_since(Instant::now());
                let within = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
                if left.is_zero() || poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&within))? == 0 {
                    return Ok(false);
                }
            }
            Accepted::Exhausted(error) | Accepted::Failed(error) => return Err(error),
        }
    }
}

/// Whether programs may use io_uring here. `ENOSYS`: this kernel has none; `EPERM`: forbidden (`kernel.io_uring_disabled`, a
/// container's filter).
pub fn io_uring() -> io::Result<()> {
    let (entries, nowhere) = (1 as libc::c_uint, std::ptr::null_mut::<libc::c_void>());
    // SAFETY: without parameters nothing is read, written or made: the kernel asks whether it is allowed and then fails.
    let made = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, nowhere) };
    let error = io::Error::last_os_error();
    match (made, error.raw_os_error()) {
        (-1, Some(libc::EFAULT)) => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{io_uring, reuse_port};

    #[test]
    fn a_client_comes_to_the_socket_that_was_chosen() {
        reuse_port().unwrap();
    }

    #[test]
    fn asking_for_a_ring_makes_none() {
        let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().flatten().map(|e| e.path());
        let rings = |path: std::path::PathBuf| std::fs::read_link(path).ok()?.to_str()?.find("io_uring");
        let answer = io_uring();
        assert_eq!(descriptors().filter_map(rings).count(), 0);
        if let Err(error) = answer {
            let number = error.raw_os_error();
            assert!(matches!(number, Some(libc::ENOSYS | libc::EPERM | libc::EACCES)), "{error}");
        }
    }
}
