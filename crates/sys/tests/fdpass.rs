//! Descriptors over a channel: exactly one per message, none lost, none leaked. Several at once are in `fdpass_many`.

mod common;

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oneport_sys::fdpass::{channel_pair, receive, send};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe")
}

fn send_unchecked(sock: BorrowedFd<'_>, fds: &[BorrowedFd<'_>]) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
    sendmsg(sock, &[IoSlice::new(b"many")], &mut control, SendFlags::empty()).expect("sendmsg");
}

/// Whether every write end of the pipe is closed. Only those who hold one can keep it open.
fn assert_closed(read_end: &OwnedFd) {
    common::wait_readable(read_end);
    assert_eq!(rustix::io::read(read_end, &mut [0; 1]).expect("read"), 0);
}

#[test]
fn a_descriptor_arrives_with_its_bytes_and_close_on_exec() {
    let (ours, theirs) = channel_pair().unwrap();
    let (reader, writer) = pipe();
    assert_eq!(send(ours.as_fd(), b"hello", Some(writer.as_fd())).unwrap(), 5);
    drop(writer);
    let mut buf = [0; 64];
    let received = receive(theirs.as_fd(), &mut buf).unwrap();
    assert_eq!(&buf[..received.bytes], b"hello");
    assert_eq!((received.extra, received.truncated), (0, false));
    let fd = received.fd.unwrap();
    assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    rustix::io::write(&fd, b"!").unwrap();
    let mut byte = [0];
    assert_eq!(rustix::io::read(&reader, &mut byte).unwrap(), 1);
    drop(fd);
    assert_closed(&reader);
}

#[test]
fn one_read_never_spans_two_messages_with_descriptors() {
    let (ours, theirs) = channel_pair().unwrap();
    let (reader, writer) = pipe();
    send(ours.as_fd(), b"plain;", None).unwrap();
    send(ours.as_fd(), b"first;", Some(reader.as_fd())).unwrap();
    send(ours.as_fd(), b"second;", Some(writer.as_fd())).unwrap();
    send(ours.as_fd(), b"tail;", None).unwrap();
    let mut all = Vec::new();
    let mut fds = 0;
    let mut buf = [0; 64];
    while all.len() < 24 {
        let received = receive(theirs.as_fd(), &mut buf).unwrap();
        all.extend_from_slice(&buf[..received.bytes]);
        assert_eq!(received.extra, 0);
        if received.fd.is_some() {
            fds += 1;
            let expected: &[u8] = if fds == 1 { b"first;" } else { b"second;" };
            assert!(all.ends_with(expected), "{:?}", String::from_utf8_lossy(&all));
        }
    }
    assert_eq!(fds, 2);
}

#[test]
fn a_second_descriptor_in_one_message_is_counted_and_closed() {
    let (ours, theirs) = channel_pair().unwrap();
    let (first_reader, first) = pipe();
    let (second_reader, second) = pipe();
    send_unchecked(ours.as_fd(), &[first.as_fd(), second.as_fd()]);
    drop((first, second));
    let received = receive(theirs.as_fd(), &mut [0; 64]).unwrap();
    assert_eq!((received.bytes, received.extra, received.truncated), (4, 1, false));
    assert_closed(&second_reader);
    assert!(received.fd.is_some());
    drop(received);
    assert_closed(&first_reader);
}

#[test]
fn more_descriptors_than_there_is_room_for_are_dropped_and_told() {
    let (ours, theirs) = channel_pair().unwrap();
    let (reader, writer) = pipe();
    send_unchecked(ours.as_fd(), &[writer.as_fd(); 12]);
    drop(writer);
    let received = receive(theirs.as_fd(), &mut [0; 64]).unwrap();
    assert!(received.truncated);
    assert!(received.fd.is_some());
    assert!(received.extra < 11, "{}", received.extra);
    drop(received);
    assert_closed(&reader);
}

#[test]
fn a_full_socket_answers_eagain_and_takes_no_descriptor() {
    let (ours, theirs) = channel_pair().unwrap();
    let chunk = vec![7; 64 * 1024];
    let mut sent = 0;
    let error = loop {
        match send(ours.as_fd(), &chunk, None) {
            Ok(taken) => sent += taken,
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    assert!(sent > 0);
    let (reader, writer) = pipe();
    let error = send(ours.as_fd(), b"x", Some(writer.as_fd())).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    drop(writer);
    assert_closed(&reader);
    // Everything that was taken arrives, and then there is room again.
    let mut buf = vec![0; 256 * 1024];
    while sent > 0 {
        sent -= receive(theirs.as_fd(), &mut buf).unwrap().bytes;
    }
    assert_eq!(receive(theirs.as_fd(), &mut buf).unwrap_err().raw_os_error(), Some(libc::EAGAIN));
    assert_eq!(send(ours.as_fd(), b"x", None).unwrap(), 1);
}

#[test]
fn a_partly_taken_message_has_its_descriptor_with_the_first_bytes() {
    let (ours, theirs) = channel_pair().unwrap();
    let (reader, writer) = pipe();
    let big = vec![1; 8 * 1024 * 1024];
    let taken = send(ours.as_fd(), &big, Some(writer.as_fd())).unwrap();
    assert!(0 < taken && taken < big.len(), "{taken}");
    drop(writer);
    let mut buf = vec![0; big.len()];
    let first = receive(theirs.as_fd(), &mut buf).unwrap();
    assert!(first.fd.is_some());
    let mut arrived = first.bytes;
    while arrived < taken {
        let next = receive(theirs.as_fd(), &mut buf).unwrap();
        assert!(next.fd.is_none());
        arrived += next.bytes;
    }
    assert_eq!(arrived, taken);
    drop(first.fd);
    assert_closed(&reader);
}

#[test]
fn a_dead_peer_is_an_error_when_sending_and_the_end_when_receiving() {
    let (ours, theirs) = channel_pair().unwrap();
    drop(theirs);
    assert_eq!(send(ours.as_fd(), b"x", None).unwrap_err().raw_os_error(), Some(libc::EPIPE));
    assert_eq!(receive(ours.as_fd(), &mut [0; 8]).unwrap().bytes, 0);
}

#[test]
fn what_a_dead_peer_wrote_is_still_read_with_its_descriptor() {
    let (ours, theirs) = channel_pair().unwrap();
    let (reader, writer) = pipe();
    send(theirs.as_fd(), b"bye", Some(writer.as_fd())).unwrap();
    drop((theirs, writer));
    let received = receive(ours.as_fd(), &mut [0; 8]).unwrap();
    assert_eq!(received.bytes, 3);
    assert!(received.fd.is_some());
    assert_eq!(receive(ours.as_fd(), &mut [0; 8]).unwrap().bytes, 0);
    drop(received);
    assert_closed(&reader);
}

#[test]
fn a_descriptor_without_bytes_is_refused() {
    let (ours, _theirs) = channel_pair().unwrap();
    let error = send(ours.as_fd(), b"", Some(ours.as_fd())).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
}

#[test]
fn only_our_end_of_a_pair_is_non_blocking() {
    let (ours, theirs) = channel_pair().unwrap();
    let nonblocking =
        |fd: &OwnedFd| rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK);
    assert!(nonblocking(&ours));
    assert!(!nonblocking(&theirs));
    for end in [&ours, &theirs] {
        assert!(rustix::io::fcntl_getfd(end).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    }
}
