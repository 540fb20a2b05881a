//! The matrix of programs, LD_PRELOAD: one socket for all, put over the program's from inside. For want of anything better;
//! what it cannot reach is refused before it starts.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

oneport_e2e::matrix! {
    Preload:
    c_block = "c-block",
    py_http = "py-http",
    py_asyncio = "py-asyncio",
    uvicorn = "uvicorn",
    gunicorn = "gunicorn",
    node = "node",
    webrick = "webrick",
    puma = "puma",
    nginx = "nginx",
    redis = "redis",
    php = "php-S",
    axum = "axum",
    java = "java",
}

mod out_of_reach {
    use oneport_e2e::programs::build::{self, Link};
    use oneport_e2e::programs::{Program, catalogue, or_skip, source};
    use oneport_e2e::{TempDir, place};

    fn is_refused(name: &str, words: &str) {
        let (dir, port) = (TempDir::new(), place::free_port());
        let found = catalogue::server(name, port, &dir);
        let Some(program): Option<Program> = or_skip(&format!("{name} (Preload)"), found) else { return };
        let left = program.run().instances(2).args(["--attach", "preload"]).finish();
        assert_ne!(left.code(), 0);
        assert!(left.all("started").is_empty(), "it was not started: {}", left.err());
        assert!(left.err().contains(words), "`{words}` in {}", left.err());
    }

    #[test]
    fn a_static_program_is_refused() {
        is_refused("c-glibc-static", "static");
        is_refused("c-musl-static", "static");
    }

    #[test]
    fn a_go_program_is_refused() {
        is_refused("go-static", "static");
        is_refused("go-cgo", "Go");
    }

    #[test]
    fn a_program_of_bare_system_calls_is_no_restart_loop_in_silence() {
        let program = build::c(&source("c/raw.c"), Link::Dynamic).unwrap();
        let words = [program.into_os_string(), place::free_port().to_string().into()];
        let limits = ["--attach", "preload", "--max-restarts", "2", "--restart-delay", "10"];
        let app = oneport_e2e::programs::run(words).instances(2).min_uptime("10s").args(limits).start();
        app.wait_for("one copy to be given up", |event| event.is("errored"));
        assert!(app.err().contains("Address already in use"), "{}", app.err());
        app.stop();
    }
}

/// With the library its `shutdown` is asked about as it is trapped elsewhere: nobody is sent to a copy that is not there.
#[test]
fn a_copy_that_shuts_its_listener_down_leaves_the_port_to_the_others() {
    use oneport_e2e::programs::{python_words, run};
    use oneport_e2e::{Signal, place, procfs};

    let words = python_words("odd/shuts.py", [place::free_port().to_string()]);
    let app = run(words).instances(2).args(["--attach", "preload"]).start();
    let address = app.serving(2);
    let shut = app.worker(0);
    procfs::signal(shut, Signal::USR1);
    app.wait_out("shut down");
    app.wait_for("it to be told", |event| event.is("closed"));
    for number in 0..20 {
        let asked = oneport_e2e::http::try_get(address, "/");
        let pid = asked.unwrap_or_else(|e| panic!("request {number}: {e}")).pid();
        assert!(pid != shut, "served by who shut its listener");
    }
    app.stop();
}
