//! The matrix of programs, own mode: the program's own socket joins the port, nothing in the program is replaced. All of
//! them must work.

oneport_e2e::matrix! {
    Own:
    c_block = "c-block",
    c_epoll_early = "c-epoll-early",
    c_rawsys = "c-rawsys",
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
