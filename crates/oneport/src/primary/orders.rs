//! What the owner orders besides what the core decides: settings for later workers, forks, messages, signals.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;

use oneport_core::{Effects, Event as Core, WorkerId};
use oneport_sys::process::{self, Signal};
use oneport_wire::node::message::{FromPrimary, HandleEnvelope, Json};
use tokio::sync::oneshot;
use tracing::warn;

use super::Primary;
use crate::event::Event;
use crate::fork::Worker;
use crate::handle::Handle;
use crate::settings::{Settings, TreeRule};

/// A fork under way: its variables go in, the worker comes out.
#[derive(Debug, Default)]
pub(super) struct Forking {
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) born: Option<Worker>,
}

impl Primary {
    pub(super) fn set_up(&mut self, settings: Settings) {
        self.settings = settings.clone();
        self.tell(Event::Setup { settings: Box::new(settings) });
    }

    pub(super) fn fork(
        &mut self,
        env: Vec<(OsString, OsString)>,
        reply: &SyncSender<Option<Worker>>,
        effects: &mut Effects,
    ) {
        self.forking = Some(Forking { env, born: None });
        let attach = self.settings.conduct.attach;
        self.happen(Core::Fork { attach }, effects);
        let born = self.forking.take().and_then(|forking| forking.born);
        // The owner waits for it; if it has gone meanwhile the worker is there all the same.
        let _ = reply.send(born);
    }

    pub(super) fn disconnect_all(&mut self, done: oneshot::Sender<()>, effects: &mut Effects) {
        self.disconnecting.push(done);
        self.happen(Core::Disconnect, effects);
    }

    pub(super) fn all_gone(&mut self) {
        for waiting in self.disconnecting.drain(..) {
            // Who has stopped waiting needs no answer.
            let _ = waiting.send(());
        }
    }

    pub(super) fn signal(&mut self, worker: WorkerId, signal: Signal) {
        let Some((_, pidfd)) = self.workers.get(&worker).and_then(|w| w.process.as_ref()) else { return };
        if let Err(cause) = process::signal(std::os::fd::AsFd::as_fd(pidfd), signal)
            && cause.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error())
        {
            warn!(%cause, worker = worker.0, "cannot signal worker");
        }
    }

    /// The stop signal, or the message in its place.
    pub(super) fn ask_to_stop(&mut self, worker: WorkerId) {
        let Some(w) = self.workers.get(&worker) else { return };
        let hears = w.channel.is_some() && w.owner.is_connected();
        let message = self.settings.stop_message.clone().filter(|_| hears);
        match message.and_then(|text| Json::parse(text).ok()) {
            Some(message) => self.send_user(worker, message, None),
            None => match self.settings.tree {
                TreeRule::EndsWithIt => w.signal_group(self.settings.stop_signal),
                TreeRule::LeftAlone => w.signal_process(self.settings.stop_signal),
            },
        }
    }

    pub(super) fn send_user(&mut self, worker: WorkerId, message: Json<'static>, handle: Option<Handle>) {
        let owned = message.get().len();
        let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) else { return };
        match handle {
            None => channel.send_user(&FromPrimary::User(message), owned),
            Some(handle) => {
                let envelope = HandleEnvelope { kind: handle.kind(), message, key: None };
                channel.send_handle(envelope, OwnedFd::from(handle), owned);
            }
        }
        self.update_interest(worker);
    }
}
