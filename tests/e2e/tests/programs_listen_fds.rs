//! Programs that are started with their sockets (`--attach listen-fds`): nothing is intercepted.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::{Ipv4Addr, SocketAddr};

use oneport_e2e::programs::{all_answer_http, python_words, run};
use oneport_e2e::{Signal, place, procfs};

#[test]
fn copies_serve_on_the_sockets_they_were_started_with() {
    let none: [&str; 0] = [];
    let (web, admin) = (place::free_port(), place::free_port());
    let listen = [format!("127.0.0.1:{web}=web"), format!("127.0.0.1:{admin}=admin")];
    let options = ["--attach", "listen-fds", "--listen", &listen[0], "--listen", &listen[1]];
    let app = run(python_words("odd/activated.py", none)).instances(2).args(options).start();
    app.wait_out_times("activated 2 web admin", 2);
    app.wait_count("2 proven workers", 2, |event| event.is("proven"));
    for port in [web, admin] {
        all_answer_http(&app, SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    let victim = app.worker(0);
    procfs::signal(victim, Signal::KILL);
    app.wait_out_times("activated 2 web admin", 3);
    app.wait_for("the replacement", |event| event.is("proven") && event.slot() == 0 && !event.of(victim));
    app.signal(Signal::HUP);
    app.wait_for("the reload to be done", |event| event.is("reloaded"));
    all_answer_http(&app, SocketAddr::from((Ipv4Addr::LOCALHOST, web)));
    app.stop();
}
