//! The servers of the matrix, by name. Each answers with the pid of the process that serves.
//!
//! Invariant: C, Python and Node are always there; every other row says what it misses.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use super::build::{self, Link};
use super::{Missing, Program, Speech, installed, python_words, source, works};
use crate::{TempDir, place};

/// Their names.
pub const SERVERS: [&str; 19] = [
    "c-block",
    "c-epoll-early",
    "c-rawsys",
    "c-glibc-static",
    "c-musl-static",
    "py-http",
    "py-asyncio",
    "uvicorn",
    "gunicorn",
    "node",
    "webrick",
    "puma",
    "nginx",
    "redis",
    "php-S",
    "axum",
    "go-static",
    "go-cgo",
    "java",
];

/// The server called `name`, to listen on `port` of 127.0.0.1; files of its own go into `dir`.
///
/// # Errors
/// What is not installed here.
///
/// # Panics
/// If there is no server of that name, or its source does not compile.
pub fn server(name: &str, port: u16, dir: &TempDir) -> Result<Program, Missing> {
    let port = port.to_string();
    Ok(match name {
        "c-block" => c("block", Link::Dynamic, &port)?,
        "c-epoll-early" => c("epoll_early", Link::Dynamic, &port)?,
        "c-rawsys" => c("raw", Link::Dynamic, &port)?,
        "c-glibc-static" => c("block", Link::Glibc, &port)?,
        "c-musl-static" => c("block", Link::Musl, &port)?,
        "py-http" => Program::new(python_words("python/http_server.py", [&port])).sequential(),
        "py-asyncio" => Program::new(python_words("python/asyncio_server.py", [&port])),
        "uvicorn" => uvicorn(&port)?,
        "gunicorn" => gunicorn(&port)?,
        "node" => node(&port),
        "webrick" => webrick(&port)?,
        "puma" => puma(&port)?,
        "nginx" => nginx(&port, dir)?,
        "redis" => redis(&port, dir)?,
        "php-S" => php(&port)?,
        "axum" => Program::new([build::place().with_file_name("e2e-axum").into_os_string(), port.into()]),
        "go-static" => Program::new([build::go("static", "0")?.into_os_string(), port.into()]),
        "go-cgo" => Program::new([build::go("cgo", "1")?.into_os_string(), port.into()]),
        "java" => java(&port)?,
        other => panic!("no server called `{other}`"),
    })
}

fn c(name: &str, link: Link, port: &str) -> Result<Program, Missing> {
    let built = build::c(&source("c").join(format!("{name}.c")), link)?;
    Ok(Program::new([built.into_os_string(), port.into()]).sequential())
}

/// Through a shell that stays: the shell is the worker, Node its child.
fn node(port: &str) -> Program {
    let node = place::chosen_node().unwrap_or_else(|| "node".into());
    let line = format!("'{}' '{}' {port}; true", node.display(), source("node/http.js").display());
    Program::new(["sh", "-c", &line])
}

/// A command of the virtual environment that `cargo xtask test --all` makes, or of `PATH`.
fn of_python(name: &str) -> Result<PathBuf, Missing> {
    let ours = place::root().join("target/programs/venv/bin").join(name);
    if ours.is_file() { Ok(ours) } else { installed(name) }
}

fn uvicorn(port: &str) -> Result<Program, Missing> {
    let words: [OsString; 6] = [
        of_python("uvicorn")?.into(),
        "--app-dir".into(),
        source("python").into(),
        "--log-level=warning".into(),
        format!("--port={port}").into(),
        "asgi:app".into(),
    ];
    Ok(Program::new(words))
}

fn gunicorn(port: &str) -> Result<Program, Missing> {
    let words: [OsString; 6] = [
        of_python("gunicorn")?.into(),
        "--chdir".into(),
        source("python").into(),
        "--log-level=warning".into(),
        format!("--bind=127.0.0.1:{port}").into(),
        "wsgi:app".into(),
    ];
    Ok(Program::new(words).sequential())
}

fn webrick(port: &str) -> Result<Program, Missing> {
    let ruby = installed("ruby")?;
    works(Command::new(&ruby).args(["-e", "require 'webrick'"]), "the Ruby library `webrick`")?;
    Ok(Program::new([ruby.into_os_string(), source("ruby/webrick.rb").into(), port.into()]))
}

fn puma(port: &str) -> Result<Program, Missing> {
    let words: [OsString; 5] = [
        installed("puma")?.into(),
        "--quiet".into(),
        "--bind".into(),
        format!("tcp://127.0.0.1:{port}").into(),
        source("ruby/config.ru").into(),
    ];
    Ok(Program::new(words))
}

fn nginx(port: &str, dir: &TempDir) -> Result<Program, Missing> {
    let nginx = installed("nginx")?;
    let text = std::fs::read_to_string(source("nginx/nginx.conf")).expect("the configuration is there");
    let text = text.replace("PORT", port).replace("DIR", &dir.path().to_string_lossy());
    let words: [OsString; 5] =
        [nginx.into(), "-p".into(), dir.path().into(), "-c".into(), dir.write("nginx.conf", &text).into()];
    Ok(Program::new(words))
}

fn redis(port: &str, dir: &TempDir) -> Result<Program, Missing> {
    let mut words: Vec<OsString> = vec![installed("redis-server")?.into(), "--dir".into(), dir.path().into()];
    let plain = ["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    words.extend(plain.map(OsString::from));
    Ok(Program::new(words).speaking(Speech::Redis))
}

fn php(port: &str) -> Result<Program, Missing> {
    let words: [OsString; 4] = [
        installed("php")?.into(),
        "-S".into(),
        format!("127.0.0.1:{port}").into(),
        source("php/index.php").into(),
    ];
    Ok(Program::new(words))
}

fn java(port: &str) -> Result<Program, Missing> {
    let words: [OsString; 5] = [
        installed("java")?.into(),
        "-XX:TieredStopAtLevel=1".into(),
        "-cp".into(),
        build::java()?.into(),
        "Server".into(),
    ];
    let mut program = Program::new(words);
    program.words.push(port.into());
    Ok(program)
}
