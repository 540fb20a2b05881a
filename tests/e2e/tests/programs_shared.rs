//! A part of the matrix with one socket for all copies (`--policy shared`).

oneport_e2e::matrix! {
    Shared:
    c_block = "c-block",
    c_glibc_static = "c-glibc-static",
    py_http = "py-http",
    py_asyncio = "py-asyncio",
    node = "node",
    axum = "axum",
    webrick = "webrick",
    nginx = "nginx",
    go_static = "go-static",
    java = "java",
}
