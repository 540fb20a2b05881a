//! Raw TCP for servers that say who they are (`hello from PID`) on connect.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::run::client_patience;

/// Connects with deadlines on connecting, reading and writing.
///
/// # Errors
/// Whatever the kernel says.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, client_patience())?;
    stream.set_read_timeout(Some(client_patience()))?;
    stream.set_write_timeout(Some(client_patience()))?;
    Ok(stream)
}

/// One line, without its end.
///
/// # Errors
/// `UnexpectedEof` if the peer closes first; whatever the kernel says.
pub fn line(stream: &TcpStream) -> io::Result<String> {
    let mut text = String::new();
    // The reader must not swallow bytes behind the line: one byte at a time.
    let mut reader = BufReader::with_capacity(1, stream);
    reader.read_line(&mut text)?;
    match text.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Connects and reads the pid of the worker that answers; the connection stays open.
///
/// # Errors
/// As [`connect`] and [`line()`].
pub fn greet(address: SocketAddr) -> io::Result<(TcpStream, u32)> {
    let stream = connect(address)?;
    let pid = pid_in(&line(&stream)?);
    Ok((stream, pid))
}

/// Writes text and reads one line.
///
/// # Errors
/// Whatever the kernel says.
pub fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
    stream.write_all(text.as_bytes())?;
    line(stream)
}

/// Everything until the peer closes.
///
/// # Errors
/// Whatever the kernel says.
pub fn rest(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all)?;
    Ok(all)
}

/// The last number in a text: servers of these tests end their greeting with their pid.
///
/// # Panics
/// If there is no number.
#[track_caller]
pub fn pid_in(text: &str) -> u32 {
    text.split(|c: char| !c.is_ascii_digit())
        .rfind(|digits| !digits.is_empty())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("no pid in `{text}`"))
}
