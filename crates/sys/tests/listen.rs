//! Binding and listening, as libuv does where workers can tell.

mod common;

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use oneport_sys::listen::{
    LocalAddress, Reuse, SocketKind, UnixMode, V6, bind_tcp, bind_udp, bind_unix, chmod_unix,
    interface_index, is_listening, local_address, set_nonblocking, socket_kind, start_listening,
    unlink_if_ours,
};

fn address_of(fd: &OwnedFd) -> SocketAddr {
    let name = local_address(fd.as_fd()).expect("local address");
    let LocalAddress::Ip(address) = name else { panic!("{name:?}") };
    address
}

fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().expect("address")
}

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

fn assert_private(fd: &OwnedFd) {
    assert!(rustix::fs::fcntl_getfl(fd).expect("flags").contains(rustix::fs::OFlags::NONBLOCK));
    assert!(rustix::io::fcntl_getfd(fd).expect("flags").contains(rustix::io::FdFlags::CLOEXEC));
}

#[test]
fn a_bound_socket_listens_only_when_told_and_can_be_told_twice() {
    let socket = bind_tcp(loopback(), V6::Dual).unwrap();
    assert_private(&socket);
    let address = address_of(&socket);
    assert_ne!(address.port(), 0);
    assert!(!is_listening(socket.as_fd()));
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    start_listening(socket.as_fd(), 1).unwrap();
    assert!(is_listening(socket.as_fd()));
    TcpStream::connect(address).unwrap();
    start_listening(socket.as_fd(), u32::MAX).unwrap();
    TcpStream::connect(address).unwrap();
}

#[test]
fn a_port_somebody_listens_on_is_taken() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(errno(bind_tcp(address, V6::Dual)), Some(libc::EADDRINUSE));
    let wildcard = SocketAddr::new("0.0.0.0".parse().unwrap(), address.port());
    assert_eq!(errno(bind_tcp(wildcard, V6::Dual)), Some(libc::EADDRINUSE));
    let other = SocketAddr::new("127.0.0.2".parse().unwrap(), address.port());
    bind_tcp(other, V6::Dual).unwrap();
}

#[test]
fn two_may_bind_one_address_but_only_one_may_listen() {
    let first = bind_tcp(loopback(), V6::Dual).unwrap();
    let second = bind_tcp(address_of(&first), V6::Dual).unwrap();
    start_listening(first.as_fd(), 16).unwrap();
    assert_eq!(errno(start_listening(second.as_fd(), 16)), Some(libc::EADDRINUSE));
}

