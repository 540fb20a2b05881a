//! Carrying out what the core asks for: one arm per effect, each a call to the room that can do it.

use std::os::fd::AsFd;
use std::sync::Arc;

use oneport_core::{
    ConnId, Effect, EndCause, Errno, Event as Core, Exit, Notice, Origin, Phase, PortId, QuerySeq,
    ReplyOutcome, WorkerId,
};
use oneport_sys::poll::Interest;
use oneport_wire::node::errno::Errno as WireErrno;
use oneport_wire::node::message::{FromPrimary, Json, Outcome};
use tracing::{info, trace, warn};

use super::Primary;
use super::channel::{Carried, Channel, Kin};
use super::heard::trace_message;
use super::port::{Opening, key, open, wished};
use super::spawn::{Way, Wish};
use super::token::Token;
use crate::event::{Address, AddressKind, Event};
use crate::fork::State;

impl Primary {
    pub(super) fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::HandOff { worker, port, conn } => self.hand_off(worker, port, conn),
            Effect::Settle { conn } => self.release(conn),
            Effect::Drop { conn, reason } => {
                trace!(conn = conn.0, ?reason, "connection closed unserved");
                self.release(conn);
            }
            Effect::Spawn { worker, slot, attach } => self.spawn(worker, slot, attach),
            Effect::SignalStop { worker } => self.ask_to_stop(worker),
            Effect::EndTree { worker, grace } => self.end_tree(worker, grace),
            Effect::Forget { worker } => self.forget(worker),
            Effect::TellDisconnect { worker } => self.disconnect_once_begun(worker),
            Effect::Acknowledge { worker, seq: QuerySeq(ack) } => {
                self.say(worker, |seq| FromPrimary::Acknowledge { ack, seq: Some(seq) });
            }
            Effect::WatchIdle { worker, linger } => self.watch_idle(worker, linger),
            Effect::Open { port, endpoint, mode, attach, terms } => {
                self.open(port, &endpoint, Opening { mode, attach, terms });
            }
            Effect::Widen { port, terms } => {
                if let Some(socket) = self.ports.get(&port)
                    && let Err(cause) = socket.widen(terms)
                {
                    warn!(%cause, address = %socket.address, "cannot widen terms");
                }
            }
            Effect::Reply { worker, seq, outcome, data } => self.reply(worker, seq, outcome, data),
            Effect::PauseAccept { port } => self.set_arrivals(port, |socket| socket.accepting = false),
            Effect::ResumeAccept { port } => self.set_arrivals(port, |socket| socket.accepting = true),
            Effect::Unwatch { port } => self.set_arrivals(port, |socket| socket.watched = false),
            Effect::Watch { port } => self.set_arrivals(port, |socket| socket.watched = true),
            Effect::Shut { port } => self.shut(port),
            Effect::Close { port } => self.close(port),
            Effect::Choose { port, lanes } => self.choose_lanes(port, lanes),
            Effect::EmptyLanes { worker } => self.empty_lanes(worker),
            Effect::RetireLane { lane } => self.retire_lane(lane),
            Effect::TakeOver { lane } => self.take_over_counted(lane),
            Effect::CloseLane { lane } => self.close_lane(lane),
            Effect::Tell(notice) => self.pass_on(notice),
        }
    }

    fn hand_off(&mut self, worker: WorkerId, port: PortId, conn: ConnId) {
        let (Some(w), Some(socket)) = (self.workers.get_mut(&worker), self.ports.get(&port)) else { return };
        let way = w.way_to(port);
        if let Some(connection) = self.conns.get(&conn) {
            self.lanes.hand_over(port, connection.as_fd(), worker);
        }
        match way {
            Way::Stream(stream) => return self.put_on_stream(stream, conn),
            // Its process is ending, or it says next that it has closed the port.
            Way::Ended => return self.pending.push_back(Core::NotReceived { worker, conn }),
            Way::Channel => {}
        }
        let Some(channel) = w.channel.as_mut() else { return };
        let seq = channel.next_seq();
        let message = FromPrimary::NewConn { key: socket.key.as_str().into(), seq };
        trace_message("to", worker, |out| message.encode(out));
        let conns = &self.conns;
        channel.send(&message, Carried::Connection(conn), |conn| conns.get(&conn).map(AsFd::as_fd));
        channel.expect(seq, conn);
        self.update_interest(worker);
    }

    pub(super) fn tell_disconnect(&mut self, worker: WorkerId) {
        self.say(worker, |seq| FromPrimary::Disconnect { seq: Some(seq) });
    }

    /// Sends a message that carries nothing.
    fn say(&mut self, worker: WorkerId, message: impl FnOnce(i64) -> FromPrimary<'static>) {
        let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) else { return };
        let message = message(channel.next_seq());
        trace_message("to", worker, |out| message.encode(out));
        channel.send(&message, Carried::Nothing, |_| None);
        self.update_interest(worker);
    }

    fn reply(&mut self, worker: WorkerId, seq: QuerySeq, outcome: ReplyOutcome, data: Option<Box<str>>) {
        if self.answer_birth(worker, seq, &outcome) || self.answer_program(worker, seq, &outcome) {
            return;
        }
        let wish = self.workers.get_mut(&worker).and_then(|w| w.take_wish(seq));
        let takes_stream = wish.as_ref().is_some_and(|wish| wish.takes_stream);
        let mut carried = Carried::Nothing;
        let (key, outcome) = match outcome {
            ReplyOutcome::RoundRobin(port) => {
                let Some(socket) = self.ports.get(&port) else { return };
                let (key, sockname) = (socket.key.clone(), socket.sockname());
                match if takes_stream { self.open_stream(worker, port) } else { None } {
                    Some(end) => {
                        carried = Carried::Descriptor(Arc::new(end));
                        (key, Outcome::HandOff { sockname, version: oneport_wire::handoff::VERSION })
                    }
                    None => (key, Outcome::RoundRobin { sockname }),
                }
            }
            ReplyOutcome::Shared(port) => match self.ports.get(&port).map(|s| (s, s.share())) {
                Some((socket, Ok(copy))) => {
                    carried = Carried::Descriptor(Arc::new(copy));
                    (socket.key.clone(), Outcome::Shared { kind: socket.native_kind() })
                }
                Some((socket, Err(cause))) => {
                    // It was put down as one that listens there; it does not.
                    self.pending.push_back(Core::Closed { worker, port });
                    let errno = WireErrno::from_os(cause.raw_os_error().unwrap_or(0));
                    (socket.key.clone(), Outcome::Failed { errno })
                }
                None => return,
            },
            ReplyOutcome::Lane { port, lane, origin } => {
                let backlog = wish.as_ref().map_or(0, |wish| wish.backlog);
                let given = self.give_lane_by_channel(worker, port, lane, origin, backlog);
                let Some(socket) = self.ports.get(&port) else { return };
                let key = socket.key.clone();
                match given {
                    Ok(copy) => {
                        carried = Carried::Descriptor(Arc::new(copy));
                        (key, Outcome::Shared { kind: socket.native_kind() })
                    }
                    Err(cause) => {
                        warn!(%cause, address = %socket.address, "cannot give a worker a socket of its own");
                        match origin {
                            Origin::Fresh => _ = self.lanes.end(lane),
                            Origin::Adopted => self.lanes.give_up(lane),
                        }
                        self.pending.push_back(Core::LaneFailed { worker, lane });
                        (
                            key,
                            Outcome::Failed { errno: WireErrno::from_os(cause.raw_os_error().unwrap_or(0)) },
                        )
                    }
                }
            }
            ReplyOutcome::Failed(Errno(errno)) => {
                let address = wish.map_or_else(unknown_address, |Wish { address, .. }| address);
                let key = address.text.clone();
                let error = std::io::Error::from_raw_os_error(errno);
                self.tell_counted(
                    worker,
                    Event::ListenFailed { worker: self.handle(worker), address, error },
                );
                (key, Outcome::Failed { errno: WireErrno::from_os(errno) })
            }
        };
        let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) else { return };
        let data = data.and_then(|text| Json::parse(String::from(text)).ok());
        let own_seq = channel.next_seq();
        let message = FromPrimary::Reply { ack: seq.0, seq: own_seq, key: key.into(), data, outcome };
        trace_message("to", worker, |out| message.encode(out));
        channel.send(&message, carried, |_| None);
        self.update_interest(worker);
    }

    fn open(&mut self, port: PortId, endpoint: &oneport_core::Endpoint, opening: Opening) {
        let (ports, mode) = (self.settings.program.ports, opening.mode);
        let opened = open(endpoint, opening, ports, self.unused_key(endpoint)).and_then(|mut socket| {
            if let Some(keeper) = socket.take_keeper() {
                self.lanes.hold(port, keeper)?;
            }
            if let Some(listener) = socket.listener() {
                self.poller.add(listener, Token::Port(port).pack(), Interest::READ)?;
            }
            Ok(socket)
        });
        let outcome = match opened {
            Ok(socket) => {
                info!(address = %socket.address, ?mode, "port opened");
                self.ports.insert(port, socket);
                Ok(())
            }
            Err(cause) => {
                let errno = Errno(cause.raw_os_error().unwrap_or(rustix::io::Errno::INVAL.raw_os_error()));
                info!(address = %wished(endpoint), %cause, "cannot open port");
                Err(errno)
            }
        };
        self.pending.push_back(Core::PortOpened { port, outcome });
    }

    /// Two sockets for one endpoint need two names.
    fn unused_key(&self, endpoint: &oneport_core::Endpoint) -> String {
        let plain = key(endpoint);
        let taken = |candidate: &str| self.ports.values().any(|socket| socket.key == candidate);
        if !taken(&plain) {
            return plain;
        }
        let numbered = (1..=self.ports.len() + 1).map(|n| format!("{plain}:{n}"));
        numbered.into_iter().find(|candidate| !taken(candidate)).unwrap_or(plain)
    }

    fn close(&mut self, port: PortId) {
        self.tell_rescued();
        let Some(socket) = self.ports.remove(&port) else { return };
        self.end_streams_of(port);
        self.lanes.forget_port(port);
        if let Some(listener) = socket.listener() {
            // Not registered, or closed in a moment: gone from the set either way.
            let _ = self.poller.remove(listener);
        }
        info!(address = %socket.address, "port closed");
    }

    fn forget(&mut self, worker: WorkerId) {
        let Some(w) = self.workers.remove(&worker) else { return };
        self.drop_streams(worker);
        self.forget_program(worker);
        self.forget_notes(worker);
        w.ending.hurry.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(channel) = &w.channel {
            // Removed when its end was read, or closed now.
            let _ = self.poller.remove(channel.fd());
        }
    }

    /// Turns the core's notice into the owner's event, with pids and addresses.
    fn pass_on(&mut self, notice: Notice) {
        let event = match notice {
            Notice::Moved { worker, from, to } => return self.moved(worker, from, to),
            Notice::Ready { worker } => Event::Ready { worker: self.handle(worker) },
            Notice::NotReadyYet { worker, after } => {
                Event::NotReadyYet { worker: self.handle(worker), after }
            }
            Notice::Proven { worker } => Event::Proven { worker: self.handle(worker) },
            Notice::Condemned { worker, cause } => {
                let reason = self.workers.get_mut(&worker).and_then(|w| w.reason.take());
                let silent =
                    cause == EndCause::Hung && self.workers.get(&worker).is_some_and(|w| w.program.is_some());
                let known = if silent { SILENT } else { condemned_for(cause) };
                let reason = reason.unwrap_or_else(|| known.to_owned());
                Event::Condemned { worker: self.handle(worker), reason }
            }
            Notice::Died { worker, slot: _, exit, cause } => return self.died(worker, exit, cause),
            Notice::Restarting { slot, delay } => Event::Restarting { slot, delay },
            Notice::Errored { slot, restarts } => Event::Errored { slot, restarts },
            Notice::Finished { slot } => Event::Finished { slot },
            Notice::OnTrial { worker } => Event::OnTrial { worker: self.handle(worker) },
            Notice::AllErrored => Event::AllErrored,
            Notice::ReloadStarted { workers } => Event::ReloadStarted { workers },
            Notice::ReloadQueued => Event::ReloadQueued,
            Notice::Replaced { slot, new } => Event::Replaced { slot, worker: self.handle(new) },
            Notice::ReloadDone { replaced, took } => Event::ReloadDone { replaced, took },
            Notice::ReloadAborted { slot, worker, failure, replaced } => {
                Event::ReloadAborted { slot, worker: self.handle(worker), failure, replaced }
            }
            Notice::Temporary { worker } => Event::Temporary { worker: self.handle(worker) },
            Notice::AcceptExhausted { port } => {
                let address = self.ports.get(&port).map(|socket| socket.address.clone());
                Event::AcceptExhausted { address: address.unwrap_or_else(unknown_address) }
            }
            Notice::Disconnected => {
                self.all_gone();
                Event::Disconnected
            }
            Notice::Stopped => {
                self.over = true;
                self.end_spared();
                self.all_gone();
                Event::Stopped
            }
        };
        self.tell(event);
    }

    fn moved(&mut self, worker: WorkerId, from: Phase, to: Phase) {
        let handle = self.handle(worker);
        info!(
            worker = worker.0,
            slot = handle.slot().map(|s| s.0),
            pid = handle.pid(),
            event = to.name(),
            "from {}",
            from.name()
        );
        handle.leaves(self.core.asked_to_leave(worker));
        match to {
            Phase::Online => {
                handle.reached(State::Online);
                self.tell(Event::Online { worker: handle.clone() });
            }
            Phase::Starting
            | Phase::Listening
            | Phase::Draining
            | Phase::Leaving
            | Phase::Stopping
            | Phase::Ending
            | Phase::Gone => {}
        }
        self.tell(Event::Moved { worker: handle, from, to });
    }

    /// Its channel is closed, as the owner sees it: told once.
    pub(super) fn disconnected(&mut self, worker: WorkerId) {
        let handle = self.handle(worker);
        let channel = self.workers.get(&worker).and_then(|w| w.channel.as_ref());
        let was_open = match channel.map(Channel::kin) {
            Some(Kin::Child) => handle.hung_up(),
            Some(Kin::Cluster) | None => handle.disconnected(),
        };
        if was_open {
            self.tell(Event::Disconnect { worker: handle });
        }
    }

    fn died(&mut self, worker: WorkerId, exit: Exit, cause: EndCause) {
        let handle = self.handle(worker);
        let lost = handle.waiting();
        if lost > 0 {
            let text =
                format!("cannot deliver messages: {lost} bytes were not written when the worker ended");
            let error = std::io::Error::new(std::io::ErrorKind::BrokenPipe, text);
            self.tell(Event::Error { worker: handle.clone(), error });
        }
        self.disconnected(worker);
        handle.leaves(self.core.asked_to_leave(worker).or(Some(cause.is_in_order())));
        handle.reached(State::Dead);
        handle.died();
        self.shared.workers().remove(&worker);
        self.tell(Event::Exit { worker: handle, exit, cause });
    }
}

fn unknown_address() -> Address {
    Address { kind: AddressKind::Tcp, text: "an unknown address".to_owned(), socket: None }
}

/// What hanging is for a program: it holds no hand-off that it could answer late.
const SILENT: &str = "it did not say within the watchdog time that it is alive";

fn condemned_for(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Violation => "it broke the protocol",
        EndCause::Hung => "it did not answer a hand-off within the hang timeout",
        EndCause::NotReady => "it was not ready in time",
        EndCause::Shortage => "descriptors, memory or processes ran out",
        EndCause::Killed => "its owner killed it",
        EndCause::Asked => "the app is being ended now",
        EndCause::ByItself | EndCause::Voluntary => "it left by itself",
    }
}
