//! The end of the whole app: stop accepting, serve what was accepted, let the workers leave, and only then
//! say that it is over. Emptying may take half of the drain time, so that the rest is left for leaving: the whole
//! takes no longer than one drain time and one kill time. A disconnect is the same, except that the app lives on
//! without workers and ports.

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Notice};
use crate::ids::{PortId, Time, WorkerId};
use crate::port::{Mode, PortPhase};
use crate::timer::{Timer, Timers};
use crate::worker::EndCause;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    No,
    /// No more accepting; what waits is still handed off.
    Emptying(Aim),
    /// Every worker was asked to leave, or ended.
    Asked(Aim),
    Over,
}

/// What comes after the last worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Nothing.
    Stop,
    /// Whatever the owner wants next (Node's `cluster.disconnect()`).
    Disconnect,
}

impl Cluster {
    pub(crate) fn stop(&mut self, now: Time, fx: &mut Effects) {
        match self.ending {
            Ending::No => self.begin_to_end(now, Aim::Stop, fx),
            // It goes on where it is, within the time it was given.
            Ending::Emptying(Aim::Disconnect) => self.ending = Ending::Emptying(Aim::Stop),
            Ending::Asked(Aim::Disconnect) => self.ending = Ending::Asked(Aim::Stop),
            Ending::Emptying(Aim::Stop) | Ending::Asked(Aim::Stop) | Ending::Over => {}
        }
    }

    pub(crate) fn disconnect(&mut self, now: Time, fx: &mut Effects) {
        match self.ending {
            Ending::No => self.begin_to_end(now, Aim::Disconnect, fx),
            Ending::Emptying(_) | Ending::Asked(_) | Ending::Over => {}
        }
    }

    fn begin_to_end(&mut self, now: Time, aim: Aim, fx: &mut Effects) {
        self.ending = Ending::Emptying(aim);
        self.no_more_workers(fx);
        for (&port, p) in &self.ports {
            match (p.mode, &p.phase) {
                (Mode::RoundRobin, PortPhase::Open | PortPhase::Closing(_)) => fx.push(Effect::Shut { port }),
                (Mode::RoundRobin, PortPhase::Opening { .. } | PortPhase::Shut)
                | (Mode::Shared | Mode::Lanes, _) => {}
            }
        }
        self.leave_by = now.after(self.settings.drain_timeout);
        self.timers.arm(Timer::Stop, now.after(self.settings.drain_timeout / 2));
        self.advance_stop(now, fx);
    }

    pub(crate) fn stop_now(&mut self, now: Time, fx: &mut Effects) {
        if self.ending == Ending::Over {
            return;
        }
        self.no_more_workers(fx);
        self.ending = Ending::Asked(Aim::Stop);
        self.timers.disarm(Timer::Stop);
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            self.close_port(port, fx);
        }
        for worker in self.workers.keys().copied().collect::<Vec<WorkerId>>() {
            self.condemn(now, worker, EndCause::Asked, fx);
        }
        self.advance_stop(now, fx);
    }

    fn no_more_workers(&mut self, fx: &mut Effects) {
        self.interrupt_roll(fx);
        for index in 0..self.slots.len() {
            self.timers.disarm(Timer::Restart(crate::cluster::slot_at(index)));
        }
    }

    pub(crate) fn port_shut(&mut self, now: Time, port: PortId, fx: &mut Effects) {
        if let Some(p) = self.ports.get_mut(&port).filter(|p| p.mode != Mode::Lanes) {
            p.phase = PortPhase::Shut;
            self.timers.disarm(Timer::Close(port));
        }
        self.drop_unservable(port, fx);
        self.advance_stop(now, fx);
    }

    pub(crate) fn stop_due(&mut self, now: Time, fx: &mut Effects) {
        match self.ending {
            Ending::Emptying(aim) => self.ask_all(now, aim, fx),
            Ending::No | Ending::Asked(_) | Ending::Over => {}
        }
    }

    /// Goes on with the end as far as the state allows.
    pub(crate) fn advance_stop(&mut self, now: Time, fx: &mut Effects) {
        match self.ending {
            Ending::No | Ending::Over => {}
            Ending::Emptying(aim) => {
                let shutting = self.ports.values().any(|p| match (p.mode, &p.phase) {
                    (
                        Mode::RoundRobin,
                        PortPhase::Open | PortPhase::Closing(_) | PortPhase::Opening { .. },
                    ) => true,
                    (Mode::RoundRobin, PortPhase::Shut) | (Mode::Shared | Mode::Lanes, _) => false,
                });
                let emptying = self.is_emptying_lanes();
                let somebody_serves = self.workers.values().any(|w| w.phase.serves() && w.is_ready());
                // A hand-off under way may come back, and then somebody has to be there for it.
                let under_way = self.workers.values().any(|w| !w.in_flight.is_empty());
                if !somebody_serves || (!shutting && !emptying && !under_way && self.queued == 0) {
                    self.ask_all(now, aim, fx);
                }
            }
            Ending::Asked(aim) => {
                if self.workers.is_empty() {
                    self.end(aim, fx);
                }
            }
        }
    }

    /// Nobody is left.
    fn end(&mut self, aim: Aim, fx: &mut Effects) {
        for port in self.ports.keys().copied().collect::<Vec<_>>() {
            self.close_port(port, fx);
        }
        match aim {
            Aim::Stop => {
                self.ending = Ending::Over;
                self.timers = Timers::default();
                fx.push(Effect::Tell(Notice::Stopped));
            }
            Aim::Disconnect => {
                self.start_afresh();
                fx.push(Effect::Tell(Notice::Disconnected));
            }
        }
    }

    fn ask_all(&mut self, now: Time, aim: Aim, fx: &mut Effects) {
        self.ending = Ending::Asked(aim);
        self.timers.disarm(Timer::Stop);
        let waiting = self.ports.values_mut().flat_map(|p| std::mem::take(&mut p.queue)).collect();
        self.drop_queue(waiting, fx);
        for worker in self.workers.keys().copied().collect::<Vec<WorkerId>>() {
            self.ask(now, worker, fx);
        }
        self.advance_stop(now, fx);
    }
}
