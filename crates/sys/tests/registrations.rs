//! A socket takes the place of another that is in epoll sets already, and is watched as that one was. In this process,
//! which answers like any other, and in a child whose numbers are other things here.

#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

mod common;

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use oneport_sys::foreign::{Registration, is_polled, open_thread, register_again, registrations, take_fd};
use oneport_sys::listen::bound_to;
use oneport_sys::process::{Exit, own_pid};
use oneport_sys::spawn::Stdio;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, dup2, fcntl_dupfd_cloexec};
use rustix::net::{AddressFamily, SocketType};

use common::traps::Program;
use common::{PATIENCE, Running, command, program, wait_readable};

/// Numbers under which the child has its socket; many of them are something here.
const CROWD: std::ops::Range<RawFd> = 4..64;
const TOO_MANY: u64 = 65;
/// Where the child has the socket that is to take the place.
const KEPT: RawFd = 100;

#[test]
fn is_the_program() {
    match std::env::var(program::ACT).as_deref() {
        Ok("crowd") => be_a_crowd(),
        Ok("many") => be_too_many(),
        _ => {}
    }
}

fn unbound() -> OwnedFd {
    rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap()
}

fn kept() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener.into(), address)
}

fn watch(set: &OwnedFd, socket: impl AsFd, data: u64, events: EventFlags) {
    epoll::add(set, socket, EventData::new_u64(data), events).unwrap();
}

/// What is ready at once: the data of each event with what happened.
fn ready(set: &OwnedFd) -> Vec<(u64, EventFlags)> {
    let mut events = Vec::with_capacity(128);
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    epoll::wait(set, spare_capacity(&mut events), Some(&at_once)).unwrap();
    events.iter().map(|event| (event.data.u64(), event.flags)).collect()
}

/// A connection that waits on that listener by the time this returns.
fn waits_in(listener: &OwnedFd, address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).unwrap();
    wait_readable(listener);
    connection
}

fn accept(listener: impl AsFd) {
    rustix::net::accept(listener).unwrap();
}

fn epoll_set() -> OwnedFd {
    epoll::create(CreateFlags::CLOEXEC).unwrap()
}

/// What a supervisor does for `socket`: puts `kept` in its place, and lets it be watched as that one was.
fn take_the_place(mut socket: OwnedFd, kept: &OwnedFd) -> OwnedFd {
    let number = socket.as_raw_fd();
    let found = registrations(own_pid(), number).unwrap();
    let from = socket.try_clone().unwrap();
    dup2(kept, &mut socket).unwrap();
    let pidfd = open_thread(own_pid()).unwrap();
    register_again(pidfd.as_fd(), &found, from.as_fd(), kept.as_fd()).unwrap();
    assert!(registrations(own_pid(), from.as_raw_fd()).unwrap().is_empty(), "the old ones are ended");
    assert_eq!(socket.as_raw_fd(), number);
    socket
}

#[test]
fn registrations_are_found_with_what_they_were_made_with() {
    let (socket, other, sets) = (unbound(), unbound(), [epoll_set(), epoll_set()]);
    let found = |fd: BorrowedFd<'_>| registrations(own_pid(), fd.as_raw_fd()).unwrap();
    assert_eq!(found(socket.as_fd()), []);
    watch(&sets[0], &socket, u64::MAX, EventFlags::IN | EventFlags::ET | EventFlags::EXCLUSIVE);
    watch(&sets[1], &socket, 1 << 63 | 7, EventFlags::OUT | EventFlags::RDHUP | EventFlags::ONESHOT);
    let duplicate = socket.try_clone().unwrap();
    watch(&sets[1], &duplicate, 8, EventFlags::IN);
    watch(&sets[1], &other, 9, EventFlags::IN);
    let registration = |set: &OwnedFd, number: BorrowedFd<'_>, events: EventFlags, data| Registration {
        set: set.as_raw_fd(),
        number: number.as_raw_fd(),
        // The kernel adds them.
        events: (events | EventFlags::ERR | EventFlags::HUP).bits(),
        data,
    };
    let exclusive = EventFlags::IN | EventFlags::ET | EventFlags::EXCLUSIVE;
    let once = EventFlags::OUT | EventFlags::RDHUP | EventFlags::ONESHOT;
    let mut expected = vec![
        registration(&sets[0], socket.as_fd(), exclusive, u64::MAX),
        registration(&sets[1], socket.as_fd(), once, 1 << 63 | 7),
        registration(&sets[1], duplicate.as_fd(), EventFlags::IN, 8),
    ];
    let sorted = |mut found: Vec<Registration>| {
        found.sort_by_key(|one| one.data);
        found
    };
    expected.sort_by_key(|one| one.data);
    for fd in [socket.as_fd(), duplicate.as_fd()] {
        assert_eq!(sorted(found(fd)), expected);
    }
    assert!(is_polled(own_pid(), socket.as_raw_fd()));
    assert_eq!(found(other.as_fd()), [registration(&sets[1], other.as_fd(), EventFlags::IN, 9)]);
    let errno = |fd| registrations(own_pid(), fd).unwrap_err().raw_os_error();
    assert_eq!(errno(-1), Some(libc::ENOENT));
    assert_eq!(errno(sets[0].as_raw_fd()), Some(libc::ENOTSOCK));
}