#[test]
fn dual_stack_serves_ipv4_and_ipv6_only_leaves_it_free() {
    let any: SocketAddr = "[::]:0".parse().unwrap();
    let dual = bind_tcp(any, V6::Dual).unwrap();
    start_listening(dual.as_fd(), 16).unwrap();
    let port = address_of(&dual).port();
    TcpStream::connect(("127.0.0.1", port)).unwrap();
    TcpStream::connect(("::1", port)).unwrap();
    let v4 = SocketAddr::new("0.0.0.0".parse().unwrap(), port);
    assert_eq!(errno(bind_tcp(v4, V6::Dual)), Some(libc::EADDRINUSE));

    let only = bind_tcp(any, V6::Only).unwrap();
    start_listening(only.as_fd(), 16).unwrap();
    let port = address_of(&only).port();
    TcpStream::connect(("::1", port)).unwrap();
    assert_eq!(TcpStream::connect(("127.0.0.1", port)).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn an_address_that_is_not_ours_is_refused() {
    let foreign: SocketAddr = "192.0.2.1:0".parse().unwrap();
    assert_eq!(errno(bind_tcp(foreign, V6::Dual)), Some(libc::EADDRNOTAVAIL));
}

#[test]
fn a_udp_address_is_exclusive_unless_all_say_otherwise() {
    let first = bind_udp(loopback(), V6::Dual, Reuse::Exclusive).unwrap();
    assert_private(&first);
    assert_eq!(errno(bind_udp(address_of(&first), V6::Dual, Reuse::Exclusive)), Some(libc::EADDRINUSE));
    assert_eq!(errno(bind_udp(address_of(&first), V6::Dual, Reuse::Address)), Some(libc::EADDRINUSE));
    let shared = bind_udp(loopback(), V6::Dual, Reuse::Address).unwrap();
    bind_udp(address_of(&shared), V6::Dual, Reuse::Address).unwrap();
    let six = bind_udp("[::1]:0".parse().unwrap(), V6::Only, Reuse::Exclusive).unwrap();
    assert!(address_of(&six).is_ipv6());
}

#[test]
fn a_unix_path_is_bound_with_its_inode_and_removed_only_by_it() {
    let scratch = common::Scratch::new();
    let path = scratch.join("s");
    let (socket, identity) = bind_unix(&path, UnixMode::default()).unwrap();
    assert_private(&socket);
    start_listening(socket.as_fd(), 16).unwrap();
    UnixStream::connect(&path).unwrap();
    assert_eq!(local_address(socket.as_fd()).unwrap(), LocalAddress::Unix(Some(path.clone())));

    let away = scratch.join("away");
    fs::rename(&path, &away).unwrap();
    let _stranger = UnixListener::bind(&path).unwrap();
    assert!(!unlink_if_ours(&path, &identity).unwrap());
    assert!(path.exists());
    assert!(unlink_if_ours(&away, &identity).unwrap());
    assert!(!unlink_if_ours(&away, &identity).unwrap());
}

#[test]
fn a_stale_path_is_taken_over() {
    let scratch = common::Scratch::new();
    let path = scratch.join("s");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let (socket, identity) = bind_unix(&path, UnixMode::default()).unwrap();
    start_listening(socket.as_fd(), 16).unwrap();
    UnixStream::connect(&path).unwrap();
    assert!(unlink_if_ours(&path, &identity).unwrap());
}

#[test]
fn a_served_path_is_taken_even_when_its_queue_is_full() {
    let scratch = common::Scratch::new();
    let path = scratch.join("s");
    let listener = UnixListener::bind(&path).unwrap();
    assert_eq!(errno(bind_unix(&path, UnixMode::default())), Some(libc::EADDRINUSE));
    start_listening(listener.as_fd(), 0).unwrap();
    let _waiting = UnixStream::connect(&path);
    assert_eq!(errno(bind_unix(&path, UnixMode::default())), Some(libc::EADDRINUSE));
    assert!(path.exists());
}

#[test]
fn a_path_bound_but_not_listened_on_yet_is_not_stale() {
    let scratch = common::Scratch::new();
    let path = scratch.join("s");
    let (bound, _) = bind_unix(&path, UnixMode::default()).unwrap();
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(errno(bind_unix(&path, UnixMode::default())), Some(libc::EADDRINUSE));
    start_listening(bound.as_fd(), 16).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn what_is_no_stream_socket_of_a_dead_server_is_never_removed() {
    let scratch = common::Scratch::new();
    let file = scratch.join("file");
    fs::write(&file, "precious").unwrap();
    assert_eq!(errno(bind_unix(&file, UnixMode::default())), Some(libc::EADDRINUSE));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    let link = scratch.join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert_eq!(errno(bind_unix(&link, UnixMode::default())), Some(libc::EADDRINUSE));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    let datagram = scratch.join("datagram");
    let _live = UnixDatagram::bind(&datagram).unwrap();
    assert_eq!(errno(bind_unix(&datagram, UnixMode::default())), Some(libc::EADDRINUSE));
    assert!(datagram.exists());
}

#[test]
fn bad_paths_have_the_errors_users_of_node_know() {
    let scratch = common::Scratch::new();
    let bind = |path: &Path| errno(bind_unix(path, UnixMode::default()));
    assert_eq!(bind(&scratch.join("none/s")), Some(libc::EACCES));
    assert_eq!(bind(Path::new("")), Some(libc::EINVAL));
    let room = 107 - scratch.join("").as_os_str().len();
    assert_eq!(bind(&scratch.join(&"x".repeat(room + 1))), Some(libc::ENAMETOOLONG));
    assert_eq!(bind(&scratch.join(&"x".repeat(room))), None);
}

#[test]
fn an_abstract_name_has_no_file_and_is_taken_while_it_lives() {
    let name = format!("\0oneport-sys-test-{}", std::process::id());
    let path = PathBuf::from(OsStr::from_bytes(name.as_bytes()));
    let (socket, identity) = bind_unix(&path, UnixMode { readable_all: true, writable_all: true }).unwrap();
    assert_eq!((identity.dev, identity.ino), (0, 0));
    start_listening(socket.as_fd(), 16).unwrap();
    assert_eq!(local_address(socket.as_fd()).unwrap(), LocalAddress::Unix(Some(path.clone())));
    assert_eq!(errno(bind_unix(&path, UnixMode::default())), Some(libc::EADDRINUSE));
    assert!(!unlink_if_ours(&path, &identity).unwrap());
    drop(socket);
    bind_unix(&path, UnixMode::default()).unwrap();
}

#[test]
fn permissions_are_only_added() {
    let scratch = common::Scratch::new();
    let path = scratch.join("s");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let (_bound, identity) = bind_unix(&path, UnixMode { readable_all: true, writable_all: true }).unwrap();
    assert_eq!(mode(&path) & 0o666, 0o666);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    chmod_unix(&path, &identity, UnixMode { readable_all: false, writable_all: true }).unwrap();
    assert_eq!(mode(&path), 0o722);
    chmod_unix(&path, &identity, UnixMode { readable_all: true, writable_all: false }).unwrap();
    assert_eq!(mode(&path), 0o766);
    chmod_unix(&path, &identity, UnixMode::default()).unwrap();
    assert_eq!(mode(&path), 0o766);
}

#[test]
fn every_kind_of_descriptor_is_told_apart() {
    let kind = |fd: OwnedFd| socket_kind(fd.as_fd());
    assert_eq!(kind(TcpListener::bind("127.0.0.1:0").unwrap().into()), SocketKind::Tcp);
    assert_eq!(kind(TcpListener::bind("[::1]:0").unwrap().into()), SocketKind::Tcp);
    assert_eq!(kind(UdpSocket::bind("127.0.0.1:0").unwrap().into()), SocketKind::Udp);
    assert_eq!(kind(UnixStream::pair().unwrap().0.into()), SocketKind::UnixStream);
    assert_eq!(kind(UnixDatagram::unbound().unwrap().into()), SocketKind::UnixDatagram);
    let file: OwnedFd = fs::File::open("/dev/null").unwrap().into();
    assert_eq!(socket_kind(file.as_fd()), SocketKind::Other);
    assert!(!is_listening(file.as_fd()));
    assert_eq!(errno(local_address(file.as_fd())), Some(libc::ENOTSOCK));
    let unnamed = UnixStream::pair().unwrap().0;
    assert_eq!(local_address(unnamed.as_fd()).unwrap(), LocalAddress::Unix(None));
}

#[test]
fn non_blocking_mode_reaches_every_duplicate() {
    let (one, _peer) = UnixStream::pair().unwrap();
    let two = one.try_clone().unwrap();
    set_nonblocking(one.as_fd()).unwrap();
    assert!(rustix::fs::fcntl_getfl(&two).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
}

#[test]
fn an_interface_has_the_number_the_kernel_gave_it() {
    let number: u32 = fs::read_to_string("/sys/class/net/lo/ifindex").unwrap().trim().parse().unwrap();
    assert_eq!(interface_index("lo").unwrap(), number);
    assert_eq!(errno(interface_index("no-such-if")), Some(libc::ENODEV));
    assert!(interface_index(&"x".repeat(300)).is_err());
    assert!(interface_index("").is_err());
}

#[test]
fn a_port_of_every_address_is_not_had_on_ipv4_alone_because_it_is_taken() {
    let any = oneport_sys::listen::bind_tcp_anywhere(0, V6::Dual).expect("a port");
    start_listening(any.as_fd(), 1).expect("it is free");
    let LocalAddress::Ip(address) = local_address(any.as_fd()).expect("bound") else { panic!("no address") };
    assert!(address.ip().is_unspecified());
    let refused = oneport_sys::listen::bind_tcp_anywhere(address.port(), V6::Dual).expect_err("taken");
    assert_eq!(refused.kind(), std::io::ErrorKind::AddrInUse);
}
