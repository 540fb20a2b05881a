//! What the tests of messages and handles share: one end of a channel spoken by hand, a program started at the other
//! end of it as `child_process.fork` would start it, and sockets used without regard to whether they block, which
//! passing them changes.
//!
//! Invariant: every wait has a deadline, and a [`Forked`] program is ended with its value.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use oneport::{Event, Handle};
use oneport_sys::fdpass;
use oneport_sys::process::{Exit, Pid, Signal, reap, signal_group};
use oneport_sys::spawn::{Child, Command, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::harness::{ARGS, PATIENCE, PROGRAM, Test, read_fact};

/// One end of a channel as bytes and descriptors.
pub(crate) struct Raw {
    sock: OwnedFd,
    unread: Vec<u8>,
    handles: VecDeque<OwnedFd>,
}

impl Raw {
    pub(crate) fn new(sock: OwnedFd) -> Raw {
        Raw { sock, unread: Vec::new(), handles: VecDeque::new() }
    }

    /// Writes one line.
    pub(crate) fn say(&self, line: &str) {
        self.write(format!("{line}\n").as_bytes(), None);
    }

    /// Writes as much at once as there is room for; the descriptor goes with the first byte.
    pub(crate) fn write(&self, bytes: &[u8], mut fd: Option<BorrowedFd<'_>>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match fdpass::send(self.sock.as_fd(), rest, fd) {
                Ok(sent) => (rest, fd) = (&rest[sent..], None),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    await_ready(&self.sock, PollFlags::OUT);
                }
                Err(error) => panic!("cannot write to the channel: {error}"),
            }
        }
    }

    /// The next line; `None` at the end.
    pub(crate) fn hear_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                return Some(String::from_utf8(line).unwrap().trim_end().to_owned());
            }
            await_ready(&self.sock, PollFlags::IN);
            let mut bytes = [0; 65_536];
            let received = fdpass::receive(self.sock.as_fd(), &mut bytes).unwrap();
            if received.bytes == 0 {
                assert!(self.unread.is_empty(), "the channel ends within a line");
                return None;
            }
            assert_eq!((received.extra, received.truncated), (0, false));
            self.unread.extend_from_slice(&bytes[..received.bytes]);
            self.handles.extend(received.fd);
        }
    }

    /// Whether something was said that was not heard yet.
    pub(crate) fn has_more(&self) -> bool {
        !self.unread.is_empty() || is_readable(&self.sock)
    }

    /// The next message.
    pub(crate) fn hear(&mut self) -> Value {
        let line = self.hear_line().expect("a line, not the end of the channel");
        serde_json::from_str(&line).unwrap()
    }

    /// The next message, which is an envelope, and its handle. Not answered.
    pub(crate) fn hear_handle(&mut self) -> (Value, OwnedFd) {
        let envelope = self.hear();
        assert_eq!(envelope["cmd"], "NODE_HANDLE", "{envelope}");
        (envelope, self.handles.pop_front().expect("its descriptor"))
    }
}

/// The acknowledgement of a handle.
pub(crate) const ACK: &str = r#"{"cmd":"NODE_HANDLE_ACK"}"#;
/// The word that a handle did not arrive.
pub(crate) const NACK: &str = r#"{"cmd":"NODE_HANDLE_NACK"}"#;

/// A program started with a channel whose other end is spoken by hand.
pub(crate) struct Forked {
    pub(crate) raw: Option<Raw>,
    child: Child,
    line: BufReader<UnixStream>,
}

impl Forked {
    /// A plain child: it has a channel and is no worker of a cluster.
    pub(crate) fn start(program: &str) -> Forked {
        Forked::start_with(program, &[])
    }

    /// With further variables.
    pub(crate) fn start_with(program: &str, env: &[(&str, &str)]) -> Forked {
        Forked::start_at(program, env, fdpass::channel_pair().unwrap())
    }

    /// And the program's own end of the channel, which shows what it has not read yet. While that is held the channel
    /// does not end with the program.
    pub(crate) fn start_watched(program: &str) -> (Forked, OwnedFd) {
        let (ours, theirs) = fdpass::channel_pair().unwrap();
        let watched = theirs.try_clone().unwrap();
        (Forked::start_at(program, &[], (ours, theirs)), watched)
    }

