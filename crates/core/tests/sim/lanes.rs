//! What must hold of lanes after every step, in a world whose shell keeps its side: judged by a bookkeeping of its own,
//! from events and effects alone.

use std::collections::{BTreeMap, BTreeSet};

use oneport_core::{Attach, Effect, Event, LaneId, Notice, Origin, Phase, PortId, ReplyOutcome, WorkerId};

#[derive(Clone, Debug)]
struct SeenLane {
    port: PortId,
    origin: Origin,
    /// Who was promised it and has not lost it.
    holder: Option<WorkerId>,
    listens: bool,
    closed: bool,
    retiring: bool,
}

impl SeenLane {
    fn close(&mut self) {
        (self.closed, self.listens) = (self.closed || self.listens, false);
        if !self.closed {
            self.holder = None;
        }
    }
}

/// What there is to know about a worker in order to judge a choice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) phase: Phase,
    /// Ready, and proven or born when nobody was.
    pub(crate) trusted: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct LaneCheck {
    lanes: BTreeMap<LaneId, SeenLane>,
    ended: BTreeSet<LaneId>,
    chosen: BTreeMap<PortId, Vec<LaneId>>,
    /// Told to empty, and not heard to be empty.
    emptying: BTreeSet<WorkerId>,
    temporary: Option<WorkerId>,
    /// Ports whose workers have a channel.
    by_channel: BTreeSet<PortId>,
}

