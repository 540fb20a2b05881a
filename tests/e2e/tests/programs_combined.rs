//! Programs that are clusters of their own: masters with workers, several sockets of one process on one port.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::SocketAddr;

use oneport_e2e::load::{Load, Style};
use oneport_e2e::programs::{Missing, all_answer_http, catalogue, installed, odd, or_skip, run, source};
use oneport_e2e::wait::eventually;
use oneport_e2e::{App, Signal, TempDir, http, place, procfs};

/// Asks until `count` different answers were seen.
fn different(address: SocketAddr, count: usize) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    eventually(&format!("{count} different answers"), || {
        seen.insert(http::get(address, "/").text());
        (seen.len() >= count).then(|| seen.clone())
    })
}

/// Reloaded under load, nothing is lost and nothing is left behind.
fn reloads(app: &App, address: SocketAddr) {
    let old: Vec<u32> = different(address, 4).iter().map(|text| oneport_e2e::tcp::pid_in(text)).collect();
    let load = Load::start(address, "/", 4, Style::Close);
    load.wait_more(60);
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    load.wait_more(60);
    let tally = load.stop();
    assert_eq!(tally.lost, Vec::<String>::new(), "of {} requests", tally.total());
    for pid in old {
        eventually(&format!("process {pid} to be gone"), || (!procfs::runs(pid)).then_some(()));
    }
}

#[test]
fn two_copies_of_gunicorn_with_two_workers_each_are_four_processes_behind_one_port() {
    let (dir, port) = (TempDir::new(), place::free_port());
    let test = "two_copies_of_gunicorn_with_two_workers";
    let Some(program) = or_skip(test, catalogue::server("gunicorn", port, &dir)) else { return };
    let app = run(program.words.into_iter().chain(["--workers=2".into()])).instances(2).start();
    reloads(&app, app.serving(2));
    app.stop();
}

fn nginx(port: u16, dir: &TempDir, listen: &str) -> Result<Vec<OsString>, Missing> {
    let nginx = installed("nginx")?;
    let text = std::fs::read_to_string(source("nginx/nginx.conf")).unwrap();
    let text = text.replace("master_process off", "worker_processes 2").replace("PORT;", listen);
    let text = text.replace("PORT", &port.to_string()).replace("DIR", &dir.path().to_string_lossy());
    let file = dir.write("nginx.conf", &text);
    Ok(vec![nginx.into(), "-p".into(), dir.path().into(), "-c".into(), file.into()])
}

#[test]
fn two_copies_of_nginx_with_master_and_workers_serve_together() {
    let (dir, port) = (TempDir::new(), place::free_port());
    let Some(words) = or_skip("two_copies_of_nginx", nginx(port, &dir, "PORT;")) else { return };
    let app = run(words).instances(2).start();
    reloads(&app, app.serving(2));
    app.stop();
}

#[test]
fn nginx_with_reuseport_keeps_a_socket_for_each_of_its_workers() {
    let (dir, port) = (TempDir::new(), place::free_port());
    let Some(words) = or_skip("nginx_with_reuseport", nginx(port, &dir, "PORT reuseport;")) else { return };
    let app = run(words).instances(2).start();
    reloads(&app, app.serving(2));
    app.stop();
}

#[test]
fn a_program_that_sets_reuseport_itself_has_several_sockets_in_each_copy() {
    let app = odd("reuses", [place::free_port().to_string()]).instances(2).start();
    let address = app.serving(2);
    different(address, 4);
    let victim = app.worker(0);
    procfs::signal(victim, Signal::KILL);
    app.wait_for("the replacement", |e| e.is("proven") && e.slot() == 0 && !e.of(victim));
    all_answer_http(&app, address);
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    different(address, 4);
    app.stop();
}
