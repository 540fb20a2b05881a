//! Clients of what programs serve, each with deadlines.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use oneport_sys::diag;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::{PATIENCE, eventually};

/// How often each process answered.
pub(crate) type Answers = BTreeMap<i32, usize>;

/// A connection that has asked, and not heard yet.
pub(crate) fn call(address: SocketAddr, question: u8) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect_timeout(&address, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.write_all(&[question])?;
    Ok(connection)
}

/// The process that answers.
pub(crate) fn hear(mut connection: TcpStream) -> io::Result<i32> {
    let mut pid = [0; 4];
    connection.read_exact(&mut pid)?;
    Ok(i32::from_ne_bytes(pid))
}

/// Who serves one new connection.
pub(crate) fn ask(address: SocketAddr) -> i32 {
    hear(call(address, b'?').unwrap()).unwrap()
}

/// Who serves so many, one after the other.
pub(crate) fn ask_often(address: SocketAddr, connections: usize) -> Answers {
    counted((0..connections).map(|_| ask(address)))
}

/// So many connections, each of which has asked.
pub(crate) fn call_often(address: SocketAddr, connections: usize) -> Vec<TcpStream> {
    (0..connections).map(|_| call(address, b'?').unwrap()).collect()
}

/// Who answers them; all have to be.
pub(crate) fn hear_all(connections: Vec<TcpStream>) -> Answers {
    counted(connections.into_iter().map(|connection| hear(connection).unwrap()))
}

fn counted(answers: impl Iterator<Item = i32>) -> Answers {
    let mut counted = Answers::new();
    for pid in answers {
        *counted.entry(pid).or_default() += 1;
    }
    counted
}

/// How many connections wait on a port, in each of its sockets that listens for clients: room for one has that of the
/// primary that keeps the door.
pub(crate) fn queues(address: SocketAddr) -> Vec<u32> {
    let queues = diag::listen_queue(&[address.port()]).unwrap();
    let meant = |queue: &diag::ListenQueue| queue.local.is_ipv4() == address.is_ipv4() && queue.limit > 1;
    queues.into_iter().filter(meant).map(|queue| queue.waiting).collect()
}

/// Connections that have asked, until so many of them wait in one socket.
pub(crate) fn fill_a_queue(address: SocketAddr, until: u32) -> Vec<TcpStream> {
    let mut calling = Vec::new();
    eventually("a queue is full", || {
        calling.push(call(address, b'?').unwrap());
        queues(address).iter().any(|waiting| *waiting >= until)
    });
    calling
}

/// A client that may not have got in yet.
pub(crate) struct Knocking(TcpStream);

impl Knocking {
    /// When this returns, the first packet has been there: on loopback it is taken in by whoever sends it.
    pub(crate) fn at(address: SocketAddr) -> Knocking {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let client =
            socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
                .unwrap();
        match connect(&client, &address) {
            Ok(()) | Err(Errno::INPROGRESS) => Knocking(client.into()),
            Err(error) => panic!("nobody is there: {error}"),
        }
    }

    /// Whether it is neither let in nor turned away.
    pub(crate) fn is_outside(&self) -> bool {
        self.settled(Duration::ZERO) == 0
    }

    /// It is let in after all, for it tries again, and asks; who answers.
    pub(crate) fn gets_in(self) -> i32 {
        assert_eq!(self.settled(PATIENCE), 1, "nobody lets it in");
        let mut connection = self.0;
        connection.set_nonblocking(false).unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        connection.write_all(b"?").unwrap();
        hear(connection).unwrap()
    }

    fn settled(&self, within: Duration) -> usize {
        let within = Timespec::try_from(within).unwrap();
        poll(&mut [PollFd::new(&self.0, PollFlags::OUT)], Some(&within)).unwrap()
    }
}

/// Clients that come again and again, and end with the first that is not served.
pub(crate) struct Load {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<io::Result<Vec<i32>>>>,
}

impl Load {
    pub(crate) fn start(address: SocketAddr, question: u8, clients: usize) -> Load {
        let over = Arc::new(AtomicBool::new(false));
        let client = |_| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut served = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    served.push(call(address, question).and_then(hear)?);
                }
                Ok(served)
            })
        };
        Load { clients: (0..clients).map(client).collect(), over }
    }

    /// Who answered, if everybody was answered.
    pub(crate) fn stop(self) -> Answers {
        self.over.store(true, Ordering::Relaxed);
        let served = self.clients.into_iter().map(|client| client.join().unwrap());
        let served: Vec<Vec<i32>> =
            served.map(|served| served.unwrap_or_else(|error| panic!("not served: {error}"))).collect();
        counted(served.into_iter().flatten())
    }
}

/// A client of a UDP server.
pub(crate) struct Datagrams(UdpSocket);

impl Datagrams {
    pub(crate) fn new(server: SocketAddr) -> Datagrams {
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.connect(server).unwrap();
        Datagrams(client)
    }

    /// Whether or not somebody is there.
    pub(crate) fn send(&self) {
        self.0.send(b"?").unwrap();
    }

    /// Who answers.
    pub(crate) fn ask(&self) -> i32 {
        self.send();
        let mut pid = [0; 4];
        assert_eq!(self.0.recv(&mut pid).unwrap(), 4);
        i32::from_ne_bytes(pid)
    }
}
