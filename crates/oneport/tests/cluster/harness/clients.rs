//! Clients of what workers serve, each with deadlines.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};

use super::PATIENCE;

/// A connection with deadlines.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Everything a server says until it closes.
pub(crate) fn hear(mut stream: TcpStream) -> std::io::Result<String> {
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Which worker answers there, and its slot, -1 without one: for programs that answer as `puppet` does.
pub(crate) fn who(address: SocketAddr) -> (u32, i64) {
    who_answers(connect(address)).unwrap()
}

/// As [`who`], for a worker that keeps the connection open: who, and the connection.
pub(crate) fn who_holds(address: SocketAddr) -> (u32, TcpStream) {
    let mut stream = BufReader::new(connect(address));
    let mut answer = String::new();
    stream.read_line(&mut answer).unwrap();
    (answer.split(' ').next().unwrap().parse().unwrap(), stream.into_inner())
}

/// As [`who`], on a connection made before.
pub(crate) fn who_answers(stream: TcpStream) -> std::io::Result<(u32, i64)> {
    let answer = hear(stream)?;
    let (id, slot) = answer.trim_end().split_once(' ').unwrap_or_else(|| panic!("no answer: {answer:?}"));
    Ok((id.parse().unwrap(), slot.parse().unwrap()))
}
