//! Sockets that the primary makes for one worker among several on the same address, and their one flag that a worker sees.
//!
//! What does not live here: sockets that programs made (`listen::group`), and who gets connections (`listen::selector`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{OFlags, Uid, fchown, fcntl_getfl, fcntl_setfl, fstat};
use rustix::net::{SocketType, bind, sockopt};

use crate::foreign::Blocking;
use crate::listen::{V6, bound_to, interface_of, only_v6, open_socket, set_interface, set_reuse_port};
use crate::tcp::Info;

/// A TCP socket bound beside others of the same user (`SO_REUSEPORT`), not listening. For port 0 the option is set after
/// `bind`, so that nobody else has the port. Errors as [`bind_tcp`](crate::listen::bind_tcp).
pub fn make_tcp(address: SocketAddr, v6: V6) -> io::Result<OwnedFd> {
    make(address, SocketType::STREAM, v6)
}

/// The same for UDP. It receives from now on.
pub fn make_udp(address: SocketAddr, v6: V6) -> io::Result<OwnedFd> {
    make(address, SocketType::DGRAM, v6)
}

/// A plain TCP socket on the address of another one that is bound, in whose group it is as soon as both listen: of the same
/// family, of the same owner, and for the same network interface, as the kernel asks for (`SO_REUSEPORT`, every Linux). `EPERM`:
/// that is another user, and we may not give sockets away; or an interface, and we may not choose one (Linux before 5.7).
pub fn make_beside(model: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let address = bound_to(model)?.ok_or(io::ErrorKind::AddrNotAvailable)?;
    let v6 = if only_v6(model) { V6::Only } else { V6::Dual };
    let socket = open_socket(address, SocketType::STREAM, v6)?;
    // Takes effect on the socket, not only on its file (Linux 4.10).
    let (owner, own) = (fstat(model)?.st_uid, fstat(&socket)?.st_uid);
    if owner != own {
        fchown(&socket, Some(Uid::from_raw(owner)), None)?;
    }
    // The zone of an address chooses the interface by itself.
    if let Some(interface) = interface_of(model)?.filter(|_| !has_zone(address)) {
        set_interface(socket.as_fd(), interface)?;
    }
    sockopt::set_socket_reuseaddr(&socket, true)?;
    set_reuse_port(socket.as_fd())?;
    bind(&socket, &address)?;
    Ok(socket)
}

fn has_zone(address: SocketAddr) -> bool {
    match address {
        SocketAddr::V4(_) => false,
        SocketAddr::V6(address) => address.scope_id() != 0,
    }
}

fn make(address: SocketAddr, kind: SocketType, v6: V6) -> io::Result<OwnedFd> {
    let socket = open_socket(address, kind, v6)?;
    if kind == SocketType::STREAM {
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    if address.port() != 0 {
        set_reuse_port(socket.as_fd())?;
    }
    bind(&socket, &address)?;
    set_reuse_port(socket.as_fd())?;
    Ok(socket)
}

/// Lets a server that was stopped a moment ago have its port again, as servers ask for by themselves (`SO_REUSEADDR`).
pub fn set_reuse_address(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(sockopt::set_socket_reuseaddr(fd, true)?)
}

/// How many connections wait in a listening TCP socket to be accepted. `EOPNOTSUPP`, `EINVAL`: it is none.
pub fn queue_length(fd: BorrowedFd<'_>) -> io::Result<u32> {
    Info::of(fd)?.waiting().ok_or_else(|| io::ErrorKind::Unsupported.into())
}

/// Whether operations on the socket wait, for everybody who holds it.
pub fn set_blocking(fd: BorrowedFd<'_>, blocking: Blocking) -> io::Result<()> {
    let flags = fcntl_getfl(fd)?;
    let wanted = match blocking {
        Blocking::Waits => flags - OFlags::NONBLOCK,
        Blocking::Never => flags | OFlags::NONBLOCK,
    };
    Ok(fcntl_setfl(fd, wanted)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use rustix::fs::{OFlags, fcntl_getfl};

    use super::{make_beside, make_tcp, make_udp, queue_length, set_blocking};
    use crate::foreign::Blocking;
    use crate::listen::{V6, bound_to, interface_index, interface_of, set_interface, start_listening};

    #[test]
    fn several_share_the_address_of_the_first() {
        let any = "127.0.0.1:0".parse().unwrap();
        for make in [make_tcp, make_udp] {
            let first = make(any, V6::Dual).unwrap();
            let address = bound_to(first.as_fd()).unwrap().unwrap();
            let second = make(address, V6::Dual).unwrap();
            assert_eq!(bound_to(second.as_fd()).unwrap(), Some(address));
        }
        let one = make_tcp(any, V6::Dual).unwrap();
        let two = make_tcp(bound_to(one.as_fd()).unwrap().unwrap(), V6::Dual).unwrap();
        start_listening(one.as_fd(), 8).unwrap();
        start_listening(two.as_fd(), 8).unwrap();
    }

    #[test]
    fn one_beside_another_is_for_the_same_interface() {
        let model = make_tcp("0.0.0.0:0".parse().unwrap(), V6::Dual).unwrap();
        let beside = make_beside(model.as_fd()).unwrap();
        assert_eq!(interface_of(beside.as_fd()).unwrap(), None);
        let loopback = interface_index("lo").unwrap();
        let model = make_tcp("0.0.0.0:0".parse().unwrap(), V6::Dual).unwrap();
        set_interface(model.as_fd(), loopback.try_into().unwrap()).unwrap();
        let beside = make_beside(model.as_fd()).unwrap();
        assert_eq!(interface_of(beside.as_fd()).unwrap().map(|index| index.get()), Some(loopback));
    }

    #[test]
    fn what_waits_in_a_listener_is_counted() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(queue_length(listener.as_fd()).unwrap(), 0);
        let _clients = [(); 3].map(|()| std::net::TcpStream::connect(address).unwrap());
        assert_eq!(queue_length(listener.as_fd()).unwrap(), 3);
        listener.accept().unwrap();
        assert_eq!(queue_length(listener.as_fd()).unwrap(), 2);
    }

    #[test]
    fn waiting_is_switched_off_and_on() {
        let socket = make_tcp("127.0.0.1:0".parse().unwrap(), V6::Dual).unwrap();
        set_blocking(socket.as_fd(), Blocking::Waits).unwrap();
        assert!(!fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
        set_blocking(socket.as_fd(), Blocking::Never).unwrap();
        assert!(fcntl_getfl(&socket).unwrap().contains(OFlags::NONBLOCK));
    }
}
