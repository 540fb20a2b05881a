//! Listening sockets: opening one, what is kept of it, closing.
//!
//! What a query means and what an endpoint is called is in `query`; its address in `host` and `short`; its path in `file`;
//! ports without a socket of ours in `reserve`. Invariant: what is closed leaves neither a socket nor a path behind.

mod file;
mod host;
mod query;
mod reserve;
mod short;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oneport_core::{Attach, Endpoint, EndpointKind, Mode, Place, Terms};
use oneport_sys::foreign::Maker;
use oneport_sys::listen::{
    self, LocalAddress, Reuse, SocketKind, UnixMode, bind_tcp, bind_tcp_anywhere, bind_udp, bind_unix,
};
use oneport_sys::startup::dup_inherited;
use oneport_wire::node::message::{AddressType, NativeKind, Query, SockName};

use self::file::SocketFile;
use self::host::{host, v6};
use self::reserve::{keep, reserve};
use self::short::shorter;
use crate::event::{Address, AddressKind};
use crate::program::Ports;

pub(super) use self::query::{key, understand, wished};

/// Node's default length of the accept queue.
const BACKLOG: u32 = 511;

/// How often a path may be removed in the moment in which it is made: once by each copy that begins just then.
const MOST_TRIES: usize = 64;

/// One opened port.
pub(super) struct PortSocket {
    /// Its path, which goes before the socket does.
    file: Option<SocketFile>,
    socket: Option<OwnedFd>,
    mode: Mode,
    kind: AddressKind,
    /// Its name on the channel.
    pub(super) key: String,
    /// Its name for people.
    pub(super) address: Address,
    local: Option<SocketAddr>,
    /// The number that it was inherited under.
    inherited: Option<i32>,
    endpoint: Endpoint,
    /// The socket's name, whoever holds it.
    inode: Option<u64>,
    /// Where the primary makes the sockets of workers: the first one, which has the address for all of them.
    keeper: Option<OwnedFd>,
    /// Whether its workers can be handed connections.
    hands_off: bool,
    /// A worker has been given the one socket that all share.
    shared: bool,
    pub(super) accepting: bool,
    pub(super) watched: bool,
}

/// How a port is to be used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) mode: Mode,
    pub(super) attach: Attach,
    pub(super) terms: Terms,
}

