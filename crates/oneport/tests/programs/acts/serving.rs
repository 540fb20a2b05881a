//! A server's socket: watched by an epoll set, and served by a thread that can be stopped and started.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use oneport_sys::poll::{Interest, Poller, Readiness};
use oneport_sys::waker::Waker;
use rustix::net::SocketType;

/// How long it takes to answer `s`.
pub(crate) const SLOWLY: Duration = Duration::from_millis(200);
const SOCKET: u64 = 1;
const WAKER: u64 = 2;

pub(super) struct Socket {
    fd: Arc<OwnedFd>,
    kind: SocketType,
    watch: Option<Arc<(Poller, Waker)>>,
    serving: Option<JoinHandle<()>>,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, kind: SocketType) -> Socket {
        Socket { fd: Arc::new(fd), kind, watch: None, serving: None }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Registers the socket in an epoll set, whatever state it is in.
    pub(super) fn poll(&mut self) -> io::Result<String> {
        let (poller, waker) = (Poller::new()?, Waker::new()?);
        poller.add(waker.as_fd(), WAKER, Interest::READ)?;
        poller.add(self.fd(), SOCKET, Interest::READ)?;
        self.watch = Some(Arc::new((poller, waker)));
        super::nothing()
    }

    /// Answers whoever comes, as the set says.
    pub(super) fn serve(&mut self) -> io::Result<String> {
        if self.watch.is_none() {
            self.poll()?;
        }
        rustix::io::ioctl_fionbio(self.fd(), true)?;
        let (fd, kind) = (self.fd.try_clone()?, self.kind);
        let watch = self.watch.clone().unwrap();
        self.serving = Some(thread::spawn(move || match kind {
            SocketType::DGRAM => serve_datagrams(&UdpSocket::from(fd), &watch),
            _ => serve_connections(&TcpListener::from(fd), &watch),
        }));
        super::nothing()
    }

    /// Says who we are on a connection.
    pub(super) fn answer(&self) -> io::Result<String> {
        rustix::io::write(self.fd(), &pid())?;
        super::nothing()
    }

    /// Leaves alone whoever comes.
    pub(super) fn pause(&mut self) -> io::Result<String> {
        if let (Some(serving), Some(watch)) = (self.serving.take(), &self.watch) {
            watch.1.wake()?;
            serving.join().unwrap();
        }
        super::nothing()
    }
}

/// Until it is woken.
fn next(watch: &(Poller, Waker)) -> bool {
    let mut readiness = Readiness::new();
    watch.0.wait(&mut readiness, None).unwrap();
    if readiness.iter().any(|ready| ready.token == WAKER) {
        watch.1.clear().unwrap();
        return false;
    }
    true
}

fn serve_connections(listener: &TcpListener, watch: &(Poller, Waker)) {
    while next(watch) {
        // Somebody else may have been faster, and a listener that was shut only hangs up.
        match listener.accept() {
            Ok((connection, _)) => _ = thread::spawn(move || answer(connection)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn serve_datagrams(socket: &UdpSocket, watch: &(Poller, Waker)) {
    while next(watch) {
        let mut asked = [0; 16];
        if let Ok((_, from)) = socket.recv_from(&mut asked) {
            let _ = socket.send_to(&pid(), from);
        }
    }
}

/// Answers each byte with our pid: `?` at once, `s` slowly.
fn answer(mut connection: TcpStream) {
    connection.set_nonblocking(false).unwrap();
    let mut asked = [0];
    while connection.read(&mut asked).is_ok_and(|read| read > 0) {
        if asked == *b"s" {
            thread::sleep(SLOWLY);
        }
        if connection.write_all(&pid()).is_err() {
            return;
        }
    }
}

fn pid() -> [u8; 4] {
    std::process::id().to_ne_bytes()
}

/// Accepts until somebody wakes it with an error, and then has nothing more to do.
pub(super) fn until_accept_fails(listener: BorrowedFd<'_>) -> io::Result<String> {
    let listener = TcpListener::from(listener.try_clone_to_owned()?);
    thread::spawn(move || {
        for connection in listener.incoming() {
            match connection {
                Ok(connection) => _ = thread::spawn(move || answer(connection)),
                Err(_) => std::process::exit(0),
            }
        }
    });
    super::nothing()
}

/// The plainest server there is: one call listens, and `accept` blocks.
pub(super) fn with_the_standard_library(address: &str) -> io::Result<String> {
    let listener = TcpListener::bind(address)?;
    let local = listener.local_addr()?;
    thread::spawn(move || {
        for connection in listener.incoming() {
            thread::spawn(move || answer(connection.unwrap()));
        }
    });
    Ok(local.to_string())
}
