//! Listening on what is there already. A descriptor's number is the primary's, and only what that inherited counts; a
//! socket that a worker has is its own.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::process::Stdio;

use crate::harness::{programs, who};
use crate::listening_apart::{Directory, run_apart, test_apart};
use crate::listening_udp::ask_udp;
use crate::listening_unix::who_on;
use crate::listening_ways::{Crowd, Way, heard_of, in_every_way, open, open_port};

programs! { inherits_tcp, inherits_udp, inherits_unix }

/// Gives the program this descriptor as number 7.
fn run_with(program: &str, way: Way, descriptor: impl Into<OwnedFd>) {
    let descriptor: OwnedFd = descriptor.into();
    run_apart(program, way, "exec 7<&0 0</dev/null", |command| _ = command.stdin(Stdio::from(descriptor)));
}

in_every_way! {
    fn workers_share_a_tcp_socket_that_the_primary_inherited(way: Way) {
        run_with("inherits_tcp", way, TcpListener::bind("127.0.0.1:0").unwrap());
    }
}

async fn inherits_tcp() {
    test_apart(|way| {
        let mut test = way.cluster(2);
        let address = open_port(&mut test, 1, "any a 0 fd=7");
        assert_eq!(open_port(&mut test, 2, "any a 0 fd=7"), address);
        let mut crowd = Crowd::connect(address, 40);
        crowd.until_answered(40);
        if way != Way::Shared {
            assert!(crowd.by(1) > 0 && crowd.by(2) > 0);
        }
        // Neither a number that is the worker's own nor one that the primary opened itself.
        for order in ["any b 0 fd=4", "any b 0 fd=8", "udp b 127.0.0.1:0 fd=8"] {
            assert_eq!(test.ask(1, order), "Uncategorized", "{order}");
        }
        for order in ["udp b 127.0.0.1:0 fd=7", "unix b /nonexistent fd=7"] {
            assert!(test.ask(1, order).starts_with("Invalid"), "{order}");
        }
        test.stop();
    });
}

in_every_way! {
    fn workers_share_a_udp_socket_that_the_primary_inherited(way: Way) {
        run_with("inherits_udp", way, UdpSocket::bind("127.0.0.1:0").unwrap());
    }
}

async fn inherits_udp() {
    test_apart(|way| {
        let mut test = way.cluster(2);
        let address = open_port(&mut test, 1, "udp a 127.0.0.1:0 fd=7 datagrams=1");
        assert_eq!(open_port(&mut test, 2, "udp a 127.0.0.1:0 fd=7 datagrams=1"), address);
        let mut answers = [(); 2].map(|()| ask_udp(address));
        answers.sort_unstable();
        assert_eq!(answers, [1, 2]);
        assert!(test.ask(1, "any b 0 fd=7").starts_with("Invalid"));
        test.stop();
    });
}

in_every_way! {
    fn workers_share_a_unix_socket_that_the_primary_inherited(way: Way) {
        let directory = Directory::new();
        let socket = UnixListener::bind(directory.path().join("socket")).unwrap();
        let path = directory.join("");
        let descriptor = OwnedFd::from(socket);
        run_apart("inherits_unix", way, "exec 7<&0 0</dev/null", |command| {
            command.current_dir(path).stdin(Stdio::from(descriptor));
        });
        // Somebody else made it.
        assert!(directory.path().join("socket").exists());
    }
}

async fn inherits_unix() {
    test_apart(|way| {
        let mut test = way.cluster(1);
        open(&mut test, 1, "unix a socket fd=7");
        assert_eq!(who_on("socket"), (1, 0));
        test.stop();
    });
}

in_every_way! {
    fn a_socket_of_its_own_is_served_by_its_worker_alone_and_never_asked_for(way: Way) {
        let (mut test, directory) = (way.cluster(2), Directory::new());
        let shared = [1, 2].map(|worker| open_port(&mut test, worker, "tcp shared 127.0.0.1:0"));
        assert_eq!(shared[0], shared[1]);
        let own: Vec<_> = [1, 2]
            .map(|worker| {
                let address = test.ask(worker, "own-tcp own 127.0.0.1:0");
                let path = directory.join(&worker.to_string());
                assert_eq!(test.ask(worker, &format!("own-unix path {path}")), path);
                for name in ["own", "path"] {
                    assert_eq!(test.ask(worker, &format!("way {name}")), "Alone");
                }
                (worker, address.parse().unwrap(), path)
            })
            .into();
        assert_ne!(own[0].1, own[1].1);
        for _ in 0..3 {
            for (worker, address, path) in &own {
                assert_eq!((who(*address), who_on(path)), ((*worker, 0), (*worker, 0)));
            }
        }
        // It would have asked before it asked for this.
        for worker in 1..=2 {
            open_port(&mut test, worker, "tcp last 127.0.0.1:0");
            assert_eq!((heard_of(&test, worker), test.count("listen-failed")), (2, 0));
        }
        test.stop();
    }
}

in_every_way! {
    fn a_server_that_was_passed_on_is_served_by_all_who_have_it_and_never_asked_for(way: Way) {
        let (mut test, directory) = (way.cluster(2), Directory::new());
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let path = directory.join("socket");
        let on_path = UnixListener::bind(&path).unwrap();
        for worker in 1..=2 {
            test.worker(worker).send_handle(&"a server", server.try_clone().unwrap()).unwrap();
            assert_eq!(test.ask(worker, "passed tcp -"), address.to_string());
            test.worker(worker).send_handle(&"a server", on_path.try_clone().unwrap()).unwrap();
            assert_eq!(test.ask(worker, "passed path -"), path);
            assert_eq!(test.ask(worker, "way tcp"), "Alone");
        }
        drop((server, on_path));
        for (deaf, hearing) in [(1, 2), (2, 1)] {
            for name in ["tcp", "path"] {
                assert_eq!(test.ask(deaf, &format!("deafen {name}")), "deaf");
            }
            for _ in 0..3 {
                assert_eq!((who(address), who_on(&path)), ((hearing, 0), (hearing, 0)));
            }
            for name in ["tcp", "path"] {
                assert_eq!(test.ask(deaf, &format!("hear {name} 1")), "hearing");
            }
        }
        for worker in 1..=2 {
            open_port(&mut test, worker, "tcp last 127.0.0.1:0");
            assert_eq!((heard_of(&test, worker), test.count("listen-failed")), (1, 0));
        }
        test.stop();
    }
}
