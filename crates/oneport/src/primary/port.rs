//! Listening sockets: what a query means in sockets, opening, names for workers and for people, closing.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oneport_core::{Endpoint, EndpointKind, Mode, Place, QueryTerms, Sharing, Terms};
use oneport_sys::listen::{
    self, LocalAddress, Reuse, SocketKind, UnixIdentity, UnixMode, V6, bind_tcp, bind_tcp_anywhere, bind_udp,
    bind_unix,
};
use oneport_sys::startup::dup_inherited;
use oneport_wire::node::key::spell_key;
use oneport_wire::node::message::{AddressType, NativeKind, Query, SockName};

use crate::event::{Address, AddressKind};
use crate::program::Ports;

/// Node's default length of the accept queue.
const BACKLOG: u32 = 511;
const IPV6_ONLY: u32 = 1;
const REUSE_ADDRESS: u32 = 4;

/// One opened port.
pub(super) struct PortSocket {
    socket: Option<OwnedFd>,
    mode: Mode,
    kind: AddressKind,
    /// The path we made, to be removed when it is still ours.
    file: Option<(PathBuf, UnixIdentity)>,
    /// Its second name, where programs may remove the first.
    hidden: Option<PathBuf>,
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
    pub(super) accepting: bool,
    pub(super) watched: bool,
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

    /// What it was opened for.
    pub(super) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
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

    /// Programs remove their path before they bind it and when they leave, though others serve there.
    pub(super) fn name_again(&mut self) -> io::Result<()> {
        let Some((path, identity)) = &self.file else { return Ok(()) };
        if self.hidden.is_none() {
            self.hidden = Some(listen::second_name(path)?);
        }
        match &self.hidden {
            Some(hidden) => listen::name_again(hidden, path, identity),
            None => Ok(()),
        }
    }

    /// A worker is gone; it may have removed the path.
    pub(super) fn name_after_departure(&mut self) -> io::Result<()> {
        if self.hidden.is_some() { self.name_again() } else { Ok(()) }
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
        match &self.file {
            Some((path, identity)) => listen::chmod_unix(path, identity, unix_mode(terms)),
            None => Ok(()),
        }
    }

    /// Closes the socket and removes its file, if that is still ours.
    pub(super) fn close(&mut self) {
        if let Some((path, identity)) = self.file.take() {
            for path in self.hidden.take().iter().chain([&path]) {
                // Gone or replaced by somebody else: not ours any more either way.
                let _ = listen::unlink_if_ours(path, &identity);
            }
        }
        self.socket = None;
    }
}

