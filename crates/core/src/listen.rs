//! Ports coming: queries, joins and the outcome of opening. How they go is `close.rs`.

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, ReplyOutcome};
use crate::event::{Opened, QueryTerms, Sharing};
use crate::ids::{Errno, PortId, QuerySeq, Time, WorkerId};
use crate::lane::LANES;
use crate::port::{Endpoint, EndpointKind, Holder, Mode, Port, PortPhase, Terms, Waiter};
use crate::settings::{Attach, Policy};
use crate::stop::Ending;
use crate::timer::Timer;

impl Cluster {
    pub(crate) fn query(
        &mut self,
        now: Time,
        worker: WorkerId,
        seq: QuerySeq,
        query: QueryTerms,
        fx: &mut Effects,
    ) {
        // Node drops the query of a worker that was told to leave, too (all majors).
        if !self.expects_reply(worker) {
            return;
        }
        let waiter = Waiter { worker, seq, sharing: query.sharing };
        let mut endpoint = query.endpoint;
        if !endpoint.is_any_port() {
            endpoint.index = 0;
        }
        endpoint.copy = 0;
        loop {
            match self.find_port(&endpoint) {
                // Its second server on one endpoint gets a socket of its own, which the kernel grants or
                // refuses; sharing the first would make a Node worker assert (nodejs/node#64869).
                Some(port) if self.concerns(port, worker) && !self.is_lanes(port) => endpoint.copy += 1,
                // Workers of another kind have it, in a way that this one cannot share.
                Some(port) if !self.suits(port, worker) => return self.fail(waiter, Errno::ADDR_IN_USE, fx),
                Some(port) => return self.join(now, port, waiter, &query.terms, query.data, fx),
                None => break,
            }
        }
        for port in self.closing_ports(worker) {
            self.close_port(port, fx);
        }
        if self.ports.len() >= self.settings.ports {
            let outcome = ReplyOutcome::Failed(Errno::TOO_MANY_FILES);
            fx.push(Effect::Reply { worker, seq, outcome, data: query.data });
            return;
        }
        let mode = self.mode_for(worker, &endpoint);
        let attach = self.workers.get(&worker).map_or(Attach::Nothing, |w| w.attach);
        let port = PortId(self.next_port);
        self.next_port += 1;
        fx.push(Effect::Open { port, endpoint: endpoint.clone(), mode, attach, terms: query.terms });
        self.ports.insert(
            port,
            Port {
                endpoint,
                mode,
                attach,
                terms: query.terms,
                data: query.data,
                phase: PortPhase::Opening { waiters: vec![waiter], asked: query.terms },
                holders: Default::default(),
                queue: Default::default(),
                kept_until: Time::default(),
                accepting: true,
                chosen: Vec::new(),
            },
        );
    }

    /// How a worker of this kind uses an endpoint that nobody has opened yet.
    fn mode_for(&self, worker: WorkerId, endpoint: &Endpoint) -> Mode {
        let Some(w) = self.workers.get(&worker) else { return Mode::Shared };
        let policy = self.settings.policy;
        if policy == Policy::Shared {
            return Mode::Shared;
        }
        match (endpoint.kind, w.attach) {
            (EndpointKind::Tcp4 | EndpointKind::Tcp6, Attach::Program) => Mode::Lanes,
            (EndpointKind::Udp4 | EndpointKind::Udp6, Attach::Program) => Mode::Lanes,
            (EndpointKind::Pipe | EndpointKind::Inherited, Attach::Program) => Mode::Shared,
            (EndpointKind::Tcp4 | EndpointKind::Tcp6, Attach::Channel | Attach::Nothing) => {
                if policy.has_lanes() { Mode::Lanes } else { Mode::RoundRobin }
            }
            // Whoever lets others have the address may want a group's datagrams, and every socket would get each. On a port
            // that the kernel chooses two sockets could be given one without wanting to share it.
            (EndpointKind::Udp4 | EndpointKind::Udp6, Attach::Channel | Attach::Nothing) => {
                let alone = !endpoint.reuse_address && !endpoint.is_any_port();
                if policy == Policy::Hash && alone { Mode::Lanes } else { Mode::Shared }
            }
            (EndpointKind::Pipe | EndpointKind::Inherited, Attach::Channel | Attach::Nothing) => {
                Mode::RoundRobin
            }
        }
    }

    fn find_port(&self, endpoint: &Endpoint) -> Option<PortId> {
        let found = self.ports.iter().find(|(_, p)| p.endpoint == *endpoint && p.phase != PortPhase::Shut);
        found.map(|(&port, _)| port)
    }

    /// Whether this kind of worker can use the port the way it is used.
    fn suits(&self, port: PortId, worker: WorkerId) -> bool {
        let (Some(p), Some(w)) = (self.ports.get(&port), self.workers.get(&worker)) else { return false };
        match (p.mode, w.attach) {
            (Mode::RoundRobin, Attach::Channel | Attach::Nothing)
            | (Mode::Shared, Attach::Channel | Attach::Nothing | Attach::Program) => true,
            (Mode::RoundRobin, Attach::Program) => false,
            // What waits in one lane can be handed to the others, or it cannot.
            (Mode::Lanes, Attach::Channel | Attach::Nothing | Attach::Program) => p.attach == w.attach,
        }
    }

