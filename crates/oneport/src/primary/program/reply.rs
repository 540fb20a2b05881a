//! The core's answer to a program's call, carried out on its socket.
//!
//! Invariant: whatever fails here is told to the program with the kernel's number, and to the core.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use oneport_core::{
    Errno, Event as Core, LaneId, Origin, PortId, QuerySeq, ReplyOutcome, Transport, WorkerId,
};
use oneport_sys::lane::{make_tcp, make_udp, set_reuse_address};
use oneport_sys::listen::{bind_here, bound_to, inode, rehome, set_reuse_port};
use tracing::debug;

use super::call::{Caller, Held, NotPut};
use super::{Asked, AskedCall};
use crate::event::Oddity;
use crate::primary::Primary;
use crate::primary::lane::{Lane, LaneKind};
use crate::program::Ports;

impl Primary {
    /// False: it was no program's call.
    pub(in crate::primary) fn answer_program(
        &mut self,
        worker: WorkerId,
        seq: QuerySeq,
        outcome: &ReplyOutcome,
    ) -> bool {
        let Some(asked) = self.programs.asked.remove(&(worker, seq)) else { return false };
        match outcome {
            ReplyOutcome::Lane { port, lane, origin: Origin::Fresh } => self.make_lane(asked, *port, *lane),
            ReplyOutcome::Lane { port, lane, origin: Origin::Adopted } => {
                self.adopt_lane(asked, *port, *lane)
            }
            ReplyOutcome::Shared(port) => self.share(asked, *port),
            ReplyOutcome::Failed(Errno(errno)) => {
                self.refuse_asked(asked, &io::Error::from_raw_os_error(*errno))
            }
            // Programs accept for themselves, as the core knows.
            ReplyOutcome::RoundRobin(_) => asked.caller.fail(&io::ErrorKind::InvalidInput.into()),
        }
        true
    }

    fn refuse_asked(&mut self, asked: Asked, error: &io::Error) {
        self.refuse_call(asked.caller, &asked.endpoint, error);
    }

    /// A socket of the worker's own: in own mode the program's, else one of ours that takes its place.
    fn make_lane(&mut self, mut asked: Asked, port: PortId, lane: LaneId) {
        let worker = asked.caller.worker;
        let replaces = asked.caller.socket.is_none();
        let is_tried_out = self.settings.program.ports == Ports::Scratch;
        let is_polled = (replaces || is_tried_out) && asked.caller.is_polled();
        let made = match asked.call {
            AskedCall::Bind(address) => self.bound(&mut asked.caller, address),
            AskedCall::Listen { address, .. } => {
                let agreed = self.ports.get(&port).and_then(|socket| socket.local()).unwrap_or(address);
                bound_anew(&mut asked.caller, agreed)
            }
            AskedCall::BindPath => Err(io::ErrorKind::InvalidInput.into()),
        };
        let outcome = made.and_then(|socket| {
            let kind = kind_of(&asked.caller);
            let placed = if replaces { Some(socket.try_clone()?) } else { None };
            if replaces {
                asked.caller.prepare(socket.as_fd())?;
            }
            let inode = inode(socket.as_fd())?;
            let slot = self.handle(worker).slot();
            self.add_lane(lane, Lane::new(socket, inode, port, Some(worker), slot, kind));
            self.goes_on(&asked, port, lane)?;
            Ok(placed)
        });
        if is_polled && outcome.is_ok() {
            self.tell_polled(worker, port);
        }
        match outcome {
            Ok(None) => asked.caller.succeed(),
            Ok(Some(socket)) => {
                if asked.caller.place(socket.as_fd(), Held::ByNobody).is_err() {
                    self.lane_failed(worker, lane);
                }
            }
            Err(error) => {
                self.lane_failed(worker, lane);
                self.refuse_asked(asked, &error);
            }
        }
    }

    /// The socket that was kept takes the place of the program's.
    fn adopt_lane(&mut self, asked: Asked, port: PortId, lane: LaneId) {
        let worker = asked.caller.worker;
        self.tell_if_deaf(&asked.caller, port);
        let kept = match self.lanes.adopt(lane, worker) {
            Ok(kept) => kept,
            Err(error) => {
                self.not_adopted(worker, lane);
                return self.refuse_asked(asked, &error);
            }
        };
        match asked.caller.put(kept.as_fd(), Held::ByNobody) {
            Ok(()) => {}
            Err(NotPut::Watched(cause)) => {
                debug!(%cause, worker = worker.0, "cannot register a socket again");
                self.tell_polled(worker, port);
                self.lanes.give_up(lane);
                self.close_lane(lane);
                return self.make_lane(asked, port, lane);
            }
            Err(NotPut::Failed(cause)) => {
                self.not_adopted(worker, lane);
                return asked.caller.fail(&cause);
            }
        }
        match self.goes_on(&asked, port, lane) {
            Ok(()) => {
                if asked.caller.succeed_with(kept.as_fd()).is_err() {
                    self.not_adopted(worker, lane);
                }
            }
            Err(error) => {
                self.not_adopted(worker, lane);
                self.refuse_asked(asked, &error);
            }
        }
    }

    fn not_adopted(&mut self, worker: WorkerId, lane: LaneId) {
        self.lanes.give_up(lane);
        self.pending.push_back(Core::LaneFailed { worker, lane });
    }

