//! Listeners of a process that runs alone, and calls outside of a runtime.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::pin;

use super::{anywhere, poll_once, run};
use crate::{ListenOptions, TcpListener, UdpSocket, UnixListener};

#[path = "../../../tests/cluster/harness/skipped.rs"]
mod skipped;

use skipped::skipped;

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("oneport-test-{}-{name}.sock", std::process::id()))
}

#[test]
fn alone_a_listener_binds_for_itself_and_accepts() {
    run(async {
        let listener = TcpListener::bind("localhost:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let client = std::net::TcpStream::connect(addr).expect("it listens");
        assert_eq!(listener.accept().await.expect("a connection").1, client.local_addr().expect("bound"));
        let taken = TcpListener::bind(addr).await.expect_err("taken");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn of_several_addresses_the_first_that_works_is_bound() {
    run(async {
        let taken = std::net::TcpListener::bind(anywhere()).expect("a port").local_addr().expect("bound");
        let listening = std::net::TcpListener::bind(taken).expect("the port");
        let addrs = [listening.local_addr().expect("bound"), anywhere()];
        let listener = TcpListener::bind(&addrs[..]).await.expect("the second");
        assert_ne!(listener.local_addr().expect("bound"), addrs[0]);
    });
}

#[test]
fn without_a_host_every_address_is_served() {
    run(async {
        let listener = TcpListener::bind_any(0).await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        listener.accept().await.expect("a connection");
    });
}

const TRIES: u32 = 20;

#[test]
fn ipv6_only_leaves_ipv4_free() {
    run(async {
        let options = ListenOptions::new().ipv6_only(true);
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            return skipped("ipv6_only_leaves_ipv4_free", "no IPv6 here");
        }
        // Somebody may have that port of IPv4: not every time.
        for _ in 0..TRIES {
            let listener = options.listen("[::]:0").await.expect("a port");
            let port = listener.local_addr().expect("bound").port();
            match TcpListener::bind(("0.0.0.0", port)).await {
                Ok(other) => return assert_eq!(other.local_addr().expect("bound").port(), port),
                Err(error) => assert_eq!(error.kind(), ErrorKind::AddrInUse),
            }
        }
        panic!("no port is left to IPv4");
    });
}

#[test]
fn a_descriptor_that_was_not_inherited_is_none() {
    run(async {
        let own = std::net::TcpListener::bind(anywhere()).expect("a port");
        let number = std::os::fd::AsRawFd::as_raw_fd(&own);
        let error = ListenOptions::new().fd(number).listen_any(0).await.expect_err("not inherited");
        assert_eq!(error.raw_os_error(), Some(9));
        let error = ListenOptions::new().fd(number).bind_udp(anywhere()).await.expect_err("not inherited");
        assert_eq!(error.raw_os_error(), Some(9));
        let error = ListenOptions::new().fd(number).listen_unix("x").await.expect_err("not inherited");
        assert_eq!(error.raw_os_error(), Some(9));
    });
}

#[test]
fn a_unix_path_has_its_permissions_and_goes_with_its_listener() {
    run(async {
        let path = path("own");
        let options = ListenOptions::new().readable_all(true).writable_all(true);
        let listener = options.listen_unix(&path).await.expect("a path");
        let mode = std::fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o666, 0o666);
        assert_eq!(listener.local_addr().expect("bound").as_pathname(), Some(path.as_path()));
        let _client = std::os::unix::net::UnixStream::connect(&path).expect("it listens");
        listener.accept().await.expect("a connection");
        let taken = UnixListener::bind(&path).await.expect_err("taken");
        assert_eq!(taken.kind(), ErrorKind::AddrInUse);
        drop(listener);
        assert!(!path.exists());
        let listener = UnixListener::bind(&path).await.expect("free again");
        let socket = listener.into_std().expect("a socket");
        assert!(path.exists(), "left to the caller");
        drop(socket);
        std::fs::remove_file(&path).expect("a file");
    });
}

#[test]
fn udp_binds_for_itself_and_shares_where_that_is_wanted() {
    run(async {
        let options = ListenOptions::new().reuse_address(true);
        let one = options.bind_udp(anywhere()).await.expect("a port");
        let addr: SocketAddr = one.local_addr().expect("bound");
        options.bind_udp(addr).await.expect("shared");
        assert_eq!(UdpSocket::bind(addr).await.expect_err("taken").kind(), ErrorKind::AddrInUse);
    });
}

#[test]
fn sockets_go_in_and_out_of_a_listener() {
    run(async {
        let socket = std::net::TcpListener::bind(anywhere()).expect("a port");
        let addr = socket.local_addr().expect("bound");
        let listener = TcpListener::from_std(socket).expect("a listener");
        let listener = TcpListener::from(listener.into_tokio().expect("a socket"));
        let _client = std::net::TcpStream::connect(addr).expect("it listens");
        listener.accept().await.expect("a connection");
        assert_eq!(listener.into_std().expect("a socket").local_addr().expect("bound"), addr);
    });
}

#[test]
fn outside_of_a_runtime_every_call_is_an_error_that_says_so() {
    let bound = run(async { TcpListener::bind(anywhere()).await.expect("a port") });
    let errors = [
        poll_once(pin!(TcpListener::bind("localhost:0")).as_mut()).expect("at once").expect_err("no runtime"),
        poll_once(pin!(TcpListener::bind_any(0)).as_mut()).expect("at once").expect_err("no runtime"),
        poll_once(pin!(UnixListener::bind("x")).as_mut()).expect("at once").expect_err("no runtime"),
        poll_once(pin!(UdpSocket::bind(anywhere())).as_mut()).expect("at once").expect_err("no runtime"),
        poll_once(pin!(bound.accept()).as_mut()).expect("at once").expect_err("no runtime"),
        TcpListener::from_std(std::net::TcpListener::bind(anywhere()).expect("a port"))
            .expect_err("no runtime"),
    ];
    for error in errors {
        let text = error.to_string();
        assert!(text.starts_with("cannot ") && text.contains("no tokio runtime here"), "{text}");
    }
}
