//! Choosing by the packet: one client's datagrams stay together, one client goes where it was told.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use oneport_sys::accept::{Accepted, accept};
use oneport_sys::listen::selector::{Exception, Selection, Spread, attach};
use oneport_sys::listen::{
    Reuse, V6, bind_tcp, bind_udp, bound_to, set_nonblocking, set_reuse_port, start_listening,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, socket_with};

use common::wait_readable;

const HOSTS: [(&str, &str); 3] = [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")];

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn chosen(indexes: &[u32], spread: Spread, exception: Option<Exception>) -> Selection<'_> {
    Selection { indexes, spread, exception }
}

/// A group of sockets bound `here`, and where clients find it from `there`; none where there is no IPv6.
fn group(count: usize, kind: SocketType, here: &str, there: &str) -> Option<(Vec<OwnedFd>, SocketAddr)> {
    let mut address: SocketAddr = here.parse().expect("address");
    let mut sockets = Vec::new();
    for _ in 0..count {
        let socket = if sockets.is_empty() {
            // Alone first: only then is the port nobody else's.
            let first = if kind == SocketType::STREAM {
                bind_tcp(address, V6::Dual)
            } else {
                bind_udp(address, V6::Dual, Reuse::Exclusive)
            };
            let Ok(first) = first else {
                eprintln!("skipped: no IPv6");
                return None;
            };
            set_reuse_port(first.as_fd()).expect("share");
            address = bound_to(first.as_fd()).expect("address").expect("bound");
            first
        } else {
            let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let next = socket_with(family, kind, flags, None).expect("socket");
            set_reuse_port(next.as_fd()).expect("share");
            if address.is_ipv6() {
                rustix::net::sockopt::set_ipv6_v6only(&next, false).expect("both families");
            }
            bind(&next, &address).expect("bind");
            next
        };
        if kind == SocketType::STREAM {
            start_listening(socket.as_fd(), 1024).expect("listen");
        }
        sockets.push(socket);
    }
    let there: IpAddr = there.parse().expect("address");
    Some((sockets, SocketAddr::new(there, address.port())))
}

/// A client that knows its own address before it connects.
fn client(kind: SocketType, to: SocketAddr) -> (OwnedFd, SocketAddr) {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, None).expect("socket");
    bind(&socket, &SocketAddr::new(to.ip(), 0)).expect("bind");
    let own = bound_to(socket.as_fd()).expect("address").expect("bound");
    (socket, own)
}

/// Takes everything out of its queue; answers how much that was.
fn empty(socket: &OwnedFd) -> usize {
    let mut count = 0;
    while let Accepted::Connection(_) = accept(socket.as_fd()) {
        count += 1;
    }
    count
}

/// Who sent the datagrams that wait, one entry each.
fn senders(socket: &OwnedFd) -> Vec<SocketAddr> {
    set_nonblocking(socket.as_fd()).expect("non-blocking");
    let socket = UdpSocket::from(socket.try_clone().expect("duplicate"));
    std::iter::from_fn(|| socket.recv_from(&mut [0; 8]).ok()).map(|(_, from)| from).collect()
}

#[test]
fn all_datagrams_of_a_client_go_to_one_socket_and_clients_are_spread() {
    for (here, there) in HOSTS {
        let Some((sockets, address)) = group(3, SocketType::DGRAM, here, there) else { continue };
        attach(sockets[1].as_fd(), &chosen(&[0, 1, 2], Spread::ByFlow, None)).unwrap();
        let clients: Vec<UdpSocket> =
            (0..60).map(|_| UdpSocket::from(client(SocketType::DGRAM, address).0)).collect();
        let mut homes: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for round in 0..5 {
            for client in &clients {
                client.send_to(b"x", address).unwrap();
            }
            let mut counts = [0; 3];
            for (index, socket) in sockets.iter().enumerate() {
                for from in senders(socket) {
                    counts[index] += 1;
                    assert_eq!(*homes.entry(from).or_insert(index), index, "{from} changed its socket");
                }
            }
            assert_eq!(counts.iter().sum::<usize>(), 60, "round {round}: all arrived");
            // 20 each; the ports are not random, so this is far from strict.
            assert!(counts.iter().all(|count| *count >= 5), "{here}: {counts:?}");
        }
        // The same indexes again: the same homes.
        attach(sockets[0].as_fd(), &chosen(&[0, 1, 2], Spread::ByFlow, None)).unwrap();
        for client in &clients {
            client.send_to(b"x", address).unwrap();
        }
        for (index, socket) in sockets.iter().enumerate() {
            assert!(senders(socket).iter().all(|from| homes[from] == index));
        }
    }
}

