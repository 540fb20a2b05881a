//! What a daemon says to who started it: `sd_notify(3)`, a datagram to the socket that `NOTIFY_SOCKET` names. Where that is not
//! set nobody wants to know, and nothing is said.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// It has started, or is done with a reload of its own.
pub(crate) fn notify_ready() -> io::Result<()> {
    say("READY=1")
}

/// It begins to end.
pub(crate) fn notify_stopping() -> io::Result<()> {
    say("STOPPING=1")
}

/// Its end takes so much longer, from now on. systemd 236; others pass it over.
pub(crate) fn notify_extend(time: std::time::Duration) -> io::Result<()> {
    say(&format!("EXTEND_TIMEOUT_USEC={}", time.as_micros()))
}

fn say(message: &str) -> io::Result<()> {
    match std::env::var_os(VARIABLE).filter(|name| !name.is_empty()) {
        Some(name) => say_to(&name, message),
        None => Ok(()),
    }
}

fn say_to(name: &OsStr, message: &str) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::from(io::ErrorKind::Unsupported)),
    };
    let socket = UnixDatagram::unbound()?;
    // A full queue waits for its reader, as libsystemd does: a lost READY=1 would end the daemon.
    socket.send_to_addr(message.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    use oneport_sys::notify::{NotifySocket, Word};

    use super::*;
    use crate::state::scratch::Scratch;

    #[test]
    fn a_socket_with_an_abstract_name_hears_it() {
        let socket = NotifySocket::new().unwrap();
        say_to(&socket.name(), "READY=1\nSTATUS=well").unwrap();
        let words = socket.receive().unwrap().unwrap().words;
        assert_eq!(words, [Word::Ready, Word::Status("well".to_owned())]);
    }

    #[test]
    fn a_socket_with_a_path_hears_it() {
        let scratch = Scratch::new();
        let path = scratch.join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        say_to(path.as_os_str(), "STOPPING=1").unwrap();
        let mut heard = [0; 64];
        let length = socket.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"STOPPING=1");
    }

    #[test]
    fn what_names_no_socket_is_an_error_and_nothing_else() {
        for name in ["", "relative", "vsock:2:1", "/nowhere/notify", "@oneport-nobody-is-here"] {
            assert!(say_to(OsStr::new(name), "READY=1").is_err(), "{name}");
        }
        let long = "/".to_owned() + &"x".repeat(200);
        assert!(say_to(OsStr::new(&long), "READY=1").is_err());
    }
}
