//! Whether the primary accepts at all: not while its queue is full, so that the kernel's backlog pushes back, and
//! not while descriptors are short. Nothing is ever accepted only to be closed.

use std::time::Duration;

use crate::cluster::Cluster;
use crate::effect::{Effect, Effects, Notice};
use crate::ids::{PortId, Time};
use crate::port::{Mode, PortPhase};
use crate::stop::Ending;
use crate::timer::Timer;

/// Connections in the queue from which on arrivals wake nobody, and for how long at most. While all workers are busy
/// each arrival would cost a wake-up for nothing; a batch now and then costs a fraction of one.
const ENOUGH: usize = 16;
const UNWATCHED: Duration = Duration::from_millis(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Failures closer together than this are one shortage and told once.
const SHORTAGE: Duration = Duration::from_secs(30);

impl Cluster {
    pub(crate) fn accept_exhausted(&mut self, now: Time, port: PortId, fx: &mut Effects) {
        // Every port runs out at the same moment; that is one attempt, not several.
        let known = self.ending == Ending::No && self.ports.contains_key(&port);
        if !known || self.timers.is_armed(Timer::Accept) {
            return;
        }
        // While descriptors are short, attempts succeed and fail in turns; that is one shortage.
        if self.shortage.is_none_or(|last| now.since(last) >= SHORTAGE) {
            fx.push(Effect::Tell(Notice::AcceptExhausted { port }));
        }
        self.shortage = Some(now);
        let pause = FIRST_PAUSE.saturating_mul(1 << self.exhausted.min(8)).min(LONGEST_PAUSE);
        self.exhausted = self.exhausted.saturating_add(1);
        self.timers.arm(Timer::Accept, now.after(pause));
        self.update_accepting(fx);
    }

    /// A connection waits. Above `ENOUGH` arrivals need not wake anybody for a while: whoever becomes free is
    /// served from the queue, and the kernel keeps the others.
    pub(crate) fn queue_grew(&mut self, now: Time, fx: &mut Effects) {
        if !self.full && self.queued >= self.settings.queue {
            self.full = true;
            self.update_accepting(fx);
        }
        if !self.unwatched && self.queued >= ENOUGH && self.ending == Ending::No {
            self.unwatched = true;
            self.timers.arm(Timer::Watch, now.after(UNWATCHED));
            self.tell_watching(fx);
        }
    }

    /// Some that waited were handed off or closed.
    pub(crate) fn queue_shrank(&mut self, fx: &mut Effects) {
        if self.full && self.queued <= self.settings.queue / 2 {
            self.full = false;
            self.update_accepting(fx);
        }
        if self.unwatched && self.queued <= ENOUGH / 2 {
            self.watch_arrivals(fx);
        }
    }

    /// Be woken by arrivals again: there is room, or they have waited in the kernel for a while.
    pub(crate) fn watch_arrivals(&mut self, fx: &mut Effects) {
        self.unwatched = false;
        self.timers.disarm(Timer::Watch);
        self.tell_watching(fx);
    }

    fn tell_watching(&self, fx: &mut Effects) {
        for (&port, p) in &self.ports {
            let bound = match p.phase {
                PortPhase::Open | PortPhase::Closing(_) => p.mode == Mode::RoundRobin,
                PortPhase::Opening { .. } | PortPhase::Shut => false,
            };
            if bound && self.ending == Ending::No {
                fx.push(if self.unwatched { Effect::Unwatch { port } } else { Effect::Watch { port } });
            }
        }
    }

    /// Accept while there is room in the queue and descriptors to be had. While descriptors are short, the
    /// timer lets one attempt through; its outcome decides how it goes on. Once the app ends, ports are emptied
    /// and shut instead.
    pub(crate) fn update_accepting(&mut self, fx: &mut Effects) {
        if self.ending != Ending::No {
            return;
        }
        let may = !self.full && (self.exhausted == 0 || !self.timers.is_armed(Timer::Accept));
        for (&port, p) in &mut self.ports {
            let bound = match p.phase {
                PortPhase::Open | PortPhase::Closing(_) => p.mode == Mode::RoundRobin,
                PortPhase::Opening { .. } | PortPhase::Shut => false,
            };
            if bound && p.accepting != may {
                p.accepting = may;
                fx.push(if may { Effect::ResumeAccept { port } } else { Effect::PauseAccept { port } });
            }
        }
    }
}
