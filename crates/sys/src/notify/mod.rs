//! Hearing what programs say by `sd_notify(3)`: the socket named in `NOTIFY_SOCKET`.
//!
//! What lives here: the socket and who sent what; the words are in `word`. What does not: believing it. Invariant: one receive is
//! one datagram of bounded length; descriptors that come along are never ours, the kernel closes them.
//!
//! The name is an abstract one, so nothing lies about in the file system, and a program behind `chroot` finds it; but whoever
//! shares the network namespace can send to it, and its queue is short (`net.unix.max_dgram_qlen`, 10). So look at
//! [`Sender`], which the kernel vouches for.
#![expect(
    unsafe_code,
    reason = "recvmsg with credentials: rustix takes the number 0 of an unseen sender for a pid"
)]

mod word;

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, socket_with, sockopt,
};

use crate::process::Pid;

pub use word::Word;

/// The variable that names the socket to a program.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

/// Longest message; systemd takes no longer one either.
pub const MOST_BYTES: usize = 4096;

/// Messages looked at in one receive, if all before were none for us. The queue holds fewer.
const MOST_PASSED_OVER: usize = 64;

/// Where messages arrive; readable when one waits. Non-blocking, close-on-exec.
#[derive(Debug)]
pub struct NotifySocket {
    fd: OwnedFd,
    name: OsString,
}

/// Who sent a message, as the kernel saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The process that called `send`, or one whose number a privileged one put there. It may have ended since.
    pub pid: Pid,
    /// Its user, as seen from our user namespace; a privileged one may have put another there.
    pub uid: u32,
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who sent it.
    pub sender: Sender,
    /// What was understood of it, in its order; maybe nothing.
    pub words: Vec<Word>,
}

impl NotifySocket {
    /// A socket with a name of the kernel's choice (`unix(7)`, autobind). `ENOSPC`: all 2^20 are taken.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        // Before it has a name: what was sent without being asked for has no credentials.
        sockopt::set_socket_passcred(&fd, true)?;
        bind(&fd, &SocketAddrUnix::new_unnamed())?;
        let address = SocketAddrUnix::try_from(getsockname(&fd)?)?;
        let name =
            address.abstract_name().ok_or_else(|| io::Error::from_raw_os_error(libc::EADDRNOTAVAIL))?;
        Ok(Self { name: OsString::from_vec([b"@", name].concat()), fd })
    }

    /// The value of [`VARIABLE`]: `@` stands for the NUL byte of an abstract name.
    pub fn name(&self) -> OsString {
        self.name.clone()
    }

    /// The next message; `None` when none waits. One that is too long, and one of a sender that cannot be seen from here (a
    /// pid namespace beside ours), is passed over.
    pub fn receive(&self) -> io::Result<Option<Message>> {
        let mut bytes = [0; MOST_BYTES];
        for _ in 0..MOST_PASSED_OVER {
            match self.receive_one(&mut bytes) {
                Ok(Some((length, sender))) => {
                    let words = word::parse(bytes.get(..length).unwrap_or(&bytes));
                    return Ok(Some(Message { sender, words }));
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// One datagram: its length and sender, or `None` if it is to be passed over.
    fn receive_one(&self, bytes: &mut [u8; MOST_BYTES]) -> io::Result<Option<(usize, Sender)>> {
        let mut control = Control::empty();
        let mut part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: all zeroes is a valid value of it: null pointers, no lengths.
        let mut header: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = (&raw mut control).cast();
        header.msg_controllen = size_of::<Control>() as _;
        // SAFETY: `header` points to `part` and `control`, these to memory of the lengths they say, all alive.
        let length = unsafe { libc::recvmsg(self.fd.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
        let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        let whole = header.msg_flags & libc::MSG_TRUNC == 0;
        Ok(control.sender().filter(|_| whole).map(|sender| (length, sender)))
    }
}

impl AsFd for NotifySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Room for credentials and nothing else, laid out as `cmsg(3)` does: the kernel writes them first, and descriptors for
/// which there is no room it closes (`MSG_CTRUNC`), which is also what `BARRIER=1` waits for.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    credentials: libc::ucred,
}

impl Control {
    fn empty() -> Self {
        // SAFETY: plain numbers, for which all zeroes is a valid value.
        unsafe { MaybeUninit::zeroed().assume_init() }
    }

    fn sender(&self) -> Option<Sender> {
        let is_credentials =
            self.header.cmsg_level == libc::SOL_SOCKET && self.header.cmsg_type == libc::SCM_CREDENTIALS;
        let pid = Pid::new(self.credentials.pid).filter(|_| is_credentials)?;
        Some(Sender { pid, uid: self.credentials.uid })
    }
}
