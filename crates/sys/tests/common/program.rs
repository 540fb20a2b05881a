//! The programs that are trapped: this test binary again, told by a variable what to do. Each says what came of it in lines
//! of its own.
#![allow(unsafe_code, reason = "raw calls as a static program makes them, timers, shutdown of one side")]

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};

use oneport_sys::seccomp::Unavailable;

/// Begins every line of a program, to tell it from what the test harness prints.
const MARK: &str = "> ";

/// What a program is told to do, and the port it is told.
pub(crate) const ACT: &str = "ONEPORT_TEST_ACT";
pub(crate) const PORT: &str = "ONEPORT_TEST_PORT";

/// The test that every binary with programs has under this name. Without the variable it is an ordinary test run.
pub(crate) const PROGRAM: &str = "is_the_program";

pub(crate) fn run() {
    let Ok(act) = std::env::var(ACT) else { return };
    let port: u16 = std::env::var(PORT).map_or(0, |port| port.parse().expect("port"));
    match act.as_str() {
        "std" => say(&outcome(TcpListener::bind(("127.0.0.1", port)).map(drop))),
        "raw" => say(&outcome(bind_and_listen_raw(port).map(drop))),
        "thread" => {
            let bind = move || outcome(TcpListener::bind(("127.0.0.1", port)).map(drop));
            say(&std::thread::spawn(bind).join().expect("thread"));
        }
        "orphaned thread" => bind_after_the_first_thread_ended(port),
        "serve" => serve(TcpListener::bind(("127.0.0.1", port)).expect("bind")),
        "serve any two" => {
            let bind = || TcpListener::bind("127.0.0.1:0").expect("bind");
            let ports = [bind(), bind()].map(|listener| listener.local_addr().expect("address").port());
            say(&format!("{} {}", ports[0], ports[1]));
        }
        "client" => be_a_client(port),
        "shutdown" => shut_down(port),
        "storm" => storm(port),
        "nested" => nested(),
        "reach" => say_reach(),
        "reach often" => reach_often(),
        "reach without seccomp" => {
            forbid(libc::SYS_seccomp);
            say_reach();
        }
        "reach without pidfd_getfd" => {
            forbid(libc::SYS_pidfd_getfd);
            say_reach();
        }
        "reach undumpable" => {
            become_undumpable();
            say_reach();
        }
        "undumpable" => {
            become_undumpable();
            say(&outcome(TcpListener::bind(("127.0.0.1", port)).map(drop)));
        }
        other => panic!("no such act: {other}"),
    }
}

/// The line without its mark, if it is a program's.
pub(crate) fn said(line: &str) -> Option<&str> {
    line.strip_prefix(MARK)
}

fn say(text: &str) {
    println!("\n{MARK}{text}");
}

fn outcome(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "ok".into(),
        Err(error) => format!("errno {}", error.raw_os_error().expect("a number")),
    }
}

