//! Which binds of a program are ours: those that its clients know it by. Everything else (helper sockets of runtimes,
//! outgoing connections, multicast groups) passes and happens as the program asked. Nothing here knows a cluster.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::ids::Errno;

/// What is spoken over a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Ports from `first` to `last`, both included: `8000`, `8000-8010`, `53/udp`. `0` is the port that the kernel chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The lowest, 0 to 65535.
    pub first: u16,
    /// The highest, not below `first`.
    pub last: u16,
    /// `None`: both.
    pub transport: Option<Transport>,
}

/// Clients reach at `outside` what the program binds as `inside`: `80:3000`. It means TCP; a UDP port is rewritten,
/// too, where `inside` is listed for UDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The port that is bound, 1 to 65535.
    pub outside: u16,
    /// The port that the program asks for, 1 to 65535.
    pub inside: u16,
}

/// Who may have ports that need a privilege. The primary binds, and it may be allowed more than its worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LowPorts {
    /// Workers that could have bound them without us.
    #[default]
    OnlyIfTheWorkerMay,
    /// Every worker of this app.
    Granted,
}

/// Which binds of an app's programs are ours.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// These ports. `None`: every TCP port that is asked for by number, and those that the kernel chooses on addresses
    /// that others can reach.
    pub ports: Option<Vec<PortRange>>,
    /// Never these, as the program spells them.
    pub excluded: Vec<PortRange>,
    /// Ports that clients know by another number; they count as listed.
    pub published: Vec<Published>,
    /// Paths of Unix sockets, as the program spells them.
    pub paths: Vec<Box<str>>,
    /// Whether workers get ports that they could not have bound by themselves.
    pub low_ports: LowPorts,
}

/// What the process that binds could do without us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// It may bind every port (CAP_NET_BIND_SERVICE).
    pub may_bind_low: bool,
    /// The lowest port that needs no privilege (Linux: 1024 unless set otherwise).
    pub lowest_free: u16,
}

/// What is to be done about a bind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours, and this is the address to bind.
    Ours(SocketAddr),
    /// The kernel chooses the port. A client that binds before it connects does the same, so the call passes, and
    /// [`Claims::at_listen`] decides when the socket listens.
    AtListen,
    /// It is not ours.
    Passes,
    /// It would be ours, and the program may not have it.
    Refused(Errno),
}

impl Claims {
    /// Decides about a bind to an IP address.
    pub fn of_ip(&self, transport: Transport, address: SocketAddr, caller: Caller) -> Claim {
        let ip = address.ip().to_canonical();
        match (transport, address.port()) {
            (Transport::Tcp, 0) if self.is_any_port_ours(ip) => Claim::AtListen,
            (Transport::Tcp | Transport::Udp, 0) => Claim::Passes,
            (Transport::Udp, _) if ip.is_multicast() => Claim::Passes,
            (Transport::Tcp | Transport::Udp, port) => {
                if self.is_ours(transport, port) {
                    self.grant(address, caller)
                } else {
                    Claim::Passes
                }
            }
        }
    }

    /// Decides about a TCP socket that begins to listen and whose port the kernel chose, or will choose because it was
    /// never bound. The number it may have by now says nothing, so only the address is asked for.
    pub fn at_listen(&self, address: IpAddr) -> Claim {
        if self.is_any_port_ours(address.to_canonical()) {
            Claim::Ours(SocketAddr::new(address, 0))
        } else {
            Claim::Passes
        }
    }

    /// Whether a Unix socket at this path is ours.
    pub fn of_path(&self, path: &str) -> bool {
        self.paths.iter().any(|listed| **listed == *path)
    }

    /// Runtimes open helper sockets on loopback ports that the kernel chooses; nobody else knows these.
    fn is_any_port_ours(&self, ip: IpAddr) -> bool {
        let listed = match &self.ports {
            None => !ip.is_loopback(),
            Some(ports) => contains(ports, Transport::Tcp, 0),
        };
        listed && !contains(&self.excluded, Transport::Tcp, 0)
    }

    fn is_ours(&self, transport: Transport, port: u16) -> bool {
        let listed = match (&self.ports, transport) {
            (Some(ports), Transport::Tcp | Transport::Udp) => contains(ports, transport, port),
            (None, Transport::Tcp) => true,
            (None, Transport::Udp) => false,
        };
        let published = transport == Transport::Tcp && self.published.iter().any(|p| p.inside == port);
        (listed || published) && !contains(&self.excluded, transport, port)
    }

    fn grant(&self, mut address: SocketAddr, caller: Caller) -> Claim {
        if let Some(published) = self.published.iter().find(|p| p.inside == address.port()) {
            address.set_port(published.outside);
        }
        let low = address.port() < caller.lowest_free;
        match self.low_ports {
            LowPorts::OnlyIfTheWorkerMay if low && !caller.may_bind_low => Claim::Refused(Errno::ACCESS),
            LowPorts::OnlyIfTheWorkerMay | LowPorts::Granted => Claim::Ours(address),
        }
    }
}

fn contains(ranges: &[PortRange], transport: Transport, port: u16) -> bool {
    let among =
        |r: &PortRange| r.transport.is_none_or(|t| t == transport) && (r.first..=r.last).contains(&port);
    ranges.iter().any(among)
}

/// A port, or a pair of them, that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPorts {
    text: Box<str>,
    cause: &'static str,
}

impl fmt::Display for NotPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read ports `{}`: {}", self.text, self.cause)
    }
}

impl std::error::Error for NotPorts {}

impl FromStr for PortRange {
    type Err = NotPorts;

    fn from_str(text: &str) -> Result<PortRange, NotPorts> {
        let wrong = |cause| NotPorts { text: text.into(), cause };
        let (numbers, transport) = match text.split_once('/') {
            None => (text, None),
            Some((numbers, "tcp")) => (numbers, Some(Transport::Tcp)),
            Some((numbers, "udp")) => (numbers, Some(Transport::Udp)),
            Some(_) => return Err(wrong("after the slash comes tcp or udp")),
        };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let (Some(first), Some(last)) = (port(first), port(last)) else {
            return Err(wrong("a port is a number from 0 to 65535"));
        };
        match (first, last) {
            (0, 1..) => Err(wrong("port 0 is no part of a range")),
            (first, last) if first > last => Err(wrong("the first is above the last")),
            (first, last) => Ok(PortRange { first, last, transport }),
        }
    }
}

impl FromStr for Published {
    type Err = NotPorts;

    fn from_str(text: &str) -> Result<Published, NotPorts> {
        let wrong = |cause| NotPorts { text: text.into(), cause };
        let (outside, inside) =
            text.split_once(':').ok_or_else(|| wrong("two ports with a colon are needed"))?;
        match (port(outside), port(inside)) {
            (Some(outside @ 1..), Some(inside @ 1..)) => Ok(Published { outside, inside }),
            (Some(_) | None, Some(_) | None) => Err(wrong("each port is a number from 1 to 65535")),
        }
    }
}

/// `u16` alone would also read `+80`.
fn port(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}
