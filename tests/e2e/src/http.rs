//! An HTTP/1.1 client that does exactly what a test says: one request per connection, or a connection kept.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::run::client_patience;
use crate::tcp;

/// A parsed answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Header names (in lower case) and values.
    pub headers: Vec<(String, String)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The pid a server of these tests ends its body with.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn pid(&self) -> u32 {
        tcp::pid_in(&self.text())
    }

    /// As [`Response::pid`], of an answer that may be none.
    ///
    /// # Errors
    /// What the server said instead, if the status is not 200.
    pub fn answered_by(&self) -> io::Result<u32> {
        if self.status == 200 {
            Ok(self.pid())
        } else {
            Err(io::Error::other(format!("status {}", self.status)))
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str())
    }

    /// Did the server say that it closes the connection?
    pub fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

/// One connection.
pub struct Client {
    wire: BufReader<Box<dyn Wire>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Connects over TCP.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        tcp::connect(address).map(Self::over)
    }

    /// Speaks over a TCP connection that exists.
    pub fn over(stream: TcpStream) -> Self {
        Self { wire: BufReader::new(Box::new(stream)) }
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(client_patience()))?;
        Ok(Self { wire: BufReader::new(Box::new(stream)) })
    }

    /// Sends a request; `extra` are header lines, each with its CRLF.
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn send(&mut self, path: &str, extra: &str) -> io::Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n{extra}\r\n");
        self.wire.get_mut().write_all(request.as_bytes())
    }

    /// Reads an answer whole.
    ///
    /// # Errors
    /// `ConnectionAborted` if the server closed before the first byte; `UnexpectedEof` if in the middle;
    /// `InvalidData` if it is no HTTP; whatever the kernel says.
    pub fn receive(&mut self) -> io::Result<Response> {
        let first = self.line()?.ok_or(io::ErrorKind::ConnectionAborted)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, first))?;
        let mut headers = Vec::new();
        loop {
            let line = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or(io::ErrorKind::InvalidData)?;
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut response = Response { status, headers, body: Vec::new() };
        if let Some(length) = response.header("content-length").and_then(|value| value.parse().ok()) {
            response.body = vec![0; length];
            self.wire.read_exact(&mut response.body)?;
        } else if response.header("transfer-encoding").is_some_and(|value| value == "chunked") {
            self.chunks(&mut response.body)?;
        } else if status != 101 && status != 204 {
            self.wire.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut text = String::new();
        self.wire.read_line(&mut text)?;
        if text.is_empty() {
            return Ok(None);
        }
        let line = text.strip_suffix("\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Some(line.to_owned()))
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let size = self.line()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
            let start = body.len();
            body.resize(start + size, 0);
            self.wire.read_exact(&mut body[start..])?;
            self.line()?;
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// A request and its answer; the connection stays open.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Client::receive`].
    pub fn get(&mut self, path: &str) -> io::Result<Response> {
        self.send(path, "")?;
        self.receive()
    }

    /// Reads exactly as many bytes as fit (after an upgrade).
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.wire.read_exact(bytes)
    }

    /// Writes bytes as they are (after an upgrade).
    ///
    /// # Errors
    /// Whatever the kernel says.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.get_mut().write_all(bytes)
    }
}

/// One request on its own connection, with `Connection: close`.
///
/// # Errors
/// As [`Client::connect`], [`Client::send`] and [`Client::receive`].
pub fn try_get(address: SocketAddr, path: &str) -> io::Result<Response> {
    let mut client = Client::connect(address)?;
    client.send(path, "Connection: close\r\n")?;
    client.receive()
}

/// As [`try_get`], for a request that must be answered with 200.
///
/// # Panics
/// If it is not.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Response {
    let response = try_get(address, path).unwrap_or_else(|e| panic!("GET {path} from {address}: {e}"));
    assert_eq!(response.status, 200, "GET {path} from {address}: {}", response.text());
    response
}
