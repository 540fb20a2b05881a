//! Programs on whose port the kernel has begun to choose, until one comes with whom it cannot.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::ffi::OsString;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use oneport_e2e::load::{Load, Style};
use oneport_e2e::programs::{all_answer_http, c, odd, python_words, run};
use oneport_e2e::wait::{eventually, throughout};
use oneport_e2e::{App, Signal, http, place, procfs, tcp};
use rustix::process::{Pid, kill_process_group};

/// Those who listened before get their share as well.
fn all_are_sent_somebody(app: &App, copies: usize) {
    let address = app.serving(copies);
    if app.all("primary")[0].value["tier"] == "C" {
        place::skipped("placing", "the kernel does not choose here");
    } else {
        app.wait_for("the warning", |event| event.is("weighed"));
    }
    all_answer_http(app, address);
}

#[test]
fn more_copies_than_the_kernel_can_choose_among_all_serve() {
    let words = [c("block").into_os_string(), place::free_port().to_string().into()];
    let app = run(words).args(["--attach", "own"]).instances(128).start();
    all_are_sent_somebody(&app, 128);
    app.stop();
}

#[test]
fn a_copy_that_listens_with_multipath_tcp_and_one_that_does_not_both_serve() {
    let script = "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)";
    if !Command::new("python3").args(["-c", script]).status().is_ok_and(|status| status.success()) {
        return place::skipped("multipath", "this kernel has no multipath TCP");
    }
    let app = odd("multipath", [place::free_port().to_string()]).instances(2).start();
    all_are_sent_somebody(&app, 2);
    app.stop();
}

/// So many connections, and whose each is; they are held.
fn greeted(address: SocketAddr, count: usize) -> Vec<(TcpStream, u32)> {
    (0..count).map(|_| tcp::greet(address).unwrap()).collect()
}

fn of(copy: u32, held: &[(TcpStream, u32)]) -> usize {
    held.iter().filter(|(_, pid)| *pid == copy).count()
}

fn end_those_of(copy: u32, held: &mut Vec<(TcpStream, u32)>) {
    held.retain(|(stream, pid)| {
        if *pid == copy {
            stream.shutdown(Shutdown::Write).unwrap();
            // Until its end of it is closed, too.
            let _ = tcp::line(stream);
        }
        *pid != copy
    });
}

/// A cgroup below this process's own, as long as this is there.
struct Cgroup(PathBuf);

impl Cgroup {
    fn make(name: &str) -> Option<Cgroup> {
        let path = procfs::own_cgroup()?.join(format!("oneport-test-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).ok().map(|()| Cgroup(path))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Whoever was in it is gone from it a moment after his end.
        eventually("the cgroup to be empty", || std::fs::remove_dir(&self.0).ok());
    }
}

/// Words that move whoever is started by them to a cgroup first.
fn moved(to: &Path) -> [OsString; 3] {
    let first = format!("echo $$ > {}/cgroup.procs; exec \"$0\" \"$@\"", to.display());
    ["sh".into(), "-c".into(), first.into()]
}

/// The kernel's counter does not see their connections, and all new ones would go where none is counted.
#[test]
fn copies_that_make_their_sockets_in_another_cgroup_all_serve() {
    let Some(cgroup) = Cgroup::make("beside") else {
        return place::skipped("cgroup", "this user may not make one");
    };
    let program = [c("epoll_early").into_os_string(), place::free_port().to_string().into()];
    let words = moved(cgroup.0.parent().unwrap()).into_iter().chain(program);
    let run = run(words).args(["--attach", "own", "--tier", "a"]).instances(2);
    let app = run.wrapped(moved(&cgroup.0)).start();
    let address = app.serving(2);
    if app.all("primary")[0].value["tier"] == "A" {
        let load = Load::start(address, "/", 4, Style::Close);
        app.wait_for("the warning", |event| event.is("weighed"));
        load.wait_more(100);
        assert_eq!(load.stop().lost, Vec::<String>::new());
        all_answer_http(&app, address);
    }
    app.stop();
    drop(cgroup);
}

#[test]
fn copies_that_make_their_sockets_in_a_cgroup_below_are_counted() {
    let Some(cgroup) = Cgroup::make("below") else {
        return place::skipped("cgroup", "this user may not make one");
    };
    let program = python_words("odd/holds.py", [place::free_port().to_string()]);
    let run = run(moved(&cgroup.0).into_iter().chain(program)).args(["--attach", "own", "--tier", "a"]);
    let app = run.instances(2).args(["--drain-timeout", "200ms"]).start();
    let address = app.serving(2);
    if app.all("primary")[0].value["tier"] == "A" {
        app.wait_count("both to be proven", 2, |event| event.is("proven"));
        let first = app.worker(0);
        let mut held = greeted(address, 40);
        end_those_of(first, &mut held);
        assert_eq!(of(first, &greeted(address, 10)), 10, "it has the fewest");
        assert!(!app.events().iter().any(|event| event.is("weighed")));
    }
    app.stop();
    drop(cgroup);
}

#[test]
fn one_that_shuts_its_socket_and_stays_costs_the_primary_no_processor_time() {
    let app = odd("shuts", [place::free_port().to_string()]).instances(2).args(["--policy", "least"]).start();
    let address = app.serving(2);
    all_answer_http(&app, address);
    procfs::signal(app.worker(0), Signal::USR1);
    app.wait_out("shut down");
    for _ in 0..20 {
        http::get(address, "/");
    }
    let used = || procfs::cpu_ms(app.pid());
    eventually("it to become quiet", || {
        let before = used();
        throughout(Duration::from_millis(500), "it runs", || procfs::runs(app.pid()));
        (used() == before).then_some(())
    });
    app.stop();
}

#[test]
fn connections_are_counted_and_placed_after_the_primary_was_killed() {
    let app = odd("holds", [place::free_port().to_string()]).instances(2).args(["--tier", "a"]).start();
    let address = app.serving(2);
    let is_counted = app.all("primary")[0].value["tier"] == "A";
    let copies: Vec<u32> = app.workers().into_values().collect();
    app.wait_count("both to be proven", 2, |event| event.is("proven"));
    // Both are chosen before the primary goes.
    let mut held = greeted(address, 4);
    app.signal(Signal::KILL);
    eventually("the primary to be gone", || (!procfs::runs(app.pid())).then_some(()));
    held.extend(greeted(address, 16));
    if is_counted {
        assert_eq!((of(copies[0], &held), of(copies[1], &held)), (10, 10));
        end_those_of(copies[0], &mut held);
        assert_eq!(of(copies[0], &greeted(address, 10)), 10, "it has the fewest");
    }
    drop((held, app));
    for copy in copies {
        if let Some(group) = Pid::from_raw(copy.cast_signed()) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
