//! The other side of a trapped program: starting it, its next call, the simplest supervisor.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;

use oneport_sys::foreign::{self, Name};
use oneport_sys::listen::{bind_here, bind_tcp, bound_to, set_reuse_port, start_listening};
use oneport_sys::process::{Exit, Pid};
use oneport_sys::seccomp::{self, Call, Delivery, Kind, Listener, Reason, Traps};
use oneport_sys::spawn::Command;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{PATIENCE, Running, Scratch, command, program, read_line};

/// This binary as a trapped program that does `act`.
pub(crate) fn trapped(act: &str, port: u16) -> Command {
    let mut trapped = command(
        std::env::current_exe().expect("own path"),
        &[program::PROGRAM, "--exact", "--nocapture", "--test-threads=1"],
    );
    trapped.env.push((program::ACT.into(), act.into()));
    trapped.env.push((program::PORT.into(), port.to_string().into()));
    trapped.trap = Some(Traps::default());
    trapped
}

/// Whether this kernel can trap at all; says why the test ends here if not.
pub(crate) fn can_trap() -> bool {
    match seccomp::probe().expect("a trial").traps {
        Ok(_) => true,
        Err(unavailable) => {
            assert!(matches!(unavailable.reason(), Reason::Missing | Reason::Hangs), "{unavailable}");
            eprintln!("skipped: {unavailable}");
            false
        }
    }
}

/// A program of ours that runs, and what it says.
pub(crate) struct Program {
    pub(crate) running: Running,
    pub(crate) output: OwnedFd,
}

impl Program {
    /// The next line of its own that it says.
    pub(crate) fn says(&self) -> String {
        loop {
            if let Some(text) = program::said(&read_line(&self.output)) {
                return text.to_owned();
            }
        }
    }
}

/// A trapped one, with its listener.
pub(crate) struct Trapped {
    pub(crate) program: Program,
    pub(crate) listener: Listener,
}

impl Trapped {
    pub(crate) fn start(command: Command) -> Self {
        let mut running = Running::start(command);
        let listener = running.0.notify.take().expect("a listener");
        let output = running.take_output();
        Self { program: Program { running, output }, listener }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.program.running.0.pid
    }

    pub(crate) fn act(act: &str, port: u16) -> Self {
        Self::start(trapped(act, port))
    }

    pub(crate) fn says(&self) -> String {
        self.program.says()
    }

    pub(crate) fn ends_well(&self) {
        assert_eq!(self.program.running.wait(), Exit::Code(0));
    }

    pub(crate) fn next_call(&self) -> Call {
        next_call(&self.listener)
    }

    /// Answers calls as a supervisor in own mode does, until the program has said something. Answers that, and
    /// to how many calls the answer came too late.
    pub(crate) fn serve_until_said(&self) -> (String, usize) {
        let (mut heard, mut too_late) = (Vec::new(), 0);
        loop {
            let [calls, output] = readable([&self.listener.as_fd(), &self.program.output.as_fd()]);
            if calls && let Some(call) = self.listener.receive().expect("receive") {
                let (_, outcome) = perform(&self.listener, call);
                match self.listener.answer(call.id, outcome).expect("answer") {
                    Delivery::Delivered => {}
                    Delivery::CallerGone => too_late += 1,
                }
            }
            if output {
                // It may be half a line: a program under the harness waits for its answers between.
                let mut chunk = [0; 1024];
                let filled = rustix::io::read(&self.program.output, &mut chunk).expect("read");
                assert_ne!(filled, 0, "ended before it said anything");
                heard.extend_from_slice(&chunk[..filled]);
                let complete = heard.iter().rposition(|byte| *byte == b'\n').unwrap_or(0);
                let lines = std::str::from_utf8(&heard[..complete]).expect("utf-8");
                if let Some(text) = lines.lines().find_map(program::said) {
                    return (text.to_owned(), too_late);
                }
            }
        }
    }

