//! The socket that the library asks at: questions come, answers go.
//!
//! Each question is a connection of its own, and the library sends right after it connected. Who connects and says nothing waits
//! in the `room`, watched by an epoll set inside ours, until it speaks, leaves, has waited too long, or newer ones need its place.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, getsockname, listen, socket_with,
};

use super::message;
use super::room::{Room, read_peer};
use super::{Request, Token};
use crate::accept::{Accepted, accept};
use crate::fdpass;
use crate::listen::is_listening;
use crate::poll::{Interest, Poller, Readiness};
use crate::process::Pid;
use crate::seccomp::Delivery;

/// Connections let in at once.
const MOST_ADMITTED: usize = 64;

/// Connections the kernel keeps for us; who finds no room waits in its `connect`.
const BACKLOG: i32 = 128;

/// The listener's token in our epoll set; those of connections are above.
const LISTENER: u64 = 0;

/// Where the library asks. Readable when [`accept`](Self::accept) has something to do.
#[derive(Debug)]
pub struct ShimListener {
    listener: OwnedFd,
    name: Vec<u8>,
    set: Poller,
    room: Room,
    last: u64,
}

/// What became of the next connection.
enum Admission {
    Admitted(u64),
    Refused,
    /// There is none.
    Nobody,
}

/// A program that waits for an answer. Dropped without one, the program's call happens as without a library.
#[derive(Debug)]
pub struct ShimCall {
    /// The process that called.
    pub process: Pid,
    /// Which worker it says it is; a known token proves that it was told.
    pub token: Token,
    /// What it asks.
    pub request: Request,
    connection: OwnedFd,
}

/// What a call comes to.
#[derive(Debug)]
pub enum Answer<'a> {
    /// It happens as without a library. The socket is not asked about again, not even when it listens.
    Pass,
    /// It returns 0, and nothing is done for it: `listen` on one of the primary's sockets, or its `shutdown`. Other calls pass.
    Done,
    /// It fails with the error's number (`EIO` when it has none).
    Fail(io::Error),
    /// It returns 0, and this socket stands at the program's descriptor: for `bind`, bound; for `listen`, listening. All who
    /// get it share one open file description. The library makes it non-blocking when the program's own socket was, and
    /// never the other way round; so give a blocking one (`O_NONBLOCK` off) that nobody here accepts from.
    Take(BorrowedFd<'a>),
}

