//! Several sockets on one address: joining, moving, and choosing among them.

mod common;

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use oneport_sys::accept::{Accepted, accept};
use oneport_sys::listen::{
    Reuse, V6, bind_here, bind_tcp, bind_udp, bind_unix, bound_to, is_listening, rehome, selector,
    set_reuse_port, start_listening,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use common::choose;
use common::traps::reserve_port;

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn unbound(family: AddressFamily, kind: SocketType) -> OwnedFd {
    socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None).expect("socket")
}

fn tcp() -> OwnedFd {
    unbound(AddressFamily::INET, SocketType::STREAM)
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

/// A socket that listens on the address with others.
fn join(address: SocketAddr) -> OwnedFd {
    let socket = tcp();
    set_reuse_port(socket.as_fd()).expect("share");
    bind_here(socket.as_fd(), address).expect("bind");
    start_listening(socket.as_fd(), 1024).expect("listen");
    socket
}

/// Takes everything out of its queue; answers how much that was.
fn empty(socket: &OwnedFd) -> usize {
    let mut count = 0;
    while let Accepted::Connection(_) = accept(socket.as_fd()) {
        count += 1;
    }
    count
}

/// Makes so many connections, one after the other; answers who has how many waiting.
fn spread(count: usize, address: SocketAddr, sockets: &[&OwnedFd]) -> Vec<usize> {
    let held: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(address).expect("connect")).collect();
    let counts: Vec<usize> = sockets.iter().map(|socket| empty(socket)).collect();
    assert_eq!(counts.iter().sum::<usize>(), count, "all arrived: {counts:?}");
    drop(held);
    counts
}

#[test]
fn binding_again_to_the_same_address_is_no_error_and_elsewhere_is() {
    let socket = tcp();
    assert_eq!(bound_to(socket.as_fd()).unwrap(), None);
    bind_here(socket.as_fd(), loopback()).unwrap();
    let address = bound_to(socket.as_fd()).unwrap().unwrap();
    for again in [address, loopback()] {
        bind_here(socket.as_fd(), again).unwrap();
        assert_eq!(bound_to(socket.as_fd()).unwrap(), Some(address));
    }
    start_listening(socket.as_fd(), 16).unwrap();
    bind_here(socket.as_fd(), address).unwrap();
    for other in ["127.0.0.2:0", "0.0.0.0:0"] {
        assert_eq!(errno(bind_here(socket.as_fd(), other.parse().unwrap())), Some(libc::EINVAL), "{other}");
    }
    let six = "[::1]:0".parse().unwrap();
    assert_eq!(errno(bind_here(socket.as_fd(), six)), Some(libc::EAFNOSUPPORT));
    let taken = tcp();
    assert_eq!(errno(bind_here(taken.as_fd(), address)), Some(libc::EADDRINUSE));
    assert_eq!(bound_to(taken.as_fd()).unwrap(), None);
    let scratch = common::Scratch::new();
    let (unix, _) = bind_unix(&scratch.join("s"), Default::default()).unwrap();
    assert_eq!(errno(bound_to(unix.as_fd())), Some(libc::EAFNOSUPPORT));
    assert_eq!(errno(bound_to(std::fs::File::open("/dev/null").unwrap().as_fd())), Some(libc::ENOTSOCK));
}

#[test]
fn ipv6_binds_again_whatever_the_scope_says() {
    let Ok(socket) = bind_tcp("[::1]:0".parse().unwrap(), V6::Only) else {
        eprintln!("skipped: no IPv6");
        return;
    };
    let address = bound_to(socket.as_fd()).unwrap().unwrap();
    bind_here(socket.as_fd(), address).unwrap();
    assert_eq!(errno(bind_here(socket.as_fd(), "[::]:0".parse().unwrap())), Some(libc::EINVAL));
}

#[test]
fn udp_sockets_share_a_port_once_all_were_asked_to() {
    let first = bind_udp(loopback(), V6::Dual, Reuse::Exclusive).unwrap();
    let address = bound_to(first.as_fd()).unwrap().unwrap();
    let second = unbound(AddressFamily::INET, SocketType::DGRAM);
    set_reuse_port(second.as_fd()).unwrap();
    assert_eq!(errno(bind_here(second.as_fd(), address)), Some(libc::EADDRINUSE));
    set_reuse_port(first.as_fd()).unwrap();
    bind_here(second.as_fd(), address).unwrap();
    assert_eq!(bound_to(second.as_fd()).unwrap(), Some(address));
    // The order of bind; the first is number 0, though it was asked to share only later.
    let third = unbound(AddressFamily::INET, SocketType::DGRAM);
    set_reuse_port(third.as_fd()).unwrap();
    bind_here(third.as_fd(), address).unwrap();
    choose(second.as_fd(), &[2]).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..20 {
        client.send_to(b"x", address).unwrap();
    }
    let third = UdpSocket::from(third);
    for _ in 0..20 {
        third.recv(&mut [0; 1]).unwrap();
    }
}