#[test]
fn connections_by_flow_are_spread_over_the_chosen_and_no_other() {
    for (here, there) in HOSTS {
        let Some((sockets, address)) = group(4, SocketType::STREAM, here, there) else { continue };
        attach(sockets[0].as_fd(), &chosen(&[0, 2, 3], Spread::ByFlow, None)).unwrap();
        let held: Vec<TcpStream> = (0..150).map(|_| TcpStream::connect(address).unwrap()).collect();
        let counts: Vec<usize> = sockets.iter().map(empty).collect();
        assert_eq!((counts.iter().sum::<usize>(), counts[1]), (150, 0), "{here}: {counts:?}");
        assert!([0, 2, 3].iter().all(|index| counts[*index] >= 15), "{here}: {counts:?}");
        drop(held);
    }
}

#[test]
fn one_address_and_port_reaches_the_named_socket_and_nobody_else_does() {
    for (here, there) in HOSTS {
        for spread in [Spread::AtRandom, Spread::ByFlow] {
            let Some((sockets, address)) = group(3, SocketType::STREAM, here, there) else { continue };
            let (probe, from) = client(SocketType::STREAM, address);
            let exception = Some(Exception { from, index: 2 });
            attach(sockets[0].as_fd(), &chosen(&[0, 1], spread, exception)).unwrap();
            let others: Vec<_> = (0..40)
                .map(|_| {
                    let (other, own) = client(SocketType::STREAM, address);
                    assert_ne!(own, from);
                    connect(&other, &address).unwrap();
                    other
                })
                .collect();
            connect(&probe, &address).unwrap();
            wait_readable(&sockets[2]);
            let counts: Vec<usize> = sockets.iter().map(empty).collect();
            assert_eq!((counts[0] + counts[1], counts[2]), (40, 1), "{here} {spread:?}: {counts:?}");
            drop(others);
        }
    }
}

#[test]
fn the_right_port_at_another_address_is_another_client() {
    let (sockets, address) = group(2, SocketType::DGRAM, "0.0.0.0:0", "127.0.0.1").unwrap();
    let (probe, from) = client(SocketType::DGRAM, address);
    let mut elsewhere = from;
    elsewhere.set_ip("127.0.0.2".parse().unwrap());
    let other = UdpSocket::bind(elsewhere).unwrap();
    // As an IPv6 address, as a dual-stack socket would tell it.
    let IpAddr::V4(ip) = from.ip() else { panic!("{from}") };
    let mapped = SocketAddr::new(ip.to_ipv6_mapped().into(), from.port());
    let exception = Some(Exception { from: mapped, index: 1 });
    attach(sockets[0].as_fd(), &chosen(&[0], Spread::AtRandom, exception)).unwrap();
    UdpSocket::from(probe).send_to(b"probe", address).unwrap();
    other.send_to(b"other", address).unwrap();
    assert_eq!(senders(&sockets[1]), [from]);
    assert_eq!(senders(&sockets[0]), [elsewhere]);
}

#[test]
fn different_ports_of_one_client_machine_are_different_clients() {
    let (sockets, address) = group(8, SocketType::DGRAM, "127.0.0.1:0", "127.0.0.1").unwrap();
    attach(sockets[0].as_fd(), &chosen(&[0, 1, 2, 3, 4, 5, 6, 7], Spread::ByFlow, None)).unwrap();
    for _ in 0..64 {
        UdpSocket::from(client(SocketType::DGRAM, address).0).send_to(b"x", address).unwrap();
    }
    let used: BTreeSet<usize> = (0..8).filter(|index| !senders(&sockets[*index]).is_empty()).collect();
    assert!(used.len() >= 6, "{used:?}");
}

#[test]
fn only_internet_sockets_have_a_selector() {
    let (unix, _) = oneport_sys::fdpass::channel_pair().unwrap();
    let selection = chosen(&[0], Spread::AtRandom, None);
    assert_eq!(errno(attach(unix.as_fd(), &selection)), Some(libc::EPROTOTYPE));
}

#[test]
fn multipath_tcp_takes_no_selector_and_obeys_that_of_a_plain_socket_in_its_group() {
    let (mut sockets, address) = group(1, SocketType::STREAM, "127.0.0.1:0", "127.0.0.1").unwrap();
    for _ in 0..2 {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::STREAM;
        let Ok(several) = socket_with(AddressFamily::INET, kind, flags, Some(ipproto::MPTCP)) else {
            eprintln!("skipped: no MPTCP");
            return;
        };
        set_reuse_port(several.as_fd()).unwrap();
        bind(&several, &address).unwrap();
        start_listening(several.as_fd(), 64).unwrap();
        sockets.push(several);
    }
    for index in [1, 2, 0] {
        let selection = [index];
        let selection = chosen(&selection, Spread::AtRandom, None);
        for refusing in &sockets[1..] {
            assert_eq!(errno(attach(refusing.as_fd(), &selection)), Some(libc::EOPNOTSUPP));
        }
        attach(sockets[0].as_fd(), &selection).unwrap();
        let held: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
        wait_readable(&sockets[index as usize]);
        let counts: Vec<usize> = sockets.iter().map(empty).collect();
        let mut expected = [0; 3];
        expected[index as usize] = 10;
        assert_eq!(counts, expected);
        drop(held);
    }
}