    fn start_at(program: &str, env: &[(&str, &str)], (ours, theirs): (OwnedFd, OwnedFd)) -> Forked {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args = ARGS.map(Into::into).to_vec();
        command.env = std::env::vars_os().collect();
        command.env.extend([(PROGRAM.into(), program.into()), ("NODE_CHANNEL_FD".into(), "3".into())]);
        command.env.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
        (command.stdout, command.channel, command.extra_pipes) = (Stdio::Null, Some(theirs), 1);
        let mut child = command.spawn().unwrap();
        let line = UnixStream::from(child.extra.remove(0));
        line.set_nonblocking(false).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        Forked { raw: Some(Raw::new(ours)), child, line: BufReader::new(line) }
    }

    pub(crate) fn raw(&mut self) -> &mut Raw {
        self.raw.as_mut().expect("the channel is open here")
    }

    pub(crate) fn tell(&mut self, order: &str) {
        writeln!(self.line.get_mut(), "{order}").unwrap();
    }

    pub(crate) fn fact(&mut self) -> String {
        read_fact(&mut self.line).expect("a fact")
    }

    /// An order, and the fact that answers it.
    pub(crate) fn ask(&mut self, order: &str) -> String {
        self.tell(order);
        self.fact()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn exit(&mut self) -> Exit {
        await_ready(&self.child.pidfd, PollFlags::IN);
        oneport_sys::process::peek(self.child.pidfd.as_fd()).unwrap().unwrap()
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        // Not reaped yet, so the number is still its own.
        let _ = signal_group(Pid::new(self.child.pid.get()).unwrap(), Signal::KILL);
        await_ready(&self.child.pidfd, PollFlags::IN);
        reap(self.child.pidfd.as_fd()).unwrap();
    }
}

/// Whether there is something to read now.
pub(crate) fn is_readable(fd: impl AsFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&now)).unwrap() > 0
}

/// Waits until that can be done.
pub(crate) fn await_ready(fd: impl AsFd, flags: PollFlags) {
    let deadline = Instant::now() + PATIENCE;
    let left = Timespec { tv_sec: PATIENCE.as_secs().try_into().unwrap(), tv_nsec: 0 };
    loop {
        match poll(&mut [PollFd::new(&fd, flags)], Some(&left)) {
            Ok(1..) => return,
            Err(rustix::io::Errno::INTR) => assert!(Instant::now() < deadline),
            other => panic!("waited in vain for {flags:?}: {other:?}"),
        }
    }
}

/// Until it is so.
pub(crate) fn eventually(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time");
        std::thread::yield_now();
    }
}

/// The next line without its end; what there is, at the end of the stream.
pub(crate) fn read_line(mut stream: impl Read + AsFd) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    loop {
        await_ready(&stream, PollFlags::IN);
        match stream.read(&mut byte) {
            Ok(1) if byte != [b'\n'] => text.push(byte[0]),
            Ok(_) => return String::from_utf8(text).unwrap(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("cannot read: {error}"),
        }
    }
}

/// Writes one line.
pub(crate) fn write_line(mut stream: impl Write + AsFd, text: &str) {
    stream.write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// The next connection.
pub(crate) fn accept(listener: &TcpListener) -> TcpStream {
    await_ready(listener, PollFlags::IN);
    listener.accept().unwrap().0
}

/// A listener of this process's own.
pub(crate) fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Both ends of a connection: the client's, the server's.
pub(crate) fn connection() -> (TcpStream, TcpStream) {
    let (listener, address) = listener();
    (TcpStream::connect(address).unwrap(), accept(&listener))
}

/// The next message of a worker, and its handle.
pub(crate) fn message(test: &mut Test, from: u32) -> (Value, Option<Handle>) {
    test.wait("a message", |event| match event {
        Event::Message { worker, message } if worker.id().0 == from => {
            Some((message.parse().unwrap(), message.take_handle()))
        }
        _ => None,
    })
}

/// The next message of a worker, which has a handle.
pub(crate) fn handle(test: &mut Test, from: u32) -> (Value, Handle) {
    let (message, handle) = message(test, from);
    (message, handle.expect("a handle"))
}
