//! Several descriptors in one message: as a hand-over of connections sends them.

mod common;

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oneport_sys::fdpass::{MOST_AT_ONCE, channel_pair, receive_many, send, send_many};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Pipes as (read ends, write ends).
fn pipes(count: usize) -> (Vec<OwnedFd>, Vec<OwnedFd>) {
    (0..count).map(|_| rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).expect("pipe")).unzip()
}

fn borrow(fds: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    fds.iter().map(AsFd::as_fd).collect()
}

/// Whether every write end of the pipe is closed. Only those who hold one can keep it open.
fn assert_closed(read_end: &OwnedFd) {
    common::wait_readable(read_end);
    assert_eq!(rustix::io::read(read_end, &mut [0; 1]).expect("read"), 0);
}

/// That what was received is the other side of that pipe.
fn assert_joined(write_end: &OwnedFd, read_end: &OwnedFd, mark: u8) {
    rustix::io::write(write_end, &[mark]).expect("write");
    common::wait_readable(read_end);
    let mut byte = [0];
    rustix::io::read(read_end, &mut byte).expect("read");
    assert_eq!(byte, [mark]);
}

fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> Option<i32> {
    result.expect_err("an error").raw_os_error()
}

#[test]
fn several_descriptors_arrive_in_order_and_close_on_exec() {
    let (ours, theirs) = channel_pair().unwrap();
    for count in 1..=MOST_AT_ONCE {
        let (readers, writers) = pipes(count);
        assert_eq!(send_many(ours.as_fd(), &b"cccc"[..count], &borrow(&writers)).unwrap(), count);
        drop(writers);
        let (_, kept) = pipes(1);
        let mut fds = kept;
        let received = receive_many(theirs.as_fd(), &mut [0; 64], &mut fds).unwrap();
        assert_eq!((received.bytes, received.truncated, fds.len()), (count, false, 1 + count));
        let arrived = fds.split_off(1);
        for (mark, (fd, reader)) in arrived.iter().zip(&readers).enumerate() {
            assert!(rustix::io::fcntl_getfd(fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            assert_joined(fd, reader, u8::try_from(mark).unwrap());
        }
        drop(arrived);
        readers.iter().for_each(assert_closed);
    }
}

#[test]
fn one_read_brings_the_descriptors_of_one_message() {
    let (ours, theirs) = channel_pair().unwrap();
    let (readers, writers) = pipes(3);
    send_many(ours.as_fd(), b"cc", &borrow(&writers[..2])).unwrap();
    send_many(ours.as_fd(), b"c", &borrow(&writers[2..])).unwrap();
    drop(writers);
    let mut fds = Vec::new();
    let mut buf = [0; 64];
    assert_eq!(receive_many(theirs.as_fd(), &mut buf, &mut fds).unwrap().bytes, 2);
    assert_eq!(fds.len(), 2);
    assert_eq!(receive_many(theirs.as_fd(), &mut buf, &mut fds).unwrap().bytes, 1);
    assert_eq!(fds.len(), 3);
    for (fd, reader) in fds.iter().zip(&readers) {
        assert_joined(fd, reader, 7);
    }
}

#[test]
fn a_short_buffer_brings_all_descriptors_with_the_first_byte() {
    let (ours, theirs) = channel_pair().unwrap();
    let (_readers, writers) = pipes(3);
    send_many(ours.as_fd(), b"abc", &borrow(&writers)).unwrap();
    let mut fds = Vec::new();
    let mut buf = [0; 1];
    for (byte, so_far) in [(b'a', 3), (b'b', 3), (b'c', 3)] {
        let received = receive_many(theirs.as_fd(), &mut buf, &mut fds).unwrap();
        assert_eq!((received.bytes, received.truncated, buf[0], fds.len()), (1, false, byte, so_far));
    }
}

#[test]
fn bytes_without_descriptors_merge() {
    let (ours, theirs) = channel_pair().unwrap();
    send_many(ours.as_fd(), b"tt", &[]).unwrap();
    send(ours.as_fd(), b"r", None).unwrap();
    let mut fds = Vec::new();
    let mut buf = [0; 64];
    let received = receive_many(theirs.as_fd(), &mut buf, &mut fds).unwrap();
    assert_eq!(&buf[..received.bytes], b"ttr");
    assert!(fds.is_empty() && !received.truncated);
}

#[test]
fn more_than_fit_are_truncated_and_what_is_not_taken_is_closed() {
    for sent in [MOST_AT_ONCE + 1, MOST_AT_ONCE + 2, 16] {
        let (ours, theirs) = channel_pair().unwrap();
        let (readers, writers) = pipes(sent);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let all = borrow(&writers);
        assert!(control.push(SendAncillaryMessage::ScmRights(&all)));
        sendmsg(&ours, &[IoSlice::new(b"many")], &mut control, SendFlags::empty()).unwrap();
        drop(writers);
        let mut fds = Vec::new();
        let received = receive_many(theirs.as_fd(), &mut [0; 64], &mut fds).unwrap();
        assert_eq!((received.bytes, received.truncated, fds.len()), (4, true, MOST_AT_ONCE));
        readers[MOST_AT_ONCE..].iter().for_each(assert_closed);
        for (fd, reader) in fds.iter().zip(&readers) {
            assert_joined(fd, reader, 9);
        }
        drop(fds);
        readers[..MOST_AT_ONCE].iter().for_each(assert_closed);
    }
}

#[test]
fn what_is_never_received_is_closed_with_its_socket() {
    let (ours, theirs) = channel_pair().unwrap();
    let (readers, writers) = pipes(2);
    send_many(ours.as_fd(), b"cc", &borrow(&writers)).unwrap();
    drop(writers);
    drop(theirs);
    readers.iter().for_each(assert_closed);
}

#[test]
fn too_many_descriptors_or_none_of_their_bytes_are_refused_and_not_sent() {
    let (ours, theirs) = channel_pair().unwrap();
    let (_readers, writers) = pipes(MOST_AT_ONCE + 1);
    let all = borrow(&writers);
    assert_eq!(errno(send_many(ours.as_fd(), b"ccccc", &all)), Some(libc::EINVAL));
    assert_eq!(errno(send_many(ours.as_fd(), b"", &all[..2])), Some(libc::EINVAL));
    let nothing = receive_many(theirs.as_fd(), &mut [0; 8], &mut Vec::new());
    assert_eq!(errno(nothing), Some(libc::EAGAIN));
}

#[test]
fn a_full_socket_takes_no_descriptors_and_an_empty_one_has_none() {
    let (ours, theirs) = channel_pair().unwrap();
    while send(ours.as_fd(), &[0; 4096], None).is_ok() {}
    let (readers, writers) = pipes(2);
    assert_eq!(errno(send_many(ours.as_fd(), b"cc", &borrow(&writers))), Some(libc::EAGAIN));
    drop(writers);
    readers.iter().for_each(assert_closed);
    let mut fds = Vec::new();
    let mut buf = vec![0; 64 * 1024];
    let error = loop {
        match receive_many(theirs.as_fd(), &mut buf, &mut fds) {
            Ok(received) => assert!(received.bytes > 0),
            Err(error) => break error,
        }
    };
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    assert!(fds.is_empty());
}

#[test]
fn the_end_of_the_stream_comes_after_the_last_descriptors() {
    let (ours, theirs) = channel_pair().unwrap();
    let (readers, writers) = pipes(2);
    send_many(ours.as_fd(), b"cc", &borrow(&writers)).unwrap();
    drop((ours, writers));
    let mut fds = Vec::new();
    assert_eq!(receive_many(theirs.as_fd(), &mut [0; 8], &mut fds).unwrap().bytes, 2);
    assert_eq!(fds.len(), 2);
    let end = receive_many(theirs.as_fd(), &mut [0; 8], &mut fds).unwrap();
    assert_eq!((end.bytes, end.truncated, fds.len()), (0, false, 2));
    assert_eq!(errno(send_many(theirs.as_fd(), b"t", &[])), Some(libc::EPIPE));
    drop(fds);
    readers.iter().for_each(assert_closed);
}

#[test]
fn where_only_bytes_are_wanted_descriptors_that_come_along_are_closed() {
    let (ours, theirs) = channel_pair().expect("a socket pair");
    let (passed, other) = channel_pair().expect("a socket pair");
    send_many(theirs.as_fd(), b"ab", &[passed.as_fd()]).expect("room");
    drop(passed);
    let mut bytes = [0; 8];
    assert_eq!(oneport_sys::fdpass::receive_bytes(ours.as_fd(), &mut bytes).expect("bytes"), 2);
    assert_eq!(&bytes[..2], b"ab");
    // Nobody holds the passed end any more: the other one reads the end.
    assert_eq!(oneport_sys::fdpass::receive_bytes(other.as_fd(), &mut bytes).expect("the end"), 0);
    drop(theirs);
    assert_eq!(oneport_sys::fdpass::receive_bytes(ours.as_fd(), &mut bytes).expect("the end"), 0);
}
