//! Extra pipes of a child: descriptors 4, 5, ... beside its channel.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use oneport_sys::fdpass::{channel_pair, receive, send};
use oneport_sys::process::Exit;
use oneport_sys::spawn::FIRST_EXTRA_FD;
use rustix::fs::OFlags;
use rustix::io::FdFlags;

use common::{Running, command, read_line, read_to_end};

/// What each descriptor of the child from 3 on is; the directory that `ls` itself reads is left out.
fn listed(channel: Option<OwnedFd>, extra_pipes: u8) -> BTreeMap<i32, String> {
    let mut listing = command("ls", &["-l", "/proc/self/fd"]);
    (listing.channel, listing.extra_pipes) = (channel, extra_pipes);
    let mut child = Running::start(listing);
    let text = read_to_end(child.take_output());
    assert_eq!(child.wait(), Exit::Code(0), "{text}");
    text.lines()
        .filter_map(|line| {
            let (left, target) = line.rsplit_once(" -> ")?;
            Some((left.rsplit(' ').next()?.parse().ok()?, target.to_owned()))
        })
        .filter(|(number, target)| *number > 2 && !target.starts_with("/proc/"))
        .collect()
}

fn numbers_of_sockets(listed: &BTreeMap<i32, String>) -> Vec<i32> {
    assert!(listed.values().all(|target| target.starts_with("socket:")), "{listed:?}");
    assert_eq!(listed.values().collect::<BTreeSet<_>>().len(), listed.len(), "{listed:?}");
    listed.keys().copied().collect()
}

fn say(end: &OwnedFd, text: &str) {
    assert_eq!(send(end.as_fd(), text.as_bytes(), None).expect("send"), text.len());
}

#[test]
fn extra_pipes_are_sockets_from_four_on_and_nothing_else_is_inherited() {
    let careless = rustix::io::dup(std::io::stdin()).unwrap();
    assert!(careless.as_raw_fd() > 2);
    let (_ours, theirs) = channel_pair().unwrap();
    assert_eq!(numbers_of_sockets(&listed(Some(theirs), 2)), [3, 4, 5]);
    assert_eq!(numbers_of_sockets(&listed(None, 2)), [4, 5]);
    assert_eq!(numbers_of_sockets(&listed(None, 40)), (4..44).collect::<Vec<_>>());
}

#[test]
fn each_extra_pipe_carries_both_ways_and_only_its_own() {
    for channel in [false, true] {
        let (ours, theirs) = channel_pair().unwrap();
        let script = "read a <&4; read b <&5; echo \"four heard $a\" >&4; echo \"five heard $b\" >&5";
        let mut echo = command("sh", &["-c", script]);
        echo.channel = channel.then_some(theirs);
        echo.extra_pipes = 2;
        let child = Running::start(echo);
        let [four, five] = &child.0.extra[..] else { panic!("{:?}", child.0.extra) };
        say(five, "cinque\n");
        say(four, "quattro\n");
        assert_eq!(read_line(four), "four heard quattro");
        assert_eq!(read_line(five), "five heard cinque");
        assert_eq!(child.wait(), Exit::Code(0));
        // The child had the only other ends: both streams are over.
        for end in [four, five] {
            common::wait_readable(end);
            assert_eq!(receive(end.as_fd(), &mut [0; 8]).unwrap().bytes, 0);
        }
        drop(ours);
    }
}

#[test]
fn our_ends_are_non_blocking_and_close_on_exec_and_the_childs_block() {
    let mut waiting =
        command("sh", &["-c", "grep flags /proc/self/fdinfo/4; read line <&4; echo \"got $line\""]);
    waiting.extra_pipes = 1;
    let mut child = Running::start(waiting);
    let [ours] = &child.0.extra[..] else { panic!("{:?}", child.0.extra) };
    assert!(rustix::fs::fcntl_getfl(ours).unwrap().contains(OFlags::NONBLOCK));
    assert!(rustix::io::fcntl_getfd(ours).unwrap().contains(FdFlags::CLOEXEC));
    let ours = child.0.extra.remove(0);
    let output = child.take_output();
    let flags = read_line(&output);
    let flags = u32::from_str_radix(flags.trim_start_matches("flags:").trim(), 8).unwrap();
    assert_eq!(flags & OFlags::NONBLOCK.bits(), 0);
    say(&ours, "late\n");
    assert_eq!(read_line(&output), "got late");
}

#[test]
fn a_closed_end_of_ours_is_the_end_of_its_stream_alone() {
    let mut reader = command("sh", &["-c", "cat <&4; read line <&5; echo \"then $line\""]);
    reader.extra_pipes = 2;
    let mut child = Running::start(reader);
    drop(child.0.extra.remove(0));
    say(&child.0.extra[0], "five\n");
    assert_eq!(read_to_end(child.take_output()), "then five\n");
}

#[test]
fn without_extra_pipes_there_are_none() {
    let child = Running::start(command("true", &[]));
    assert!(child.0.extra.is_empty());
    assert_eq!(FIRST_EXTRA_FD, 4);
}

#[test]
fn a_failed_exec_is_told_even_when_extra_pipes_take_many_numbers() {
    for extra_pipes in [1, 2, 60] {
        for channel in [false, true] {
            let (ours, theirs) = channel_pair().unwrap();
            let mut missing = command("/nonexistent/program", &[]);
            missing.channel = channel.then_some(theirs);
            missing.extra_pipes = extra_pipes;
            assert_eq!(missing.spawn().unwrap_err().raw_os_error(), Some(libc::ENOENT));
            if channel {
                common::wait_readable(&ours);
                assert_eq!(receive(ours.as_fd(), &mut [0; 8]).unwrap().bytes, 0);
            }
        }
    }
}

/// Descriptors are put where others of the same child lie: the numbers of channel and pipes overlap in every way.
#[test]
fn no_descriptor_is_lost_when_the_numbers_overlap() {
    for before in 0..8 {
        let _held: Vec<_> = (0..before).map(|_| rustix::io::dup(std::io::stdin()).unwrap()).collect();
        let (ours, theirs) = channel_pair().unwrap();
        let mut named = command("sh", &["-c", "for n in 3 4 5 6; do echo $n >&$n; done"]);
        named.channel = Some(theirs);
        named.extra_pipes = 3;
        let child = Running::start(named);
        for (end, number) in std::iter::once(&ours).chain(&child.0.extra).zip(3..) {
            assert_eq!(read_line(end), number.to_string());
        }
        assert_eq!(child.wait(), Exit::Code(0));
    }
}
