//! Whether anybody has used a connection yet. What was read from it cannot be put back, so a connection that
//! another process has touched must not be given to a third one.

#![expect(unsafe_code, reason = "TCP_INFO has no safe call")]

use std::mem::size_of_val;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::listen::{SocketKind, socket_kind};

/// Offsets in the kernel's `struct tcp_info`, which only ever grows at its end (include/uapi/linux/tcp.h;
/// `tcpi_bytes_received` since 4.1, `tcpi_data_segs_out` since 4.6).
const BYTES_RECEIVED: usize = 128;
const DATA_SEGS_OUT: usize = 156;
const LEAST_LENGTH: usize = 160;

/// Whether nothing was read from this connection and nothing written to it. Only TCP can be judged: of any other
/// socket it is taken to be true; of a TCP connection that cannot be read, false.
pub fn is_untouched(connection: BorrowedFd<'_>) -> bool {
    match socket_kind(connection) {
        SocketKind::Tcp => tcp_untouched(connection).unwrap_or(false),
        SocketKind::UnixStream | SocketKind::Udp | SocketKind::UnixDatagram | SocketKind::Other => true,
    }
}

fn tcp_untouched(connection: BorrowedFd<'_>) -> Option<bool> {
    let mut info = [0_u8; 256];
    let mut length = u32::try_from(size_of_val(&info)).ok()?;
    // SAFETY: the buffer is ours, writable for `length` bytes, and the kernel writes no more than that.
    let done = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &mut length,
        )
    };
    if done != 0 || (length as usize) < LEAST_LENGTH {
        return None;
    }
    let received = u64::from_ne_bytes(info.get(BYTES_RECEIVED..BYTES_RECEIVED + 8)?.try_into().ok()?);
    let segments_out = u32::from_ne_bytes(info.get(DATA_SEGS_OUT..DATA_SEGS_OUT + 4)?.try_into().ok()?);
    let waiting = rustix::io::ioctl_fionread(connection).ok()?;
    // A FIN counts as one byte received and is not among those waiting (tcp_inq, Linux 6.18).
    Some(segments_out == 0 && received.saturating_sub(waiting) <= 1)
}
