//! Whether anybody has used a connection yet. What was read from it cannot be put back, so a connection that
//! another process has touched must not be given to a third one.

use std::os::fd::BorrowedFd;

use crate::listen::{SocketKind, socket_kind};
use crate::tcp::Info;

/// Whether nothing was read from this connection and nothing written to it. Only TCP can be judged: of any other
/// socket it is taken to be true; of a TCP connection that cannot be read, false.
pub fn is_untouched(connection: BorrowedFd<'_>) -> bool {
    match socket_kind(connection) {
        SocketKind::Tcp => tcp_untouched(connection).unwrap_or(false),
        SocketKind::UnixStream | SocketKind::Udp | SocketKind::UnixDatagram | SocketKind::Other => true,
    }
}

fn tcp_untouched(connection: BorrowedFd<'_>) -> Option<bool> {
    let info = Info::of(connection).ok()?;
    let (received, segments_sent) = (info.bytes_received()?, info.data_segments_sent()?);
    let waiting = rustix::io::ioctl_fionread(connection).ok()?;
    // A FIN counts as one byte received and is not among those waiting (tcp_inq, Linux 6.18).
    Some(segments_sent == 0 && received.saturating_sub(waiting) <= 1)
}