impl LaneCheck {
    pub(crate) fn chosen(&self, port: PortId) -> &[LaneId] {
        self.chosen.get(&port).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn count(&self) -> usize {
        self.lanes.len()
    }

    pub(crate) fn port(&self, lane: LaneId) -> Option<PortId> {
        self.lanes.get(&lane).map(|l| l.port)
    }

    /// Whether the worker has one there, closed or not.
    pub(crate) fn has(&self, worker: WorkerId, port: PortId) -> bool {
        self.lanes.values().any(|l| l.holder == Some(worker) && l.port == port)
    }

    /// Ports on which the worker has one.
    pub(crate) fn ports(&self, worker: WorkerId) -> Vec<PortId> {
        let its: BTreeSet<PortId> =
            self.lanes.values().filter(|l| l.holder == Some(worker)).map(|l| l.port).collect();
        its.into_iter().collect()
    }

    /// Lanes of a worker that it was promised and that do not listen yet, and those that do.
    pub(crate) fn of(&self, worker: WorkerId, listening: bool) -> Vec<LaneId> {
        let its = self.lanes.iter().filter(|(_, l)| l.holder == Some(worker) && !l.closed);
        its.filter(|(_, l)| l.listens == listening).map(|(&lane, _)| lane).collect()
    }

    pub(crate) fn before(&mut self, event: &Event) {
        match *event {
            Event::LaneListens { worker, lane } => {
                let l = self.lanes.get_mut(&lane).filter(|l| l.holder == Some(worker));
                let l = l.expect("only a promised lane listens");
                (l.listens, l.closed) = (true, false);
            }
            Event::LaneFailed { lane, .. } => {
                let l = self.lanes.get_mut(&lane).expect("only a promised lane fails");
                assert!(!l.listens, "the world lets a listening lane fail");
                l.holder = None;
                // The shell drops the program's own socket by itself.
                if l.origin == Origin::Fresh {
                    self.lanes.remove(&lane);
                    self.ended.insert(lane);
                }
            }
            Event::LaneClosed { worker, lane } => {
                let l = self.lanes.get_mut(&lane).expect("only a lane that is there is closed");
                if l.holder == Some(worker) {
                    l.close();
                }
                self.waits_no_more(worker);
            }
            Event::Closed { worker, port } => {
                let by_channel = self.by_channel.contains(&port);
                let theirs = |l: &&mut SeenLane| by_channel && l.holder == Some(worker) && l.port == port;
                self.lanes.values_mut().filter(theirs).for_each(SeenLane::close);
                self.waits_no_more(worker);
            }
            Event::LanesEmpty { worker } => {
                self.emptying.remove(&worker);
            }
            Event::LaneRetired { lane } if self.lanes.remove(&lane).is_some() => {
                assert!(self.ended.insert(lane), "{lane:?} ends twice");
            }
            Event::LaneStuck { lane } | Event::LaneExhausted { lane } => {
                self.lanes.entry(lane).and_modify(|l| l.retiring = false);
            }
            Event::Gone { worker } | Event::SpawnFailed { worker, .. } => {
                self.emptying.remove(&worker);
                if self.temporary == Some(worker) {
                    self.temporary = None;
                }
                for l in self.lanes.values_mut().filter(|l| l.holder == Some(worker)) {
                    (l.holder, l.listens, l.closed) = (None, false, false);
                }
            }
            _ => {}
        }
    }

    /// Nobody accepts there any more, so that waiting for it to be empty is in vain.
    fn waits_no_more(&mut self, worker: WorkerId) {
        if !self.lanes.values().any(|l| l.holder == Some(worker) && l.listens) {
            self.emptying.remove(&worker);
        }
    }

    /// Judges one effect at its place among those of the step.
    pub(crate) fn effect(&mut self, event: &Event, effect: &Effect, fx: &[Effect]) {
        match effect {
            Effect::Reply { worker, outcome: ReplyOutcome::Lane { port, lane, origin }, .. } => {
                self.promise(*worker, *port, *lane, *origin, event);
            }
            Effect::Open { port, attach: Attach::Channel, .. } => _ = self.by_channel.insert(*port),
            Effect::Choose { port, lanes } => {
                assert!(lanes.is_sorted(), "{lanes:?} out of order, by {event:?}");
                let before = self.chosen.insert(*port, lanes.clone()).unwrap_or_default();
                assert_ne!(before, *lanes, "told twice, by {event:?}");
            }
            Effect::EmptyLanes { worker } => {
                self.has_left_the_choice(*worker, event);
                assert!(self.emptying.insert(*worker), "{worker} is to empty twice, by {event:?}");
            }
            Effect::SignalStop { worker }
            | Effect::TellDisconnect { worker }
            | Effect::WatchIdle { worker, .. } => {
                self.has_left_the_choice(*worker, event);
                let told = !self.emptying.remove(worker);
                let late = matches!(
                    event,
                    Event::Tick
                        | Event::LaneClosed { .. }
                        | Event::Closed { .. }
                        | Event::ChannelClosed { .. }
                );
                assert!(told || late, "{worker} is to leave before its sockets are empty, by {event:?}");
            }
            Effect::EndTree { worker, .. } => self.has_left_the_choice(*worker, event),
            Effect::RetireLane { lane } => {
                let l = self.lanes.get_mut(lane).expect("a lane that is retired exists");
                assert!(l.holder.is_none() || l.closed, "{lane:?} is retired under its worker, by {event:?}");
                assert!(!l.retiring, "{lane:?} is retired twice, by {event:?}");
                (l.retiring, l.holder, l.closed) = (true, None, false);
                let port = l.port;
                assert!(!self.chosen(port).contains(lane), "{lane:?} is retired and chosen, by {event:?}");
            }
            Effect::CloseLane { lane } => {
                let l = self.lanes.remove(lane).expect("a lane that is closed exists");
                assert!(self.ended.insert(*lane), "{lane:?} ends twice, by {event:?}");
                let port_ends = fx.contains(&Effect::Close { port: l.port });
                assert!(
                    port_ends || !self.chosen(l.port).contains(lane),
                    "{lane:?} is closed and chosen, by {event:?}"
                );
            }
            Effect::Close { port } => {
                self.chosen.remove(port);
                let left = self.lanes.values().any(|l| l.port == *port);
                assert!(!left, "lanes outlive {port:?}, by {event:?}");
            }
            Effect::Tell(Notice::Moved { worker, to: Phase::Draining, .. }) => {
                let empties = fx.contains(&Effect::EmptyLanes { worker: *worker });
                let listens = !self.of(*worker, true).is_empty();
                assert_eq!(empties, listens, "{worker} drains with or without sockets, by {event:?}");
            }
            Effect::Tell(Notice::Temporary { worker }) => {
                assert_eq!(self.temporary, None, "two temporary copies, by {event:?}");
                self.temporary = Some(*worker);
            }
            _ => {}
        }
    }

    fn promise(&mut self, worker: WorkerId, port: PortId, lane: LaneId, origin: Origin, event: &Event) {
        match origin {
            Origin::Fresh => {
                let new = !self.lanes.contains_key(&lane) && !self.ended.contains(&lane);
                assert!(new, "{lane:?} is promised as new, by {event:?}");
            }
            Origin::Adopted => {
                let l = self.lanes.get(&lane).expect("an adopted lane exists");
                let free = l.holder.is_none() || (l.holder == Some(worker) && l.closed);
                assert!(free && !l.retiring, "{worker} adopts what is not to be had, by {event:?}");
                assert_eq!(l.port, port, "{worker} adopts a lane of another port, by {event:?}");
            }
        }
        let seen =
            SeenLane { port, origin, holder: Some(worker), listens: false, closed: false, retiring: false };
        self.lanes.insert(lane, seen);
    }

    fn has_left_the_choice(&self, worker: WorkerId, event: &Event) {
        for lane in self.chosen.values().flatten() {
            let holder = self.lanes.get(lane).and_then(|l| l.holder);
            assert_ne!(holder, Some(worker), "{lane:?} of {worker} is still chosen, by {event:?}");
        }
    }

    /// Judges the choice as it stands after a step.
    pub(crate) fn after(&self, event: &Event, is_ending: bool, worker: impl Fn(WorkerId) -> Option<Judged>) {
        let trusted = |l: &SeenLane| {
            let judged = l.holder.filter(|w| Some(*w) != self.temporary).and_then(&worker);
            l.listens && judged.is_some_and(|w| w.phase == Phase::Listening && w.trusted)
        };
        for (port, lanes) in &self.chosen {
            assert!(lanes.is_empty() || !is_ending, "somebody is chosen at the end, by {event:?}");
            for lane in lanes {
                let l = self.lanes.get(lane).expect("a chosen lane exists");
                assert!(!l.closed && !l.retiring, "{lane:?} is chosen and gone, by {event:?}");
                if let Some(holder) = l.holder {
                    let phase = worker(holder).map(|w| w.phase);
                    assert_ne!(Some(holder), self.temporary, "the temporary copy is chosen, by {event:?}");
                    let serves = if l.listens {
                        phase == Some(Phase::Listening)
                    } else {
                        phase.is_some_and(|p| !p.is_leaving())
                    };
                    assert!(serves, "{lane:?} of {holder} in {phase:?} is chosen, by {event:?}");
                }
            }
            let proven: Vec<LaneId> =
                self.lanes.iter().filter(|(_, l)| l.port == *port && trusted(l)).map(|(&id, _)| id).collect();
            assert!(
                proven.is_empty() || is_ending || proven == *lanes,
                "{lanes:?} are chosen where {proven:?} are proven, by {event:?}"
            );
        }
    }
}
