//! Things that go wrong around a bind: signals in a storm, another app on the port, the primary's death.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use oneport_e2e::programs::{all_answer_http, c, http_server, odd, run};
use oneport_e2e::wait::{eventually, patient};
use oneport_e2e::{Signal, TempDir, http, place, procfs};
use rustix::process::{Pid, kill_process_group};

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[test]
fn three_hundred_binds_in_a_storm_of_signals_all_succeed() {
    // A machine that needs longer for a handler than for the pause between two signals never gets on.
    let pause = patient(Duration::from_micros(20)).as_micros().to_string();
    let words = [c("storm").into_os_string(), place::free_port().to_string().into(), pause.into()];
    let app = run(words).args(["--attach", "own"]).start();
    let out = app.wait_out("of 300");
    assert!(out.contains("failures 0 of 300, stormy"), "{out}\n{}", app.err());
    all_answer_http(&app, app.serving(1));
    app.stop();
}

#[test]
fn a_second_app_on_the_port_is_refused_and_the_first_is_named() {
    let port = place::free_port();
    let first = http_server([port.to_string()]).instances(2).start();
    let address = first.serving(2);
    let limits = ["--max-restarts", "1", "--restart-delay", "10"];
    let second = http_server([port.to_string()]).instances(2).min_uptime("10s").args(limits).finish();
    assert_eq!(second.code(), 1, "{}", second.err());
    assert!(second.err().contains("Address already in use"), "the program's own words: {}", second.err());
    let taken = second.all("taken");
    assert!(!taken.is_empty(), "who holds the port: {}", second.err());
    let holders: Vec<u32> = first.workers().into_values().chain([first.pid()]).collect();
    assert!(holders.contains(&taken[0].pid()), "{:?} of {holders:?}", taken[0]);
    all_answer_http(&first, address);
    first.stop();
}

#[test]
fn a_port_held_by_a_stranger_is_refused_although_the_stranger_set_reuseport() {
    let python = oneport_e2e::programs::python();
    let script = "import socket,sys,time\ns=socket.socket()\ns.setsockopt(socket.SOL_SOCKET,socket.SO_REUSEPORT,1)\n\
                  s.bind(('127.0.0.1',int(sys.argv[1])))\ns.listen()\nprint('holds',flush=True)\nsys.stdin.read()";
    let port = place::free_port();
    let mut stranger = std::process::Command::new(python)
        .args(["-c", script, &port.to_string()])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stranger.stdout.take().unwrap()), &mut line)
        .unwrap();
    let limits = ["--max-restarts", "1", "--restart-delay", "10"];
    let left = http_server([port.to_string()]).min_uptime("10s").args(limits).finish();
    drop(stranger.stdin.take());
    stranger.wait().unwrap();
    assert_eq!(left.code(), 1, "{}", left.err());
    assert!(left.err().contains("Address already in use"), "{}", left.err());
}

#[test]
fn a_bind_that_is_pending_when_the_primary_dies_fails_and_running_copies_serve_on() {
    let (dir, port, other) = (TempDir::new(), place::free_port(), place::free_port());
    let outcome = dir.file("outcome");
    let words = [port.to_string(), other.to_string(), outcome.to_str().unwrap().to_owned()];
    let app = odd("binds_late", words).instances(2).start();
    let address = app.serving(2);
    let copies: Vec<u32> = app.workers().into_values().collect();
    let primary = app.pid();
    app.signal(Signal::STOP);
    eventually("the primary to be stopped", || (procfs::state(primary) == Some('T')).then_some(()));
    procfs::signal(copies[0], Signal::USR1);
    eventually("the bind to be begun", || procfs::is_in(copies[0], procfs::Call::Bind).then_some(()));
    app.signal(Signal::KILL);
    let ended = eventually("the bind to end", || std::fs::read_to_string(&outcome).ok());
    assert_eq!(ended, "ENOSYS");
    for _ in 0..10 {
        http::get(address, "/");
    }
    drop(app);
    for copy in copies {
        if let Some(group) = i32::try_from(copy).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[test]
fn the_port_is_free_again_when_the_app_has_ended() {
    let port = place::free_port();
    let app = http_server([port.to_string()]).instances(2).start();
    let address = app.serving(2);
    assert!(TcpListener::bind(local(port)).is_err(), "it is taken");
    http::get(address, "/");
    app.stop();
    let listener = eventually("the port to be free", || TcpListener::bind(local(port)).ok());
    drop(listener);
}
