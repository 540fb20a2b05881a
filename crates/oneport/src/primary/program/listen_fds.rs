//! Programs that are started with their sockets (`LISTEN_FDS`, sd_listen_fds(3)): nothing of them is trapped.
//!
//! Their sockets must be there before there is a process, and which ones these are is the core's matter: new ones, or those
//! that the slot's last worker left with what waits in them. So the core is asked in the worker's name as soon as it
//! wants one, and when it has answered about all of them the process is started. Invariant: every birth that began is
//! over when the core has nothing more to do: with a process that has all its sockets, or with a worker that failed.
//!
//! Such a program never says that it listens; it counts as listening from its start on, and clients wait in the queue.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

use oneport_core::{
    Attach, EndCause, Endpoint, EndpointKind, Errno, Event as Core, LaneId, Origin, PortId, QuerySeq,
    QueryTerms, ReplyOutcome, Sharing, Terms, WorkerId,
};
use oneport_sys::foreign::Blocking;
use oneport_sys::lane::{make_tcp, set_blocking};
use oneport_sys::listen::{V6, bound_to, inode, is_listening};

use super::Programs;
use super::bind::endpoint;
use super::reply::scratch;
use crate::event::{Event, Output};
use crate::fork::Worker;
use crate::primary::Primary;
use crate::primary::lane::{Lane, LaneKind};
use crate::primary::port::wished;
use crate::primary::spawn::is_shortage;
use crate::program::{ListenFd, Ports};

/// As many as the administrator allows (`net.core.somaxconn`), as systemd does.
const BACKLOG: u32 = u32::MAX;

/// A worker on its way.
#[derive(Debug)]
pub(super) enum Birth {
    /// Its sockets are asked for.
    Asked { owner: Worker, env: Vec<(OsString, OsString)>, sockets: Vec<Wanted> },
    /// It has a process, and these.
    Born { worker: WorkerId, places: Vec<Given> },
}

#[derive(Debug)]
pub(super) struct Wanted {
    seq: QuerySeq,
    address: SocketAddr,
    endpoint: Endpoint,
    name: String,
    /// `None`: the core has not answered.
    got: Option<io::Result<(OwnedFd, Given)>>,
}

/// What the socket is to the primary.
#[derive(Debug)]
pub(super) enum Given {
    Lane(LaneId),
    Shared(PortId),
}

impl Programs {
    fn wanted(&mut self, worker: WorkerId, seq: QuerySeq) -> Option<&mut Wanted> {
        self.births.iter_mut().find_map(|birth| match birth {
            Birth::Asked { owner, sockets, .. } if owner.id() == worker => {
                sockets.iter_mut().find(|wanted| wanted.seq == seq)
            }
            Birth::Asked { .. } | Birth::Born { .. } => None,
        })
    }
}

impl Primary {
    /// Asks for the sockets of a worker; it is started when they are there.
    pub(in crate::primary) fn begin_birth(
        &mut self,
        owner: Worker,
        env: Vec<(OsString, OsString)>,
        given: &[ListenFd],
    ) {
        let mut sockets: Vec<Wanted> = Vec::new();
        for ListenFd { address, name } in given {
            let address = match self.settings.program.ports {
                Ports::Wished => *address,
                Ports::Scratch => scratch(*address),
            };
            let kind = if address.is_ipv4() { EndpointKind::Tcp4 } else { EndpointKind::Tcp6 };
            // The n-th of every copy has the same port.
            let before = sockets.iter().filter(|wanted| wanted.address == address).count();
            let endpoint = endpoint(kind, address, V6::Dual, u32::try_from(before).unwrap_or(u32::MAX));
            let seq = QuerySeq(self.programs.next_seq);
            self.programs.next_seq += 1;
            let query = QueryTerms {
                endpoint: endpoint.clone(),
                terms: Terms::default(),
                data: None,
                sharing: Sharing::Alone,
            };
            self.pending.push_back(Core::Query { worker: owner.id(), seq, query: Box::new(query) });
            sockets.push(Wanted { seq, address, endpoint, name: name.clone(), got: None });
        }
        self.programs.births.push(Birth::Asked { owner, env, sockets });
    }

    /// False: it was no answer about such a socket.
    pub(in crate::primary) fn answer_birth(
        &mut self,
        worker: WorkerId,
        seq: QuerySeq,
        outcome: &ReplyOutcome,
    ) -> bool {
        let Some(wanted) = self.programs.wanted(worker, seq) else { return false };
        let address = wanted.address;
        let got = match *outcome {
            ReplyOutcome::Lane { port, lane, origin } => self.give_lane(worker, address, port, lane, origin),
            ReplyOutcome::Shared(port) => self.give_shared(worker, port),
            ReplyOutcome::Failed(Errno(errno)) => Err(io::Error::from_raw_os_error(errno)),
            // Programs accept for themselves, as the core knows.
            ReplyOutcome::RoundRobin(_) => Err(io::ErrorKind::InvalidInput.into()),
        };
        if let Some(wanted) = self.programs.wanted(worker, seq) {
            wanted.got = Some(got);
        }
        true
    }

