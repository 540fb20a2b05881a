//! Listening on TCP ports, in every way in which connections come: what workers share, and when they share it no more.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use oneport_sys::diag::listen_queue;

use crate::harness::{skipped, who};
use crate::listening_ways::{Way, heard_of, in_every_way, open, open_port, own_address, until_seen};

in_every_way! {
    fn connections_come_the_way_that_is_meant(way: Way) {
        let mut test = way.cluster(1);
        let address = open_port(&mut test, 1, "tcp a 127.0.0.1:0");
        // The worker cannot tell whether others have its socket as well.
        let seen = if way == Way::Lanes { Way::Shared } else { way };
        assert_eq!(test.ask(1, "way a"), format!("{seen:?}"));
        assert_eq!(who(address), (1, 0));
        test.stop();
    }
}

in_every_way! {
    fn the_listening_event_has_the_real_port(way: Way) {
        let mut test = way.cluster(2);
        for worker in 1..=2 {
            let address = open_port(&mut test, worker, "tcp a 127.0.0.1:0");
            assert_ne!(address.port(), 0);
            let told = test.event(worker, "listening").address.unwrap();
            assert_eq!((told.socket, told.text), (Some(address), address.to_string()));
        }
        test.stop();
    }
}

in_every_way! {
    fn the_nth_listener_on_port_0_shares_the_nth_port(way: Way) {
        let mut test = way.cluster(2);
        let first = ["a", "b"].map(|name| open_port(&mut test, 1, &format!("tcp {name} 127.0.0.1:0")));
        let second = ["a", "b"].map(|name| open_port(&mut test, 2, &format!("tcp {name} 127.0.0.1:0")));
        assert_eq!(first, second);
        assert_ne!(first[0], first[1]);
        // One that goes does not renumber the others.
        for worker in 1..=2 {
            assert_eq!(test.ask(worker, "close a"), "closed");
        }
        let third = [1, 2].map(|worker| open_port(&mut test, worker, "tcp c 127.0.0.1:0"));
        assert_eq!(third[0], third[1]);
        assert_ne!(third[0], first[1]);
        who(third[0]);
        test.stop();
    }
}

in_every_way! {
    fn a_closed_listener_on_port_0_finds_its_sibling_again(way: Way) {
        let mut test = way.cluster(2);
        let first = open_port(&mut test, 1, "tcp a 127.0.0.1:0");
        for _ in 0..3 {
            assert_eq!(open_port(&mut test, 2, "tcp a 127.0.0.1:0"), first);
            assert_eq!(test.ask(2, "close a"), "closed");
        }
        assert_eq!(who(first), (1, 0));
        test.stop();
    }
}

in_every_way! {
    fn a_port_goes_from_worker_to_worker_and_back(way: Way) {
        let mut test = way.cluster(2);
        let address = SocketAddr::from((own_address(), 4242));
        for turn in 0..6 {
            let worker = 1 + turn % 2;
            assert_eq!(open_port(&mut test, worker, &format!("tcp a {address}")), address);
            assert_eq!(who(address), (worker, 0));
            assert_eq!(test.ask(worker, "close a"), "closed");
        }
        test.stop();
    }
}

in_every_way! {
    fn a_second_listener_on_one_address_in_one_worker_is_refused(way: Way) {
        let mut test = way.cluster(2);
        let address = SocketAddr::from((own_address(), 4242));
        assert_eq!(open_port(&mut test, 1, &format!("tcp a {address}")), address);
        assert_eq!(test.ask(1, &format!("tcp b {address}")), "AddrInUse");
        assert_eq!(who(address), (1, 0));
        // Not even by another name of the address.
        assert_eq!(test.ask(1, &format!("any b {}", address.port())), "AddrInUse");
        assert_eq!(test.ask(1, "close a"), "closed");
        assert_eq!(open_port(&mut test, 1, &format!("tcp b {address}")), address);
        assert_eq!(open_port(&mut test, 2, &format!("tcp a {address}")), address);
        assert_eq!(test.ask(2, &format!("tcp b {address}")), "AddrInUse");
        test.stop();
    }
}

in_every_way! {
    fn without_a_host_every_address_is_served(way: Way) {
        let mut test = way.cluster(2);
        let address = open_port(&mut test, 1, "any a 0");
        assert_eq!(open_port(&mut test, 2, "any a 0"), address);
        assert!(address.ip().is_unspecified());
        who((Ipv4Addr::LOCALHOST, address.port()).into());
        if address.is_ipv6() {
            who(SocketAddr::new("::1".parse().unwrap(), address.port()));
        }
        test.stop();
    }
}

const TRIES: u32 = 20;