    /// The socket on which the program listens, once it does: bound and listened by us, and kept.
    pub(crate) fn serve_until_listening(&self) -> OwnedFd {
        loop {
            let call = self.next_call();
            let (socket, outcome) = perform(&self.listener, call);
            let done = outcome.is_ok() && matches!(call.kind, Kind::Listen { .. });
            assert_eq!(self.listener.answer(call.id, outcome).expect("answer"), Delivery::Delivered);
            if done {
                return socket.expect("a socket");
            }
        }
    }
}

/// Which of the descriptors are readable; waits until one is.
fn readable<const N: usize>(fds: [&dyn AsFd; N]) -> [bool; N] {
    let mut asked = fds.map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
    let timeout = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).expect("small"), tv_nsec: 0 };
    assert_ne!(poll(&mut asked, Some(&timeout)).expect("poll"), 0, "nothing in time");
    asked.map(|fd| fd.revents().contains(PollFlags::IN))
}

/// The next call of anybody; fails when nobody is left who could call.
pub(crate) fn next_call(listener: &Listener) -> Call {
    loop {
        assert_eq!(readable([listener]), [true], "nobody is left under the filter");
        if let Some(call) = listener.receive().expect("receive") {
            return call;
        }
    }
}

/// Carries a call out on a duplicate of the caller's socket, sharing its address.
pub(crate) fn perform(listener: &Listener, call: Call) -> (Option<OwnedFd>, std::io::Result<()>) {
    let take = |fd| {
        let thread = foreign::open_thread(call.thread)?;
        foreign::take_fd(thread.as_fd(), fd)
    };
    match call.kind {
        Kind::Bind { fd, address, length } => {
            let name = foreign::read_address(call.thread, address, length);
            let socket = take(fd);
            if !listener.is_waiting(call.id) {
                return (None, Ok(()));
            }
            let (Ok(Name::Ip(address)), Ok(socket)) = (name, socket) else { panic!("not for us: {call:?}") };
            let outcome = set_reuse_port(socket.as_fd()).and_then(|()| bind_here(socket.as_fd(), address));
            (Some(socket), outcome)
        }
        Kind::Listen { fd, backlog } => {
            let socket = take(fd);
            if !listener.is_waiting(call.id) {
                return (None, Ok(()));
            }
            let socket = socket.expect("its socket");
            let outcome = start_listening(socket.as_fd(), u32::try_from(backlog).unwrap_or(511));
            (Some(socket), outcome)
        }
        Kind::Shutdown { .. } => panic!("not trapped: {call:?}"),
    }
}

/// A port that only sharers of it can have while the socket lives; nobody listens there.
pub(crate) fn reserve_port() -> (OwnedFd, SocketAddr) {
    let any = "127.0.0.1:0".parse().expect("address");
    let socket = bind_tcp(any, oneport_sys::listen::V6::Dual).expect("bind");
    set_reuse_port(socket.as_fd()).expect("share");
    let address = bound_to(socket.as_fd()).expect("address").expect("bound");
    (socket, address)
}

/// Runs all other tests of this binary again as an ordinary user, if we are root.
pub(crate) fn all_again_as_nobody(but: &str) {
    if !rustix::process::geteuid().is_root() {
        return; // They run so anyway.
    }
    // Where this binary lies may be closed to others. Another process copies it: a file that we have open for writing,
    // and any child forked just now, cannot be executed (ETXTBSY).
    let scratch = Scratch::new();
    let copy = scratch.join("tests");
    let mut cp = command("cp", &[]);
    cp.args = vec![std::env::current_exe().expect("own path").into(), copy.clone().into()];
    assert_eq!(Running::start(cp).wait(), Exit::Code(0));
    for path in [scratch.path(), &copy] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let mut again = command(copy, &["--skip", but, "--test-threads=2"]);
    (again.uid, again.gid, again.cwd) = (Some(65534), Some(65534), Some("/".into()));
    let mut again = Running::start(again);
    let text = super::read_to_end(again.take_output());
    assert_eq!(again.wait(), Exit::Code(0), "{text}");
    assert!(text.contains("test result: ok") && !text.contains("running 0 tests"), "{text}");
}