    fn give_lane(
        &mut self,
        worker: WorkerId,
        address: SocketAddr,
        port: PortId,
        lane: LaneId,
        origin: Origin,
    ) -> io::Result<(OwnedFd, Given)> {
        let given = match origin {
            Origin::Fresh => self.make_given(worker, address, port, lane),
            Origin::Adopted => self.lanes.adopt(lane, worker),
        };
        let given = given.and_then(|socket| {
            // Its predecessor may have set it otherwise.
            set_blocking(socket.as_fd(), Blocking::Waits)?;
            self.join_group(lane, BACKLOG)?;
            Ok((socket, Given::Lane(lane)))
        });
        if given.is_err() {
            match origin {
                Origin::Fresh => self.lane_failed(worker, lane),
                Origin::Adopted => {
                    self.lanes.give_up(lane);
                    self.pending.push_back(Core::LaneFailed { worker, lane });
                }
            }
        }
        given
    }

    fn make_given(
        &mut self,
        worker: WorkerId,
        address: SocketAddr,
        port: PortId,
        lane: LaneId,
    ) -> io::Result<OwnedFd> {
        let agreed = self.ports.get(&port).and_then(|socket| socket.local()).unwrap_or(address);
        let socket = make_tcp(agreed, V6::Dual)?;
        let copy = socket.try_clone()?;
        if let (Some(port), Some(bound)) = (self.ports.get_mut(&port), bound_to(socket.as_fd())?) {
            port.settle(bound);
        }
        let inode = inode(socket.as_fd())?;
        let slot = self.handle(worker).slot();
        self.add_lane(lane, Lane::new(socket, inode, port, Some(worker), slot, LaneKind::Stream));
        Ok(copy)
    }

    /// One socket for all copies. Whether operations on it wait is for all the same, so it is set before the first has it.
    fn give_shared(&mut self, worker: WorkerId, port: PortId) -> io::Result<(OwnedFd, Given)> {
        let shared = self.ports.get(&port).ok_or(io::ErrorKind::NotFound.into()).and_then(|socket| {
            let copy = socket.share()?;
            if !is_listening(copy.as_fd()) {
                set_blocking(copy.as_fd(), Blocking::Waits)?;
            }
            socket.listen_shared(BACKLOG)?;
            Ok((copy, Given::Shared(port)))
        });
        if shared.is_err() {
            self.pending.push_back(Core::Closed { worker, port });
        }
        shared
    }

    /// The core has answered all that it is going to. False: no birth is under way.
    pub(in crate::primary) fn tend_births(&mut self) -> bool {
        if self.programs.births.is_empty() {
            return false;
        }
        for birth in std::mem::take(&mut self.programs.births) {
            match birth {
                Birth::Asked { owner, env, sockets } => self.bear_with(owner, env, sockets),
                Birth::Born { worker, places } => self.serves_from_birth(worker, places),
            }
        }
        true
    }

    fn bear_with(&mut self, owner: Worker, env: Vec<(OsString, OsString)>, sockets: Vec<Wanted>) {
        let worker = owner.id();
        let (mut inherit, mut places, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let wanted = sockets.len();
        for Wanted { endpoint, name, got, .. } in sockets {
            match got {
                Some(Ok((socket, place))) => {
                    inherit.push((socket, name));
                    places.push(place);
                }
                Some(Err(error)) => failed.push((endpoint, error)),
                // It is to leave before it came.
                None => {}
            }
        }
        if inherit.len() < wanted {
            return self.fail_birth(owner, failed);
        }
        self.bear(owner, Attach::Program, env, inherit);
        if self.workers.contains_key(&worker) {
            self.programs.births.push(Birth::Born { worker, places });
        } else {
            self.lanes.forget_tenant(worker);
        }
    }

    fn fail_birth(&mut self, owner: Worker, failed: Vec<(Endpoint, io::Error)>) {
        let worker = owner.id();
        let short = failed.iter().any(|(_, error)| is_shortage(error));
        self.tell(Event::Fork { worker: owner.clone(), output: Output::default() });
        // There never was a channel: nothing to be told of its end.
        owner.disconnected();
        for (endpoint, error) in failed {
            let (worker, address) = (owner.clone(), wished(&endpoint));
            self.tell_if_heard(worker.id(), Event::ListenFailed { worker, address, error });
        }
        self.lanes.forget_tenant(worker);
        let cause = if short { EndCause::Shortage } else { EndCause::ByItself };
        self.pending.push_back(Core::SpawnFailed { worker, cause });
    }

    fn serves_from_birth(&mut self, worker: WorkerId, places: Vec<Given>) {
        let Some((root, _)) = self.tree_of(worker) else { return };
        for place in places {
            match place {
                Given::Lane(lane) => {
                    self.pending.push_back(Core::LaneListens { worker, lane });
                    self.tell_listening(worker, lane);
                    self.post_sentry(worker, lane, root);
                }
                Given::Shared(port) => {
                    self.pending.push_back(Core::Listening { worker });
                    self.tell_listening_at(worker, port);
                }
            }
        }
    }
}
