//! One question to the primary: connect, send, receive, close.
//!
//! A connection per question, so that `fork`, `exec` and threads need no care. Invariant: it ends after two times [`PATIENCE`] at
//! most, and at once when the primary has died; meanwhile signals wait, so that no handler finds the question half asked. A
//! listener of another user is no primary: its name may have become free, and anybody may take it.
#![expect(unsafe_code, reason = "raw calls: connecting, sending, receiving a descriptor")]

use core::ffi::{c_int, c_void};
use core::mem::size_of;

use crate::kernel::{Fd, again, call, place, room, word};
use crate::message::{ANSWER_LENGTH, Answer, Request};
use crate::setup::{NAME_ROOM, Primary};
use crate::socket::read_option;

/// Seconds to wait for the connection, and for the answer.
const PATIENCE: i64 = 10;

/// What came of it.
pub(crate) enum Reply {
    /// There is no primary, or none that says a word.
    Silence,
    /// The call happens as without a shim.
    Pass,
    /// The call returns 0.
    Done,
    /// The call fails.
    Fail(c_int),
    /// This takes the descriptor's place. Close-on-exec.
    Take(Fd),
}

/// Asks, and waits for the answer.
pub(crate) fn ask(primary: &Primary, request: &Request) -> Reply {
    let _undisturbed = Undisturbed::begin();
    let connection = match connect(primary) {
        Ok(connection) => connection,
        // Not for want of a primary: going on would end in a misleading "address in use".
        Err(error @ (libc::EMFILE | libc::ENFILE)) => return Reply::Fail(error),
        Err(_) => return Reply::Silence,
    };
    if !is_trusted(&connection) || send(&connection, request).is_err() {
        return Reply::Silence;
    }
    receive(&connection).unwrap_or(Reply::Silence)
}

#[repr(C)]
struct UnixName {
    family: u16,
    leading: u8,
    name: [u8; NAME_ROOM],
}

fn connect(primary: &Primary) -> Result<Fd, c_int> {
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers.
    let number = unsafe { call(libc::SYS_socket, [word(libc::AF_UNIX), word(kind), 0, 0, 0, 0]) }?;
    let connection = Fd::new(number as c_int);
    let patience = libc::timeval { tv_sec: PATIENCE as libc::time_t, tv_usec: 0 };
    set_patience(&connection, libc::SO_SNDTIMEO, &patience);
    set_patience(&connection, libc::SO_RCVTIMEO, &patience);
    let mut address = UnixName { family: libc::AF_UNIX as u16, leading: 0, name: [0; NAME_ROOM] };
    for (place, byte) in address.name.iter_mut().zip(primary.name()) {
        *place = *byte;
    }
    // An abstract name is all its bytes, so the length must be exact.
    let length = size_of::<u16>() + 1 + primary.name().len();
    // SAFETY: `length` bytes of `address` are initialised.
    again(|| unsafe { call(libc::SYS_connect, [word(connection.get()), place(&address), length, 0, 0, 0]) })?;
    Ok(connection)
}

fn set_patience(connection: &Fd, name: c_int, patience: &libc::timeval) {
    let (number, length) = (word(connection.get()), size_of::<libc::timeval>());
    let arguments = [number, word(libc::SOL_SOCKET), word(name), place(patience), length, 0];
    // SAFETY: the kernel reads `length` bytes of `patience`. It cannot refuse a whole number of seconds.
    let _ = unsafe { call(libc::SYS_setsockopt, arguments) };
}

/// Whether the listener is root's or our own user's: its credentials are those of whoever called `listen`.
fn is_trusted(connection: &Fd) -> bool {
    let mut credentials = [0; size_of::<libc::ucred>()];
    if read_option(connection.get(), libc::SOL_SOCKET, libc::SO_PEERCRED, &mut credentials).is_none() {
        return false;
    }
    // pid, uid, gid.
    let uid = credentials.get(4..).and_then(|rest| rest.first_chunk()).map(|uid| u32::from_ne_bytes(*uid));
    // SAFETY: takes nothing.
    let real = unsafe { libc::getuid() };
    // SAFETY: takes nothing.
    let effective = unsafe { libc::geteuid() };
    uid.is_some_and(|uid| uid == 0 || uid == real || uid == effective)
}

fn send(connection: &Fd, request: &Request) -> Result<usize, c_int> {
    let packet = request.encode();
    let arguments = [word(connection.get()), place(&packet), packet.len(), word(libc::MSG_NOSIGNAL), 0, 0];
    // SAFETY: the kernel reads as many bytes as `packet` has.
    again(|| unsafe { call(libc::SYS_sendto, arguments) })
}

/// A control message with one descriptor, as the kernel lays it out: the length is a word, and the data follow at once.
#[repr(C)]
struct Passed {
    length: usize,
    level: c_int,
    kind: c_int,
    fd: c_int,
}

/// Its length, without what may follow for alignment: room for a second descriptor would be there.
const PASSED_LENGTH: usize = core::mem::offset_of!(Passed, fd) + size_of::<c_int>();

/// `None`: the end of the connection, nothing in time, or no word.
fn receive(connection: &Fd) -> Option<Reply> {
    let mut packet = [0_u8; ANSWER_LENGTH + 1];
    let mut passed = Passed { length: 0, level: 0, kind: 0, fd: -1 };
    let mut part =
        libc::iovec { iov_base: core::ptr::from_mut(&mut packet).cast::<c_void>(), iov_len: packet.len() };
    // SAFETY: numbers and pointers, for which zero is a value.
    let mut message: libc::msghdr = unsafe { core::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = core::ptr::from_mut(&mut passed).cast();
    message.msg_controllen = PASSED_LENGTH as _;
    let flags = word(libc::MSG_CMSG_CLOEXEC);
    let arguments = [word(connection.get()), room(&mut message), flags, 0, 0, 0];
    // SAFETY: the kernel writes to `packet` and `passed` as much as `message` says there is room for.
    let length = again(|| unsafe { call(libc::SYS_recvmsg, arguments) }).ok()?;
    let came = passed.length == PASSED_LENGTH
        && passed.level == libc::SOL_SOCKET
        && passed.kind == libc::SCM_RIGHTS
        && message.msg_controllen as usize >= PASSED_LENGTH;
    // Closed again unless it is taken.
    let fd = came.then(|| Fd::new(passed.fd));
    Some(match Answer::decode(packet.get(..length)?)? {
        Answer::Pass => Reply::Pass,
        Answer::Done => Reply::Done,
        Answer::Fail(errno) => Reply::Fail(errno),
        Answer::Take => match fd {
            Some(fd) => Reply::Take(fd),
            // The kernel dropped it (`MSG_CTRUNC`): there was no number left for it in this process.
            None => Reply::Fail(libc::EMFILE),
        },
    })
}

/// While it lives, this thread handles no signal.
struct Undisturbed {
    before: libc::sigset_t,
}

impl Undisturbed {
    fn begin() -> Self {
        // SAFETY: a set of bits; both are filled below.
        let mut all: libc::sigset_t = unsafe { core::mem::zeroed() };
        let mut before = all;
        // SAFETY: a set of ours.
        unsafe { libc::sigfillset(&mut all) };
        // SAFETY: sets of ours; with a valid order the call cannot fail.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before) };
        Self { before }
    }
}

impl Drop for Undisturbed {
    fn drop(&mut self) {
        // SAFETY: what was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &self.before, core::ptr::null_mut()) };
    }
}
