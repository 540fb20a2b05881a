//! What of the cluster's events concerns slots and jobs, without what those events own.

use oneport::{EndCause, Event, Exit, Phase, ReloadFailure, Slot, WorkerRef};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Born(WorkerRef),
    /// It could not be started, or a message could not be sent.
    Trouble(WorkerRef, String),
    Phase(WorkerRef, Phase),
    Listens(String),
    Ready(WorkerRef),
    Late(WorkerRef),
    Proven(WorkerRef),
    Gone(WorkerRef, Exit, EndCause),
    Pausing(Slot),
    Errored(Slot),
    Finished(Slot),
    Replaced(Slot),
    Reloaded,
    Aborted(Slot, WorkerRef, ReloadFailure),
    Says(WorkerRef, String),
    Lost(u32),
    /// Nothing is left of the cluster.
    Over,
}

impl Seen {
    pub(super) fn of(event: &Event) -> Option<Seen> {
        Some(match event {
            Event::Fork { worker, .. } => Seen::Born(worker.name()),
            Event::Error { worker, error } => Seen::Trouble(worker.name(), error.to_string()),
            Event::Moved { worker, to, .. } => Seen::Phase(worker.name(), *to),
            Event::Listening { address, .. } => Seen::Listens(address.text.clone()),
            Event::Ready { worker } => Seen::Ready(worker.name()),
            Event::NotReadyYet { worker, .. } => Seen::Late(worker.name()),
            Event::Proven { worker } => Seen::Proven(worker.name()),
            Event::Exit { worker, exit, cause } => Seen::Gone(worker.name(), *exit, *cause),
            Event::Restarting { slot, .. } => Seen::Pausing(*slot),
            Event::Errored { slot, .. } => Seen::Errored(*slot),
            Event::Finished { slot } => Seen::Finished(*slot),
            Event::Replaced { slot, .. } => Seen::Replaced(*slot),
            Event::ReloadDone { .. } => Seen::Reloaded,
            Event::ReloadAborted { slot, worker, failure, .. } => {
                // One that is gone by now is in no slot any more; it failed in this one.
                Seen::Aborted(*slot, WorkerRef { slot: Some(*slot), ..worker.name() }, *failure)
            }
            Event::Status { worker, text } => Seen::Says(worker.name(), text.clone()),
            Event::ConnectionsLost { connections, .. } => Seen::Lost(*connections),
            Event::Stopped => Seen::Over,
            Event::Setup { .. }
            | Event::Online { .. }
            | Event::ListenFailed { .. }
            | Event::Message { .. }
            | Event::Disconnect { .. }
            | Event::Condemned { .. }
            | Event::AllErrored
            | Event::OnTrial { .. }
            | Event::ReloadStarted { .. }
            | Event::ReloadQueued
            | Event::Oddity { .. }
            | Event::Temporary { .. }
            | Event::Stranger { .. }
            | Event::Weighed { .. }
            | Event::Rescued { .. }
            | Event::AcceptExhausted { .. }
            | Event::Disconnected => return None,
        })
    }
}
