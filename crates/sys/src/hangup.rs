//! Ending one connection of another process while nothing is under way on it, as its own server would after a time.
//!
//! The process learns of it as of a client that left. What a client sends from then on is answered by a reset and read by
//! nobody, so it may safely be sent again. Permissions as in [`foreign`](crate::foreign).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use rustix::net::{Shutdown, shutdown};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::diag::Connection;
use crate::foreign::take_fd;
use crate::process::Pid;
use crate::tcp::{Info, state};

/// Ends the process's connection as it was seen, if nothing has come since and it is idle still; whether it was so. `fd`: the
/// number that the process had of it ([`socket_descriptors`](crate::proc::socket_descriptors)); it may be another file by now,
/// of another process even: then it is `false`. Errors: `EPERM`, `EACCES`: not permitted; `ENOSYS`: Linux before 5.6; `ESRCH`:
/// the process has ended.
pub fn hang_up(process: Pid, fd: RawFd, seen: &Connection) -> io::Result<bool> {
    let inode = seen.inode;
    let pidfd = pidfd_open(process.as_rustix(), PidfdFlags::empty())?;
    let taken = match take_fd(pidfd.as_fd(), fd) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Ok(false),
        other => other?,
    };
    if rustix::fs::fstat(&taken)?.st_ino != inode || !is_idle(taken.as_fd(), seen) {
        return Ok(false);
    }
    // What comes between the look and this is the request that meets the end of a connection, which nothing can exclude.
    match shutdown(&taken, Shutdown::Both) {
        Ok(()) => Ok(true),
        // The client was quicker.
        Err(rustix::io::Errno::NOTCONN) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The rule of [`diag::is_idle`](crate::diag::is_idle), asked of the socket itself. An answer that was not acknowledged when it
/// was seen need not be now, if all of it was sent: the end of the connection comes behind it.
fn is_idle(connection: BorrowedFd<'_>, seen: &Connection) -> bool {
    let Ok(info) = Info::of(connection) else { return false };
    let unread = rustix::io::ioctl_fionread(connection).unwrap_or(1);
    let answered = match (info.since_last_sent_ms(), info.since_last_received_ms()) {
        (Some(sent), Some(received)) => sent <= received,
        (None, _) | (_, None) => false,
    };
    let unchanged = info.data_segments_received() == Some(seen.segments_received);
    let acknowledged = info.unacknowledged() == Some(0) && info.unsent() == Some(0);
    let sent = seen.send_queue > 0 && info.unsent() == Some(0);
    info.state() == state::ESTABLISHED && unchanged && unread == 0 && (acknowledged || sent) && answered
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::diag::tcp_connections;
    use crate::process::own_pid;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        (client, server)
    }

    fn ask_and_answer(client: &mut TcpStream, server: &mut TcpStream) {
        client.write_all(b"ask").unwrap();
        server.read_exact(&mut [0; 3]).unwrap();
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
    }

    /// The connection, once everything is acknowledged.
    fn seen(client: &TcpStream, server: &TcpStream) -> Connection {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let found = tcp_connections(&[server.local_addr().unwrap().port()]).unwrap();
            let mine = found.into_iter().find(|one| one.remote == client.local_addr().unwrap());
            match mine.filter(|one| one.send_queue == 0) {
                Some(one) => return one,
                None => assert!(Instant::now() < deadline, "nothing is acknowledged"),
            }
        }
    }

    #[test]
    fn an_answered_connection_is_ended_for_both_sides() {
        let (mut client, mut server) = pair();
        ask_and_answer(&mut client, &mut server);
        assert!(hang_up(own_pid(), server.as_raw_fd(), &seen(&client, &server)).unwrap());
        assert_eq!((client.read(&mut [0; 1]).unwrap(), server.read(&mut [0; 1]).unwrap()), (0, 0));
    }

    #[test]
    fn an_answer_that_is_sent_and_not_acknowledged_arrives_before_the_end() {
        let (mut client, mut server) = pair();
        ask_and_answer(&mut client, &mut server);
        let mut mine = seen(&client, &server);
        // As it was seen a moment before.
        mine.send_queue = 6;
        server.write_all(b"answer").unwrap();
        assert!(hang_up(own_pid(), server.as_raw_fd(), &mine).unwrap());
        let mut told = Vec::new();
        client.read_to_end(&mut told).unwrap();
        assert_eq!(told, b"answer");
    }

    #[test]
    fn a_request_that_came_after_the_look_keeps_its_connection() {
        let (mut client, mut server) = pair();
        ask_and_answer(&mut client, &mut server);
        let before = seen(&client, &server);
        client.write_all(b"ask").unwrap();
        assert!(!hang_up(own_pid(), server.as_raw_fd(), &before).unwrap());
        server.read_exact(&mut [0; 3]).unwrap();
        assert!(!hang_up(own_pid(), server.as_raw_fd(), &before).unwrap());
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
    }

    #[test]
    fn a_number_that_is_another_file_by_now_is_no_error() {
        let (mut client, mut server) = pair();
        ask_and_answer(&mut client, &mut server);
        let mine = seen(&client, &server);
        let other = Connection { inode: u64::MAX, ..mine.clone() };
        assert!(!hang_up(own_pid(), server.as_raw_fd(), &other).unwrap());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!hang_up(own_pid(), file.as_raw_fd(), &mine).unwrap());
        assert!(!hang_up(own_pid(), 1_000_000, &mine).unwrap());
    }
}
