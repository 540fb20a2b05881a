//! A program listens, or shuts a listener down.
//!
//! Sockets that were claimed at `bind` are known by their inodes. A TCP socket whose port the kernel chose is claimed now:
//! that it is no client's is known only from `listen`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use oneport_core::{Claim, Effects, EndpointKind, Event as Core, LaneId, Sharing, Transport, WorkerId};
use oneport_sys::foreign::Network;
use oneport_sys::listen::{LocalAddress, is_listening, local_address, waiting};

use super::AskedCall;
use super::bind::endpoint;
use super::call::Caller;
use crate::event::{Event, Oddity};
use crate::primary::Primary;

/// Listeners on ports of the kernel's choice that one worker may have.
const MOST_CHOSEN: u32 = 64;

impl Primary {
    pub(super) fn program_listens(&mut self, caller: Caller, backlog: i32, effects: &mut Effects) {
        // Negative means as much as the kernel allows.
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX);
        if let Some(lane) = self.lanes.lane_of(caller.inode) {
            return self.lane_listens(caller, lane, backlog, effects);
        }
        if let Some((port, socket)) = self.ports.iter().find(|(_, socket)| socket.is_inode(caller.inode)) {
            let (port, listening) = (*port, socket.listen_shared(backlog));
            return match listening {
                Ok(()) => self.shared_listens(caller, port, effects),
                Err(error) => caller.fail(&error),
            };
        }
        match self.port_of_choice(&caller) {
            Some(_) | None if caller.network == Network::Foreign => self.listens_abroad(caller),
            Some(ip) => self.listens_anywhere(caller, ip, backlog, effects),
            None => self.leave_alone(caller),
        }
    }

    fn lane_listens(&mut self, caller: Caller, lane: LaneId, backlog: u32, effects: &mut Effects) {
        let worker = caller.worker;
        match self.join_group(lane, backlog) {
            Ok(()) => {
                self.happen(Core::LaneListens { worker, lane }, effects);
                self.tell_listening(worker, lane);
                self.post_sentry(worker, lane, caller.process);
                caller.succeed();
            }
            Err(error) => caller.fail(&error),
        }
    }

    fn shared_listens(&mut self, caller: Caller, port: oneport_core::PortId, effects: &mut Effects) {
        let worker = caller.worker;
        caller.succeed();
        self.happen(Core::Listening { worker }, effects);
        self.tell_listening_at(worker, port);
    }

    /// The address of a TCP socket whose port the kernel chose or is going to choose.
    fn port_of_choice(&self, caller: &Caller) -> Option<IpAddr> {
        if caller.transport() != Some(Transport::Tcp) {
            return None;
        }
        let program = self.workers.get(&caller.worker)?.program.as_ref()?;
        let noted = program.any_port.iter().find(|(inode, _)| *inode == caller.inode).map(|(_, ip)| *ip);
        noted.or_else(|| match local_address(caller.own()?) {
            Ok(LocalAddress::Ip(address)) if address.port() == 0 => Some(address.ip()),
            Ok(LocalAddress::Ip(_) | LocalAddress::Unix(_) | LocalAddress::Other) | Err(_) => None,
        })
    }

    fn listens_anywhere(&mut self, caller: Caller, ip: IpAddr, backlog: u32, effects: &mut Effects) {
        let Claim::Ours(address) = self.settings.program.claims.at_listen(ip) else {
            return self.leave_alone(caller);
        };
        let Some(index) = self.next_chosen(caller.worker, ip) else { return caller.pass() };
        let endpoint = endpoint(caller.kind(), address, caller.v6(), index);
        self.ask_core(caller, AskedCall::Listen { address, backlog }, endpoint, Sharing::Alone, effects);
    }

    /// The n-th listener of every copy has the same port.
    fn next_chosen(&mut self, worker: WorkerId, ip: IpAddr) -> Option<u32> {
        let program = self.program_mut(worker)?;
        let before: u32 = program.chosen_ports.iter().map(|(_, count)| count).sum();
        if before >= MOST_CHOSEN {
            return None;
        }
        if let Some((_, count)) = program.chosen_ports.iter_mut().find(|(of, _)| *of == ip) {
            *count += 1;
            return Some(*count - 1);
        }
        program.chosen_ports.push((ip, 1));
        Some(0)
    }

    /// What it bound by number was told when it did.
    fn listens_abroad(&mut self, caller: Caller) {
        let claims = &self.settings.program.claims;
        if let Some(ip) = self.port_of_choice(&caller)
            && claims.at_listen(ip) != Claim::Passes
        {
            let address = SocketAddr::new(ip, 0).to_string();
            self.tell_oddity(caller.worker, Oddity::ForeignNetwork { address });
        }
        caller.pass();
    }

    fn leave_alone(&mut self, caller: Caller) {
        if caller.transport() == Some(Transport::Tcp) {
            let known = caller.own().and_then(|own| match local_address(own) {
                Ok(LocalAddress::Ip(address)) => Some(address),
                Ok(LocalAddress::Unix(_) | LocalAddress::Other) | Err(_) => None,
            });
            let address = known.unwrap_or_else(|| SocketAddr::new(unspecified(caller.kind()), 0)).to_string();
            self.tell_oddity(caller.worker, Oddity::LeftAlone { address });
        }
        caller.pass();
    }

    /// A `shutdown` that ends reading: on a shared socket it would end the port for everybody, and on one of its own whatever
    /// waits there.
    pub(super) fn program_shuts(&mut self, caller: Caller, effects: &mut Effects) {
        if let Some(lane) = self.lanes.lane_of(caller.inode) {
            return self.lane_shuts(caller, lane, effects);
        }
        if self.ports.values().any(|socket| socket.is_inode(caller.inode)) {
            return caller.succeed();
        }
        caller.pass();
    }

    /// It may shut what nobody is sent to and where nobody waits. Many programs wake those of their threads with it that wait in
    /// `accept`, and leave only then. Else it is told that it did, and what waits is kept for others.
    fn lane_shuts(&mut self, caller: Caller, lane: LaneId, effects: &mut Effects) {
        if self.lanes.tenant_of(lane).is_none_or(|(tenant, _)| tenant != caller.worker) {
            // It was its predecessor's, of whom this is left.
            return caller.succeed();
        }
        let socket = self.lanes.socket_of(lane);
        let disturbs = self.lanes.is_chosen(lane)
            || socket.is_none_or(|socket| !is_listening(socket) || waiting(socket));
        self.closes(caller.worker, lane, effects);
        if disturbs {
            return caller.succeed();
        }
        match self.lanes.shut(lane) {
            Ok(()) => caller.succeed(),
            Err(error) => caller.fail(&error),
        }
    }

    pub(super) fn tell_listening(&mut self, worker: WorkerId, lane: LaneId) {
        if let Some(port) = self.lanes.port_of(lane) {
            self.tell_listening_at(worker, port);
            self.begin_asking(worker, lane);
        }
    }

    pub(super) fn tell_listening_at(&mut self, worker: WorkerId, port: oneport_core::PortId) {
        let Some(socket) = self.ports.get(&port) else { return };
        let address = socket.address.clone();
        let handle = self.handle(worker);
        handle.listens(&address);
        self.tell_if_heard(worker, Event::Listening { worker: handle, address });
    }
}

fn unspecified(kind: EndpointKind) -> IpAddr {
    match kind {
        EndpointKind::Tcp6 | EndpointKind::Udp6 => Ipv6Addr::UNSPECIFIED.into(),
        EndpointKind::Tcp4 | EndpointKind::Udp4 | EndpointKind::Pipe | EndpointKind::Inherited => {
            Ipv4Addr::UNSPECIFIED.into()
        }
    }
}
