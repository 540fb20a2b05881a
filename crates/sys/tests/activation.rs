//! A program that knows socket activation finds its sockets, and that they are its own.

mod common;

use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

use oneport_sys::listen::inode;
use oneport_sys::process::Exit;
use oneport_sys::seccomp::Traps;
use oneport_sys::spawn::{Command, FIRST_INHERITED_FD};

use common::traps::can_trap;
use common::{Running, command, read_to_end};

fn listeners(count: usize) -> (Vec<OwnedFd>, Vec<u64>) {
    let all: Vec<OwnedFd> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("bind").into()).collect();
    let inodes = all.iter().map(|socket| inode(socket.as_fd()).expect("inode")).collect();
    (all, inodes)
}

/// A shell that says what it was told and what it has: numbers, then the variables.
fn teller() -> Command {
    command("sh", &["-c", "echo $$ $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES; exec ls -l /proc/self/fd"])
}

fn inherit(command: &mut Command, sockets: &[OwnedFd], names: &[&str]) {
    let copies = sockets.iter().map(|socket| socket.try_clone().expect("duplicate"));
    command.inherit = copies.zip(names).map(|(socket, name)| (socket, (*name).to_owned())).collect();
}

/// Checks what the teller said: its own number, and these sockets from 3 on.
fn check(text: &str, names: &str, inodes: &[u64]) {
    let (first, listing) = text.split_once('\n').expect("lines");
    let said: Vec<&str> = first.split(' ').collect();
    assert_eq!(said[0], said[1], "LISTEN_PID is its own number: {first}");
    assert_eq!(said[2..], [inodes.len().to_string().as_str(), names]);
    for (number, inode) in (FIRST_INHERITED_FD..).zip(inodes) {
        assert!(listing.contains(&format!(" {number} -> socket:[{inode}]")), "{listing}");
    }
    let count = listing.lines().filter(|line| line.contains("socket:[")).count();
    assert_eq!(count, inodes.len(), "{listing}");
}

#[test]
fn sockets_lie_from_three_on_in_order_with_their_names_and_its_own_number() {
    for (count, names) in [(1, &["http"][..]), (3, &["http", "https", ""])] {
        let (sockets, inodes) = listeners(count);
        let mut teller = teller();
        inherit(&mut teller, &sockets, names);
        let mut child = Running::start(teller);
        let pid = child.0.pid.to_string();
        let text = read_to_end(child.take_output());
        assert_eq!(child.wait(), Exit::Code(0));
        assert!(text.starts_with(&format!("{pid} {pid} ")), "{text}");
        check(&text, &names.join(":"), &inodes);
    }
}

#[test]
fn numbers_are_right_wherever_the_sockets_lay_before() {
    for before in 0..6 {
        let _held: Vec<_> = (0..before).map(|_| rustix::io::dup(std::io::stdin()).unwrap()).collect();
        let (mut sockets, mut inodes) = listeners(4);
        sockets.reverse();
        inodes.reverse();
        let mut teller = teller();
        inherit(&mut teller, &sockets, &["a", "b", "c", "d"]);
        check(&read_to_end(Running::start(teller).take_output()), "a:b:c:d", &inodes);
    }
}

#[test]
fn a_trapped_program_inherits_them_just_so() {
    if !can_trap() {
        return;
    }
    let (sockets, inodes) = listeners(2);
    let mut teller = teller();
    teller.trap = Some(Traps::default());
    inherit(&mut teller, &sockets, &["a", "b"]);
    check(&read_to_end(Running::start(teller).take_output()), "a:b", &inodes);
}

#[test]
fn the_environment_is_what_was_given_and_these_three() {
    let (sockets, _) = listeners(1);
    let mut env = command("env", &[]);
    env.env.extend([
        ("A".into(), "first".into()),
        ("LISTEN_PID".into(), "1".into()),
        ("LISTEN_FDS".into(), "9".into()),
        ("A".into(), "last one".into()),
    ]);
    let path = env.env[0].1.clone().into_string().unwrap();
    inherit(&mut env, &sockets, &["x"]);
    let mut child = Running::start(env);
    let pid = child.0.pid;
    let text = read_to_end(child.take_output());
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let own = format!("LISTEN_PID={pid}");
    let path = format!("PATH={path}");
    assert_eq!(lines, ["A=last one", "LISTEN_FDNAMES=x", "LISTEN_FDS=1", own.as_str(), path.as_str()]);
    // Ours is not touched.
    assert!(std::env::var_os("LISTEN_PID").is_none());
}

#[test]
fn a_program_is_searched_in_its_own_path_and_a_failure_is_told() {
    let scratch = common::Scratch::new();
    std::os::unix::fs::symlink("/bin/echo", scratch.join("only-there")).unwrap();
    let spawn = |path: &std::path::Path| {
        let mut echo = command("only-there", &["found"]);
        echo.env = vec![("PATH".into(), path.into())];
        inherit(&mut echo, &listeners(1).0, &["x"]);
        echo.spawn()
    };
    let mut child = Running(spawn(scratch.path()).unwrap());
    assert_eq!(read_to_end(child.take_output()), "found\n");
    assert_eq!(spawn("/nonexistent".as_ref()).unwrap_err().raw_os_error(), Some(libc::ENOENT));
}

#[test]
fn what_has_the_same_numbers_cannot_be_had_together() {
    let errno = |fill: &dyn Fn(&mut Command)| {
        let mut both = command("true", &[]);
        inherit(&mut both, &listeners(1).0, &["x"]);
        fill(&mut both);
        both.spawn().unwrap_err().raw_os_error()
    };
    let channel = |command: &mut Command| {
        command.channel = Some(oneport_sys::fdpass::channel_pair().unwrap().1);
    };
    assert_eq!(errno(&channel), Some(libc::EINVAL));
    assert_eq!(errno(&|command| command.extra_pipes = 1), Some(libc::EINVAL));
}

#[test]
fn our_copy_closes_and_the_programs_own_serves() {
    let (mut sockets, _) = listeners(1);
    let address = oneport_sys::listen::bound_to(sockets[0].as_fd()).unwrap().unwrap();
    let mut sleep = command("sleep", &["1000"]);
    sleep.inherit = vec![(sockets.remove(0), "only".into())];
    let child = Running::start(sleep);
    TcpStream::connect(address).unwrap();
    drop(child);
    // Any child of another test that has not yet come to its exec holds a copy too.
    common::eventually("nobody holds it", || TcpStream::connect(address).is_err());
}