impl Drop for PortSocket {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a worker asks for, in the core's terms. `None`: no endpoint can be meant by it (EINVAL).
pub(super) fn understand(query: &Query<'_>) -> Option<QueryTerms> {
    let flags = query.flags.unwrap_or(0);
    let kind = match query.address_type {
        AddressType::Tcp4 => EndpointKind::Tcp4,
        AddressType::Tcp6 => EndpointKind::Tcp6,
        AddressType::Pipe => EndpointKind::Pipe,
        AddressType::Udp4 => EndpointKind::Udp4,
        AddressType::Udp6 => EndpointKind::Udp6,
        AddressType::Fd => EndpointKind::Inherited,
    };
    let place = match (&query.address, query.fd) {
        (_, Some(fd)) if fd >= 0 => Place::Fd(fd),
        (Some(path), _) if kind == EndpointKind::Pipe => Place::Path(path.as_ref().into()),
        (Some(host), _) => Place::Host(host.as_ref().into()),
        (None, _) => Place::Anywhere,
    };
    let port = match (&place, query.port) {
        (Place::Anywhere | Place::Host(_), Some(port)) => u16::try_from(port).ok()?,
        (Place::Anywhere | Place::Host(_), None) | (Place::Path(_) | Place::Fd(_), _) => 0,
    };
    // Only a port the kernel chooses tells several listeners of one worker apart.
    let index = match place {
        Place::Anywhere | Place::Host(_) if port == 0 => query.index,
        Place::Anywhere | Place::Host(_) | Place::Path(_) | Place::Fd(_) => 0,
    };
    let datagram = matches!(kind, EndpointKind::Udp4 | EndpointKind::Udp6);
    Some(QueryTerms {
        endpoint: Endpoint {
            kind,
            place,
            port,
            ipv6_only: flags & IPV6_ONLY != 0,
            reuse_address: datagram && flags & REUSE_ADDRESS != 0,
            index,
            copy: 0,
        },
        terms: Terms {
            backlog: query.backlog.and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
            readable_all: query.readable_all,
            writable_all: query.writable_all,
        },
        data: query.data.as_ref().map(|data| data.get().into()),
        sharing: Sharing::Alone,
    })
}

/// Binds, and listens where the primary is to accept.
pub(super) fn open(
    endpoint: &Endpoint,
    mode: Mode,
    terms: Terms,
    ports: Ports,
    key: String,
) -> io::Result<PortSocket> {
    match mode {
        Mode::RoundRobin | Mode::Shared => {}
        Mode::Lanes => return reserve(endpoint, ports, key),
    }
    let mut file = None;
    let socket = match (&endpoint.place, endpoint.kind) {
        (Place::Fd(fd), _) => dup_inherited(*fd)?,
        (Place::Path(path), _) => {
            let path = Path::new(&**path);
            let (socket, identity) = bind_unix(&shorter(path), unix_mode(terms))?;
            // Only sockets have short names; the file is found under its own wherever we are by then.
            if !path.as_os_str().as_encoded_bytes().starts_with(b"\0") {
                file = Some((std::path::absolute(path)?, identity));
            }
            socket
        }
        (Place::Anywhere | Place::Host(_), EndpointKind::Udp4 | EndpointKind::Udp6) => {
            let reuse = if endpoint.reuse_address { Reuse::Address } else { Reuse::Exclusive };
            bind_udp(host(endpoint)?, v6(endpoint), reuse)?
        }
        (Place::Host(_), _) => bind_tcp(host(endpoint)?, v6(endpoint))?,
        (Place::Anywhere, _) => bind_tcp_anywhere(endpoint.port, v6(endpoint))?,
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
        hidden: None,
        key,
        address,
        local,
        inherited: match endpoint.place {
            Place::Fd(fd) => Some(fd),
            Place::Anywhere | Place::Host(_) | Place::Path(_) => None,
        },
        endpoint: endpoint.clone(),
        inode,
        accepting: true,
        watched: true,
    })
}

/// A port of which every worker has a socket of its own. Such sockets would share it with anybody of the same user, so
/// one that does not share is bound and closed first: a taken port stays taken. Who gets another port instead may wish for
/// a taken one.
fn reserve(endpoint: &Endpoint, ports: Ports, key: String) -> io::Result<PortSocket> {
    let wanted = host(endpoint)?;
    let datagram = matches!(endpoint.kind, EndpointKind::Udp4 | EndpointKind::Udp6);
    let probe = match (endpoint.port, ports, datagram) {
        (0, _, _) | (_, Ports::Scratch, _) => Ok(None),
        (_, Ports::Wished, false) => bind_tcp(wanted, v6(endpoint)).map(Some),
        (_, Ports::Wished, true) => bind_udp(wanted, v6(endpoint), Reuse::Exclusive).map(Some),
    };
    let probe = probe.and_then(|probe| match &probe {
        // Two that only bind share an address by SO_REUSEADDR; one of them that listens does not.
        Some(probe) if !datagram => listen::start_listening(probe.as_fd(), 1),
        Some(_) | None => Ok(()),
    });
    match probe {
        Err(cause) if cause.kind() == io::ErrorKind::AddrInUse => return Err(cause),
        // The program's own bind fails with the same, or has options with which it does not.
        Ok(()) | Err(_) => {}
    }
    let local = Some(wanted).filter(|wanted| wanted.port() != 0);
    let kind = if datagram { AddressKind::Udp } else { AddressKind::Tcp };
    let text = format!("{}:{}", wanted.ip(), wanted.port());
    Ok(PortSocket {
        socket: None,
        mode: Mode::Lanes,
        kind,
        file: None,
        hidden: None,
        key,
        address: Address { kind, text, socket: local },
        local,
        inherited: None,
        endpoint: endpoint.clone(),
        inode: None,
        accepting: true,
        watched: true,
    })
}