#[test]
fn a_level_triggered_registration_follows_and_can_be_changed_and_ended() {
    let (set, socket, (kept, address)) = (epoll_set(), unbound(), kept());
    watch(&set, &socket, 7, EventFlags::IN);
    assert_eq!(ready(&set), [(7, EventFlags::HUP)], "what is unbound hangs up");
    let socket = take_the_place(socket, &kept);
    assert_eq!(ready(&set), [], "what is gone tells nothing any more");
    let _waiting = waits_in(&kept, address);
    for _ in 0..2 {
        assert_eq!(ready(&set), [(7, EventFlags::IN)]);
    }
    epoll::modify(&set, &socket, EventData::new_u64(8), EventFlags::IN).unwrap();
    assert_eq!(ready(&set), [(8, EventFlags::IN)]);
    accept(&socket);
    assert_eq!(ready(&set), []);
    epoll::delete(&set, &socket).unwrap();
    let _again = waits_in(&kept, address);
    assert_eq!(ready(&set), []);
    assert_eq!(epoll::delete(&set, &socket), Err(Errno::NOENT));
}

#[test]
fn an_edge_triggered_registration_tells_what_waits_already() {
    let (set, socket, (kept, address)) = (epoll_set(), unbound(), kept());
    watch(&set, &socket, 7, EventFlags::IN | EventFlags::ET);
    assert_eq!(ready(&set), [(7, EventFlags::HUP)]);
    let _waiting = waits_in(&kept, address);
    let socket = take_the_place(socket, &kept);
    assert_eq!(ready(&set), [(7, EventFlags::IN)]);
    assert_eq!(ready(&set), [], "once for each edge");
    let _more = waits_in(&kept, address);
    accept(&socket);
    common::eventually("the next edge is told", || ready(&set) == [(7, EventFlags::IN)]);
}

#[test]
fn a_one_shot_registration_tells_once_whether_or_not_it_was_used_up() {
    let once = EventFlags::IN | EventFlags::ONESHOT;
    let (set, socket, (kept, address)) = (epoll_set(), unbound(), kept());
    watch(&set, &socket, 7, once);
    let socket = take_the_place(socket, &kept);
    let _waiting = waits_in(&kept, address);
    assert_eq!(ready(&set), [(7, EventFlags::IN)]);
    assert_eq!(ready(&set), []);
    epoll::modify(&set, &socket, EventData::new_u64(8), once).unwrap();
    assert_eq!(ready(&set), [(8, EventFlags::IN)]);

    let (set, socket) = (epoll_set(), unbound());
    watch(&set, &socket, 7, once);
    assert_eq!(ready(&set), [(7, EventFlags::HUP)]);
    let socket = take_the_place(socket, &kept);
    assert_eq!(ready(&set), [], "used up is used up");
    epoll::modify(&set, &socket, EventData::new_u64(8), once).unwrap();
    assert_eq!(ready(&set), [(8, EventFlags::IN)]);
}

