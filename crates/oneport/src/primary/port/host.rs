//! An endpoint's address as the kernel wants it.
//!
//! Invariant: a stranger's text never reaches a resolver, which would ask the network.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use oneport_core::{Endpoint, EndpointKind, Place};
use oneport_sys::listen::V6;

use super::invalid;

pub(super) fn host(endpoint: &Endpoint) -> io::Result<SocketAddr> {
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

pub(super) fn v6(endpoint: &Endpoint) -> V6 {
    if endpoint.ipv6_only { V6::Only } else { V6::Dual }
}
