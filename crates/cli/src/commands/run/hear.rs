//! What happens in the cluster, told: one arm per event. What has to be remembered for telling is kept here too.

use std::time::Instant;

use oneport::{Event, Oddity, Phase, Worker, WorkerRef};

use super::{End, FAILED, Manner, Run};
use crate::output::Awaited;

impl Run {
    /// Tells what happened. Gives the exit code once everything has ended.
    pub(super) fn hear(&mut self, event: Event) -> Option<u8> {
        match event {
            Event::Fork { worker, mut output } => {
                if let Some(stdin) = output.stdin.take() {
                    self.inputs.insert(worker.id(), stdin);
                }
                let awaited = self.await_line(&worker);
                let worker = worker.name();
                self.roll.born(worker);
                // One without a process failed to start: `Error` tells it.
                if worker.pid != 0 {
                    let slot = worker.slot.map_or_else(|| "-".to_owned(), |slot| slot.to_string());
                    self.carrier.add(worker, format!("{}|{slot}", self.teller.app), output, awaited);
                    self.teller.started(worker);
                }
            }
            Event::Error { worker, error } => {
                self.teller.error(&format!("cannot start worker {}: {error}", worker.id()), None);
            }
            Event::Moved { worker, to, .. } => {
                let worker = worker.name();
                match to {
                    Phase::Online => self.watch_unheard(worker.id, Instant::now()),
                    Phase::Listening => self.unheard.forget(worker.id),
                    Phase::Stopping => self.roll.stopped(worker.id),
                    Phase::Starting | Phase::Draining | Phase::Leaving | Phase::Ending | Phase::Gone => {}
                }
                // A shared socket or a death is told with more facts by their own events.
                match to {
                    Phase::Online | Phase::Draining | Phase::Leaving | Phase::Stopping => {
                        self.teller.step(to.name(), worker)
                    }
                    Phase::Starting | Phase::Listening | Phase::Ending | Phase::Gone => {}
                }
            }
            Event::Listening { worker, address } => {
                self.roll.heard(worker.id());
                self.refused.remove(&address.text);
                self.taken.take_if(|taken| taken.address == address.text);
                let first = self.listened.insert(&address.text);
                self.teller.listening(worker.name(), &address, first);
            }
            Event::ListenFailed { worker, address, error } => {
                self.roll.heard(worker.id());
                self.explain_refusal(&address, &error);
            }
            Event::Ready { worker } => self.teller.step("ready", worker.name()),
            Event::NotReadyYet { worker, after } => self.teller.not_ready_yet(worker.name(), after),
            Event::Proven { worker } => self.teller.step("proven", worker.name()),
            // Told by `Moved`, by `Exit`, or of no interest here.
            Event::Setup { .. }
            | Event::Online { .. }
            | Event::Message { .. }
            | Event::Disconnect { .. }
            | Event::Disconnected => {}
            Event::Condemned { worker, reason } => self.teller.violation(worker.name(), &reason),
            Event::Exit { worker, exit, cause } => {
                let worker = worker.name();
                self.inputs.remove(&worker.id);
                self.teller.died(worker, exit, cause, self.roll.was_stopped(worker.id));
                self.unheard.forget(worker.id);
                self.explain_unshared(worker, cause);
                if let Some(forgotten) = self.roll.died(worker.id) {
                    self.carrier.forget(forgotten);
                }
            }
            Event::Restarting { slot, delay } => self.teller.restarting(slot, delay),
            Event::Errored { slot, restarts } => {
                let last = self.last_of(|worker| worker.slot == Some(slot));
                self.teller.errored(slot, restarts, &last);
            }
            Event::Finished { slot } => self.teller.finished(slot),
            Event::OnTrial { worker } => self.teller.step("on trial", worker.name()),
            Event::AllErrored => {
                let message = format!("cannot run `{}`: every slot is given up", self.title);
                self.teller.error(&message, None);
                match self.manner {
                    Manner::Foreground => self.ask_to_end(FAILED),
                    Manner::Managed => {}
                }
            }
            Event::ReloadStarted { workers } => self.teller.reload(workers),
            Event::ReloadQueued => self.teller.notice("another reload follows the one under way", None),
            Event::Replaced { slot, worker } => self.teller.replaced(slot, worker.name()),
            Event::ReloadDone { replaced, took } => self.teller.reloaded(replaced, took),
            Event::ReloadAborted { slot, worker, failure, replaced } => {
                let worker = self.roll.get(worker.id()).unwrap_or_else(|| worker.name());
                let last = self.last_of(|other| other.id == worker.id);
                self.teller.reload_aborted(slot, worker, failure, replaced, &last);
            }
            Event::Oddity { worker, oddity } => self.hear_of_oddity(worker.name(), &oddity),
            Event::Status { worker, text } => self.teller.status(worker.name(), &text),
            Event::Temporary { worker } => self.teller.temporary(worker.name()),
            Event::ConnectionsLost { address, connections } => {
                self.teller.connections_lost(&address, connections);
            }
            Event::Stranger { address, at, process } => self.teller.stranger(&address, at, process.as_ref()),
            Event::Weighed { address, cause } => self.teller.weighed(&address, &cause),
            Event::Rescued { address, connections } => self.teller.rescued(&address, connections),
            Event::AcceptExhausted { address } => {
                let message =
                    format!("cannot accept on `{address}`: out of descriptors or memory; trying again");
                self.teller.error(&message, Some("raise the limit of open files (ulimit -n)"));
            }
            Event::Stopped => {
                return Some(match self.end {
                    End::NotYet => FAILED,
                    End::Asked { code } => code,
                });
            }
        }
        None
    }

    fn hear_of_oddity(&mut self, worker: WorkerRef, oddity: &Oddity) {
        match oddity {
            Oddity::LeftAlone { address } => {
                self.unheard.forget(worker.id);
                self.roll.left_alone(worker.id, address);
            }
            // It is said already why a second copy will fail.
            Oddity::Unseen { .. } | Oddity::ForeignNetwork { .. } => self.roll.heard(worker.id),
            Oddity::PolledEarly { .. }
            | Oddity::Closed { .. }
            | Oddity::WentToBackground { .. }
            | Oddity::NotAccepting { .. } => {}
        }
        self.teller.oddity(worker, oddity);
    }

    fn await_line(&self, worker: &Worker) -> Option<Awaited> {
        let (pattern, worker) = (self.ready_line.clone()?, worker.clone());
        // Fails only when the primary has ended.
        Some(Awaited { pattern, done: Box::new(move || _ = worker.mark_ready()) })
    }

    /// The last lines of the newest worker that fits.
    fn last_of(&self, fits: impl Fn(&WorkerRef) -> bool) -> Vec<String> {
        let newest = self.roll.newest(fits);
        newest.map(|worker| self.carrier.last_lines(worker)).unwrap_or_default()
    }
}