#[test]
fn an_exclusive_registration_follows_and_so_does_one_of_a_set_with_two_numbers() {
    let (set, socket, (kept, address)) = (epoll_set(), unbound(), kept());
    let second = set.try_clone().unwrap();
    watch(&set, &socket, 7, EventFlags::IN | EventFlags::EXCLUSIVE);
    assert_eq!(registrations(own_pid(), socket.as_raw_fd()).unwrap().len(), 2);
    let _socket = take_the_place(socket, &kept);
    let _waiting = waits_in(&kept, address);
    assert_eq!(ready(&second), [(7, EventFlags::IN)]);
}

#[test]
fn if_one_registration_cannot_follow_none_does() {
    let (set, socket, (kept, address)) = (epoll_set(), unbound(), kept());
    watch(&set, &socket, 7, EventFlags::IN);
    let found = registrations(own_pid(), socket.as_raw_fd()).unwrap();
    let pidfd = open_thread(own_pid()).unwrap();
    let again = |all: &[Registration]| {
        let outcome = register_again(pidfd.as_fd(), all, socket.as_fd(), kept.as_fd());
        outcome.map_err(|error| error.raw_os_error())
    };
    let no_set = Registration { set: kept.as_raw_fd(), ..found[0] };
    assert_eq!(again(&[found[0], no_set]), Err(Some(libc::EINVAL)));
    let gone = Registration { set: -1, ..found[0] };
    assert_eq!(again(&[found[0], gone]), Err(Some(libc::EBADF)));
    let too_high = Registration { number: i32::MAX - 1, ..found[0] };
    assert!(matches!(again(&[found[0], too_high]), Err(Some(libc::EBADF | libc::EINVAL))));
    assert_eq!(again(&[found[0]; TOO_MANY as usize]), Err(Some(libc::E2BIG)));
    let _waiting = waits_in(&kept, address);
    assert_eq!(ready(&set), [(7, EventFlags::HUP)], "the old one alone");
    assert_eq!(registrations(own_pid(), socket.as_raw_fd()).unwrap(), found);
    assert_eq!(registrations(own_pid(), kept.as_raw_fd()).unwrap(), []);
    assert_eq!(again(&[]), Ok(()));
}

#[test]
fn nothing_of_this_process_is_closed_or_held() {
    let (set, socket, (kept, address)) = (epoll_set(), unbound(), kept());
    watch(&set, &socket, 7, EventFlags::IN);
    let socket = take_the_place(socket, &kept);
    drop((set, socket, kept));
    // The last duplicates are closed: nobody listens any more, as soon as no other test has a copy of this table.
    common::eventually("nobody listens", || {
        TcpStream::connect(address).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    });
}

/// One that waits for a word before it goes on.
fn start(act: &str) -> (Program, OwnedFd) {
    let mut child = command(
        std::env::current_exe().unwrap(),
        &[program::PROGRAM, "--exact", "--nocapture", "--test-threads=1"],
    );
    child.env.push((program::ACT.into(), act.into()));
    child.stdin = Stdio::Pipe;
    let mut running = Running::start(child);
    let (output, words) = (running.take_output(), running.0.stdin.take().unwrap());
    (Program { running, output }, words)
}

fn go_on(words: &OwnedFd) {
    rustix::io::write(words, b"\n").unwrap();
}

fn told() {
    io::stdin().lock().read_line(&mut String::new()).unwrap();
}

fn say(text: &str) {
    println!("\n> {text}");
    io::stdout().flush().unwrap();
}