    /// Whether the worker already holds the port, or waits for it.
    fn concerns(&self, port: PortId, worker: WorkerId) -> bool {
        self.ports.get(&port).is_some_and(|p| match &p.phase {
            PortPhase::Opening { waiters, .. } => waiters.iter().any(|waiter| waiter.worker == worker),
            PortPhase::Open | PortPhase::Closing(_) | PortPhase::Shut => p.holds(worker),
        })
    }

    fn join(
        &mut self,
        now: Time,
        port: PortId,
        waiter: Waiter,
        terms: &Terms,
        data: Option<Box<str>>,
        fx: &mut Effects,
    ) {
        let Some(p) = self.ports.get_mut(&port) else { return };
        if p.mode == Mode::Lanes {
            return self.join_lanes(port, waiter, fx);
        }
        let wider = p.terms.union(*terms);
        if p.data.is_none() {
            p.data = data;
        }
        match &mut p.phase {
            PortPhase::Opening { waiters, .. } => {
                p.terms = wider;
                waiters.push(waiter);
            }
            PortPhase::Open | PortPhase::Closing(_) | PortPhase::Shut => {
                if !p.terms.covers(wider) {
                    p.terms = wider;
                    fx.push(Effect::Widen { port, terms: wider });
                }
                let resumed = matches!(p.phase, PortPhase::Closing(_));
                p.phase = PortPhase::Open;
                self.timers.disarm(Timer::Close(port));
                self.hold(port, waiter, fx);
                if resumed {
                    self.serve(now, port, fx);
                }
            }
        }
    }

    /// Terms are each worker's own where each has a socket of its own.
    fn join_lanes(&mut self, port: PortId, waiter: Waiter, fx: &mut Effects) {
        let Some(p) = self.ports.get_mut(&port) else { return };
        match &mut p.phase {
            PortPhase::Opening { waiters, .. } => {
                let before = waiters.iter().filter(|w| w.worker == waiter.worker).count();
                match waiter.sharing {
                    Sharing::Alone if before > 0 => self.fail(waiter, Errno::ADDR_IN_USE, fx),
                    Sharing::Alone | Sharing::WithItself if before >= LANES => {
                        self.fail(waiter, Errno::TOO_MANY_FILES, fx);
                    }
                    Sharing::Alone | Sharing::WithItself => waiters.push(waiter),
                }
            }
            PortPhase::Open | PortPhase::Closing(_) | PortPhase::Shut => self.hold(port, waiter, fx),
        }
    }

    fn fail(&self, Waiter { worker, seq, .. }: Waiter, errno: Errno, fx: &mut Effects) {
        fx.push(Effect::Reply { worker, seq, outcome: ReplyOutcome::Failed(errno), data: None });
    }

    fn hold(&mut self, port: PortId, waiter: Waiter, fx: &mut Effects) {
        let Waiter { worker, seq, sharing } = waiter;
        let Some(mode) = self.ports.get(&port).map(|p| p.mode) else { return };
        let outcome = match mode {
            Mode::RoundRobin => ReplyOutcome::RoundRobin(port),
            Mode::Shared => ReplyOutcome::Shared(port),
            Mode::Lanes => match self.promise(port, worker, sharing) {
                Ok((lane, origin)) => ReplyOutcome::Lane { port, lane, origin },
                Err(errno) => return self.fail(waiter, errno, fx),
            },
        };
        let Some(p) = self.ports.get_mut(&port) else { return };
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if !p.holds(worker) {
            p.holders.push_front(Holder {
                worker,
                scheduled: false,
                takes_nothing: false,
                refusals: 0,
                rests_until: None,
            });
            w.ports.push_front(port);
        }
        p.kept_until = Time::default();
        fx.push(Effect::Reply { worker, seq, outcome, data: p.data.clone() });
    }

    pub(crate) fn port_opened(&mut self, now: Time, port: PortId, outcome: Opened, fx: &mut Effects) {
        let Some(p) = self.ports.get_mut(&port) else {
            return fx.push(Effect::Close { port });
        };
        let PortPhase::Opening { waiters, asked } = &mut p.phase else { return };
        let (waiters, asked) = (std::mem::take(waiters), *asked);
        match outcome {
            Ok(()) => {
                p.phase = PortPhase::Open;
                if !asked.covers(p.terms) && p.mode != Mode::Lanes {
                    fx.push(Effect::Widen { port, terms: p.terms });
                }
                let mode = p.mode;
                for waiter in waiters {
                    if self.expects_reply(waiter.worker) {
                        self.hold(port, waiter, fx);
                    }
                }
                if self.ending != Ending::No && mode == Mode::RoundRobin {
                    fx.push(Effect::Shut { port });
                }
                self.close_bare_ports(fx);
                self.update_accepting(fx);
                self.note_orphans(now);
            }
            Err(errno) => {
                let Some(Port { data, queue, .. }) = self.ports.remove(&port) else { return };
                self.drop_queue(queue, fx);
                for Waiter { worker, seq, .. } in waiters {
                    if self.expects_reply(worker) {
                        let outcome = ReplyOutcome::Failed(errno);
                        fx.push(Effect::Reply { worker, seq, outcome, data: data.clone() });
                    }
                }
                self.advance_stop(now, fx);
            }
        }
    }

    fn expects_reply(&self, worker: WorkerId) -> bool {
        self.workers.get(&worker).is_some_and(|w| !w.phase.is_leaving())
    }
}