in_every_way! {
    fn the_ipv6_wildcard_serves_ipv4_unless_told_otherwise(way: Way) {
        if TcpListener::bind("[::1]:0").is_err() {
            return skipped("the_ipv6_wildcard_serves_ipv4_unless_told_otherwise", "no IPv6 here");
        }
        let mut test = way.cluster(2);
        let both = [1, 2].map(|worker| open_port(&mut test, worker, "tcp both [::]:0").port());
        assert_eq!(both[0], both[1]);
        who((Ipv4Addr::LOCALHOST, both[0]).into());

        // The same port of IPv4 is left to others, and to ourselves. Somebody may have it: not every time.
        let port = (0..TRIES).find_map(|n| {
            let only = [1, 2].map(|worker| open_port(&mut test, worker, &format!("tcp six{n} [::]:0 v6only")).port());
            assert_eq!(only[0], only[1]);
            let four = format!("0.0.0.0:{}", only[0]);
            (test.ask(1, &format!("tcp four {four}")) == four).then_some(only[0])
        });
        let port = port.expect("a port that IPv4 does not use");
        who(SocketAddr::new("::1".parse().unwrap(), port));
        let refused = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err();
        assert_eq!(who((Ipv4Addr::LOCALHOST, port).into()), (1, 0));
        assert_eq!(test.ask(1, "close four"), "closed");
        until_seen("that nobody serves IPv4", refused);
        who(SocketAddr::new("::1".parse().unwrap(), port));
        test.stop();
    }
}

in_every_way! {
    fn a_host_is_looked_up_in_the_worker_and_its_addresses_are_tried_in_order(way: Way) {
        let mut test = way.cluster(2);
        let named = [1, 2].map(|worker| open_port(&mut test, worker, "tcp a localhost:0"));
        assert!(named[0].ip().is_loopback());
        assert_eq!(named[0], named[1]);
        who(named[0]);
        // Reserved for documentation: nobody's address.
        assert_eq!(test.ask(1, "tcp b 192.0.2.1:0"), "AddrNotAvailable");
        let second = open_port(&mut test, 1, "tcp b 192.0.2.1:0,127.0.0.1:0");
        assert_eq!(second.ip(), Ipv4Addr::LOCALHOST);
        assert_eq!(who(second), (1, 0));
        test.stop();
    }
}

in_every_way! {
    fn an_exclusive_listener_never_asks_the_primary(way: Way) {
        let mut test = way.cluster(2);
        let shared = open_port(&mut test, 1, "tcp a 127.0.0.1:0");
        let own = [1, 2].map(|worker| test.ask(worker, "tcp own 127.0.0.1:0 exclusive"));
        assert_eq!(BTreeSet::from([&own[0], &own[1], &shared.to_string()]).len(), 3);
        for (worker, address) in (1..).zip(&own) {
            assert_eq!(test.ask(worker, "way own"), "Alone");
            assert_eq!(who(address.parse().unwrap()), (worker, 0));
        }
        // What one has for itself no other gets, and neither what is shared.
        assert_eq!(test.ask(2, &format!("tcp taken {} exclusive", own[0])), "AddrInUse");
        assert_eq!(test.ask(2, &format!("tcp taken {}", own[0])), "AddrInUse");
        assert_eq!(test.ask(2, &format!("tcp taken {shared} exclusive")), "AddrInUse");
        assert_eq!(open_port(&mut test, 2, "tcp a 127.0.0.1:0"), shared);
        assert_eq!((heard_of(&test, 1), heard_of(&test, 2)), (1, 1));
        test.stop();
    }
}

in_every_way! {
    fn the_backlog_is_the_one_asked_for(way: Way) {
        let mut test = way.cluster(3);
        let address = open_port(&mut test, 1, "tcp a 127.0.0.1:0 backlog=5");
        let limit = |address: SocketAddr| {
            let queues = listen_queue(&[address.port()]).unwrap();
            let mut limits: Vec<u32> = queues.iter().map(|queue| queue.limit).collect();
            limits.sort_unstable();
            // The primary's own, which keeps the door.
            limits.retain(|limit| way != Way::Lanes || *limit != 1);
            limits
        };
        assert_eq!(limit(address), [5]);
        open(&mut test, 2, "tcp a 127.0.0.1:0 backlog=9");
        assert_eq!(limit(address), if way == Way::Lanes { vec![5, 9] } else { vec![9] });
        open(&mut test, 3, "tcp a 127.0.0.1:0 backlog=4");
        let all = match way {
            Way::Stream | Way::Channel => vec![9],
            // Where each listens for itself on one socket the last one counts.
            Way::Shared => vec![4],
            Way::Lanes => vec![4, 5, 9],
        };
        assert_eq!(limit(address), all);
        let usual = open_port(&mut test, 1, "tcp b 127.0.0.1:0");
        assert_eq!(limit(usual), [511]);
        test.stop();
    }
}
