//! A worker's wish in terms of the core, and an endpoint's names: on the channel, and for people.
//!
//! What does not live here: sockets.

use oneport_core::{Endpoint, EndpointKind, Place, QueryTerms, Sharing, Terms};
use oneport_wire::node::key::spell_key;
use oneport_wire::node::message::{AddressType, Query};

use crate::event::{Address, AddressKind};

const IPV6_ONLY: u32 = 1;
const REUSE_ADDRESS: u32 = 4;

/// What a worker asks for, in the core's terms. `None`: no endpoint can be meant by it (EINVAL).
pub(in crate::primary) fn understand(query: &Query<'_>) -> Option<QueryTerms> {
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

/// The port's name on the channel, as Node 22 and later spell it: workers of every major take it as it comes.
pub(in crate::primary) fn key(endpoint: &Endpoint) -> String {
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
pub(in crate::primary) fn wished(endpoint: &Endpoint) -> Address {
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
