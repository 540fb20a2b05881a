//! One request and its answer over tokio's sockets, for clients that keep connections: what became of it, told apart as
//! finely as a client can.

use super::http;
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{RecvFlags, recv};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// After this long a request was never answered.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A connection that was idle and ends so soon after a request was written to it was closed before the other side saw it:
/// HTTP/1.1 has no way to exclude that.
const RACE: Duration = Duration::from_millis(5);
/// Larger answers are none.
const LARGEST: usize = 4096;

/// How a request was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// Nobody listens.
    Refused,
    /// Reset after it was sent.
    Reset,
    /// The connection ended in order, without an answer or in the midst of one.
    Ended,
    /// Nothing came.
    Unanswered,
    /// Something came that is no good answer.
    Wrong,
}

impl Loss {
    /// Its word in notes.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Ended => "ended",
            Self::Unanswered => "never answered",
            Self::Wrong => "wrong answer",
        }
    }
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Fate {
    /// A good answer; the connection goes on where both sides keep it.
    Answered(Option<TcpStream>),
    /// It met the end of a connection that had been idle.
    Raced,
    Lost(Loss),
}

/// Connects to the `index`th address; how that is lost.
pub(super) async fn connect(port: u16, index: usize) -> Result<TcpStream, Loss> {
    match timeout(ANSWER_LIMIT, TcpStream::connect(http::address(port, index))).await {
        Ok(Ok(stream)) => {
            // Close sends RST, so no TIME_WAIT piles up on this side.
            let _only_tidiness = set_socket_linger(&stream, Some(Duration::ZERO));
            Ok(stream)
        }
        Ok(Err(cause)) => Err(of_error(&cause)),
        Err(_late) => Err(Loss::Unanswered),
    }
}

/// Whether the other side has not closed it yet.
pub(super) fn is_open(stream: &TcpStream) -> bool {
    let looked = recv(stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    // Data that nobody has asked for is no better than an end.
    matches!(looked, Err(rustix::io::Errno::AGAIN))
}

/// Sends `request` and reads the answer. `reused`: an answer came over this connection before.
pub(super) async fn exchange(mut stream: TcpStream, request: &[u8], reused: bool) -> Fate {
    let written = Instant::now();
    let mut answer = Vec::with_capacity(512);
    let talk = async {
        stream.write_all(request).await?;
        loop {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err(io::Error::from(ErrorKind::UnexpectedEof));
            }
            match length(&answer) {
                Some(length) if answer.len() >= length => return Ok(()),
                Some(_) | None if answer.len() > LARGEST => return Ok(()),
                Some(_) | None => {}
            }
        }
    };
    let ended = timeout(ANSWER_LIMIT, talk).await;
    match ended {
        Ok(Ok(())) if http::is_ok(&answer) => {
            let closes = http::header::<String>(&answer, "Connection: ").is_some_and(|word| word == "close");
            Fate::Answered((!closes).then_some(stream))
        }
        Ok(Ok(())) => Fate::Lost(Loss::Wrong),
        Ok(Err(_)) if reused && answer.is_empty() && written.elapsed() <= RACE => Fate::Raced,
        Ok(Err(cause)) => Fate::Lost(of_error(&cause)),
        Err(_late) => Fate::Lost(Loss::Unanswered),
    }
}

fn of_error(cause: &io::Error) -> Loss {
    if cause.kind() == ErrorKind::ConnectionRefused {
        Loss::Refused
    } else if cause.kind() == ErrorKind::UnexpectedEof {
        Loss::Ended
    } else {
        // `EPIPE` and `ECONNRESET`, and whatever else the kernel may say.
        Loss::Reset
    }
}

/// How long the whole answer is, once its head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    Some(head + http::header::<usize>(&answer[..head], "Content-Length: ").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    /// What becomes of a request over a connection, used before or not, that its server ends so long after it was read.
    fn fate(reused: bool, after: Duration) -> Fate {
        let listener = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = listener.local_addr().expect("bound").port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut request = [0; 256];
            for _ in 0..u32::from(reused) {
                let _length = stream.read(&mut request).expect("a request");
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").expect("an answer");
            }
            let _length = stream.read(&mut request).expect("a request");
            thread::sleep(after);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let fate = runtime.block_on(async {
            let mut stream = connect(port, 0).await.expect("connected");
            if reused {
                match exchange(stream, http::KEPT, false).await {
                    Fate::Answered(Some(kept)) => stream = kept,
                    other @ (Fate::Answered(None) | Fate::Raced | Fate::Lost(_)) => return other,
                }
            }
            exchange(stream, http::KEPT, reused).await
        });
        server.join().expect("server ends");
        fate
    }

    #[test]
    fn only_a_connection_at_rest_that_ends_at_once_is_a_race() {
        // Another process may take the processor for longer than a race lasts.
        let raced = (0..20).any(|_| matches!(fate(true, Duration::ZERO), Fate::Raced));
        assert!(raced);
        assert!(matches!(fate(true, Duration::from_millis(30)), Fate::Lost(Loss::Ended)));
        assert!(matches!(fate(false, Duration::ZERO), Fate::Lost(Loss::Ended)));
    }

    #[test]
    fn an_answer_is_whole_when_its_body_is_there() {
        assert_eq!(length(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n"), None);
        assert_eq!(length(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhel"), Some(44));
    }
}
