//! Explaining why a worker cannot have the address it asked for: who holds it, or which right is missing.
//! Told once per address, until somebody listens there.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;

use oneport::{Address, AddressKind};
use oneport_sys::proc::{holder_of, holder_of_unix};

use super::{Manner, Run};
use crate::attach::Class;

/// An address that somebody else has.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub(super) address: String,
    /// Its process and what that runs, where that can be seen.
    pub(super) holder: Option<(i32, String)>,
}

impl Run {
    pub(super) fn explain_refusal(&mut self, address: &Address, error: &io::Error) {
        let is_new = self.refused.insert(&address.text);
        if error.kind() == ErrorKind::AddrInUse && (is_new || self.manner == Manner::Managed) {
            let holder = holder(address).map(|(pid, command)| (pid.get(), command));
            self.taken = Some(Taken { address: address.text.clone(), holder });
        }
        if !is_new {
            return;
        }
        #[allow(clippy::wildcard_enum_match_arm, reason = "the standard library's list grows")]
        match error.kind() {
            ErrorKind::AddrInUse => {
                let holder = self.taken.as_ref().and_then(|taken| taken.holder.as_ref());
                self.teller.taken(address, holder);
            }
            ErrorKind::PermissionDenied if address.kind == AddressKind::Unix => {
                let hint = "the directory must exist and be writable";
                self.teller.error(&format!("cannot listen on `{address}`: permission denied"), Some(hint));
            }
            ErrorKind::PermissionDenied => {
                let hint = match self.class {
                    Class::Program | Class::ListenFds => {
                        "--low-ports gives workers ports below 1024 that they may not bind; oneport itself needs \
                         CAP_NET_BIND_SERVICE for them"
                    }
                    Class::Channel | Class::Nothing => {
                        "ports below 1024 need CAP_NET_BIND_SERVICE; or choose a port from 1024 up"
                    }
                };
                self.teller.error(&format!("cannot listen on `{address}`: permission denied"), Some(hint));
            }
            _ => self.teller.error(&format!("cannot listen on `{address}`: {error}"), None),
        }
    }
}

fn holder(address: &Address) -> Option<(oneport_sys::process::Pid, String)> {
    match address.kind {
        AddressKind::Unix => holder_of_unix(Path::new(&address.text)),
        AddressKind::Tcp => holder_of(socket_address(&address.text)?),
        AddressKind::Udp => None,
    }
}

/// Node prints an IPv6 address without brackets.
fn socket_address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let ip = if host.is_empty() { IpAddr::V6(Ipv6Addr::UNSPECIFIED) } else { host.parse().ok()? };
    Some(SocketAddr::new(ip, port.parse().ok()?))
}
