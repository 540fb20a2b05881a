//! What a copy was started with, what it says of itself, and a health of its own over HTTP.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::thread;

use oneport_sys::startup::dup_inherited;
use rustix::net::SocketType;

use super::serving::Socket;
use super::{Player, SCRIPT};

/// The user that no program runs as, here and nearly everywhere.
pub(crate) const NOBODY: u32 = 65534;

/// What it answers when it is asked for its health; 0: it is not asked yet.
static HEALTH: AtomicU16 = AtomicU16::new(0);
/// How often it was asked.
static ASKED: AtomicU32 = AtomicU32::new(0);

/// `None`: not one of these steps.
pub(super) fn step(player: &mut Player, step: &str) -> Option<io::Result<String>> {
    Some(match step.split(' ').collect::<Vec<_>>().as_slice() {
        ["env", name] => Ok(std::env::var(name).unwrap_or_else(|_| "unset".into())),
        ["say", ..] => {
            say(&std::env::var_os("NOTIFY_SOCKET").unwrap_or_default(), step.strip_prefix("say ")?)
        }
        // To somebody else's socket.
        ["at", name, ..] => say(name.as_ref(), step.splitn(3, ' ').nth(2)?),
        ["nobody", ..] => as_nobody(step.strip_prefix("nobody ")?),
        ["given", name, fd] => dup_inherited(fd.parse().unwrap()).map(|fd| {
            player.sockets.insert((*name).into(), Socket::new(fd, SocketType::STREAM));
            String::new()
        }),
        ["waits", name] => rustix::fs::fcntl_getfl(player.socket(name).fd())
            .map(|flags| (!flags.contains(rustix::fs::OFlags::NONBLOCK)).to_string())
            .map_err(io::Error::from),
        ["health", status] => {
            HEALTH.store(status.parse().unwrap(), Ordering::Release);
            super::nothing()
        }
        ["http", name] => answer_http(player.socket(name)),
        ["asked"] => Ok(ASKED.load(Ordering::Acquire).to_string()),
        _ => return None,
    })
}

/// Each `|` begins another line.
fn say(name: &OsStr, words: &str) -> io::Result<String> {
    let name = name.as_bytes().strip_prefix(b"@").ok_or(io::Error::from_raw_os_error(2))?;
    let address = SocketAddr::from_abstract_name(name)?;
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.send(words.replace('|', "\n").as_bytes())?;
    super::nothing()
}

/// A child plays a script as another user, and lives on as long as we.
fn as_nobody(script: &str) -> io::Result<String> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .env(SCRIPT, script)
        .uid(NOBODY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut facts = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let fact = facts.find_map(|line| Some(line.split_once(super::FACT)?.1.to_owned()));
    // Its standard input stays open.
    std::mem::forget(child.stdin.take());
    match fact.as_deref() {
        Some("ok") => super::nothing(),
        _ => Err(io::ErrorKind::Other.into()),
    }
}

/// Answers with our pid, but for `/health`.
fn answer_http(socket: &Socket) -> io::Result<String> {
    let listener = TcpListener::from(socket.fd().try_clone_to_owned()?);
    listener.set_nonblocking(false)?;
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || _ = answer(&connection));
        }
    });
    super::nothing()
}

fn answer(mut connection: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next().unwrap_or(Ok(String::new()))?;
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let status = if first.starts_with("GET /health ") {
        ASKED.fetch_add(1, Ordering::AcqRel);
        HEALTH.load(Ordering::Acquire)
    } else {
        200
    };
    let body = std::process::id().to_string();
    write!(connection, "HTTP/1.1 {status} So\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}
