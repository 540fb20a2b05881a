//! A program binds: whose address that is, and what is asked of the core about it.
//!
//! For a port by number everything is decided here, because the program may register its socket in an epoll set before it
//! listens: a socket that is to take the place of its own must be there by then. What passes is left to the kernel.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use oneport_core::{
    Caller as Rights, Claim, Effects, Endpoint, EndpointKind, Errno, Event as Core, LaneId, Place, Sharing,
    Transport,
};
use oneport_sys::foreign::{self, Name, Network, Protocol};
use oneport_sys::listen::V6;
use oneport_sys::process::Pid;
use oneport_sys::{proc, tree};

use super::call::Caller;
use super::{AskedCall, MOST_ANY_PORT};
use crate::event::{Event, Oddity};
use crate::primary::Primary;
use crate::primary::port::wished;

impl Primary {
    pub(super) fn program_binds(&mut self, caller: Caller, name: &Name, effects: &mut Effects) {
        match (name, caller.transport()) {
            (Name::Ip(address), Some(transport)) => self.binds_ip(caller, transport, *address, effects),
            (Name::UnixPath(path), None) if caller.protocol == Protocol::UnixStream => {
                self.binds_path(caller, path, effects);
            }
            (Name::Ip(_) | Name::UnixPath(_) | Name::UnixAbstract(_) | Name::Unnamed | Name::Other(_), _) => {
                caller.pass();
            }
        }
    }

    fn binds_ip(&mut self, caller: Caller, transport: Transport, address: SocketAddr, effects: &mut Effects) {
        let claims = &self.settings.program.claims;
        let claim = claims.of_ip(transport, address, rights(caller.process));
        match (caller.network, &claim) {
            (Network::Foreign, Claim::Ours(_) | Claim::Refused(_)) => {
                let address = address.to_string();
                self.tell_oddity(caller.worker, Oddity::ForeignNetwork { address });
                return caller.pass();
            }
            (Network::Ours, _) | (Network::Foreign, Claim::AtListen | Claim::Passes) => {}
        }
        match claim {
            Claim::Passes => {
                if transport == Transport::Udp && address.port() != 0 {
                    let address = format!("{address}/udp");
                    self.tell_oddity(caller.worker, Oddity::LeftAlone { address });
                }
                caller.pass();
            }
            Claim::AtListen => {
                if let Some(program) = self.program_mut(caller.worker) {
                    if program.any_port.len() == MOST_ANY_PORT {
                        program.any_port.remove(0);
                    }
                    program.any_port.push((caller.inode, address.ip()));
                }
                caller.pass();
            }
            Claim::Refused(Errno(errno)) => {
                let endpoint = endpoint(caller.kind(), address, V6::Dual, 0);
                self.refuse_call(caller, &endpoint, &io::Error::from_raw_os_error(errno));
            }
            Claim::Ours(address) => self.claims_ip(caller, address, effects),
        }
    }

    fn claims_ip(&mut self, caller: Caller, address: SocketAddr, effects: &mut Effects) {
        let endpoint = endpoint(caller.kind(), address, caller.v6(), 0);
        let Some(caller) = self.begun_anew(caller, &endpoint) else { return };
        self.notice_closed(&caller, &endpoint, effects);
        let sharing = caller.sharing();
        self.ask_core(caller, AskedCall::Bind(address), endpoint, sharing, effects);
    }

    /// A signal may make a call begin anew after it was carried out (Linux before 6.18): then the socket is one of those that
    /// are bound already. To another address none can be bound again.
    fn begun_anew(&self, caller: Caller, endpoint: &Endpoint) -> Option<Caller> {
        let lane = self.lanes.lane_of(caller.inode).and_then(|lane| self.lanes.tenant_of(lane));
        let of_lane = lane.filter(|(tenant, _)| *tenant == caller.worker).map(|(_, port)| port);
        let of_shared =
            || self.ports.iter().find(|(_, socket)| socket.is_inode(caller.inode)).map(|(port, _)| *port);
        let Some(port) = of_lane.or_else(of_shared) else { return Some(caller) };
        if self.ports.get(&port).is_some_and(|socket| socket.endpoint() == endpoint) {
            caller.succeed();
        } else {
            caller.fail(&rustix::io::Errno::INVAL.into());
        }
        None
    }

    /// Nobody tells when a program closes its listener. When it binds the same address once more it may have.
    fn notice_closed(&mut self, caller: &Caller, endpoint: &Endpoint, effects: &mut Effects) {
        let worker = caller.worker;
        let mut there: Vec<(LaneId, u64)> = self.lanes.lanes_at(worker, |port| {
            self.ports.get(&port).is_some_and(|socket| socket.endpoint() == endpoint)
        });
        // To look through all of a worker's tree takes as long as there are processes.
        there.retain(|(_, inode)| !proc::may_hold(caller.process, *inode));
        if there.is_empty() {
            return;
        }
        let Some((root, mark)) = self.tree_of(worker) else { return };
        let members = tree::members(root, &mark);
        for (lane, inode) in there {
            if !members.iter().any(|pid| proc::may_hold(*pid, inode)) {
                self.happen(Core::LaneClosed { worker, lane }, effects);
            }
        }
    }

    fn binds_path(&mut self, caller: Caller, path: &Path, effects: &mut Effects) {
        let absolute = in_view_of(caller.process, path);
        let listed = absolute.as_deref().and_then(Path::to_str);
        let Some(path) = listed.filter(|path| self.settings.program.claims.of_path(path)) else {
            return caller.pass();
        };
        let endpoint = Endpoint {
            kind: EndpointKind::Pipe,
            place: Place::Path(path.into()),
            port: 0,
            ipv6_only: false,
            reuse_address: false,
            index: 0,
            copy: 0,
        };
        let Some(caller) = self.begun_anew(caller, &endpoint) else { return };
        self.ask_core(caller, AskedCall::BindPath, endpoint, Sharing::Alone, effects);
    }

    /// The program is told no, and so is the owner.
    pub(super) fn refuse_call(&mut self, caller: Caller, endpoint: &Endpoint, error: &io::Error) {
        let (worker, address) = (caller.worker, wished(endpoint));
        let errno = error.raw_os_error();
        caller.fail(error);
        let error = errno.map_or_else(|| io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
        let event = Event::ListenFailed { worker: self.handle(worker), address, error };
        self.tell_if_heard(worker, event);
    }
}

/// What two copies must have in common to share a port.
pub(super) fn endpoint(kind: EndpointKind, address: SocketAddr, v6: V6, index: u32) -> Endpoint {
    let host = match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        SocketAddr::V4(_) | SocketAddr::V6(_) => address.ip().to_string(),
    };
    Endpoint {
        kind,
        place: Place::Host(host.into()),
        port: address.port(),
        ipv6_only: address.is_ipv6() && v6 == V6::Only,
        reuse_address: false,
        index,
        copy: 0,
    }
}

fn rights(process: Pid) -> Rights {
    // What cannot be known is not granted: the primary may be allowed more.
    let may_bind_low = foreign::may_bind_low(process).unwrap_or(false);
    Rights { may_bind_low, lowest_free: foreign::lowest_free_port() }
}

/// The path as the program means it; `None` when it has another root than we.
fn in_view_of(process: Pid, path: &Path) -> Option<PathBuf> {
    let root = std::fs::read_link(format!("/proc/{process}/root")).ok()?;
    if root != Path::new("/") {
        return None;
    }
    if path.is_absolute() {
        return Some(path.to_owned());
    }
    let base = std::fs::read_link(format!("/proc/{process}/cwd")).ok()?;
    Some(base.join(path))
}
