//! The thread that writes an app's output. Everything that takes time happens here, and nobody waits for it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use oneport_sys::process::Signal;
use oneport_sys::signals;

use super::file;
use super::keeper::Keeper;
use super::queue::{Batch, Entry, Found, Queue};
use super::target::{Care, Target};
use super::tidy;
use super::voice::{Key, QUIET, Shape};
use crate::logs::Stream;
use crate::logs::plan::Plan;

/// Memory is given back when the app has been quiet for so long.
const LONG_QUIET: Duration = Duration::from_secs(10);
/// A file that is larger than the process may write (`ulimit -f`) is an error of the write, and must not end
/// the primary.
const SIGXFSZ: i32 = 25;

pub(super) struct Writer {
    queue: Arc<Queue>,
    plan: Plan,
    shape: Shape,
    keeper: Keeper,
    targets: Vec<Target>,
    /// Their files.
    live: Vec<PathBuf>,
    /// Which of them a stream of a slot goes to.
    routes: HashMap<(u32, Stream), Vec<usize>>,
}

impl Writer {
    pub(super) fn new(queue: Arc<Queue>, plan: Plan) -> Writer {
        let shape = Shape::of(&plan);
        let (targets, live, routes) = (Vec::new(), Vec::new(), HashMap::new());
        Writer { queue, plan, shape, keeper: Keeper::default(), targets, live, routes }
    }

    pub(super) fn run(mut self) {
        // Of this thread alone, which is the one that gets it; it is never read.
        let _blocked = Signal::from_number(SIGXFSZ).and_then(|signal| signals::block(&[signal]).ok());
        let mut batch = Batch::default();
        let mut large = false;
        loop {
            let waits = self.targets.iter().any(|target| target.voices.waits(&self.shape));
            let quiet = if waits { Some(QUIET) } else { large.then_some(LONG_QUIET) };
            let found = self.queue.next(&mut batch, quiet);
            match found {
                Found::Work => large = true,
                Found::Quiet if waits => {}
                Found::Quiet => {
                    self.queue.shrink(&mut batch);
                    self.targets.iter_mut().for_each(Target::shrink);
                    large = false;
                }
            }
            let finished = self.write(&mut batch);
            self.each(Target::settle);
            if let Some(done) = finished {
                done();
                return;
            }
        }
    }

    fn write(&mut self, batch: &mut Batch) -> Option<Box<dyn FnOnce() + Send>> {
        let now = Instant::now();
        let mut bytes = batch.bytes.as_slice();
        for entry in batch.entries.drain(..) {
            match entry {
                Entry::Bytes { source, stream, at, len } => {
                    let (piece, rest) = bytes.split_at(len);
                    bytes = rest;
                    self.route((source, stream), now, |target, key, care| target.say(key, at, piece, care));
                }
                Entry::Gap { source, stream, bytes } => {
                    self.route((source, stream), now, |target, key, care| target.miss(key, bytes, care));
                }
                Entry::LineEnd { source, stream } => {
                    self.route((source, stream), now, |target, key, care| target.end(key, care));
                }
                Entry::Reopen => self.each(Target::reopen),
                Entry::Empty => self.empty(),
                Entry::Replan(plan) => self.replan(*plan),
                Entry::Finish(done) => {
                    self.each(Target::flush_all);
                    return Some(done);
                }
            }
        }
        None
    }

    fn route(&mut self, key: Key, now: Instant, act: impl Fn(&mut Target, Key, &mut Care<'_>)) {
        let (source, stream) = key;
        let (targets, live) = (&mut self.targets, &mut self.live);
        let places = self.routes.entry((source.id, stream)).or_insert_with(|| {
            let place_of = |path: PathBuf| {
                let shared = self.plan.is_shared(&path, source.id);
                let place = targets.iter().position(|target| target.path == path).unwrap_or_else(|| {
                    live.push(path.clone());
                    targets.push(Target::new(path));
                    targets.len() - 1
                });
                targets[place].voices.shared = shared;
                place
            };
            self.plan.files(source.id, stream).into_iter().map(place_of).collect()
        });
        let limit = self.plan.rotation.size_of_each(targets.len());
        let mut care = Care {
            queue: &self.queue,
            plan: &self.plan,
            keeper: &self.keeper,
            shape: &mut self.shape,
            limit,
            live: &self.live,
            now,
        };
        for place in places.iter() {
            act(&mut targets[*place], key, &mut care);
        }
    }

    fn each(&mut self, act: impl Fn(&mut Target, &mut Care<'_>)) {
        let mut care = Care {
            queue: &self.queue,
            plan: &self.plan,
            keeper: &self.keeper,
            shape: &mut self.shape,
            limit: self.plan.rotation.size_of_each(self.targets.len()),
            live: &self.live,
            now: Instant::now(),
        };
        self.targets.iter_mut().for_each(|target| act(target, &mut care));
    }

    fn empty(&mut self) {
        self.each(Target::empty);
        let known: Vec<&PathBuf> = self.targets.iter().map(|target| &target.path).collect();
        for path in tidy::current(&self.plan) {
            if !known.contains(&&path) {
                // What cannot be emptied is told by whoever asked for it, who sees the file.
                let _ = file::empty_by_name(&path);
            }
        }
    }

    /// Files that are the same before and after stay open.
    fn replan(&mut self, plan: Plan) {
        self.each(Target::flush_all);
        self.plan = plan;
        self.shape = Shape::of(&self.plan);
        self.routes.clear();
        // A slot that has gone may still write its last lines, which opens its file again.
        self.targets.retain(|target| self.plan.is_written(&target.path));
        self.live = self.targets.iter().map(|target| target.path.clone()).collect();
        let linked: Vec<PathBuf> =
            self.targets.iter().filter_map(|target| target.linked().map(Into::into)).collect();
        let limit = self.plan.rotation.size_of_each(self.targets.len());
        tidy::prune(&self.plan, &linked, &self.live, limit);
        self.keeper.compress(&self.plan, &linked);
    }
}
