//! Passing descriptors over a Unix stream socket.
//!
//! What lives here: the socket pair of a channel, one send, one receive. What does not: framing and which message a
//! descriptor belongs to. Invariant: a received descriptor is close-on-exec from its first moment and either
//! handed to the caller or closed; never lost.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Descriptors a receive has room for. One is legal; the others are counted, and what exceeds even these the kernel
/// drops, setting `MSG_CTRUNC`.
const ROOM: usize = 4;

/// What one receive brought.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer; 0 is the end of the stream.
    pub bytes: usize,
    /// The first descriptor, close-on-exec. The kernel never reads past bytes that carry descriptors into those
    /// after, but it may have read plain bytes before them: it belongs to the last message begun in these bytes.
    pub fd: Option<OwnedFd>,
    /// Further descriptors that came in the same read and are closed already.
    pub extra: usize,
    /// `MSG_CTRUNC`: a descriptor was sent and is lost, because this process is at its limit (`RLIMIT_NOFILE`) or
    /// more came than there was room for. An error, never to be passed over. With [`extra`](Self::extra) above 0
    /// it is the peer's: more than one descriptor came, and the channel is of no use any more. With
    /// [`extra`](Self::extra) 0 and no [`fd`](Self::fd) it is the limit of this process: the message these bytes belong
    /// to must be refused as one that arrived without its descriptor, and whoever lent it must hear of that.
    /// With `extra` 0 and an `fd` both are possible, and which descriptor is lost cannot be told: treat it as the peer's.
    pub truncated: bool,
}

/// Sends bytes and at most one descriptor without waiting; returns how many bytes were taken. The descriptor goes
/// with the first byte, so after any `Ok` it is sent and the rest of the bytes follows without it. `EAGAIN`: nothing was
/// sent; `EPIPE`: the peer is gone; `ETOOMANYREFS`: too many descriptors are in flight; `EINVAL`: a descriptor
/// without bytes, which the kernel would silently not send.
pub fn send(sock: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    if bytes.is_empty() && fd.is_some() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds: &[BorrowedFd<'_>] = fd.as_slice();
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(rustix::io::retry_on_intr(|| sendmsg(sock, &[IoSlice::new(bytes)], &mut control, flags))?)
}

/// Receives bytes and descriptors without waiting. `EAGAIN`: nothing there; `ECONNRESET`: the peer closed while our
/// bytes lay unread.
pub fn receive(sock: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message =
        rustix::io::retry_on_intr(|| recvmsg(sock, &mut [IoSliceMut::new(buf)], &mut control, flags))?;
    let mut received = Received {
        bytes: message.bytes,
        fd: None,
        extra: 0,
        truncated: message.flags.contains(ReturnFlags::CTRUNC),
    };
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = part {
            for fd in fds {
                if received.fd.is_none() {
                    received.fd = Some(fd);
                } else {
                    received.extra += 1;
                }
            }
        }
    }
    Ok(received)
}

/// A connected pair: ours (first, non-blocking) and the worker's (second, blocking). Both are close-on-exec; the two
/// ends are separate file descriptions, so what the worker does to its flags does not touch ours.
pub fn channel_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}
