//! The end of a worker: the process ends, its tree is ended, its channel is read to the end, it is reaped. In this
//! order, because a process number belongs to its process until it is reaped, and because answers of a dead
//! worker may lie unread.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::Duration;

use oneport_core::{Effects, Event as Core, Exit, WorkerId};
use oneport_sys::process::{self, Signal};
use oneport_sys::untouched::is_untouched;
use tracing::warn;

use super::channel::{Read, Trust};
use super::heard::Ears;
use super::spawn::TreeEnd;
use super::trees::{AT_A_TIME, Leftovers, Request};
use super::{Command, Primary};
use crate::event::Oddity;
use crate::settings::TreeRule;

impl Primary {
    /// The pidfd became readable.
    pub(super) fn process_ended(&mut self, worker: WorkerId, effects: &mut Effects) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        let Some((_, pidfd)) = &w.process else { return };
        let exit = match process::peek(pidfd.as_fd()) {
            Ok(Some(process::Exit::Code(code))) => Exit::Code(code),
            Ok(Some(process::Exit::Signal(signal))) => Exit::Signal(signal),
            Ok(None) => return,
            Err(cause) => {
                // Somebody else in this process waits for children that are not its own.
                warn!(%cause, worker = worker.0, "cannot learn how the process ended");
                Exit::Code(0)
            }
        };
        // A pidfd stays readable for ever.
        let _ = self.poller.remove(pidfd.as_fd());
        w.owner.died();
        if w.ending.exit.replace(exit).is_none() {
            self.happen(Core::Exited { worker, exit }, effects);
            self.finish(worker, effects);
        }
    }

    /// The end of a worker and, unless that is to be left alone, of its tree.
    pub(super) fn end_tree(&mut self, worker: WorkerId, grace: Duration) {
        match self.settings.tree {
            TreeRule::EndsWithIt => self.end_whole_tree(worker, grace),
            TreeRule::LeftAlone => self.end_process(worker, grace),
        }
    }

    /// Whoever else is in the tree goes on, and is not looked for: there is nothing to wait for but the process.
    fn end_process(&mut self, worker: WorkerId, grace: Duration) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if grace.is_zero() {
            w.ending.hurry.store(true, Ordering::Relaxed);
            w.signal_process(Signal::KILL);
        }
        if w.ending.tree == TreeEnd::NotAsked {
            w.ending.tree = TreeEnd::UnderWay;
            self.own_commands.send(Command::TreeEnded { worker });
        }
    }

    /// Ends the tree aside: that takes reading all of `/proc`, and waiting.
    fn end_whole_tree(&mut self, worker: WorkerId, grace: Duration) {
        let sparing = if grace.is_zero() { self.sparing(worker) } else { None };
        let few = self.workers.len() <= AT_A_TIME;
        let Some(w) = self.workers.get_mut(&worker) else { return };
        let Some((root, _)) = w.process else { return };
        if grace.is_zero() {
            w.ending.hurry.store(true, Ordering::Relaxed);
            if sparing.is_none() && (few || w.program.is_none()) {
                // At once, not only when the thread gets to it.
                w.signal_group(Signal::KILL);
            }
        }
        if w.ending.tree != TreeEnd::NotAsked {
            return;
        }
        w.ending.tree = TreeEnd::UnderWay;
        // Of a crashed one they are simply what is left.
        let in_peace = sparing.is_some() && w.ending.exit == Some(Exit::Code(0));
        w.ending.leftovers = if in_peace { Leftovers::InBackground } else { Leftovers::Expected };
        let request = Request {
            worker,
            root,
            mark: w.mark.clone(),
            stop: self.settings.stop_signal,
            grace,
            hurry: w.ending.hurry.clone(),
            sparing,
            leftovers: w.ending.leftovers,
        };
        if self.order_end(request).is_err() {
            warn!(worker = worker.0, "cannot end the worker's tree, only its process group");
            if let Some(w) = self.workers.get(&worker) {
                w.signal_group(Signal::KILL);
            }
            self.own_commands.send(Command::TreeEnded { worker });
        }
    }

    /// Some of its processes outlived it. Seen among all processes, or by their calls: whoever is refused to bind may be
    /// gone before anybody looks.
    pub(super) fn outlived(&mut self, worker: WorkerId, processes: usize) {
        let Some(w) = self.workers.get_mut(&worker) else { return };
        match std::mem::take(&mut w.ending.leftovers) {
            Leftovers::InBackground => self.tell_oddity(worker, Oddity::WentToBackground { processes }),
            Leftovers::Expected => {}
        }
    }

    pub(super) fn tree_ended(&mut self, worker: WorkerId, effects: &mut Effects) {
        if let Some(w) = self.workers.get_mut(&worker) {
            w.ending.tree = TreeEnd::Done;
            self.finish(worker, effects);
        }
    }

    /// Once process and tree are gone: hears what it said last, reaps it, and lets the core bury it.
    fn finish(&mut self, worker: WorkerId, effects: &mut Effects) {
        let Some(w) = self.workers.get(&worker) else { return };
        if w.ending.exit.is_none() || w.ending.tree != TreeEnd::Done {
            return;
        }
        self.hear_out(worker, effects);
        let Some(w) = self.workers.get_mut(&worker) else { return };
        if let Some((pid, pidfd)) = &w.process {
            let mut roster = self.roster.hold();
            if let Err(cause) = process::reap(pidfd.as_fd()) {
                warn!(%cause, worker = worker.0, "cannot reap");
            }
            roster.remove(&pid.get());
        }
        self.happen(Core::Gone { worker }, effects);
    }

    /// Nobody is to write to it any more, not even somebody who escaped the tree with a copy of the other end; so
    /// this comes to an end. A breach of the protocol ends it too.
    fn hear_out(&mut self, worker: WorkerId, effects: &mut Effects) {
        self.hear_out_streams(worker, effects);
        if let Some(channel) = self.workers.get(&worker).and_then(|w| w.channel.as_ref()) {
            channel.shut_for_reading();
        }
        loop {
            if !self.hear_all(worker, Ears::Open, effects) {
                return self.hear_out_condemned(worker, effects);
            }
            let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) else {
                return;
            };
            match channel.trust {
                Trust::Heard => {}
                Trust::Condemned => return self.hear_out_condemned(worker, effects),
                Trust::Ended => return,
            }
            match channel.receive() {
                Ok(Read::Full | Read::Part) => {}
                Ok(Read::Empty | Read::End) => return,
                Err(_) => return self.hear_out_condemned(worker, effects),
            }
        }
    }

    /// What a worker that broke the protocol took is not given to another: neither what it said that it took, nor
    /// what it read from or wrote to without a word.
    fn hear_out_condemned(&mut self, worker: WorkerId, effects: &mut Effects) {
        let Some(channel) = self.workers.get_mut(&worker).and_then(|w| w.channel.as_mut()) else { return };
        let mut answers = channel.last_answers();
        let mut unanswered = channel.unanswered();
        unanswered.extend(self.unanswered_on_streams(worker));
        for conn in unanswered {
            let touched = self.conns.get(&conn).is_some_and(|fd| !is_untouched(fd.as_fd()));
            if touched {
                answers.push((conn, true));
            }
        }
        for (conn, accepted) in answers {
            self.happen(Core::Answered { worker, conn, accepted }, effects);
        }
    }
}