#[test]
fn a_socket_on_port_zero_moves_to_the_agreed_port() {
    let (_reserved, agreed) = reserve_port();
    let there = join(agreed);
    let socket = tcp();
    bind_here(socket.as_fd(), loopback()).unwrap();
    let before = bound_to(socket.as_fd()).unwrap().unwrap();
    rehome(socket.as_fd(), agreed).unwrap();
    assert!(!is_listening(socket.as_fd()), "whoever lets it listen decides when it joins the others");
    assert_eq!(bound_to(socket.as_fd()).unwrap(), Some(agreed));
    start_listening(socket.as_fd(), 64).unwrap();
    // Twice does no harm.
    rehome(socket.as_fd(), agreed).unwrap();
    assert!(is_listening(socket.as_fd()));
    // The port it had is free.
    bind_here(tcp().as_fd(), before).unwrap();
    choose(there.as_fd(), &[1]).unwrap();
    assert_eq!(spread(10, agreed, &[&there, &socket]), [0, 10]);
}

#[test]
fn a_socket_on_a_port_by_number_stays_there() {
    let (_reserved, agreed) = reserve_port();
    let (_other, number) = reserve_port();
    let socket = tcp();
    set_reuse_port(socket.as_fd()).unwrap();
    bind_here(socket.as_fd(), number).unwrap();
    assert_eq!(errno(rehome(socket.as_fd(), agreed)), Some(libc::EINVAL));
    assert_eq!(bound_to(socket.as_fd()).unwrap(), Some(number));
}

#[test]
fn connections_spread_over_all_given_sockets_and_no_other() {
    let (_reserved, address) = reserve_port();
    let sockets = [join(address), join(address), join(address)];
    let all = [&sockets[0], &sockets[1], &sockets[2]];
    choose(all[0].as_fd(), &[0, 1, 2]).unwrap();
    // 300 over three: below 40 each has no chance worth a name (10 standard deviations are 82).
    let counts = spread(300, address, &all);
    assert!(counts.iter().all(|count| *count >= 40), "{counts:?}");

    // What waits in the queue of one that is left out stays there and can be taken out.
    let waiting: Vec<_> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
    choose(all[1].as_fd(), &[0, 2]).unwrap();
    let later: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    let queued = empty(all[1]);
    assert!((1..60).contains(&queued), "{queued}");
    assert_eq!(empty(all[0]) + empty(all[2]), 260 - queued);
    drop((waiting, later));
    let counts = spread(200, address, &all);
    assert_eq!(counts[1], 0);
    assert!(counts[0] >= 40 && counts[2] >= 40, "{counts:?}");

    // An index twice is twice the share.
    choose(all[2].as_fd(), &[0, 0, 0, 1]).unwrap();
    let counts = spread(400, address, &all);
    assert!(counts[0] > 2 * counts[1] && counts[1] >= 40 && counts[2] == 0, "{counts:?}");
}

#[test]
fn the_last_socket_moves_into_the_hole_of_a_closed_one() {
    let (_reserved, address) = reserve_port();
    let [first, second, third] = [join(address), join(address), join(address)];
    choose(second.as_fd(), &[2]).unwrap();
    assert_eq!(spread(10, address, &[&first, &second, &third]), [0, 0, 10]);
    choose(second.as_fd(), &[0]).unwrap();
    drop(first);
    assert_eq!(spread(10, address, &[&second, &third]), [0, 10]);
    // A newcomer has the next number, and nothing before it is named.
    let fourth = join(address);
    assert_eq!(spread(10, address, &[&second, &third, &fourth]), [0, 10, 0]);
    choose(second.as_fd(), &[2]).unwrap();
    assert_eq!(spread(10, address, &[&second, &third, &fourth]), [0, 0, 10]);
    // Beyond the group the kernel's own choice holds.
    drop(fourth);
    assert_eq!(spread(40, address, &[&second, &third]).iter().sum::<usize>(), 40);
}

#[test]
fn a_detached_selector_chooses_no_more() {
    let (_reserved, address) = reserve_port();
    let [first, second] = [join(address), join(address)];
    assert_eq!(errno(selector::detach(first.as_fd())), Some(libc::ENOENT));
    choose(first.as_fd(), &[0]).unwrap();
    assert_eq!(spread(50, address, &[&first, &second]), [50, 0]);
    // Through any member of the group.
    selector::detach(second.as_fd()).unwrap();
    let counts = spread(200, address, &[&first, &second]);
    assert!(counts[1] > 0, "{counts:?}");
    assert_eq!(errno(selector::detach(first.as_fd())), Some(libc::ENOENT));
}

#[test]
fn a_selector_of_nothing_or_for_a_lone_socket_is_refused() {
    let (_reserved, address) = reserve_port();
    let socket = join(address);
    assert_eq!(errno(choose(socket.as_fd(), &[])), Some(libc::EINVAL));
    let scattered: Vec<u32> = (0..4000).map(|index| index * 2).collect();
    assert_eq!(errno(choose(socket.as_fd(), &scattered)), Some(libc::EINVAL));
    let alone = bind_tcp(loopback(), V6::Dual).unwrap();
    start_listening(alone.as_fd(), 16).unwrap();
    assert_eq!(errno(choose(alone.as_fd(), &[0])), Some(libc::EINVAL));
    let many: Vec<u32> = (0..5000).collect();
    choose(socket.as_fd(), &many).unwrap();
}
