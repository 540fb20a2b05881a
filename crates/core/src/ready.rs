//! When a worker is trusted with traffic: booted, listening, ready, proven. How it ends is `walk.rs`.

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Notice};
use crate::ids::{PortId, Time, WorkerId};
use crate::life::Input;
use crate::port::Mode;
use crate::settings::{Attach, Readiness};
use crate::slot::Occupancy;
use crate::timer::Timer;
use crate::worker::{EndCause, Standing, Worker};

impl Cluster {
    pub(crate) fn spawned(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        match w.attach {
            Attach::Channel => {}
            Attach::Nothing | Attach::Program => self.online(now, worker, fx),
        }
    }

    pub(crate) fn online(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        self.live(now, worker, Input::Online, fx);
        if self.settings.readiness == Readiness::Listening && !self.is_to_listen(worker) {
            self.became_ready(now, worker, fx);
        }
    }

    /// Whether listening is expected of this worker. An app that has never listened anywhere (a queue consumer) is
    /// ready by being there, and so is the successor of a worker that never did.
    fn is_to_listen(&self, worker: WorkerId) -> bool {
        self.predecessor(worker).map_or(self.listens, |old| old.has_listened)
    }

    /// Whom this worker is to replace.
    fn predecessor(&self, worker: WorkerId) -> Option<&Worker> {
        let old = self.slots.iter().find_map(|slot| match slot.occupancy {
            Occupancy::Handing { old, new } if new == worker => Some(old),
            Occupancy::Handing { .. }
            | Occupancy::Held(_)
            | Occupancy::Waiting
            | Occupancy::Errored
            | Occupancy::Stopped => None,
        });
        old.and_then(|old| self.workers.get(&old))
    }

    /// Whether it listens wherever the one that it is to replace does: a server that opens its ports one after the
    /// other is not ready with the first.
    fn listens_like_predecessor(&self, worker: WorkerId) -> bool {
        let missing = |port: &PortId| {
            !self.ports.get(port).is_some_and(|p| match p.mode {
                Mode::RoundRobin | Mode::Shared => p.holds(worker),
                Mode::Lanes => self.listens_in_lane(*port, worker),
            })
        };
        self.predecessor(worker).is_none_or(|old| !old.ports.iter().any(missing))
    }

    /// It passed for one that never listens, and now it does, though not everywhere yet.
    fn not_ready_after_all(&mut self, worker: WorkerId) {
        let Some(w) = self.workers.get_mut(&worker).filter(|w| w.is_ready() && !w.is_proven()) else {
            return;
        };
        w.standing = Standing::Unready;
        self.timers.disarm(Timer::Proof(worker));
        self.timers.arm(Timer::Readiness(worker), w.spawned.after(self.settings.listen_timeout));
    }

    pub(crate) fn listening(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        // One that asked for nothing has nothing to listen on.
        if self.workers.get(&worker).is_none_or(|w| w.ports.is_empty()) {
            return;
        }
        self.live(now, worker, Input::Listening, fx);
        let Some(w) = self.workers.get_mut(&worker).filter(|w| w.phase.serves()) else { return };
        self.listens = true;
        w.has_listened = true;
        let told_ready = w.told_ready;
        let ports: Vec<PortId> = w.ports.iter().copied().collect();
        for port in &ports {
            if let Some(holder) = self.ports.get_mut(port).and_then(|p| p.holder_mut(worker)) {
                holder.scheduled = true;
            }
        }
        if told_ready {
            self.begin_watch(now, worker);
        } else if self.settings.readiness == Readiness::Listening {
            if self.listens_like_predecessor(worker) {
                self.became_ready(now, worker, fx);
            } else {
                self.not_ready_after_all(worker);
            }
        }
        for port in ports {
            self.serve(now, port, fx);
        }
    }

    pub(crate) fn became_ready(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if w.phase.is_leaving() || w.is_proven() || w.is_temporary() {
            return;
        }
        w.standing = Standing::Ready(now);
        // Whether one that does not listen is all right shows only when it is proven.
        if !w.told_ready && (w.has_listened || self.settings.readiness == Readiness::Message) {
            w.told_ready = true;
            fx.push(Effect::Tell(Notice::Ready { worker }));
            self.begin_watch(now, worker);
        }
        self.timers.disarm(Timer::Readiness(worker));
        let proof = self.proof_takes(worker);
        self.timers.arm(Timer::Proof(worker), now.after(proof));
        self.serve_worker(now, worker, fx);
    }

    pub(crate) fn proven(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if w.phase.is_leaving() {
            return;
        }
        w.standing = Standing::Proven;
        if !std::mem::replace(&mut w.told_ready, true) {
            fx.push(Effect::Tell(Notice::Ready { worker }));
        }
        fx.push(Effect::Tell(Notice::Proven { worker }));
        self.serve_worker(now, worker, fx);
        self.roll_proven(now, worker, fx);
    }

    pub(crate) fn readiness_due(&mut self, now: Time, worker: WorkerId, fx: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        if !w.is_ready() && !w.phase.is_leaving() {
            if w.is_temporary() {
                self.ask(now, worker, fx);
            } else if w.has_listened && self.settings.readiness == Readiness::Listening {
                // It listens, if not everywhere its predecessor does: the new version has given that up.
                self.became_ready(now, worker, fx);
            } else if self.is_proving(worker) {
                self.note_cause(worker, EndCause::NotReady);
                self.live(now, worker, Input::Asked, fx);
            } else {
                let after = self.settings.listen_timeout;
                fx.push(Effect::Tell(Notice::NotReadyYet { worker, after }));
            }
        }
    }
}