/// One call by its number, past the C library; fails as the kernel says.
fn call(number: libc::c_long, args: [usize; 3]) -> io::Result<i32> {
    let [a, b, c] = args;
    // SAFETY: the callers below pass what their call wants.
    let answer = unsafe { libc::syscall(number, a, b, c) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

fn loopback(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
        sin_zero: [0; 8],
    }
}

fn bind_and_listen_raw(port: u16) -> io::Result<OwnedFd> {
    let (family, kind) = (libc::AF_INET as usize, libc::SOCK_STREAM as usize);
    let socket = call(libc::SYS_socket, [family, kind, 0])?;
    // SAFETY: just made.
    let owned = unsafe { OwnedFd::from_raw_fd(socket) };
    let address = loopback(port);
    let pointer = std::ptr::from_ref(&address) as usize;
    call(libc::SYS_bind, [socket as usize, pointer, size_of_val(&address)])?;
    assert_eq!(call(libc::SYS_listen, [socket as usize, 7, 0])?, 0, "what listen returns");
    Ok(owned)
}

/// The first thread of this process ends, the others go on: `/proc/PID` then shows a zombie that has no descriptors.
fn bind_after_the_first_thread_ended(port: u16) {
    // In a process of its own: the test harness's first thread is not ours to end.
    // SAFETY: the child makes raw calls only, and never returns.
    let child = unsafe { libc::fork() };
    if child != 0 {
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        return;
    }
    extern "C" fn work(port: *mut libc::c_void) -> *mut libc::c_void {
        let zombie = format!("/proc/self/task/{}/stat", std::process::id());
        while !std::fs::read_to_string(&zombie).is_ok_and(|stat| stat.contains(") Z ")) {
            std::thread::yield_now();
        }
        let result = outcome(bind_and_listen_raw(port as usize as u16).map(drop));
        let line = format!("\n{MARK}{result}\n");
        let written = io::stdout().write_all(line.as_bytes()).is_ok();
        // SAFETY: ends the whole process.
        unsafe { libc::_exit(i32::from(!written)) }
    }
    let mut thread = 0;
    let argument = usize::from(port) as *mut libc::c_void;
    // SAFETY: `work` never returns and takes a number for its argument.
    assert_eq!(unsafe { libc::pthread_create(&mut thread, std::ptr::null(), work, argument) }, 0);
    // SAFETY: ends this thread alone.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Answers every connection with its own pid, four bytes, until it is ended.
fn serve(listener: TcpListener) {
    say("listening");
    loop {
        let (mut connection, _) = listener.accept().expect("accept");
        let _ = connection.write_all(&std::process::id().to_ne_bytes());
    }
}

/// Binds to any port and goes out from it, as clients do that care about their own address.
fn be_a_client(port: u16) {
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None)
        .expect("socket");
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().expect("address");
    rustix::net::bind(&socket, &any).expect("bind");
    let to: std::net::SocketAddr = ([127, 0, 0, 1], port).into();
    rustix::net::connect(&socket, &to).expect("connect");
    let mut answer = [0; 1];
    TcpStream::from(socket).read_exact(&mut answer).expect("an answer");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("bind");
    udp.connect(("127.0.0.1", port)).expect("connect");
    say("served");
}

fn shut_down(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("bind");
    let client = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    client.shutdown(Shutdown::Write).expect("shut down");
    assert_eq!((&server).read(&mut [0; 1]).expect("read"), 0);
    server.shutdown(Shutdown::Read).expect("shut down");
    // SAFETY: a plain descriptor and a number.
    let both = unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
    say(&format!("{both}"));
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// Binds and listens 300 times while a timer sends this thread a signal every 20 µs.
fn storm(port: u16) {
    // SAFETY: all zeroes is a valid value of it.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = count_signal as *const () as usize;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: `action` is initialised, its handler touches an atomic only.
    assert_eq!(unsafe { libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut()) }, 0);
    // SAFETY: all zeroes is a valid value of it.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_THREAD_ID;
    event.sigev_signo = libc::SIGALRM;
    event.sigev_notify_thread_id = rustix::thread::gettid().as_raw_nonzero().get();
    let mut timer: libc::timer_t = std::ptr::null_mut();
    // SAFETY: `event` is initialised, the answer goes to memory of the right type.
    assert_eq!(unsafe { libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer) }, 0);
    let often = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };
    let setting = libc::itimerspec { it_interval: often, it_value: often };
    // SAFETY: the timer exists, the old setting is not asked for.
    assert_eq!(unsafe { libc::timer_settime(timer, 0, &setting, std::ptr::null_mut()) }, 0);
    let failures = (0..300).filter(|_| bind_and_listen_raw(port).is_err()).count();
    // SAFETY: the timer exists.
    unsafe { libc::timer_delete(timer) };
    say(&format!("{failures} {}", SIGNALS.load(Ordering::Relaxed)));
}

/// Wants to trap a program of its own.
fn nested() {
    let mut inner = super::command("true", &[]);
    inner.trap = Some(oneport_sys::seccomp::Traps::default());
    let error = inner.spawn().expect_err("refused");
    let unavailable = Unavailable::of(&error).expect("a reason");
    say(&format!("{:?} {}", unavailable.reason(), unavailable.errno()));
}

/// What can be had with children, as three words.
fn say_reach() {
    let reach = oneport_sys::seccomp::probe().expect("probe");
    let traps = reach.traps.map_or_else(|unavailable| format!("{:?}", unavailable.reason()), |_| "ok".into());
    say(&format!("{traps}, {}, {}", outcome(reach.takes), outcome(reach.adds)));
}

/// Counts what many probes leave behind, and asks whether there is any child.
fn reach_often() {
    let count = || std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
    let before = count();
    for _ in 0..50 {
        oneport_sys::seccomp::probe().expect("probe");
    }
    let more = count() - before;
    // SAFETY: no status is asked for.
    let child = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) };
    let child = if child < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };
    say(&format!("{more} more descriptors, {}", outcome(child)));
}

/// As a process is whose file gave it capabilities.
fn become_undumpable() {
    // SAFETY: plain numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) }, 0);
}

/// From now on this thread and its children fail with EPERM at this call, as under a container's filter.
fn forbid(number: libc::c_long) {
    let step = |code: u32, k: u32, jf: u8| libc::sock_filter { code: code as u16, jt: 0, jf, k };
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
    let mut listing = [
        step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, number as u32, 1),
        step(libc::BPF_RET | libc::BPF_K, refuse, 0),
        step(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: listing.as_mut_ptr() };
    // SAFETY: plain numbers.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: `program` and its listing are alive; the kernel only reads them.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) }, 0);
}
