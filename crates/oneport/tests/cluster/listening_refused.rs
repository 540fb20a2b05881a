//! Addresses that cannot be had: what the worker learns, what the owner is told, and that it goes on from there.

use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;

use crate::harness::{Test, programs, who};
use crate::listening_apart::{Directory, run_apart, test_apart};
use crate::listening_ways::{Way, in_every_way, open, open_port};

programs! { unprivileged }

/// Has both workers ask for what somebody else holds; after that they get it.
fn refused_until_released(test: &mut Test, order: &str, holder: impl Sized) -> String {
    for worker in 1..=2 {
        assert_eq!(test.ask(worker, order), "AddrInUse");
        let failure = test.event(worker, "listen-failed").text.unwrap();
        assert!(failure.contains("in use"), "{failure}");
    }
    drop(holder);
    let address = open(test, 1, order);
    assert_eq!(open(test, 2, order), address);
    address
}

in_every_way! {
    fn a_port_that_another_process_holds_is_refused_until_it_lets_go(way: Way) {
        let mut test = way.cluster(2);
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        assert_eq!(refused_until_released(&mut test, &format!("tcp a {address}"), holder), address.to_string());
        who(address);
        test.stop();
    }
}

in_every_way! {
    fn a_udp_port_that_another_process_holds_is_refused_until_it_lets_go(way: Way) {
        let mut test = way.cluster(2);
        let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
        let order = format!("udp a {}", holder.local_addr().unwrap());
        refused_until_released(&mut test, &order, holder);
        test.stop();
    }
}

in_every_way! {
    fn a_path_that_another_process_serves_is_refused_until_it_lets_go(way: Way) {
        let (mut test, directory) = (way.cluster(2), Directory::new());
        let path = directory.join("socket");
        // A path that a dead server left behind is nobody's.
        let holder = UnixListener::bind(&path).unwrap();
        assert_eq!(refused_until_released(&mut test, &format!("unix a {path}"), holder), path);
        test.stop();
    }
}

in_every_way! {
    fn a_path_that_is_no_socket_or_in_no_directory_is_refused_and_left_alone(way: Way) {
        let (mut test, directory) = (way.cluster(1), Directory::new());
        let file = directory.join("file");
        std::fs::write(&file, "precious").unwrap();
        assert_eq!(test.ask(1, &format!("unix a {file}")), "AddrInUse");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
        // As libuv words it.
        assert_eq!(test.ask(1, &format!("unix a {file}/socket")), "NotADirectory");
        assert_eq!(test.ask(1, &format!("unix a {}/socket", directory.join("none"))), "PermissionDenied");
        open(&mut test, 1, &format!("unix a {}", directory.join("socket")));
        test.stop();
    }
}

in_every_way! {
    fn a_refused_address_leaves_listeners_and_their_numbers_alone(way: Way) {
        let mut test = way.cluster(2);
        let address = open_port(&mut test, 1, "tcp a 127.0.0.1:0");
        // Nobody's address, on port 0: a number counted for nothing would part the siblings.
        for _ in 0..3 {
            assert_eq!(test.ask(1, "tcp b 192.0.2.1:0"), "AddrNotAvailable");
        }
        let second = open_port(&mut test, 1, "tcp b 127.0.0.1:0");
        assert_eq!(open_port(&mut test, 2, "tcp a 127.0.0.1:0"), address);
        assert_eq!(open_port(&mut test, 2, "tcp b 127.0.0.1:0"), second);
        for address in [address, second] {
            who(address);
        }
        test.stop();
    }
}

in_every_way! {
    fn a_privileged_port_is_refused_to_the_unprivileged(way: Way) {
        let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
        if first_free.trim().parse::<u16>().unwrap() <= PRIVILEGED {
            return println!("skipped: every user may bind port {PRIVILEGED} here");
        }
        run_apart("unprivileged", way, "", |command| {
            if rustix::process::geteuid().is_root() {
                command.uid(NOBODY).gid(NOBODY);
            }
        });
    }
}

const PRIVILEGED: u16 = 42;
const NOBODY: u32 = 65534;

async fn unprivileged() {
    test_apart(|way| {
        let mut test = way.cluster(1);
        for order in ["tcp a 127.0.0.1:42", "udp a 127.0.0.1:42", "any a 42", "tcp a 127.0.0.1:42 exclusive"]
        {
            assert_eq!(test.ask(1, order), "PermissionDenied", "{order}");
        }
        let failure = test.event(1, "listen-failed").text.unwrap();
        assert!(failure.contains("ermission denied"), "{failure}");
        assert_eq!(who(open_port(&mut test, 1, "tcp a 127.0.0.1:0")), (1, 0));
        test.stop();
    });
}
