//! What programs say by `sd_notify` is heard, with who said it, and nothing they send does harm.

mod common;

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use oneport_sys::notify::{MOST_BYTES, Message, NotifySocket, Sender, VARIABLE, Word};
use oneport_sys::process::{Exit, own_pid};

use common::{Running, command, wait_readable};

/// A sender as the library of any language makes one from the variable.
fn sender(name: &OsStr) -> UnixDatagram {
    let name = name.as_bytes().strip_prefix(b"@").expect("abstract");
    let socket = UnixDatagram::unbound().expect("socket");
    socket.connect_addr(&SocketAddr::from_abstract_name(name).expect("name")).expect("connect");
    socket
}

/// Everything that waits.
fn hear(socket: &NotifySocket) -> Vec<Word> {
    std::iter::from_fn(|| socket.receive().expect("receive")).flat_map(|message| message.words).collect()
}

#[test]
fn words_arrive_with_the_number_and_the_user_of_who_sent_them() {
    let socket = NotifySocket::new().unwrap();
    assert_eq!(socket.receive().unwrap(), None);
    let other = NotifySocket::new().unwrap();
    assert_ne!(socket.name(), other.name());
    let sender = sender(&socket.name());
    sender.send(b"READY=1\nSTATUS=up").unwrap();
    sender.send(b"STOPPING=1").unwrap();
    wait_readable(&socket);
    let sender = Sender { pid: own_pid(), uid: rustix::process::getuid().as_raw() };
    let words = vec![Word::Ready, Word::Status("up".into())];
    assert_eq!(socket.receive().unwrap(), Some(Message { sender, words }));
    assert_eq!(socket.receive().unwrap(), Some(Message { sender, words: vec![Word::Stopping] }));
    assert_eq!(socket.receive().unwrap(), None);
    assert_eq!(other.receive().unwrap(), None);
}

#[test]
fn a_program_in_another_process_is_named_by_its_own_number() {
    if !python() {
        return;
    }
    let socket = NotifySocket::new().unwrap();
    let script = "import os, socket\n\
                  s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                  s.connect('\\0' + os.environ['NOTIFY_SOCKET'][1:])\n\
                  s.send(b'READY=1\\nMAINPID=%d' % os.getpid())\n";
    let mut program = command("python3", &["-c", script]);
    program.env.push((VARIABLE.into(), socket.name()));
    let child = Running::start(program);
    assert_eq!(child.wait(), Exit::Code(0));
    let message = socket.receive().unwrap().expect("a message");
    assert_eq!(message.words, [Word::Ready, Word::MainPid(message.sender.pid)]);
    assert_eq!(message.sender.pid, child.0.pid);
}

fn python() -> bool {
    let found =
        command("python3", &["-c", ""]).spawn().is_ok_and(|child| Running(child).wait() == Exit::Code(0));
    if !found {
        eprintln!("skipped: no python3");
    }
    found
}

#[test]
fn what_is_too_long_is_passed_over_and_what_follows_is_heard() {
    let socket = NotifySocket::new().unwrap();
    let sender = sender(&socket.name());
    let status = |length: usize| [b"STATUS=".as_slice(), &vec![b'x'; length - 7]].concat();
    sender.send(&status(MOST_BYTES + 1)).unwrap();
    sender.send(&status(60_000)).unwrap();
    sender.send(&status(MOST_BYTES)).unwrap();
    sender.send(b"").unwrap();
    sender.send(b"READY=1").unwrap();
    let heard = hear(&socket);
    assert_eq!(heard, [Word::Status("x".repeat(MOST_BYTES - 7)), Word::Ready]);
}

#[test]
fn descriptors_that_come_along_are_closed_at_once() {
    let socket = NotifySocket::new().unwrap();
    let sender = sender(&socket.name());
    // As sd_notify_barrier does: it waits until nobody holds the writing end.
    let (read, write) = rustix::pipe::pipe().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let fds = [write.as_fd(), write.as_fd()];
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
    let part = [std::io::IoSlice::new(b"BARRIER=1\nREADY=1")];
    rustix::net::sendmsg(&sender, &part, &mut control, rustix::net::SendFlags::empty()).unwrap();
    drop(write);
    rustix::io::ioctl_fionbio(&read, true).unwrap();
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Err(rustix::io::Errno::AGAIN), "held by the message");
    assert_eq!(hear(&socket), [Word::Ready]);
    wait_readable(&read);
    assert_eq!(rustix::io::read(&read, &mut [0; 1]), Ok(0), "nobody holds it");
}

#[test]
fn a_full_queue_refuses_its_sender_and_is_heard_to_its_end() {
    let socket = NotifySocket::new().unwrap();
    let sender = sender(&socket.name());
    sender.set_nonblocking(true).unwrap();
    let mut sent = 0;
    while sender.send(b"WATCHDOG=1").is_ok() {
        sent += 1;
        assert!(sent < 100_000, "no bound");
    }
    assert_eq!(hear(&socket), vec![Word::Watchdog; sent]);
    sender.send(b"READY=1").unwrap();
    assert_eq!(hear(&socket), [Word::Ready]);
}

#[test]
fn the_socket_closes_at_exec_and_its_name_is_free_afterwards() {
    let socket = NotifySocket::new().unwrap();
    assert!(rustix::io::fcntl_getfd(&socket).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    assert!(socket.as_fd().as_raw_fd() > 2);
    let name = socket.name();
    drop(socket);
    common::eventually("nobody hears", || {
        let bare = name.as_bytes().strip_prefix(b"@").expect("abstract");
        let address = SocketAddr::from_abstract_name(bare).expect("name");
        UnixDatagram::unbound().expect("socket").connect_addr(&address).is_err()
    });
}
