//! Looking into a process by number; here it is this one, which answers like any other.

mod common;

use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener;

use oneport_sys::foreign::{
    AtExec, Blocking, Home, MAX_NAME, Name, Network, Protocol, check_access, fd_flags, is_polled,
    lowest_free_port, may_bind_low, open_thread, process_of, protocol_of, read_address, socket_inode,
    take_fd,
};
use oneport_sys::poll::{Interest, Poller};
use oneport_sys::process::{Pid, own_pid};
use oneport_sys::spawn::Stdio;

use common::{Running, command, eventually, read_line};

fn errno<T>(result: std::io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

/// Reads an address that lies in our own memory.
fn read(bytes: &[u8]) -> std::io::Result<Name> {
    read_address(own_pid(), bytes.as_ptr() as u64, u32::try_from(bytes.len()).expect("short"))
}

fn own_thread() -> Pid {
    Pid::new(rustix::thread::gettid().as_raw_nonzero().get()).expect("above zero")
}

#[test]
fn an_address_is_read_from_memory_as_bind_would_read_it() {
    let mut bytes = [0; MAX_NAME + 1];
    bytes[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    bytes[2..8].copy_from_slice(&[0, 80, 127, 0, 0, 1]);
    let expected = Name::Ip("127.0.0.1:80".parse().unwrap());
    assert_eq!(read(&bytes[..16]).unwrap(), expected);
    assert_eq!(read(&bytes[..MAX_NAME]).unwrap(), expected);
    assert_eq!(errno(read(&bytes)), Some(libc::EINVAL));
    assert_eq!(errno(read(&bytes[..15])), Some(libc::EINVAL));
    let address = bytes.as_ptr() as u64;
    // A length that is negative to the kernel, and none.
    assert_eq!(errno(read_address(own_pid(), address, u32::MAX)), Some(libc::EINVAL));
    assert_eq!(errno(read_address(own_pid(), address, 0)), Some(libc::EINVAL));
    // A thread names the same memory.
    assert_eq!(read_address(own_thread(), address, 16).unwrap(), expected);
}

#[test]
fn an_address_that_is_not_there_is_a_fault() {
    for nowhere in [0, 1, 4095, u64::MAX, u64::MAX - 16, 1 << 63, i64::MAX as u64 - 4, 0xffff_8000_0000_0000]
    {
        assert_eq!(errno(read_address(own_pid(), nowhere, 16)), Some(libc::EFAULT), "{nowhere:x}");
    }
}

#[test]
fn threads_belong_to_this_process_and_strangers_to_theirs() {
    let of_thread = std::thread::spawn(|| (own_thread(), process_of(own_thread()).unwrap())).join().unwrap();
    assert_ne!(of_thread.0, own_pid());
    assert_eq!(of_thread.1, own_pid());
    let other = Running::start(command("sleep", &["1000"]));
    assert_eq!(process_of(other.0.pid).unwrap(), other.0.pid);
    // Above any pid the kernel gives.
    let nobody = Pid::new(i32::MAX).unwrap();
    assert_eq!(errno(process_of(nobody)), Some(libc::ENOENT));
    assert!(matches!(errno(open_thread(nobody)), Some(libc::ESRCH | libc::ENOENT | libc::EINVAL)));
    assert_eq!(errno(read_address(nobody, 0, 16)), Some(libc::ENOENT));
    assert_eq!(errno(check_access(nobody)), Some(libc::ENOENT));
    check_access(own_pid()).unwrap();
}

#[test]
fn a_taken_descriptor_is_the_same_description_and_closes_at_exec() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for thread in [own_pid(), own_thread()] {
        let thread = open_thread(thread).unwrap();
        assert!(rustix::io::fcntl_getfd(&thread).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        let taken = take_fd(thread.as_fd(), listener.as_raw_fd()).unwrap();
        assert_ne!(taken.as_raw_fd(), listener.as_raw_fd());
        assert!(rustix::io::fcntl_getfd(&taken).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        // Flags of the description are common to both.
        rustix::io::ioctl_fionbio(&taken, true).unwrap();
        assert!(rustix::fs::fcntl_getfl(&listener).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
        rustix::io::ioctl_fionbio(&taken, false).unwrap();
        for fd in [-1, i32::MAX, i32::MIN] {
            assert_eq!(errno(take_fd(thread.as_fd(), fd)), Some(libc::EBADF), "{fd}");
        }
    }
}

#[test]
fn the_protocol_of_a_socket_is_told_apart() {
    let scratch = common::Scratch::new();
    let protocol = |socket: OwnedFd| protocol_of(own_pid(), socket.as_raw_fd()).unwrap();
    assert_eq!(protocol(TcpListener::bind("127.0.0.1:0").unwrap().into()), Protocol::Tcp4);
    assert_eq!(protocol(UdpSocket::bind("127.0.0.1:0").unwrap().into()), Protocol::Udp4);
    assert_eq!(protocol(UnixListener::bind(scratch.join("s")).unwrap().into()), Protocol::UnixStream);
    let make = |family, kind, protocol| rustix::net::socket(family, kind, protocol);
    use rustix::net::{AddressFamily, SocketType, ipproto};
    match make(AddressFamily::INET6, SocketType::STREAM, None) {
        Ok(six) => {
            assert_eq!(protocol(six), Protocol::Tcp6);
            assert_eq!(
                protocol(make(AddressFamily::INET6, SocketType::DGRAM, None).unwrap()),
                Protocol::Udp6
            );
        }
        Err(error) => eprintln!("skipped: no IPv6: {error}"),
    }
    match make(AddressFamily::INET, SocketType::STREAM, Some(ipproto::MPTCP)) {
        Ok(several) => {
            assert_eq!(protocol(several), Protocol::Mptcp4);
            if let Ok(six) = make(AddressFamily::INET6, SocketType::STREAM, Some(ipproto::MPTCP)) {
                assert_eq!(protocol(six), Protocol::Mptcp6);
            }
        }
        Err(error) => eprintln!("skipped: no MPTCP: {error}"),
    }
    let netlink = make(AddressFamily::NETLINK, SocketType::RAW, None).unwrap();
    assert_eq!(protocol(netlink), Protocol::Other("NETLINK".into()));
    let file = std::fs::File::open("/proc/self/stat").unwrap();
    assert!(matches!(
        errno(protocol_of(own_pid(), file.as_raw_fd())),
        Some(libc::ENODATA | libc::EOPNOTSUPP)
    ));
    assert_eq!(errno(protocol_of(own_pid(), -1)), Some(libc::ENOENT));
}

#[test]
fn flags_are_those_of_the_number_and_its_description() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let flags = || fd_flags(own_pid(), listener.as_raw_fd()).unwrap();
    assert_eq!(flags(), (Blocking::Waits, AtExec::Closes));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(flags(), (Blocking::Never, AtExec::Closes));
    let duplicate = rustix::io::dup(&listener).unwrap();
    let flags = fd_flags(own_pid(), duplicate.as_raw_fd()).unwrap();
    assert_eq!(flags, (Blocking::Never, AtExec::Stays));
    assert_eq!(errno(fd_flags(own_pid(), -1)), Some(libc::ENOENT));
}

#[test]
fn the_inode_of_a_socket_is_the_same_from_outside_and_inside() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let number = listener.as_raw_fd();
    let duplicate = listener.try_clone().unwrap();
    let within = oneport_sys::listen::inode(listener.as_fd()).unwrap();
    assert_eq!(socket_inode(own_pid(), number).unwrap(), within);
    assert_eq!(socket_inode(own_pid(), duplicate.as_raw_fd()).unwrap(), within);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_ne!(socket_inode(own_pid(), other.as_raw_fd()).unwrap(), within);
    let file = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(errno(socket_inode(own_pid(), file.as_raw_fd())), Some(libc::ENOTSOCK));
    assert_eq!(errno(socket_inode(own_pid(), -1)), Some(libc::ENOENT));
}

#[test]
fn a_socket_in_an_epoll_set_is_polled_under_any_number_until_it_is_taken_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let is_polled = |listener: &TcpListener| is_polled(own_pid(), listener.as_raw_fd());
    let (empty, set) = (Poller::new().unwrap(), Poller::new().unwrap());
    assert!(!is_polled(&listener));
    set.add(listener.as_fd(), 7, Interest::READ).unwrap();
    assert!(is_polled(&listener));
    assert!(is_polled(&listener.try_clone().unwrap()));
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(!is_polled(&other));
    set.remove(listener.as_fd()).unwrap();
    assert!(!is_polled(&listener));
    drop(empty);
}

#[test]
fn low_ports_are_for_the_capable_and_begin_where_the_kernel_says() {
    let lowest = lowest_free_port();
    let said = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start").unwrap();
    assert_eq!(said.trim(), lowest.to_string());
    let mut low = command("sleep", &["1000"]);
    if rustix::process::geteuid().is_root() {
        let same = Running::start(command("sleep", &["1000"]));
        assert_eq!(may_bind_low(same.0.pid).unwrap(), may_bind_low(own_pid()).unwrap());
        low.uid = Some(65534);
    }
    let low = Running::start(low);
    assert!(!may_bind_low(low.0.pid).unwrap());
    let nobody = Pid::new(i32::MAX).unwrap();
    assert_eq!(errno(may_bind_low(nobody)), Some(libc::ENOENT));
}

/// A process in a namespace of its own; `None` where that is forbidden.
fn apart(kind: &str) -> Option<Running> {
    let shell =
        "unshare --map-root-user $0 true && echo yes && exec unshare --map-root-user $0 sleep 1000; echo no";
    let mut unshare = command("sh", &["-c", shell, kind]);
    unshare.stdout = Stdio::Pipe;
    let mut unshare = Running::start(unshare);
    if read_line(&unshare.take_output()) == "no" {
        eprintln!("skipped: no namespaces");
        return None;
    }
    let name = format!("/proc/{}/comm", unshare.0.pid);
    eventually("it sleeps", || std::fs::read_to_string(&name).is_ok_and(|name| name.trim() == "sleep"));
    Some(unshare)
}

#[test]
fn what_a_process_may_do_in_a_user_namespace_of_its_own_is_nothing_here() {
    let Some(apart) = apart("--user") else { return };
    let status = std::fs::read_to_string(format!("/proc/{}/status", apart.0.pid)).unwrap();
    assert!(status.lines().any(|line| line.starts_with("CapEff:") && line.ends_with("ffffff")), "{status}");
    assert!(!may_bind_low(apart.0.pid).unwrap());
}

#[test]
fn a_socket_is_ours_where_its_network_is() {
    let home = Home::of_this_thread();
    let own = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(home.network_of(own_pid(), Some(own.as_fd())), Network::Ours);
    assert_eq!(home.network_of(own_pid(), None), Network::Ours);
    let Some(apart) = apart("--net") else { return };
    assert_eq!(home.network_of(apart.0.pid, None), Network::Foreign);
    // What can be seen of the socket itself counts: somebody else may have given it to the process.
    assert_eq!(home.network_of(apart.0.pid, Some(own.as_fd())), Network::Ours);
}