impl PortSocket {
    /// The socket to accept on.
    pub(super) fn listener(&self) -> Option<BorrowedFd<'_>> {
        match self.mode {
            Mode::RoundRobin => self.socket.as_ref().map(AsFd::as_fd),
            Mode::Shared | Mode::Lanes => None,
        }
    }

    /// A copy of the socket for a worker.
    pub(super) fn share(&self) -> io::Result<OwnedFd> {
        match &self.socket {
            Some(socket) => socket.try_clone(),
            None => Err(io::Error::from_raw_os_error(rustix::io::Errno::BADF.raw_os_error())),
        }
    }

    /// The socket that keeps the address, to be kept elsewhere.
    pub(super) fn take_keeper(&mut self) -> Option<OwnedFd> {
        self.keeper.take()
    }

    /// Whether its workers can be handed connections that the primary accepts.
    pub(super) fn hands_off(&self) -> bool {
        self.hands_off
    }

    /// A worker has the one socket.
    pub(super) fn note_shared(&mut self) {
        self.shared = true;
    }

    /// Whether a worker was given the one socket before.
    pub(super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// What it was opened for.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The socket's name, if there is one socket.
    pub(super) fn inode(&self) -> Option<u64> {
        self.inode
    }

    /// Whether this is the socket with that name.
    pub(super) fn is_inode(&self, inode: u64) -> bool {
        self.inode == Some(inode)
    }

    /// Its address, once it has a port.
    pub(super) fn local(&self) -> Option<SocketAddr> {
        self.local.filter(|local| local.port() != 0)
    }

    /// The kernel chose its port.
    pub(super) fn settle(&mut self, local: SocketAddr) {
        if self.local().is_none() {
            self.local = Some(local);
            self.address.text = format!("{}:{}", local.ip(), local.port());
            self.address.socket = self.local;
        }
    }

    /// A program binds the path, which it may have removed before; as whom, where that is to be known.
    pub(super) fn bind_for(&mut self, maker: Option<Maker>) -> io::Result<()> {
        for _ in 0..MOST_TRIES {
            let Some(file) = &mut self.file else { return Ok(()) };
            match file.bind_for(maker) {
                // Another copy, which binds it next, removed it between our bind and its second name.
                Err(cause) if cause.kind() == io::ErrorKind::NotFound && !file.is_kept() => {
                    self.bind_anew()?;
                }
                outcome => return outcome,
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    /// Another socket on its path, while nobody has this one.
    fn bind_anew(&mut self) -> io::Result<()> {
        let Place::Path(path) = &self.endpoint.place else { return Err(invalid()) };
        let (socket, file) = open_path(path, UnixMode::default())?;
        listen::set_nonblocking(socket.as_fd())?;
        self.inode = listen::inode(socket.as_fd()).ok();
        // The path first: as long as its socket is there, the other's inode has another number.
        self.file = file;
        self.socket = Some(socket);
        Ok(())
    }

    /// A worker is gone; it may have removed the path.
    pub(super) fn name_after_departure(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), SocketFile::name_after_departure)
    }

    /// Lets a socket listen that is shared with workers.
    pub(super) fn listen_shared(&self, backlog: u32) -> io::Result<()> {
        match &self.socket {
            Some(socket) => listen::start_listening(socket.as_fd(), backlog),
            None => Err(invalid()),
        }
    }

    pub(super) fn native_kind(&self) -> NativeKind {
        match self.kind {
            AddressKind::Udp => NativeKind::Dgram,
            AddressKind::Tcp | AddressKind::Unix => NativeKind::Net,
        }
    }

    pub(super) fn sockname(&self) -> Option<SockName<'static>> {
        self.local.map(SockName::from)
    }

    /// Whether it is UDP, whose ports are not TCP's.
    fn is_datagram(&self) -> bool {
        self.kind == AddressKind::Udp
    }

    /// The port's number, for TCP and UDP.
    pub(super) fn number(&self) -> Option<u16> {
        self.local.map(|local| local.port())
    }

    /// The TCP port, for socket diagnostics.
    pub(super) fn tcp_port(&self) -> Option<u16> {
        match self.kind {
            AddressKind::Tcp => self.local.map(|local| local.port()),
            AddressKind::Unix | AddressKind::Udp => None,
        }
    }

    /// Whether a worker that listens, as it says, listens here.
    pub(super) fn is_meant(&self, query: &Query<'_>) -> bool {
        match (query.address_type, query.fd, query.port) {
            (AddressType::Pipe, None, _) => query.address.as_deref() == Some(self.address.text.as_str()),
            (AddressType::Fd | AddressType::Pipe, Some(fd), _) => self.inherited == Some(fd),
            (kind, _, Some(port)) => {
                self.is_datagram() == kind.is_udp()
                    && self.number().is_some_and(|number| i32::from(number) == port)
            }
            (_, _, None) => false,
        }
    }

    pub(super) fn widen(&self, terms: Terms) -> io::Result<()> {
        if let Some(listener) = self.listener() {
            listen::start_listening(listener, backlog(terms))?;
        }
        self.file.as_ref().map_or(Ok(()), |file| file.widen(unix_mode(terms)))
    }

    /// Closes the socket and removes its file, if that is still ours.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.socket = None;
    }
}

