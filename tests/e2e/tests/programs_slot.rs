//! The matrix of programs, slot mode: a socket of the primary's takes the place of the program's. Where `pidfd_getfd` is
//! refused this is what works.

oneport_e2e::matrix! {
    Slot:
    c_block = "c-block",
    c_glibc_static = "c-glibc-static",
    c_musl_static = "c-musl-static",
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
    go_static = "go-static",
    go_cgo = "go-cgo",
    java = "java",
}

/// These register their socket before they bind it: what takes its place is not registered.
mod registered_early {
    use oneport_e2e::place;
    use oneport_e2e::programs::{c, run};

    fn is_warned_about(program: &str) {
        let words = [c(program).into_os_string(), place::free_port().to_string().into()];
        let app = run(words).instances(2).args(["--attach", "slot"]).start();
        app.wait_err("in an epoll set already");
        app.stop();
    }

    #[test]
    fn a_program_of_libc_is_warned_about() {
        is_warned_about("epoll_early");
    }

    #[test]
    fn a_program_of_bare_system_calls_is_warned_about() {
        is_warned_about("raw");
    }
}
