//! Passing descriptors over a Unix stream socket.
//!
//! What lives here: the socket pair of a channel, sends and receives of one descriptor or a few. What does not: framing
//! and which message a descriptor belongs to. Invariant: a received descriptor is close-on-exec from its first moment
//! and either handed to the caller or closed; never lost.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Descriptors that [`send_many`] and [`receive_many`] take at once. The kernel would take 253 (`SCM_MAX_FD`).
pub const MOST_AT_ONCE: usize = 4;

/// Descriptors a receive has room for. What exceeds it the kernel drops, setting `MSG_CTRUNC`. A channel's message
/// has one; there the others are counted.
const ROOM: usize = MOST_AT_ONCE;

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

/// What one receive of several brought, besides the descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedMany {
    /// Bytes written to the buffer; 0 is the end of the stream.
    pub bytes: usize,
    /// Descriptors were sent with these bytes and are lost, because this process is at its limit (`RLIMIT_NOFILE`) or
    /// more than [`MOST_AT_ONCE`] came. Those that did arrive are the first of them: the kernel gives them out in order
    /// and stops at the first it cannot.
    pub truncated: bool,
}

/// Sends bytes and at most one descriptor without waiting; returns how many bytes were taken. The descriptor goes
/// with the first byte, so after any `Ok` it is sent and the rest of the bytes follows without it. `EAGAIN`: nothing was
/// sent; `EPIPE`: the peer is gone; `ETOOMANYREFS`: too many descriptors are in flight; `EINVAL`: a descriptor
/// without bytes, which the kernel would silently not send.
pub fn send(sock: BorrowedFd<'_>, bytes: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    match fd {
        Some(_) => send_many(sock, bytes, fd.as_slice()),
        None => {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            Ok(rustix::io::retry_on_intr(|| rustix::net::send(sock, bytes, flags))?)
        }
    }
}

/// Sends bytes and at most [`MOST_AT_ONCE`] descriptors without waiting; returns how many bytes were taken. All
/// descriptors go with the first byte, so after any `Ok` they are sent; a few bytes are taken whole or not at all.
/// Errors as [`send`], and `EINVAL` for more descriptors than that.
pub fn send_many(sock: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    if fds.len() > MOST_AT_ONCE || (bytes.is_empty() && !fds.is_empty()) {
        return Err(invalid());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(invalid());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    Ok(rustix::io::retry_on_intr(|| sendmsg(sock, &[IoSlice::new(bytes)], &mut control, flags))?)
}

/// Receives bytes without waiting; descriptors that come along are closed by the kernel. Errors as [`receive`].
pub fn receive_bytes(sock: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let (bytes, _) = rustix::io::retry_on_intr(|| rustix::net::recv(sock, &mut *buf, RecvFlags::DONTWAIT))?;
    Ok(bytes)
}

/// Receives bytes and descriptors without waiting. `EAGAIN`: nothing there; `ECONNRESET`: the peer closed while our
/// bytes lay unread.
pub fn receive(sock: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
    let (mut first, mut extra) = (None, 0);
    let (bytes, truncated) = receive_each(sock, buf, |fd| {
        if first.is_none() {
            first = Some(fd);
        } else {
            extra += 1;
        }
    })?;
    Ok(Received { bytes, fd: first, extra, truncated })
}

/// Receives bytes and at most [`MOST_AT_ONCE`] descriptors without waiting; the descriptors are appended to `fds`, in
/// the order they were sent in and close-on-exec. They come with the first byte of the message that carried them, so a
/// buffer shorter than that message brings more descriptors than bytes; one read never brings those of two
/// messages. Errors as [`receive`]; after one `fds` is as it was.
pub fn receive_many(
    sock: BorrowedFd<'_>,
    buf: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<ReceivedMany> {
    let end = fds.len() + MOST_AT_ONCE;
    let mut beyond = false;
    let (bytes, truncated) = receive_each(sock, buf, |fd| {
        if fds.len() < end {
            fds.push(fd);
        } else {
            // Alignment may leave room for one more than was asked for.
            beyond = true;
        }
    })?;
    Ok(ReceivedMany { bytes, truncated: truncated || beyond })
}

/// One `recvmsg`; answers the bytes and whether `MSG_CTRUNC` was set.
fn receive_each(
    sock: BorrowedFd<'_>,
    buf: &mut [u8],
    mut each: impl FnMut(OwnedFd),
) -> io::Result<(usize, bool)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ROOM))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let message =
        rustix::io::retry_on_intr(|| recvmsg(sock, &mut [IoSliceMut::new(buf)], &mut control, flags))?;
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = part {
            received.for_each(&mut each);
        }
    }
    Ok((message.bytes, message.flags.contains(ReturnFlags::CTRUNC)))
}

/// A connected pair: ours (first, non-blocking) and the worker's (second, blocking). Both are close-on-exec; the two
/// ends are separate file descriptions, so what the worker does to its flags does not touch ours.
pub fn channel_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((ours, theirs))
}
