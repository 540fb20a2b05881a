//! Ending one connection of another process while nothing is under way on it, as its own server would after a time.
//!
//! The process learns of it as of a client that left. What a client sends from then on is answered by a reset and read by
//! nobody, so it may safely be sent again. Permissions as in [`foreign`](crate::foreign).

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{Shutdown, shutdown};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::diag::Connection;
use crate::foreign::take_fd;
use crate::proc::descriptor_of;
use crate::process::Pid;
use crate::tcp::{Info, state};

/// Ends the process's connection as it was seen, if nothing has come since and it is idle still; whether it was so. `false`
/// also of one that the process has no more. Errors: `EPERM`, `EACCES`: not permitted; `ENOSYS`: Linux before 5.6; `ESRCH`: the process has ended.
pub fn hang_up(process: Pid, seen: &Connection) -> io::Result<bool> {
    let inode = seen.inode;
    // First the descriptor of the process, so that its number stays its own.
    let pidfd = pidfd_open(process.as_rustix(), PidfdFlags::empty())?;
    let Some(fd) = descriptor_of(process, inode)? else { return Ok(false) };
    let taken = match take_fd(pidfd.as_fd(), fd) {
        Err(error) if error.raw_os_error() == Some(libc::EBADF) => return Ok(false),
        other => other?,
    };
    // The number may belong to another file by now.
    if rustix::fs::fstat(&taken)?.st_ino != inode || !is_idle(taken.as_fd(), seen.segments_received) {
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

/// The rule of [`diag::is_idle`](crate::diag::is_idle), asked of the socket itself.
fn is_idle(connection: BorrowedFd<'_>, received: u32) -> bool {
    let Ok(info) = Info::of(connection) else { return false };
    let unread = rustix::io::ioctl_fionread(connection).unwrap_or(1);
    let answered = match (info.since_last_sent_ms(), info.since_last_received_ms()) {
        (Some(sent), Some(received)) => sent <= received,
        (None, _) | (_, None) => false,
    };
    let unchanged = info.data_segments_received() == Some(received);
    info.state() == state::ESTABLISHED
        && unchanged
        && unread == 0
        && info.unacknowledged() == Some(0)
        && answered
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
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
        assert!(hang_up(own_pid(), &seen(&client, &server)).unwrap());
        assert_eq!((client.read(&mut [0; 1]).unwrap(), server.read(&mut [0; 1]).unwrap()), (0, 0));
    }

    #[test]
    fn a_request_that_came_after_the_look_keeps_its_connection() {
        let (mut client, mut server) = pair();
        ask_and_answer(&mut client, &mut server);
        let before = seen(&client, &server);
        client.write_all(b"ask").unwrap();
        assert!(!hang_up(own_pid(), &before).unwrap());
        server.read_exact(&mut [0; 3]).unwrap();
        assert!(!hang_up(own_pid(), &before).unwrap());
        server.write_all(b"answer").unwrap();
        client.read_exact(&mut [0; 6]).unwrap();
    }

    #[test]
    fn a_socket_that_is_not_there_is_no_error() {
        let (mut client, mut server) = pair();
        ask_and_answer(&mut client, &mut server);
        let seen = Connection { inode: u64::MAX, ..seen(&client, &server) };
        assert!(!hang_up(own_pid(), &seen).unwrap());
    }
}
