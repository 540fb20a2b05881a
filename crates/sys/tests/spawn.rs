//! A child starts clean: descriptors, group, signals, limits.

mod common;

use std::os::fd::{AsFd, AsRawFd};
use std::time::Instant;

use oneport_sys::fdpass::{channel_pair, receive, send};
use oneport_sys::process::{Exit, Signal, set_nofile_to_hard};
use oneport_sys::signals;
use oneport_sys::spawn::{Command, Stdio};

use common::{Running, command, read_to_end};

fn output_of(command: Command) -> String {
    let mut child = Running::start(command);
    let text = read_to_end(child.take_output());
    assert_eq!(child.wait(), Exit::Code(0), "{text}");
    text
}

/// The open descriptors of a child, without the directory `ls` itself reads.
fn open_fds(text: &str) -> Vec<(i32, String)> {
    text.lines()
        .filter_map(|line| {
            let (left, target) = line.rsplit_once(" -> ")?;
            Some((left.rsplit(' ').next()?.parse().ok()?, target.to_owned()))
        })
        .filter(|(_, target)| !target.starts_with("/proc/"))
        .collect()
}

fn status_field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("field");
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("hexadecimal")
}

#[test]
fn the_channel_is_three_and_nothing_else_is_inherited() {
    // Something open without close-on-exec, as a careless library leaves it.
    let careless = rustix::io::dup(std::io::stdin()).unwrap();
    assert!(!rustix::io::fcntl_getfd(&careless).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
    let (ours, theirs) = channel_pair().unwrap();
    assert!(careless.as_raw_fd() > 2 && theirs.as_raw_fd() > 2);
    let mut listing = command("ls", &["-l", "/proc/self/fd"]);
    listing.channel = Some(theirs);
    let fds = open_fds(&output_of(listing));
    let numbers: Vec<i32> = fds.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2, 3], "{fds:?}");
    assert!(fds[3].1.starts_with("socket:"), "{fds:?}");
    // The child is gone and our copy was closed by `spawn`: the stream ends.
    common::wait_readable(&ours);
    assert_eq!(receive(ours.as_fd(), &mut [0; 8]).unwrap().bytes, 0);

    let without = open_fds(&output_of(command("ls", &["-l", "/proc/self/fd"])));
    let numbers: Vec<i32> = without.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [0, 1, 2], "{without:?}");
}

#[test]
fn the_channel_works_both_ways() {
    let (ours, theirs) = channel_pair().unwrap();
    let mut echo = command("sh", &["-c", "read line <&3; echo \"got $line\" >&3"]);
    echo.channel = Some(theirs);
    let child = Running::start(echo);
    send(ours.as_fd(), b"hello\n", None).unwrap();
    common::wait_readable(&ours);
    let mut buf = [0; 64];
    let received = receive(ours.as_fd(), &mut buf).unwrap();
    assert_eq!(&buf[..received.bytes], b"got hello\n");
    assert_eq!(child.wait(), Exit::Code(0));
}

#[test]
fn signals_are_unblocked_and_default() {
    // This thread blocks some and the runtime ignores SIGPIPE; the child shall see neither.
    let _blocked = signals::block(&[Signal::USR1, Signal::TERM]).unwrap();
    assert!(signals::is_ignored(Signal::PIPE));
    let status = output_of(command("cat", &["/proc/self/status"]));
    for field in ["SigBlk", "SigIgn", "SigCgt", "CapAmb"] {
        assert_eq!(status_field(&status, field), 0, "{field}");
    }
}

#[test]
fn the_child_leads_its_own_group() {
    let child = Running::start(command("sleep", &["1000"]));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.0.pid)).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    assert_eq!(fields[2], child.0.pid.to_string());
}

#[test]
fn the_environment_is_complete_and_only_what_was_given() {
    let mut env = command("/usr/bin/env", &[]);
    env.env = vec![("A".into(), "1".into()), ("B".into(), "two words".into()), ("A".into(), "last".into())];
    let text = output_of(env);
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["A=last", "B=two words"]);
}

#[test]
fn arguments_and_directory_arrive_unchanged() {
    let scratch = common::Scratch::new();
    let mut pwd = command("sh", &["-c", "pwd -P; printf '%s|' \"$@\"", "name", "a b", "", "$HOME"]);
    pwd.cwd = Some(scratch.path().to_owned());
    let text = output_of(pwd);
    let real = std::fs::canonicalize(scratch.path()).unwrap();
    assert_eq!(text, format!("{}\na b||$HOME|", real.display()));
}

