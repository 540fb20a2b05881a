//! What the kernel tells about one TCP socket that this process holds (`TCP_INFO`), and how it numbers the states.
//!
//! `struct tcp_info` only ever grows at its end (include/uapi/linux/tcp.h), so what a kernel does not know is missing there.
#![expect(unsafe_code, reason = "TCP_INFO: rustix has none")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// States as the kernel numbers them (include/net/tcp_states.h).
pub(crate) mod state {
    pub(crate) const ESTABLISHED: u8 = 1;
    pub(crate) const SYN_RECV: u8 = 3;
    pub(crate) const FIN_WAIT1: u8 = 4;
    pub(crate) const FIN_WAIT2: u8 = 5;
    pub(crate) const CLOSE: u8 = 7;
    pub(crate) const CLOSE_WAIT: u8 = 8;
    pub(crate) const LAST_ACK: u8 = 9;
    pub(crate) const LISTEN: u8 = 10;
    /// A handshake whose socket is not made yet (Linux 4.1).
    pub(crate) const NEW_SYN_RECV: u8 = 12;
}

/// The answer, as long as this kernel made it.
pub(crate) struct Info {
    bytes: [u8; 256],
    length: usize,
}

impl Info {
    /// Asks. Whoever was changing the state of the connection has done so when this returns, because the question takes the
    /// socket's lock; but the state in the answer is read before that (`tcp_get_info`, Linux 4.5 to 6.18). `EOPNOTSUPP`,
    /// `EINVAL`: it is no TCP socket.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> io::Result<Info> {
        let mut bytes = [0u8; 256];
        let mut length = size_of_val(&bytes) as libc::socklen_t;
        let at = bytes.as_mut_ptr().cast();
        // SAFETY: `bytes` is writable for `length` bytes, and the kernel writes no more.
        let failed = unsafe {
            libc::getsockopt(fd.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, at, &raw mut length)
        } != 0;
        if failed { Err(io::Error::last_os_error()) } else { Ok(Info { bytes, length: length as usize }) }
    }

    /// One of [`state`].
    pub(crate) fn state(&self) -> u8 {
        self.bytes[0]
    }

    /// Of a listener: how many wait to be accepted (`tcpi_unacked`).
    pub(crate) fn waiting(&self) -> Option<u32> {
        self.field(24).map(u32::from_ne_bytes)
    }

    /// Segments that were sent and not acknowledged (`tcpi_unacked`).
    pub(crate) fn unacknowledged(&self) -> Option<u32> {
        self.field(24).map(u32::from_ne_bytes)
    }

    /// Bytes that were written and not sent. Linux 4.6.
    pub(crate) fn unsent(&self) -> Option<u32> {
        self.field(144).map(u32::from_ne_bytes)
    }

    /// `None`: nothing was ever sent, or it is not to be known.
    pub(crate) fn since_last_sent_ms(&self) -> Option<u32> {
        self.data_segments_sent().filter(|count| *count > 0)?;
        self.field(44).map(u32::from_ne_bytes)
    }

    /// Segments with data that came. Linux 4.6.
    pub(crate) fn data_segments_received(&self) -> Option<u32> {
        self.field(152).map(u32::from_ne_bytes)
    }

    /// `None`: nothing was ever received, or it is not to be known.
    pub(crate) fn since_last_received_ms(&self) -> Option<u32> {
        self.data_segments_received().filter(|count| *count > 0)?;
        self.field(52).map(u32::from_ne_bytes)
    }

    /// Linux 4.1.
    pub(crate) fn bytes_received(&self) -> Option<u64> {
        self.field(128).map(u64::from_ne_bytes)
    }

    /// Segments with data that were sent. Linux 4.6.
    pub(crate) fn data_segments_sent(&self) -> Option<u32> {
        self.field(156).map(u32::from_ne_bytes)
    }

    fn field<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(..self.length)?.get(at..at + N)?.try_into().ok()
    }
}