impl ShimListener {
    /// A new one, under a random abstract name.
    pub fn new() -> io::Result<Self> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let name = format!("oneport-{}", Token::random()?);
        bind(&listener, &SocketAddrUnix::new_abstract_name(name.as_bytes())?)?;
        listen(&listener, BACKLOG)?;
        Self::take_over(listener)
    }

    /// Takes over the socket of a predecessor, see [`socket`](Self::socket): programs that know its name are served again. The
    /// descriptor must be non-blocking. `EINVAL`: it is something else.
    pub fn take_over(listener: OwnedFd) -> io::Result<Self> {
        let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
        let address = SocketAddrUnix::try_from(getsockname(&listener)?).map_err(|_| invalid())?;
        let name = address.abstract_name().ok_or_else(invalid)?.to_vec();
        if !is_listening(listener.as_fd()) {
            return Err(invalid());
        }
        let set = Poller::new()?;
        set.add(listener.as_fd(), LISTENER, Interest::READ)?;
        Ok(Self { listener, name, set, room: Room::new(), last: LISTENER })
    }

    /// A worker runs as this user: its questions wait beside those of our own user and of root, and none is dropped for
    /// somebody else's.
    pub fn trust(&mut self, user: u32) {
        self.room.trust(user);
    }

    /// The listening socket alone, to be kept for a successor.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The value of [`VARIABLE`](super::VARIABLE) for the worker with this token.
    pub fn variable(&self, token: &Token) -> OsString {
        let mut value = self.name.clone();
        value.push(b':');
        value.extend_from_slice(&token.0);
        OsString::from_vec(value)
    }

    /// The next question. `None`: there is none now; ask again when readable. `EMFILE` and its like: no descriptor is left for
    /// those who ask, and it stays readable; do not watch it for a while.
    pub fn accept(&mut self) -> io::Result<Option<ShimCall>> {
        self.room.drop_silent(Instant::now());
        // Not kept: its kind of memory cannot go from one thread to another.
        let mut readiness = Readiness::new();
        self.set.wait(&mut readiness, Some(Duration::ZERO))?;
        self.hear_all(&readiness)
    }

    fn hear_all(&mut self, readiness: &Readiness) -> io::Result<Option<ShimCall>> {
        // Those first who came first; a question must not wait behind a flood of connections.
        let listener_last = |token: &u64| *token == LISTENER;
        let (admit, speak): (Vec<u64>, Vec<u64>) =
            readiness.iter().map(|ready| ready.token).partition(listener_last);
        for token in speak {
            if let Some(call) = self.hear(token) {
                return Ok(Some(call));
            }
        }
        if admit.is_empty() {
            return Ok(None);
        }
        for _ in 0..MOST_ADMITTED {
            match self.admit()? {
                Admission::Admitted(token) => {
                    if let Some(call) = self.hear(token) {
                        return Ok(Some(call));
                    }
                }
                Admission::Refused => {}
                Admission::Nobody => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Lets one more in, if there is room for it.
    fn admit(&mut self) -> io::Result<Admission> {
        let connection = match accept(self.listener.as_fd()) {
            Accepted::Connection(connection) => connection,
            Accepted::Empty | Accepted::Skipped => return Ok(Admission::Nobody),
            Accepted::Exhausted(error) | Accepted::Failed(error) => return Err(error),
        };
        self.last += 1;
        let Some(connection) = self.room.admit(connection, self.last) else { return Ok(Admission::Refused) };
        self.set.add(connection, self.last, Interest::READ)?;
        Ok(Admission::Admitted(self.last))
    }

    /// What it has to say. One that still says nothing stays; one that speaks nonsense or has left is dropped.
    fn hear(&mut self, token: u64) -> Option<ShimCall> {
        let mut packet = [0; message::REQUEST_LENGTH + 1];
        let (length, connection) = self.room.hear(token, &mut packet)?;
        let words = message::Request::decode(packet.get(..length)?)?;
        let request = Request::read(&words)?;
        let process = Pid::new(read_peer(connection.as_fd())?.pid)?;
        // An answered connection may live on in a fork of the program; ours is closed, but the set must not count on it.
        self.set.remove(connection.as_fd()).ok()?;
        Some(ShimCall { process, token: Token(words.token), request, connection })
    }
}

impl AsFd for ShimListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.set.as_fd()
    }
}

impl ShimCall {
    /// Answers. It never waits.
    pub fn answer(self, answer: Answer<'_>) -> io::Result<Delivery> {
        let (words, fd) = match answer {
            Answer::Pass => (message::Answer::Pass, None),
            Answer::Done => (message::Answer::Done, None),
            Answer::Fail(error) => {
                let errno = error.raw_os_error().filter(|errno| *errno > 0).unwrap_or(libc::EIO);
                (message::Answer::Fail(errno), None)
            }
            Answer::Take(socket) => (message::Answer::Take, Some(socket)),
        };
        match fdpass::send(self.connection.as_fd(), &words.encode(), fd) {
            Ok(_) => Ok(Delivery::Delivered),
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::ECONNRESET)) => {
                Ok(Delivery::CallerGone)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, getsockname, socket};

    use super::super::room::PATIENCE;
    use super::ShimListener;

    #[test]
    fn silent_ones_are_dropped_when_their_time_is_over() {
        let mut listener = ShimListener::new().unwrap();
        let address = SocketAddrUnix::try_from(getsockname(listener.socket()).unwrap()).unwrap();
        let stranger = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap();
        connect(&stranger, &address).unwrap();
        let before = Instant::now();
        assert!(listener.accept().unwrap().is_none());
        listener.room.drop_silent(before + PATIENCE - Duration::from_millis(1));
        assert_eq!(listener.room.len(), 1);
        listener.room.drop_silent(Instant::now() + PATIENCE);
        assert_eq!(listener.room.len(), 0);
    }
}
