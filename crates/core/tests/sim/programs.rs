//! Workers that are programs: they ask for a socket when they bind, and say when it listens.

use oneport_core::{
    Attach, Effect, Endpoint, EndpointKind, Event, LaneId, Origin, Place, QuerySeq, QueryTerms, ReplyOutcome,
    Settings, Sharing, Terms, WorkerId,
};

use super::{Sim, settings, tcp};

/// Short times, and workers that are programs.
pub(crate) fn programs() -> Settings {
    Settings { attach: Attach::Program, ..settings() }
}

pub(crate) const fn lane(id: u32) -> LaneId {
    LaneId(id)
}

pub(crate) fn udp(port: u16) -> Endpoint {
    Endpoint { kind: EndpointKind::Udp4, ..tcp(port) }
}

pub(crate) fn unix(path: &str) -> Endpoint {
    Endpoint { kind: EndpointKind::Pipe, place: Place::Path(path.into()), ..tcp(0) }
}

impl Sim {
    /// `count` programs that serve port 80, each in the lane of its own number, and are proven.
    pub(crate) fn serving_programs(settings: Settings, count: u32) -> Sim {
        let mut sim = Sim::new(settings);
        sim.event(Event::Scale(count));
        for id in 1..=count {
            sim.run_program(WorkerId(id), 80);
        }
        sim.prove();
        sim.take();
        sim
    }

    /// It asks to bind; what it is told.
    pub(crate) fn bind(&mut self, worker: WorkerId, endpoint: Endpoint, sharing: Sharing) -> ReplyOutcome {
        let asked = self.bind_later(worker, endpoint, sharing);
        let answer = self.log().iter().rev().find_map(|e| match e {
            Effect::Reply { worker: to, seq, outcome, .. } if *to == worker && *seq == asked => {
                Some(outcome.clone())
            }
            _ => None,
        });
        answer.expect("the question is answered at once")
    }

    /// It asks to bind, and may be answered later.
    pub(crate) fn bind_later(&mut self, worker: WorkerId, endpoint: Endpoint, sharing: Sharing) -> QuerySeq {
        let seq = QuerySeq(self.next_seq);
        self.next_seq += 1;
        let query = Box::new(QueryTerms { endpoint, terms: Terms::default(), data: None, sharing });
        self.event(Event::Query { worker, seq, query });
        seq
    }

    /// It asks for a lane and is promised one.
    pub(crate) fn promised(&mut self, worker: WorkerId, port: u16) -> (LaneId, Origin) {
        match self.bind(worker, tcp(port), Sharing::Alone) {
            ReplyOutcome::Lane { lane, origin, .. } => (lane, origin),
            other => panic!("{worker} is promised no lane: {other:?}"),
        }
    }

    pub(crate) fn lane_listens(&mut self, worker: WorkerId, lane: LaneId) {
        self.event(Event::LaneListens { worker, lane });
    }

    /// It binds and listens.
    pub(crate) fn run_program(&mut self, worker: WorkerId, port: u16) -> (LaneId, Origin) {
        let (lane, origin) = self.promised(worker, port);
        self.lane_listens(worker, lane);
        (lane, origin)
    }

    /// The lanes that new connections go to, as told last.
    pub(crate) fn chosen(&self, port: u16) -> Vec<u32> {
        let port = self.port(port);
        self.check.lanes.chosen(port).iter().map(|lane| lane.0).collect()
    }

    pub(crate) fn retired(&self) -> Vec<u32> {
        let retire = |e: &Effect| match e {
            Effect::RetireLane { lane } => Some(lane.0),
            _ => None,
        };
        self.log().iter().filter_map(retire).collect()
    }

    pub(crate) fn closed_lanes(&self) -> Vec<u32> {
        let close = |e: &Effect| match e {
            Effect::CloseLane { lane } => Some(lane.0),
            _ => None,
        };
        self.log().iter().filter_map(close).collect()
    }
}