/// Binds, and listens where the primary is to accept.
pub(super) fn open(
    endpoint: &Endpoint,
    Opening { mode, attach, terms }: Opening,
    ports: Ports,
    key: String,
) -> io::Result<PortSocket> {
    match (mode, attach) {
        (Mode::RoundRobin | Mode::Shared, _) => {}
        (Mode::Lanes, Attach::Channel) if !endpoint.is_datagram() => return keep(endpoint, key),
        (Mode::Lanes, Attach::Channel | Attach::Nothing | Attach::Program) => {
            return reserve(endpoint, ports, key);
        }
    }
    let mut file = None;
    let socket = match (&endpoint.place, endpoint.kind) {
        (Place::Fd(fd), _) => dup_inherited(*fd)?,
        (Place::Path(path), _) => {
            let (socket, made) = open_path(path, unix_mode(terms))?;
            file = made;
            socket
        }
        (Place::Anywhere | Place::Host(_), EndpointKind::Udp4 | EndpointKind::Udp6) => {
            let reuse = if endpoint.reuse_address { Reuse::Address } else { Reuse::Exclusive };
            bind_udp(host(endpoint)?, v6(endpoint), reuse)?
        }
        (Place::Anywhere | Place::Host(_), _) => bind_stream(endpoint)?,
    };
    let kind = match listen::socket_kind(socket.as_fd()) {
        SocketKind::Tcp => AddressKind::Tcp,
        SocketKind::UnixStream => AddressKind::Unix,
        SocketKind::Udp => AddressKind::Udp,
        SocketKind::UnixDatagram | SocketKind::Other => return Err(invalid()),
    };
    // Nobody accepts datagrams. A worker that wants them says so, and gets the socket itself.
    if mode == Mode::RoundRobin && kind == AddressKind::Udp {
        return Err(invalid());
    }
    let local = match listen::local_address(socket.as_fd())? {
        LocalAddress::Ip(address) => Some(address),
        LocalAddress::Unix(_) | LocalAddress::Other => None,
    };
    let inode = listen::inode(socket.as_fd()).ok();
    // A copy of a socket shares its blocking mode; Node never sets it on what it receives.
    listen::set_nonblocking(socket.as_fd())?;
    if mode == Mode::RoundRobin {
        listen::start_listening(socket.as_fd(), backlog(terms))?;
    }
    let address = Address {
        kind,
        text: match (&local, &endpoint.place) {
            (Some(local), _) => format!("{}:{}", local.ip(), local.port()),
            (None, Place::Path(path)) => path.to_string(),
            (None, Place::Fd(fd)) => format!("fd {fd}"),
            (None, Place::Anywhere | Place::Host(_)) => String::new(),
        },
        socket: local,
    };
    Ok(PortSocket {
        socket: Some(socket),
        mode,
        kind,
        file,
        key,
        address,
        local,
        inherited: match endpoint.place {
            Place::Fd(fd) => Some(fd),
            Place::Anywhere | Place::Host(_) | Place::Path(_) => None,
        },
        endpoint: endpoint.clone(),
        inode,
        keeper: None,
        hands_off: attach == Attach::Channel,
        shared: false,
        accepting: true,
        watched: true,
    })
}

fn bind_stream(endpoint: &Endpoint) -> io::Result<OwnedFd> {
    match &endpoint.place {
        Place::Anywhere => bind_tcp_anywhere(endpoint.port, v6(endpoint)),
        Place::Host(_) | Place::Path(_) | Place::Fd(_) => bind_tcp(host(endpoint)?, v6(endpoint)),
    }
}

fn open_path(path: &str, mode: UnixMode) -> io::Result<(OwnedFd, Option<SocketFile>)> {
    let path = Path::new(path);
    let (socket, identity) = bind_unix(&shorter(path), mode)?;
    // Only sockets have short names.
    Ok((socket, SocketFile::new(path, identity)?))
}

fn unix_mode(terms: Terms) -> UnixMode {
    UnixMode { readable_all: terms.readable_all, writable_all: terms.writable_all }
}

pub(super) fn backlog(terms: Terms) -> u32 {
    if terms.backlog == 0 { BACKLOG } else { terms.backlog }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error())
}