    /// Where the program's own socket cannot be had, what watches it does not watch the one that is put in its place.
    fn tell_if_deaf(&mut self, caller: &Caller, port: PortId) {
        if caller.own().is_none() && caller.is_polled() {
            self.tell_polled(caller.worker, port);
        }
    }

    fn tell_polled(&mut self, worker: WorkerId, port: PortId) {
        if let Some(address) = self.ports.get(&port).map(|socket| socket.address.clone()) {
            self.tell_oddity(worker, Oddity::PolledEarly { address });
        }
    }

    /// What follows on being bound: a datagram socket receives from now on, and who was asked about at `listen` listens.
    fn goes_on(&mut self, asked: &Asked, port: PortId, lane: LaneId) -> io::Result<()> {
        let worker = asked.caller.worker;
        let listens = match asked.call {
            AskedCall::Bind(_) => kind_of(&asked.caller) == LaneKind::Datagram,
            AskedCall::BindPath => false,
            AskedCall::Listen { backlog, .. } => {
                self.join_group(lane, backlog)?;
                true
            }
        };
        let bound = self.lanes.socket_of(lane).and_then(|socket| bound_to(socket).ok().flatten());
        if let (Some(socket), Some(bound)) = (self.ports.get_mut(&port), bound) {
            socket.settle(bound);
        }
        if listens {
            self.pending.push_back(Core::LaneListens { worker, lane });
            self.tell_listening(worker, lane);
            self.post_sentry(worker, lane, asked.caller.process);
        }
        Ok(())
    }

    /// Bound where it shall be.
    fn bound(&self, caller: &mut Caller, address: SocketAddr) -> io::Result<OwnedFd> {
        let address = match self.settings.program.ports {
            Ports::Wished => address,
            Ports::Scratch => scratch(address),
        };
        let stream = kind_of(caller) == LaneKind::Stream;
        let Some(own) = caller.socket.take() else {
            let v6 = caller.v6();
            return if stream { make_tcp(address, v6) } else { make_udp(address, v6) };
        };
        if address.port() != 0 {
            set_reuse_port(own.as_fd())?;
        }
        if stream {
            set_reuse_address(own.as_fd())?;
        }
        bind_here(own.as_fd(), address)?;
        set_reuse_port(own.as_fd())?;
        Ok(own)
    }

    /// One socket for all copies, put in the place of the program's own.
    fn share(&mut self, asked: Asked, port: PortId) {
        let worker = asked.caller.worker;
        let listens = match asked.call {
            AskedCall::Listen { .. } => true,
            // A datagram socket receives as soon as it is bound.
            AskedCall::Bind(_) => kind_of(&asked.caller) == LaneKind::Datagram,
            AskedCall::BindPath => false,
        };
        let shared = match (self.ports.get_mut(&port), &asked.call) {
            (Some(socket), AskedCall::Listen { backlog, .. }) => {
                socket.listen_shared(*backlog).and_then(|()| socket.share())
            }
            (Some(socket), AskedCall::Bind(_)) => socket.share(),
            (Some(socket), AskedCall::BindPath) => {
                socket.bind_for(asked.caller.maker()).and_then(|()| socket.share())
            }
            (None, _) => Err(io::ErrorKind::NotFound.into()),
        };
        let held = match self.ports.get(&port).is_some_and(|socket| socket.is_shared()) {
            true => Held::ByOthers,
            false => Held::ByNobody,
        };
        match shared {
            Ok(copy) => {
                self.tell_if_deaf(&asked.caller, port);
                let placed = asked.caller.place(copy.as_fd(), held);
                if let Some(socket) = self.ports.get_mut(&port).filter(|_| placed.is_ok()) {
                    socket.note_shared();
                }
                match placed {
                    Ok(()) if listens => {
                        self.pending.push_back(Core::Listening { worker });
                        self.tell_listening_at(worker, port);
                    }
                    Ok(()) => {}
                    Err(NotPut::Watched(_)) => {
                        self.tell_polled(worker, port);
                        self.pending.push_back(Core::Closed { worker, port });
                    }
                    Err(NotPut::Failed(_)) => self.pending.push_back(Core::Closed { worker, port }),
                }
            }
            Err(error) => {
                self.pending.push_back(Core::Closed { worker, port });
                self.refuse_asked(asked, &error);
            }
        }
    }

    pub(super) fn lane_failed(&mut self, worker: WorkerId, lane: LaneId) {
        self.lanes.end(lane);
        self.pending.push_back(Core::LaneFailed { worker, lane });
    }
}

/// The n-th listener of each copy: on the port that the first one was given. It listens when it joins the others there.
fn bound_anew(caller: &mut Caller, address: SocketAddr) -> io::Result<OwnedFd> {
    let Some(own) = caller.socket.take() else { return make_tcp(address, caller.v6()) };
    if address.port() == 0 {
        set_reuse_port(own.as_fd())?;
    } else {
        rehome(own.as_fd(), address)?;
    }
    Ok(own)
}

fn kind_of(caller: &Caller) -> LaneKind {
    match caller.transport() {
        Some(Transport::Udp) => LaneKind::Datagram,
        Some(Transport::Tcp) | None => LaneKind::Stream,
    }
}

/// Any free port, where nobody else finds it.
pub(super) fn scratch(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::LOCALHOST, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::LOCALHOST, 0).into(),
    }
}
