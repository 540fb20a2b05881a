//! Addresses that cannot be had: what the worker learns, what the owner is told, and that it goes on from there.

use std::os::unix::process::CommandExt;

use oneport::Signal;

use crate::harness::{Test, programs, skipped, who};
use crate::listening_apart::{Directory, run_apart, test_apart};
use crate::listening_ways::{Way, in_every_way, open, open_port, own_address};

programs! { unprivileged }

/// Has both workers ask for what a process of somebody else's holds; when that has let go they get it.
fn refused_until_released(way: Way, kind: &str, address: &str, release: impl FnOnce(&mut Test)) {
    let (mut test, mut other) = (way.cluster(2), Way::Stream.cluster(1));
    let address = other.ask(1, &format!("{kind} held {address} exclusive"));
    let order = format!("{kind} a {address}");
    for worker in 1..=2 {
        assert_eq!(test.ask(worker, &order), "AddrInUse");
        let failure = test.event(worker, "listen-failed").text.unwrap();
        assert!(failure.contains("in use"), "{failure}");
    }
    release(&mut other);
    for worker in 1..=2 {
        assert_eq!(open(&mut test, worker, &order), address);
    }
    other.stop();
    test.stop();
}

fn lets_go(other: &mut Test) {
    assert_eq!(other.ask(1, "close held"), "closed");
}

in_every_way! {
    fn a_port_that_another_process_holds_is_refused_until_it_lets_go(way: Way) {
        refused_until_released(way, "tcp", &format!("{}:0", own_address()), lets_go);
    }
}

in_every_way! {
    fn a_udp_port_that_another_process_holds_is_refused_until_it_lets_go(way: Way) {
        refused_until_released(way, "udp", &format!("{}:0", own_address()), lets_go);
    }
}

in_every_way! {
    fn a_path_that_another_process_serves_is_refused_until_it_lets_go(way: Way) {
        let directory = Directory::new();
        refused_until_released(way, "unix", &directory.join("socket"), lets_go);
    }
}

in_every_way! {
    fn a_path_that_a_dead_process_left_behind_is_nobodys(way: Way) {
        let directory = Directory::new();
        let path = directory.join("socket");
        refused_until_released(way, "unix", &path, |other| {
            other.worker(1).kill(Signal::KILL).unwrap();
            other.exit(1);
            assert!(std::fs::exists(&path).unwrap());
        });
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
            let why = format!("every user may bind port {PRIVILEGED} here");
            return skipped("a_privileged_port_is_refused_to_the_unprivileged", &why);
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
