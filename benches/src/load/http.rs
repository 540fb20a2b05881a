//! The few words of HTTP the generator speaks, and one blocking question for everything outside the hot loop.
//!
//! Not a client: answers are small, come in one segment, and only status line and `X-Worker` are looked at.

use rustix::net::sockopt::{Timeout, set_socket_linger, set_socket_timeout};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::str::FromStr;
use std::time::Duration;

/// One ordinary request.
pub(crate) const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
/// One that keeps its worker busy for 200 ms.
pub(crate) const BLOCK: &[u8] = b"GET /block HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
/// One that is answered after 500 ms.
pub(crate) const SLOW: &[u8] = b"GET /slow HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
/// One that is answered with the cost of system calls, see `servers/server.c`.
pub(crate) const SYSTEM_CALLS: &[u8] = b"GET /syscalls HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
/// One that is answered at once by an app that takes its time otherwise, see `servers/managed.js`.
pub(crate) const WORKER: &[u8] = b"GET /worker HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n";
/// One whose connection stays open.
pub(crate) const KEPT: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// The `index`th loopback address used, 127.0.0.2 to 127.0.0.65.
///
/// Destinations vary so that each has its own range of ephemeral ports. Varying the source instead would need
/// `IP_BIND_ADDRESS_NO_PORT` to be as cheap, which safe Rust offers nowhere; servers bind the wildcard, so they do
/// not see the difference.
pub(crate) fn address(port: u16, index: usize) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, 2 + (index % 64) as u8), port)
}

/// Whether `answer` is the start of a good response.
pub(crate) fn is_ok(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200")
}

/// The pid of the worker that sent `answer`.
pub(crate) fn worker(answer: &[u8]) -> Option<i32> {
    header(answer, "X-Worker: ")
}

/// The value of the header that begins with `name`, colon and blank included.
pub(crate) fn header<T: FromStr>(answer: &[u8], name: &str) -> Option<T> {
    let head = std::str::from_utf8(answer).ok()?;
    head.lines().find_map(|line| line.strip_prefix(name))?.trim().parse().ok()
}

/// The `index`th address that connections may come from, where they are to come from many.
pub(crate) fn source(index: usize) -> SocketAddrV4 {
    address(0, index)
}

/// Connects, asks, and returns the pid of the worker that answered.
pub(crate) fn ask(port: u16, limit: Duration) -> io::Result<i32> {
    of_a_worker(&ask_for(port, PLAIN, limit)?)
}

/// The same from the `index`th of many addresses: a policy may look at them.
pub(crate) fn ask_from(index: usize, port: u16, limit: Duration) -> io::Result<i32> {
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Connecting is a kind of sending.
    set_socket_timeout(&socket, Timeout::Send, Some(limit))?;
    bind(&socket, &source(index))?;
    connect(&socket, &address(port, 0))?;
    of_a_worker(&exchange(TcpStream::from(socket), PLAIN, limit)?)
}

/// Connects, sends `request`, and returns the first segment of the answer, which is a good one.
pub(crate) fn ask_for(port: u16, request: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    exchange(TcpStream::connect_timeout(&address(port, 0).into(), limit)?, request, limit)
}

fn exchange(mut stream: TcpStream, request: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    set_socket_linger(&stream, Some(Duration::ZERO))?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(request)?;
    let mut buffer = vec![0; 2048];
    let length = stream.read(&mut buffer)?;
    buffer.truncate(length);
    match is_ok(&buffer) {
        true => Ok(buffer),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "not the answer expected")),
    }
}

fn of_a_worker(answer: &[u8]) -> io::Result<i32> {
    worker(answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer expected"))
}

/// Reads one answer and returns the pid of the worker that gave it.
pub(crate) fn read_worker(stream: &mut TcpStream) -> io::Result<i32> {
    let mut buffer = [0; 2048];
    let length = stream.read(&mut buffer)?;
    let answer = &buffer[..length];
    worker(answer)
        .filter(|_| is_ok(answer))
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not the answer expected"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn the_worker_is_read_from_its_header_and_nothing_else() {
        let answer = b"HTTP/1.1 200 OK\r\nX-Worker: 4711\r\nContent-Length: 6\r\n\r\nhello\n";
        assert!(is_ok(answer));
        assert_eq!(worker(answer), Some(4711));
        assert_eq!(worker(b"HTTP/1.1 200 OK\r\n\r\n"), None);
        assert!(!is_ok(b"HTTP/1.1 503 no"));
    }

    #[test]
    fn a_question_comes_from_the_address_it_is_asked_from() {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = listener.local_addr().expect("bound").port();
        let server = thread::spawn(move || {
            let (mut stream, from) = listener.accept().expect("a connection");
            let _length = stream.read(&mut [0; 256]).expect("a request");
            stream.write_all(b"HTTP/1.1 200 OK\r\nX-Worker: 7\r\n\r\n").expect("an answer");
            from.ip()
        });
        let answered = ask_from(5, port, Duration::from_secs(5)).expect("an answer");
        assert_eq!((answered, server.join().expect("server ends")), (7, Ipv4Addr::new(127, 0, 0, 7).into()));
    }

    #[test]
    fn addresses_stay_between_127_0_0_2_and_127_0_0_65() {
        let all: Vec<u8> = (0..200).map(|index| address(1, index).ip().octets()[3]).collect();
        assert_eq!((all.iter().min(), all.iter().max()), (Some(&2), Some(&65)));
    }
}