#[test]
fn standard_streams_lead_where_they_should() {
    let mut shell = command("sh", &["-c", "cat; echo oops >&2; ls -l /proc/self/fd/0"]);
    shell.stderr = Stdio::Pipe;
    let mut child = Running::start(shell);
    let error = read_to_end(child.0.stderr.take().unwrap());
    assert_eq!(error, "oops\n");
    assert!(read_to_end(child.take_output()).contains("/dev/null"));

    let mut cat = command("cat", &[]);
    cat.stdin = Stdio::Pipe;
    let mut child = Running::start(cat);
    let input = child.0.stdin.take().unwrap();
    rustix::io::write(&input, b"through").unwrap();
    drop(input);
    let output = child.take_output();
    assert!(rustix::fs::fcntl_getfl(&output).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
    assert_eq!(read_to_end(output), "through");
}

#[test]
fn a_program_that_cannot_run_is_an_error_of_spawn() {
    let errno = |program: &str| command(program, &[]).spawn().unwrap_err().raw_os_error();
    assert_eq!(errno("/nonexistent/program"), Some(libc::ENOENT));
    assert_eq!(errno("no-such-program-anywhere"), Some(libc::ENOENT));
    assert_eq!(errno("/"), Some(libc::EACCES));
    let scratch = common::Scratch::new();
    let text = scratch.join("text");
    std::fs::write(&text, "not executable").unwrap();
    assert_eq!(errno(text.to_str().unwrap()), Some(libc::EACCES));
    let mut lost = command("true", &[]);
    lost.cwd = Some("/nonexistent".into());
    assert_eq!(lost.spawn().unwrap_err().raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn a_failed_exec_is_told_even_when_a_channel_becomes_three() {
    for _ in 0..20 {
        let (ours, theirs) = channel_pair().unwrap();
        let mut missing = command("/nonexistent/program", &[]);
        missing.channel = Some(theirs);
        assert_eq!(missing.spawn().unwrap_err().raw_os_error(), Some(libc::ENOENT));
        common::wait_readable(&ours);
        assert_eq!(
            receive(ours.as_fd(), &mut [0; 8]).unwrap().bytes,
            0,
            "nothing was written to the channel"
        );
    }
}

#[test]
fn the_soft_limit_of_descriptors_is_given_back() {
    set_nofile_to_hard().unwrap();
    let mut limit = command("sh", &["-c", "ulimit -Sn; ulimit -Hn"]);
    limit.nofile_soft = Some(321);
    let text = output_of(limit);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "321");
    assert_ne!(lines[1], "321");
}

#[test]
fn another_user_starts_without_our_groups_when_we_may() {
    if !rustix::process::geteuid().is_root() {
        // Without privilege the same call must be refused rather than ignored.
        let mut other = command("true", &[]);
        other.uid = Some(65534);
        assert_eq!(other.spawn().unwrap_err().raw_os_error(), Some(libc::EPERM));
        return;
    }
    let mut id = command("sh", &["-c", "id -u; id -g; id -G; grep CapEff /proc/self/status"]);
    id.uid = Some(65534);
    id.gid = Some(65534);
    let text = output_of(id);
    assert_eq!(text, "65534\n65534\n65534\nCapEff:\t0000000000000000\n");
}

#[test]
fn dropping_a_child_neither_ends_nor_waits_for_it() {
    let child = Running::start(command("sleep", &["1000"]));
    let duplicate = child.0.pidfd.try_clone().unwrap();
    let start = Instant::now();
    let second = command("sleep", &["1000"]).spawn().unwrap();
    let (pid, pidfd) = (second.pid, second.pidfd.try_clone().unwrap());
    drop(second);
    assert!(start.elapsed() < common::PATIENCE);
    assert_eq!(oneport_sys::process::reap(pidfd.as_fd()).unwrap(), None);
    assert_eq!(oneport_sys::process::reap(duplicate.as_fd()).unwrap(), None);
    let (stdin, stdout, stderr, extra, notify) = (None, None, None, Vec::new(), None);
    let _ended = Running(oneport_sys::spawn::Child { pid, pidfd, stdin, stdout, stderr, extra, notify });
}
