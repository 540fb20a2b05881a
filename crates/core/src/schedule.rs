//! Who gets the next connection under round robin: strict rotation among the workers with a credit.
//!
//! The worker served longest ago is chosen, so none is served twice while another with a credit waits. A
//! refusal makes the worker rest on that port for a while that doubles: when all refuse, connections wait
//! instead of circling.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::cluster::Cluster;
use crate::effect::{DropReason, Effect, Effects};
use crate::ids::{ConnId, LaneId, PortId, Time, WorkerId};
use crate::life::Phase;
use crate::port::{Holder, Port};
use crate::stop::Ending;
use crate::timer::Timer;
use crate::worker::{EndCause, InFlight, Worker};

const FIRST_REST: Duration = Duration::from_millis(10);
const LONGEST_REST: Duration = Duration::from_millis(250);

/// The position in the rotation of the worker to serve next.
fn choose(port: &Port, workers: &BTreeMap<WorkerId, Worker>, credits: u32, now: Time) -> Option<usize> {
    let mut fallback = None;
    let mut trusted_serves = false;
    for (position, holder) in port.holders.iter().enumerate() {
        let Some(worker) = workers.get(&holder.worker) else { continue };
        if !holder.scheduled || holder.takes_nothing || !worker.is_ready() {
            continue;
        }
        trusted_serves |= worker.is_trusted();
        let free = worker.in_flight.len() < credits.min(worker.most_credits) as usize;
        let may = free && holder.rests_until.is_none_or(|until| until <= now);
        if may && worker.is_trusted() {
            return Some(position);
        }
        if may && fallback.is_none() {
            fallback = Some(position);
        }
    }
    // A newcomer gets traffic only where nobody trusted serves, not even a busy one.
    if trusted_serves { None } else { fallback }
}

impl Cluster {
    pub(crate) fn accepted(&mut self, now: Time, port: PortId, conn: ConnId, fx: &mut Effects) {
        // One accepted before the pause took effect does not end it.
        if !self.timers.is_armed(Timer::Accept) {
            self.exhausted = 0;
        }
        // Where all accept for themselves alone nobody would ever take it.
        let is_taken = |p: &&mut Port| p.hands_off() && (p.holders.is_empty() || p.has_takers());
        match (self.ending, self.ports.get_mut(&port).filter(is_taken)) {
            (Ending::No | Ending::Emptying(_), Some(p)) => {
                p.queue.push_back(conn);
                self.queued += 1;
            }
            (Ending::Asked(_) | Ending::Over, _) | (_, None) => return self.drop_conn(conn, fx),
        }
        self.serve(now, port, fx);
        self.queue_grew(now, fx);
    }

    /// Hands off what waits on a port while some worker may take it.
    pub(crate) fn serve(&mut self, now: Time, port: PortId, fx: &mut Effects) {
        let credits = self.settings.credits;
        let Some(p) = self.ports.get_mut(&port) else { return };
        while !p.queue.is_empty() {
            let Some(position) = choose(p, &self.workers, credits, now) else {
                if let Some(at) = p.holders.iter().filter_map(|h| h.rests_until).filter(|&t| t > now).min() {
                    self.timers.arm(Timer::Retry(port), at);
                }
                break;
            };
            let Some(conn) = p.queue.pop_front() else { break };
            self.queued -= 1;
            let Some(holder) = p.holders.remove(position) else { break };
            let worker = holder.worker;
            p.holders.push_back(holder);
            if let Some(w) = self.workers.get_mut(&worker) {
                if w.in_flight.is_empty()
                    && let Some(span) = self.settings.hang_timeout
                {
                    self.timers.arm(Timer::Hang(worker), now.after(span));
                }
                w.in_flight.push_back(InFlight { conn, port, since: now });
                if w.ports.len() > 1 {
                    w.ports.retain(|&held| held != port);
                    w.ports.push_back(port);
                }
            }
            fx.push(Effect::HandOff { worker, port, conn });
        }
        self.queue_shrank(fx);
    }

    /// Uses a worker's free credits, port by port, the one served longest ago first.
    pub(crate) fn serve_worker(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        if w.ports.len() == 1 {
            let port = w.ports[0];
            return self.serve(now, port, fx);
        }
        for port in w.ports.clone() {
            self.serve(now, port, fx);
        }
    }

    pub(crate) fn settled(&mut self, now: Time, worker: WorkerId, conn: ConnId, fx: &mut Effects) {
        let Some(flight) = self.take_in_flight(now, worker, conn) else { return };
        fx.push(Effect::Settle { conn });
        if let Some(holder) = self.ports.get_mut(&flight.port).and_then(|p| p.holder_mut(worker))
            && holder.refusals > 0
        {
            holder.refusals = 0;
            holder.rests_until = None;
        }
        self.credit_returned(now, worker, fx);
    }

