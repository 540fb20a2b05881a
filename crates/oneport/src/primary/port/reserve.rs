//! Ports of which every worker has a socket of its own: taken for nobody but the app, with a first socket that keeps the
//! address where the primary makes them, without one where programs do.
//!
//! What does not live here: those sockets, which `lanes` has.

use std::io;
use std::os::fd::AsFd;

use oneport_core::{Endpoint, EndpointKind, Mode};
use oneport_sys::listen::{self, LocalAddress, Reuse, bind_tcp, bind_udp, set_reuse_port};

use super::host::{host, v6};
use super::{PortSocket, bind_stream};
use crate::event::{Address, AddressKind};
use crate::program::Ports;

/// A port of which every worker has a socket of its own. Such sockets would share it with anybody of the same user, so
/// one that does not share is bound and closed first: a taken port stays taken. Who gets another port instead may wish for
/// a taken one.
pub(super) fn reserve(endpoint: &Endpoint, ports: Ports, key: String) -> io::Result<PortSocket> {
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
        key,
        address: Address { kind, text, socket: local },
        local,
        inherited: None,
        endpoint: endpoint.clone(),
        inode: None,
        keeper: None,
        hands_off: false,
        shared: false,
        accepting: true,
        watched: true,
    })
}

/// A port whose sockets the primary makes. The first one is bound without sharing, so that a taken port stays taken, and may
/// share from then on: others can be bound beside it, of the same user.
pub(super) fn keep(endpoint: &Endpoint, key: String) -> io::Result<PortSocket> {
    let keeper = bind_stream(endpoint)?;
    set_reuse_port(keeper.as_fd())?;
    let local = match listen::local_address(keeper.as_fd())? {
        LocalAddress::Ip(address) => Some(address),
        LocalAddress::Unix(_) | LocalAddress::Other => None,
    };
    let text = local.map_or_else(String::new, |local| format!("{}:{}", local.ip(), local.port()));
    Ok(PortSocket {
        socket: None,
        mode: Mode::Lanes,
        kind: AddressKind::Tcp,
        file: None,
        key,
        address: Address { kind: AddressKind::Tcp, text, socket: local },
        local,
        inherited: None,
        endpoint: endpoint.clone(),
        inode: None,
        keeper: Some(keeper),
        hands_off: true,
        shared: false,
        accepting: true,
        watched: true,
    })
}
