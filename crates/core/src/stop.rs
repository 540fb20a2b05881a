//! The end of the whole app: stop accepting, serve what was accepted, let the workers leave, and only then
//! say that it is over.

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Notice};
use crate::ids::{PortId, Time, WorkerId};
use crate::port::{Mode, PortPhase};
use crate::timer::Timer;
use crate::worker::EndCause;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    No,
    /// No more accepting; what waits is still handed off.
    Emptying,
    /// Every worker was asked to leave, or ended.
    Asked,
    Over,
}

impl Cluster {
    pub(crate) fn stop(&mut self, now: Time, fx: &mut Effects) {
        if self.ending != Ending::No {
            return;
        }
        self.ending = Ending::Emptying;
        self.no_more_workers();
        for (&port, p) in &self.ports {
            match (p.mode, &p.phase) {
                (Mode::RoundRobin, PortPhase::Open | PortPhase::Closing(_)) => fx.push(Effect::Shut { port }),
                (Mode::RoundRobin, PortPhase::Opening(_) | PortPhase::Shut) | (Mode::Shared, _) => {}
            }
        }
        self.timers.arm(Timer::Stop, now.after(self.settings.drain_timeout));
        self.advance_stop(now, fx);
    }

    pub(crate) fn stop_now(&mut self, now: Time, fx: &mut Effects) {
        if self.ending == Ending::Over {
            return;
        }
        self.no_more_workers();
        self.ending = Ending::Asked;
        self.timers.disarm(Timer::Stop);
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            self.close_port(port, fx);
        }
        for worker in self.workers.keys().copied().collect::<Vec<WorkerId>>() {
            self.condemn(now, worker, EndCause::Asked, fx);
        }
        self.advance_stop(now, fx);
    }

    fn no_more_workers(&mut self) {
        self.roll = None;
        self.roll_again = false;
        for index in 0..self.slots.len() {
            self.timers.disarm(Timer::Restart(crate::cluster::slot_at(index)));
        }
    }

    pub(crate) fn port_shut(&mut self, now: Time, port: PortId, fx: &mut Effects) {
        if let Some(p) = self.ports.get_mut(&port) {
            p.phase = PortPhase::Shut;
            self.timers.disarm(Timer::Close(port));
        }
        self.drop_unservable(port, fx);
        self.advance_stop(now, fx);
    }

    pub(crate) fn stop_due(&mut self, now: Time, fx: &mut Effects) {
        if self.ending == Ending::Emptying {
            self.ask_all(now, fx);
        }
    }

    /// Goes on with the end as far as the state allows.
    pub(crate) fn advance_stop(&mut self, now: Time, fx: &mut Effects) {
        match self.ending {
            Ending::No | Ending::Over => {}
            Ending::Emptying => {
                let shutting = self.ports.values().any(|p| match (p.mode, &p.phase) {
                    (Mode::RoundRobin, PortPhase::Open | PortPhase::Closing(_) | PortPhase::Opening(_)) => {
                        true
                    }
                    (Mode::RoundRobin, PortPhase::Shut) | (Mode::Shared, _) => false,
                });
                let somebody_serves = self.workers.values().any(|w| w.phase.serves());
                if !somebody_serves || (!shutting && self.queued == 0) {
                    self.ask_all(now, fx);
                }
            }
            Ending::Asked => {
                if self.workers.is_empty() {
                    self.ending = Ending::Over;
                    for port in self.ports.keys().copied().collect::<Vec<_>>() {
                        self.close_port(port, fx);
                    }
                    fx.push(Effect::Tell(Notice::Stopped));
                }
            }
        }
    }

    fn ask_all(&mut self, now: Time, fx: &mut Effects) {
        self.ending = Ending::Asked;
        self.timers.disarm(Timer::Stop);
        for (&port, p) in &mut self.ports {
            for conn in std::mem::take(&mut p.queue) {
                self.queued -= 1;
                fx.push(Effect::Drop { conn, reason: crate::effect::DropReason::Stopping });
            }
            self.timers.disarm(Timer::Retry(port));
        }
        for worker in self.workers.keys().copied().collect::<Vec<WorkerId>>() {
            self.ask(now, worker, fx);
        }
        self.advance_stop(now, fx);
    }
}
