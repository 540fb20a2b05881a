//! Ports by number, for programs that ask for one.

use std::net::{Ipv6Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port that is free and stays so but for strangers: below those that the kernel gives to clients and to listeners on
/// port 0, and given out once. A test cannot hold it until the program asks, which would be told that it is taken.
pub(crate) fn free_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let end: u32 = range.split_whitespace().next().unwrap().parse().unwrap();
    let begin = 10_000.min(end / 2);
    // Where the tests of other processes begin elsewhere.
    let offset = std::process::id().wrapping_mul(101);
    for _ in begin..end {
        let nth = offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(begin + nth % (end - begin)).unwrap();
        let any = (Ipv6Addr::UNSPECIFIED, port);
        if TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
