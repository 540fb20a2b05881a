//! Which binds of a program are the app's: rules about addresses, nothing else.
//!
//! What does not live here: sockets, and who asks. Invariant: what the rules do not name passes, so that a program finds
//! its own helpers, clients and control sockets as it would alone.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::ids::Errno;

/// The rules of one app.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// The ports of the app. `None`: every TCP listener, but for port 0 on loopback addresses, where runtimes put
    /// helpers of their own.
    pub ports: Option<Vec<PortRange>>,
    /// Ports that are not the app's, whatever else is said.
    pub excluded: Vec<PortRange>,
    /// Ports of the program that are served on other ones.
    pub published: Vec<Published>,
    /// Absolute paths of Unix stream listeners.
    pub paths: Vec<Box<str>>,
    /// Whether workers get ports that they themselves may not bind.
    pub low_ports: LowPorts,
}

/// TCP or UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// Stream listeners.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Ports from `first` to `last`, both included: `8000`, `8000-8010`, `53/udp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest, not below `first`.
    pub last: u16,
    /// Of which transport; `None`: both.
    pub transport: Option<Transport>,
}

/// A port of the program and the one it is served on: `80:3000`, as containers spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where clients connect.
    pub outside: u16,
    /// What the program asks for.
    pub inside: u16,
}

/// Who may have ports below the system's first free one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LowPorts {
    /// Workers that could bind them alone.
    #[default]
    OnlyIfTheWorkerMay,
    /// Every worker, as far as the primary may.
    Granted,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whether it has CAP_NET_BIND_SERVICE.
    pub may_bind_low: bool,
    /// The first port that needs no privilege (`net.ipv4.ip_unprivileged_port_start`).
    pub lowest_free: u16,
}

/// Whose a bind is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The app's, on this address.
    Ours(SocketAddr),
    /// Decided when it listens: clients bind to port 0, too.
    AtListen,
    /// Nobody's but the program's.
    Passes,
    /// It may not.
    Refused(Errno),
}

impl Claims {
    /// A `bind` to an address.
    pub fn of_ip(&self, transport: Transport, address: SocketAddr, caller: Caller) -> Claim {
        if address.port() == 0 {
            return match transport {
                Transport::Tcp => Claim::AtListen,
                Transport::Udp => Claim::Passes,
            };
        }
        if transport == Transport::Udp && address.ip().to_canonical().is_multicast() {
            return Claim::Passes;
        }
        if !self.names(transport, address.port()) {
            return Claim::Passes;
        }
        let outside = self.published.iter().find(|p| p.inside == address.port()).map(|p| p.outside);
        let port = outside.unwrap_or(address.port());
        if port < caller.lowest_free && !caller.may_bind_low && self.low_ports != LowPorts::Granted {
            return Claim::Refused(Errno::ACCESS);
        }
        Claim::Ours(SocketAddr::new(address.ip(), port))
    }

    /// A `listen` on a TCP socket whose port the kernel chose, or will choose.
    pub fn at_listen(&self, address: IpAddr) -> Claim {
        let listed = self.ports.as_ref().map(|ports| lists(ports, Transport::Tcp, 0));
        let ours = listed.unwrap_or(!address.to_canonical().is_loopback());
        if ours && !lists(&self.excluded, Transport::Tcp, 0) {
            Claim::Ours(SocketAddr::new(address, 0))
        } else {
            Claim::Passes
        }
    }

    /// A `bind` to a Unix path, made absolute.
    pub fn of_path(&self, path: &str) -> bool {
        self.paths.iter().any(|listed| **listed == *path)
    }

    fn names(&self, transport: Transport, port: u16) -> bool {
        let published = transport == Transport::Tcp && self.published.iter().any(|p| p.inside == port);
        let named = match &self.ports {
            Some(ports) => published || lists(ports, transport, port),
            None => transport == Transport::Tcp,
        };
        named && !lists(&self.excluded, transport, port)
    }
}

fn lists(ports: &[PortRange], transport: Transport, port: u16) -> bool {
    ports.iter().any(|range| {
        (range.first..=range.last).contains(&port) && range.transport.is_none_or(|only| only == transport)
    })
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<PortRange, String> {
        let expected = || "expected a port, FIRST-LAST, or either with /tcp or /udp".to_owned();
        let (ports, transport) = match text.split_once('/') {
            None => (text, None),
            Some((ports, "tcp")) => (ports, Some(Transport::Tcp)),
            Some((ports, "udp")) => (ports, Some(Transport::Udp)),
            Some(_) => return Err(expected()),
        };
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let number = |text: &str| text.parse::<u16>().map_err(|_| expected());
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("the first port of `{text}` is above its last"));
        }
        Ok(PortRange { first, last, transport })
    }
}

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Published, String> {
        let expected = || "expected OUTSIDE:INSIDE, two ports from 1 up, as in 80:3000".to_owned();
        let (outside, inside) = text.split_once(':').ok_or_else(expected)?;
        let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(expected);
        Ok(Published { outside: number(outside)?, inside: number(inside)? })
    }
}