    pub(crate) fn refused(&mut self, now: Time, worker: WorkerId, conn: ConnId, fx: &mut Effects) {
        let Some(flight) = self.take_in_flight(now, worker, conn) else { return };
        if let Some(holder) = self.ports.get_mut(&flight.port).and_then(|p| p.holder_mut(worker)) {
            let rest = FIRST_REST.saturating_mul(1 << holder.refusals.min(8)).min(LONGEST_REST);
            holder.refusals = holder.refusals.saturating_add(1);
            holder.rests_until = Some(now.after(rest));
        }
        self.take_back(flight, fx);
        self.serve(now, flight.port, fx);
        self.credit_returned(now, worker, fx);
    }

    /// A worker makes no progress while connections wait in its socket: those who rest get them, if one of them can.
    pub(crate) fn stalls(
        &mut self,
        now: Time,
        (worker, port, lane): (WorkerId, PortId, LaneId),
        at_rest: &[WorkerId],
        fx: &mut Effects,
    ) {
        let Some(p) = self.ports.get_mut(&port) else { return };
        let can_take = |holder: &Holder| {
            let serves = |w: &Worker| w.phase.serves() && w.is_ready();
            at_rest.contains(&holder.worker)
                && holder.worker != worker
                && holder.scheduled
                && !holder.takes_nothing
                && self.workers.get(&holder.worker).is_some_and(serves)
        };
        if !p.hands_off() || p.holder_mut(worker).is_none() || !p.holders.iter().any(can_take) {
            return;
        }
        for holder in &mut p.holders {
            // What one that hangs as well had been handed could not be given to another.
            let rest = match holder.worker {
                stuck if stuck == worker => LONGEST_REST,
                other if at_rest.contains(&other) => continue,
                _ => FIRST_REST,
            };
            holder.rests_until = holder.rests_until.max(Some(now.after(rest)));
        }
        fx.push(Effect::TakeOver { lane });
    }

    /// Puts a connection to the front of its port's queue, unless nobody will serve that any more.
    fn take_back(&mut self, flight: InFlight, fx: &mut Effects) {
        match (self.ending, self.ports.get_mut(&flight.port)) {
            (Ending::No | Ending::Emptying(_), Some(port)) => {
                port.queue.push_front(flight.conn);
                self.queued += 1;
            }
            (Ending::Asked(_) | Ending::Over, _) | (_, None) => self.drop_conn(flight.conn, fx),
        }
    }

    pub(crate) fn drop_queue(&mut self, queue: VecDeque<ConnId>, fx: &mut Effects) {
        self.queued -= queue.len();
        for conn in queue {
            self.drop_conn(conn, fx);
        }
        self.queue_shrank(fx);
    }

    fn drop_conn(&self, conn: ConnId, fx: &mut Effects) {
        let reason = match self.ending {
            Ending::No => DropReason::PortClosed,
            Ending::Emptying(_) | Ending::Asked(_) | Ending::Over => DropReason::Stopping,
        };
        fx.push(Effect::Drop { conn, reason });
    }

    fn credit_returned(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        match w.phase {
            Phase::Draining => self.settle(now, worker, fx),
            Phase::Starting | Phase::Online | Phase::Listening => self.serve_worker(now, worker, fx),
            Phase::Leaving | Phase::Stopping | Phase::Ending | Phase::Gone => {}
        }
        self.advance_stop(now, fx);
    }

    fn take_in_flight(&mut self, now: Time, worker: WorkerId, conn: ConnId) -> Option<InFlight> {
        let w = self.workers.get_mut(&worker)?;
        let flight = w.take_in_flight(conn)?;
        if let Some(span) = self.settings.hang_timeout {
            match w.in_flight.front() {
                Some(next) => self.timers.arm(Timer::Hang(worker), next.since.after(span).max(now)),
                None => self.timers.disarm(Timer::Hang(worker)),
            }
        }
        Some(flight)
    }

    pub(crate) fn hang_due(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(span) = self.settings.hang_timeout else { return };
        let oldest = self.workers.get(&worker).and_then(|w| w.in_flight.front());
        if oldest.is_some_and(|flight| now.since(flight.since) >= span) {
            self.condemn(now, worker, EndCause::Hung, fx);
        }
    }

    /// A worker that is gone gives back what it did not acknowledge, oldest first, and lets go of its ports.
    pub(crate) fn give_back(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        self.keep_for_owner(now, worker);
        let Some(w) = self.workers.get_mut(&worker) else { return };
        let flights = std::mem::take(&mut w.in_flight);
        let held = std::mem::take(&mut w.ports);
        for flight in flights.into_iter().rev() {
            self.take_back(flight, fx);
        }
        for port in held {
            if let Some(p) = self.ports.get_mut(&port) {
                p.holders.retain(|h| h.worker != worker);
            }
        }
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            self.serve(now, port, fx);
            self.drop_unservable(port, fx);
        }
        self.note_orphans(now);
    }

    pub(crate) fn unschedule(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        let held = w.ports.clone();
        for port in &held {
            if let Some(holder) = self.ports.get_mut(port).and_then(|p| p.holder_mut(worker)) {
                holder.scheduled = false;
            }
        }
        // Where it was the last proven one, the unproven have their turn now.
        for port in held {
            self.serve(now, port, fx);
        }
        self.depart(now, worker, fx);
    }
}