/// The port's name on the channel, as Node 22 and later spell it: workers of every major take it as it comes.
pub(super) fn key(endpoint: &Endpoint) -> String {
    let (address, fd) = match &endpoint.place {
        Place::Anywhere => (None, None),
        Place::Host(text) | Place::Path(text) => (Some(&**text), None),
        Place::Fd(fd) => (None, Some(*fd)),
    };
    let (address_type, port) = match endpoint.kind {
        EndpointKind::Tcp4 => (AddressType::Tcp4, Some(i32::from(endpoint.port))),
        EndpointKind::Tcp6 => (AddressType::Tcp6, Some(i32::from(endpoint.port))),
        EndpointKind::Pipe => (AddressType::Pipe, Some(-1)),
        EndpointKind::Udp4 => (AddressType::Udp4, Some(i32::from(endpoint.port))),
        EndpointKind::Udp6 => (AddressType::Udp6, Some(i32::from(endpoint.port))),
        EndpointKind::Inherited => (AddressType::Fd, None),
    };
    let index = (endpoint.port == 0 && address_type != AddressType::Pipe).then_some(endpoint.index);
    spell_key(address, port, address_type, fd, index)
}

/// How a worker's wish reads for people, before there is a socket.
pub(super) fn wished(endpoint: &Endpoint) -> Address {
    let kind = match endpoint.kind {
        EndpointKind::Tcp4 | EndpointKind::Tcp6 | EndpointKind::Inherited => AddressKind::Tcp,
        EndpointKind::Pipe => AddressKind::Unix,
        EndpointKind::Udp4 | EndpointKind::Udp6 => AddressKind::Udp,
    };
    let text = match &endpoint.place {
        Place::Anywhere => format!(":::{}", endpoint.port),
        Place::Host(host) => format!("{host}:{}", endpoint.port),
        Place::Path(path) => path.to_string(),
        Place::Fd(fd) => format!("fd {fd}"),
    };
    Address { kind, text, socket: None }
}

fn host(endpoint: &Endpoint) -> io::Result<SocketAddr> {
    let text = match &endpoint.place {
        Place::Host(host) => host,
        Place::Anywhere | Place::Path(_) | Place::Fd(_) => {
            let any = match endpoint.kind {
                EndpointKind::Udp6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                EndpointKind::Tcp4
                | EndpointKind::Tcp6
                | EndpointKind::Pipe
                | EndpointKind::Udp4
                | EndpointKind::Inherited => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            };
            return Ok(SocketAddr::new(any, endpoint.port));
        }
    };
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, endpoint.port));
    }
    // `fe80::1%eth0`: never the system's resolver, which would ask the network on a stranger's word.
    let (ip, zone) = text.split_once('%').ok_or_else(invalid)?;
    let ip: Ipv6Addr = ip.parse().map_err(|_| invalid())?;
    let scope = match zone.parse() {
        Ok(number) => number,
        Err(_) => oneport_sys::listen::interface_index(zone)?,
    };
    Ok(SocketAddrV6::new(ip, endpoint.port, 0, scope).into())
}

fn v6(endpoint: &Endpoint) -> V6 {
    if endpoint.ipv6_only { V6::Only } else { V6::Dual }
}

fn unix_mode(terms: Terms) -> UnixMode {
    UnixMode { readable_all: terms.readable_all, writable_all: terms.writable_all }
}

fn backlog(terms: Terms) -> u32 {
    if terms.backlog == 0 { BACKLOG } else { terms.backlog }
}

/// A Unix path may have 107 bytes; seen from our own directory a long one may be shorter (as Node's primary does).
fn shorter(path: &Path) -> PathBuf {
    let relative = std::env::current_dir().ok().and_then(|here| relative_to(path, &here));
    match relative {
        Some(relative) if relative.as_os_str().len() < path.as_os_str().len() => relative,
        Some(_) | None => path.to_owned(),
    }
}

fn relative_to(path: &Path, base: &Path) -> Option<PathBuf> {
    if !path.is_absolute() {
        return None;
    }
    let shared = path.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let up = base.components().count() - shared;
    let mut relative = PathBuf::new();
    for _ in 0..up {
        relative.push("..");
    }
    relative.extend(path.components().skip(shared));
    Some(relative)
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(rustix::io::Errno::INVAL.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_below_the_directory_is_shorter_without_it() {
        let relative = relative_to(Path::new("/srv/app/run/x.sock"), Path::new("/srv/app"));
        assert_eq!(relative, Some(PathBuf::from("run/x.sock")));
    }

    #[test]
    fn a_path_beside_the_directory_goes_up() {
        let relative = relative_to(Path::new("/srv/other/x.sock"), Path::new("/srv/app"));
        assert_eq!(relative, Some(PathBuf::from("../other/x.sock")));
    }
}