/// One socket under many numbers, each of them in the set; then another in its place, under each number.
fn be_a_crowd() {
    let set = fcntl_dupfd_cloexec(epoll_set(), KEPT + 1).unwrap();
    let (kept, _) = kept();
    let kept = fcntl_dupfd_cloexec(kept, KEPT).unwrap();
    assert_eq!(kept.as_raw_fd(), KEPT);
    let socket = fcntl_dupfd_cloexec(unbound(), KEPT).unwrap();
    let mut numbers: Vec<OwnedFd> = Vec::new();
    while let Ok(number) = fcntl_dupfd_cloexec(&socket, CROWD.start)
        && CROWD.contains(&number.as_raw_fd())
    {
        watch(&set, &number, number.as_raw_fd().cast_unsigned().into(), EventFlags::IN);
        numbers.push(number);
    }
    say(&format!("{} {}", numbers[0].as_raw_fd(), numbers.len()));
    told();
    for number in &mut numbers {
        dup2(&kept, number).unwrap();
    }
    say("put");
    told();
    let timeout = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap(), tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut [PollFd::new(&set, PollFlags::IN)], Some(&timeout)), Ok(1));
    let told: BTreeSet<(u64, u32)> =
        ready(&set).into_iter().map(|(data, what)| (data, what.bits())).collect();
    let data = |number: &OwnedFd| number.as_raw_fd().cast_unsigned().into();
    assert_eq!(told, numbers.iter().map(|number| (data(number), EventFlags::IN.bits())).collect());
    for number in &numbers {
        epoll::modify(&set, number, EventData::new_u64(data(number) + 1000), EventFlags::IN).unwrap();
    }
    assert!(ready(&set).iter().all(|(data, _)| *data >= 1000));
    for number in &numbers {
        epoll::delete(&set, number).unwrap();
    }
    assert_eq!(ready(&set), []);
    say("all heard");
}

#[test]
fn numbers_that_are_something_else_here_do_not_matter() {
    let (child, words) = start("crowd");
    let pid = child.running.0.pid;
    let said = child.says();
    let (first, count) = said.split_once(' ').unwrap();
    let (first, count): (RawFd, usize) = (first.parse().unwrap(), count.parse().unwrap());
    assert!(count > 50, "{said}");
    let found = registrations(pid, first).unwrap();
    assert_eq!(found.len(), count);
    let pidfd = open_thread(pid).unwrap();
    let from = take_fd(pidfd.as_fd(), first).unwrap();
    let kept = take_fd(pidfd.as_fd(), KEPT).unwrap();
    let ours: BTreeSet<RawFd> = found.iter().map(|one| one.number).collect();
    assert!(
        [&from, &kept, &pidfd].iter().any(|fd| ours.contains(&fd.as_raw_fd())),
        "some number has to be in use here: {ours:?}"
    );
    go_on(&words);
    assert_eq!(child.says(), "put");
    register_again(pidfd.as_fd(), &found, from.as_fd(), kept.as_fd()).unwrap();
    assert!(registrations(pid, first).unwrap().iter().all(|one| found.contains(one)));
    let _waiting = waits_in(&kept, bound_to(kept.as_fd()).unwrap().unwrap());
    go_on(&words);
    assert_eq!(child.says(), "all heard");
    assert_eq!(child.running.wait(), Exit::Code(0));
}

fn be_too_many() {
    let socket = unbound();
    let numbers: Vec<OwnedFd> = (0..TOO_MANY).map(|_| socket.try_clone().unwrap()).collect();
    let set = epoll_set();
    for number in &numbers {
        watch(&set, number, 0, EventFlags::IN);
    }
    say(&socket.as_raw_fd().to_string());
    told();
    epoll::delete(&set, &numbers[0]).unwrap();
    say("one less");
    told();
    let sets: Vec<OwnedFd> = (0..TOO_MANY).map(|_| epoll_set()).collect();
    say("many sets");
    told();
    drop(sets);
}

#[test]
fn more_registrations_or_sets_than_are_looked_at_are_an_error() {
    let (child, words) = start("many");
    let (pid, number) = (child.running.0.pid, child.says().parse().unwrap());
    let errno = || registrations(pid, number).map_err(|error| error.raw_os_error());
    assert_eq!(errno(), Err(Some(libc::E2BIG)));
    assert!(is_polled(pid, number));
    go_on(&words);
    assert_eq!(child.says(), "one less");
    assert_eq!(errno().map(|found| found.len()), Ok(64));
    go_on(&words);
    assert_eq!(child.says(), "many sets");
    assert_eq!(errno(), Err(Some(libc::E2BIG)));
    assert!(!is_polled(pid, number), "it cannot be known");
    go_on(&words);
    assert_eq!(child.running.wait(), Exit::Code(0));
}
