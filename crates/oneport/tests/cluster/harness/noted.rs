//! Events as a test notes them: what can be compared and kept after the event is taken apart.

use oneport::{Address, EndCause, Event, Exit, Worker, WorkerId};

/// Something that happened in a cluster, as the test noted it.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    /// Node's name of the event; ours, in Node's manner, where it has none.
    pub(crate) name: &'static str,
    pub(crate) worker: Option<WorkerId>,
    pub(crate) address: Option<Address>,
    pub(crate) exit: Option<(Exit, EndCause)>,
    /// A message's JSON; an error's words.
    pub(crate) text: Option<String>,
}

/// Node's events of a worker.
pub(super) const OF_A_LIFE: [&str; 7] =
    ["fork", "error", "online", "listening", "message", "disconnect", "exit"];

pub(super) fn noted(event: &Event) -> Noted {
    let plain = |name| Noted { name, worker: None, address: None, exit: None, text: None };
    let of = |name, worker: &Worker| Noted { worker: Some(worker.id()), ..plain(name) };
    match event {
        Event::Setup { .. } => plain("setup"),
        Event::Fork { worker, .. } => of("fork", worker),
        Event::Error { worker, error } => Noted { text: Some(error.to_string()), ..of("error", worker) },
        Event::Online { worker } => of("online", worker),
        Event::Moved { worker, to, .. } => Noted { text: Some(to.name().into()), ..of("moved", worker) },
        Event::Listening { worker, address } => {
            Noted { address: Some(address.clone()), ..of("listening", worker) }
        }
        Event::ListenFailed { worker, error, .. } => {
            Noted { text: Some(error.to_string()), ..of("listen-failed", worker) }
        }
        Event::Ready { worker } => of("ready", worker),
        Event::NotReadyYet { worker, .. } => of("not-ready-yet", worker),
        Event::Proven { worker } => of("proven", worker),
        Event::Message { worker, message } => {
            Noted { text: Some(message.json().to_owned()), ..of("message", worker) }
        }
        Event::Disconnect { worker } => of("disconnect", worker),
        Event::Condemned { worker, reason } => {
            Noted { text: Some(reason.clone()), ..of("condemned", worker) }
        }
        Event::Exit { worker, exit, cause } => Noted { exit: Some((*exit, *cause)), ..of("exit", worker) },
        Event::Restarting { .. } => plain("restarting"),
        Event::Errored { .. } => plain("errored"),
        Event::Finished { .. } => plain("finished"),
        Event::OnTrial { worker } => of("on-trial", worker),
        Event::AllErrored => plain("all-errored"),
        Event::ReloadStarted { .. } => plain("reload-started"),
        Event::ReloadQueued => plain("reload-queued"),
        Event::Replaced { worker, .. } => of("replaced", worker),
        Event::ReloadDone { .. } => plain("reload-done"),
        Event::ReloadAborted { worker, .. } => of("reload-aborted", worker),
        Event::Oddity { worker, oddity } => {
            Noted { text: Some(format!("{oddity:?}")), ..of("oddity", worker) }
        }
        Event::Status { worker, text } => Noted { text: Some(text.clone()), ..of("status", worker) },
        Event::Temporary { worker } => of("temporary", worker),
        Event::ConnectionsLost { .. } => plain("connections-lost"),
        Event::Stranger { .. } => plain("stranger"),
        Event::Weighed { .. } => plain("weighed"),
        Event::Rescued { .. } => plain("rescued"),
        Event::AcceptExhausted { .. } => plain("accept-exhausted"),
        Event::Disconnected => plain("disconnected"),
        Event::Stopped => plain("stopped"),
    }
}
