//! The trees of workers that end, on one thread: it reads the process table once for all that are waiting, however many they
//! are, and kills them in turns. `tree` has the way of each.
//!
//! What does not live here: what a worker's end is made of, and in which order (`reap`). Invariant: no more than `AT_A_TIME`
//! trees are killed and not yet dead. The end of a trapped program frees a BPF program, and Linux 6.18 hangs for good when
//! 1024 of them wait on one processor to be freed (`bpf_prog_pack_free`).

mod tree;

use std::sync::mpsc::{Receiver, RecvTimeoutError, SendError, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use oneport_sys::process::Signal;
use oneport_sys::tree::{Ending, wait_dead};
use tracing::warn;

use super::Primary;
use super::readings::Readings;
use super::spawn::WorkerProcess;
use crate::cluster::Commands;

use tree::Tree;
pub(super) use tree::{Leftovers, Request};

/// Trees that are killed at the same time.
pub(super) const AT_A_TIME: usize = 64;
/// How often what is left of a tree is looked at while it may still go on, at most.
const LOOK: Duration = Duration::from_millis(50);
/// So much longer than a look itself takes: they are no more than a fifth of the time.
const REST: u32 = 4;
/// How long killed ones may take to be dead when nobody is there to do anything about it.
const DYING: Duration = Duration::from_secs(1);

/// The way to the thread, which starts with the first request and ends with the primary.
#[derive(Debug, Default)]
pub(super) struct Trees {
    sender: Option<Sender<Request>>,
}

impl Primary {
    /// Ends a tree aside, and tells so by `Command::TreeEnded`. A request that nobody can take comes back.
    pub(super) fn order_end(&mut self, request: Request) -> Result<(), Box<Request>> {
        if self.trees.sender.is_none() {
            self.trees.sender = start(self.own_commands.clone(), self.readings.clone());
        }
        match &self.trees.sender {
            Some(sender) => sender.send(request).map_err(|SendError(request)| Box::new(request)),
            None => Err(Box::new(request)),
        }
    }
}

fn start(commands: Commands, readings: Readings) -> Option<Sender<Request>> {
    let (sender, requests) = channel();
    let work = move || keep(&requests, &readings, &commands);
    match thread::Builder::new().name("oneport-trees".into()).spawn(work) {
        Ok(_) => Some(sender),
        Err(cause) => {
            warn!(%cause, "cannot end the trees of workers");
            None
        }
    }
}

/// Until the primary is gone, and what it asked for last is done.
fn keep(requests: &Receiver<Request>, readings: &Readings, commands: &Commands) {
    let mut trees: Vec<Tree> = Vec::new();
    loop {
        if trees.is_empty() {
            match requests.recv() {
                Ok(request) => trees.push(Tree::new(request)),
                Err(_) => return,
            }
        }
        take_more(requests, &mut trees);
        let began = Instant::now();
        if !trees.iter().all(Tree::has_dying) {
            look(&mut trees, readings, commands);
        }
        let took = began.elapsed();
        if trees.iter().any(Tree::has_dying) {
            Ending::wait(trees.iter_mut().filter_map(Tree::ending), Instant::now() + LOOK);
            continue;
        }
        let goes_on = trees.iter().any(Tree::is_queued) && room(&mut trees) > 0;
        if !trees.is_empty() && !goes_on {
            match requests.recv_timeout(LOOK.max(took * REST)) {
                Ok(request) => trees.push(Tree::new(request)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

fn take_more(requests: &Receiver<Request>, trees: &mut Vec<Tree>) {
    loop {
        match requests.try_recv() {
            Ok(request) => trees.push(Tree::new(request)),
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => return trees.iter().for_each(Tree::hurry),
        }
    }
}

fn look(trees: &mut Vec<Tree>, readings: &Readings, commands: &Commands) {
    let table = readings.table();
    let mut room = room(trees);
    for tree in trees.iter_mut().filter(|tree| !tree.has_dying()) {
        tree.look(&table, &mut room, commands);
    }
    trees.retain(|tree| !tree.is_over());
}

/// How many more may be killed now.
fn room(trees: &mut [Tree]) -> usize {
    AT_A_TIME.saturating_sub(trees.iter_mut().filter_map(Tree::ending).count())
}

/// Ends all groups at the end of a primary that cannot go on; programs in turns, too.
pub(super) fn end_all(workers: impl Iterator<Item = WorkerProcess>) {
    let (programs, others): (Vec<_>, Vec<_>) = workers.partition(|worker| worker.program.is_some());
    others.into_iter().for_each(WorkerProcess::end_now);
    let mut before: Vec<WorkerProcess> = Vec::new();
    for program in programs {
        if before.len() == AT_A_TIME {
            let pidfds = before.drain(..).filter_map(|worker| Some(worker.process?.1)).collect();
            wait_dead(pidfds, Instant::now() + DYING);
        }
        program.signal_group(Signal::KILL);
        before.push(program);
    }
}
