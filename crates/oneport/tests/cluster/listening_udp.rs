//! UDP: one socket for all workers that bind an address, under every policy. Their primary has no part in what arrives.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::harness::{PATIENCE, skipped};
use crate::listening_ways::{Way, heard_of, in_ways, open, open_port};

/// A client of any address.
fn client(to: SocketAddr) -> UdpSocket {
    let any: SocketAddr = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" }.parse().unwrap();
    let client = UdpSocket::bind(any).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

/// The worker that answers a datagram, from the address that it was sent to.
pub(crate) fn ask_udp(address: SocketAddr) -> u32 {
    let client = client(address);
    client.send_to(b"?", address).unwrap();
    let mut buffer = [0; 64];
    let (length, from) = client.recv_from(&mut buffer).unwrap();
    assert_eq!(from, address);
    let answer = std::str::from_utf8(&buffer[..length]).unwrap();
    answer.split(' ').next().unwrap().parse().unwrap()
}

in_ways! { Stream, Shared;
    fn every_worker_that_reads_gets_its_part_of_the_datagrams(way: Way) {
        let mut test = way.cluster(4);
        let addresses = [1, 2, 3, 4].map(|worker| open_port(&mut test, worker, "udp a 127.0.0.1:0 datagrams=10"));
        assert_eq!(BTreeSet::from(addresses).len(), 1);
        let mut answers = [0; 5];
        for _ in 0..40 {
            answers[ask_udp(addresses[0]) as usize] += 1;
        }
        assert_eq!(answers, [0, 10, 10, 10, 10]);
        test.stop();
    }
}

in_ways! { Stream, Shared;
    fn workers_send_from_the_port_that_they_share(way: Way) {
        let mut test = way.cluster(3);
        let addresses = [1, 2, 3].map(|worker| open_port(&mut test, worker, "udp a 127.0.0.1:0"));
        let client = client(addresses[0]);
        for worker in 1..=3_u32 {
            assert_eq!(test.ask(worker, &format!("send a {}", client.local_addr().unwrap())), "sent");
            let mut buffer = [0; 64];
            let (length, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..length], from), (worker.to_string().as_bytes(), addresses[0]));
        }
        test.stop();
    }
}

in_ways! { Stream, Shared;
    fn the_nth_socket_on_port_0_shares_the_nth_port_also_after_others_were_closed(way: Way) {
        let mut test = way.cluster(2);
        let first = ["a", "b"].map(|name| open_port(&mut test, 1, &format!("udp {name} 127.0.0.1:0")));
        assert_ne!(first[0], first[1]);
        let second = ["a", "b"].map(|name| open_port(&mut test, 2, &format!("udp {name} 127.0.0.1:0")));
        assert_eq!(first, second);
        assert_eq!(test.ask(1, "close a"), "closed");
        assert_eq!(test.ask(2, "close a"), "closed");
        let third = [1, 2].map(|worker| open_port(&mut test, worker, "udp c 127.0.0.1:0"));
        assert_eq!(third[0], third[1]);
        assert_ne!(third[0], first[1]);
        // Once all of a worker's are closed it counts from the first again.
        for worker in 1..=2 {
            for name in ["b", "c"] {
                assert_eq!(test.ask(worker, &format!("close {name}")), "closed");
            }
        }
        let again = [1, 2].map(|worker| open_port(&mut test, worker, "udp d 127.0.0.1:0"));
        assert_eq!(again[0], again[1]);
        test.stop();
    }
}

in_ways! { Stream, Shared;
    fn a_second_socket_on_one_address_in_one_worker_is_refused_unless_both_share_it(way: Way) {
        let mut test = way.cluster(2);
        let address = open_port(&mut test, 1, "udp a 127.0.0.1:0");
        for wishes in ["", " reuse", " exclusive"] {
            assert_eq!(test.ask(1, &format!("udp b {address}{wishes}")), "AddrInUse");
        }
        let shared = open_port(&mut test, 1, "udp c 127.0.0.1:0 reuse");
        assert_eq!(open_port(&mut test, 1, &format!("udp d {shared} reuse")), shared);
        assert_eq!(test.ask(1, &format!("udp e {shared}")), "AddrInUse");
        assert_eq!(ask_udp(address), 1);
        assert_eq!(ask_udp(shared), 1);
        test.stop();
    }
}

const TRIES: u32 = 20;

in_ways! { Stream, Shared;
    fn a_port_of_ipv6_alone_leaves_that_of_ipv4_free(way: Way) {
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            return skipped("a_port_of_ipv6_alone_leaves_that_of_ipv4_free", "no IPv6 here");
        }
        let mut test = way.cluster(2);
        // Somebody may have that port of IPv4: not every time.
        let port = (0..TRIES).find_map(|n| {
            let six = [1, 2].map(|worker| open_port(&mut test, worker, &format!("udp six{n} [::]:0 v6only")).port());
            assert_eq!(six[0], six[1]);
            let four = format!("0.0.0.0:{}", six[0]);
            (test.ask(1, &format!("udp four {four}")) == four).then_some(six[0])
        });
        let port = port.expect("a port that IPv4 does not use");
        assert_eq!(ask_udp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)), 1);
        ask_udp(SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port));
        test.stop();
    }
}

in_ways! { Stream, Shared;
    fn an_exclusive_socket_is_each_workers_own_and_never_asked_for(way: Way) {
        let mut test = way.cluster(2);
        let shared = [1, 2].map(|worker| open_port(&mut test, worker, "udp shared 127.0.0.1:0"));
        assert_eq!(shared[0], shared[1]);
        let own = [1, 2].map(|worker| test.ask(worker, "udp own 127.0.0.1:0 exclusive"));
        assert_ne!(own[0], own[1]);
        for (worker, address) in (1..).zip(&own) {
            assert_eq!(ask_udp(address.parse().unwrap()), worker);
        }
        assert_eq!((heard_of(&test, 1), heard_of(&test, 2)), (1, 1));
        test.stop();
    }
}

in_ways! { Stream, Shared;
    fn a_closed_socket_is_bound_again_and_its_port_goes_from_worker_to_worker(way: Way) {
        let mut test = way.cluster(2);
        let address = open_port(&mut test, 1, "udp a 127.0.0.1:0");
        for turn in 1..=6 {
            let (worker, other) = (1 + turn % 2, 2 - turn % 2);
            assert_eq!(open(&mut test, worker, "udp a 127.0.0.1:0"), address.to_string());
            assert_eq!(test.ask(other, "close a"), "closed");
            assert_eq!(ask_udp(address), worker);
        }
        test.stop();
    }
}
