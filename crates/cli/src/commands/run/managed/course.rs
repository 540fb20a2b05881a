//! How a job goes on, slot by slot, as a state machine without a clock and without a cluster: what is seen goes in, what has
//! to be done comes out.

use oneport::{EndCause, Exit, Phase, ReloadFailure, Slot, WorkerId, WorkerRef};
use oneport_wire::control::{Job, JobKind, JobState, Step, StepState};

use super::seen::Seen;
use crate::render::span;

/// The manner of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// Workers come, all at once.
    Come,
    /// Workers leave, all at once.
    Leave,
    /// Workers leave and others come, so many at a time.
    Change { width: usize },
    /// All leave, and then others come: in another cluster.
    Renew,
    /// Others come and workers leave, as the core decides.
    Reload,
}

/// What has to be done for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Do {
    /// Whoever is there leaves; the slot gets another worker.
    Change(Slot),
    /// An empty slot is filled.
    Fill(Slot),
}

/// Which ends are no failures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ends {
    /// Nobody is started again: a worker may end as soon as it likes, with code 0.
    pub(super) once: bool,
    /// Codes after which a worker is not started again.
    pub(super) codes: Vec<i32>,
}

impl Ends {
    fn are_well(&self, exit: Exit) -> bool {
        match exit {
            Exit::Code(code) => (self.once && code == 0) || self.codes.contains(&code),
            Exit::Signal(_) | Exit::NotSpawned => false,
        }
    }
}

/// A job under way.
#[derive(Clone, Debug)]
pub(super) struct Course {
    pub(super) job: Job,
    /// Whom each step is about: one who leaves, or one who comes.
    who: Vec<Option<WorkerId>>,
    manner: Manner,
    ends: Ends,
    app: String,
    /// Who failed first: its last words explain it.
    pub(super) culprit: Option<WorkerId>,
}

impl Course {
    /// `slots` by their numbers: of the daemon, and of the app.
    pub(super) fn new(
        id: u64,
        kind: JobKind,
        manner: Manner,
        slots: &[(u32, Slot)],
        ends: Ends,
        app: &str,
    ) -> Course {
        let state = match manner {
            Manner::Come => StepState::Starting,
            Manner::Leave | Manner::Renew => StepState::Stopping,
            Manner::Change { .. } | Manner::Reload => StepState::Waiting,
        };
        let step = |&(id, slot): &(u32, Slot)| Step { id, slot: slot.0, state, pid: None, note: None };
        let job = Job {
            id,
            kind,
            state: JobState::Running,
            steps: slots.iter().map(step).collect(),
            error: None,
            hint: None,
            last_lines: Vec::new(),
            took: 0,
        };
        let who = vec![None; job.steps.len()];
        let mut course = Course { job, who, manner, ends, app: app.to_owned(), culprit: None };
        course.conclude();
        course
    }

    pub(super) fn is_over(&self) -> bool {
        self.job.state != JobState::Running
    }

    /// What is to be done next. `stays`: who serves in a slot and is not on the way out.
    pub(super) fn next(&mut self, stays: impl Fn(Slot) -> Option<WorkerId>) -> Vec<Do> {
        let Manner::Change { width } = self.manner else { return Vec::new() };
        let failed = self.job.steps.iter().any(|step| step.state == StepState::Failed);
        let busy = self.job.steps.iter().filter(|step| is_under_way(step.state)).count();
        let free = if self.is_over() || failed { 0 } else { width.max(1).saturating_sub(busy) };
        let waiting = self.job.steps.iter_mut().zip(&mut self.who);
        let waiting = waiting.filter(|(step, _)| step.state == StepState::Waiting);
        let turn = |(step, who): (&mut Step, &mut Option<WorkerId>)| {
            let slot = Slot(step.slot);
            *who = stays(slot);
            match *who {
                Some(_) => {
                    step.state = StepState::Draining;
                    Do::Change(slot)
                }
                None => {
                    step.state = StepState::Starting;
                    Do::Fill(slot)
                }
            }
        };
        waiting.take(free).map(turn).collect()
    }

    /// Takes in what was seen. `is_empty`: whether nobody is in a slot any more. Whether that changed anything.
    pub(super) fn see(&mut self, seen: &Seen, is_empty: impl Fn(Slot) -> bool) -> bool {
        if self.is_over() {
            return false;
        }
        let changed = match seen {
            Seen::Born(worker) => self.born(*worker),
            Seen::Ready(worker) => self.of(worker, |step, manner, proves| match (manner, step.state) {
                (Manner::Come | Manner::Change { .. } | Manner::Renew, StepState::Starting) if !proves => {
                    Some(StepState::Done)
                }
                (Manner::Reload | Manner::Change { .. }, StepState::Starting) => Some(StepState::Proving),
                _ => None,
            }),
            Seen::Proven(worker) => self.of(worker, |step, manner, _| match (manner, step.state) {
                (Manner::Change { .. }, StepState::Proving) => Some(StepState::Done),
                _ => None,
            }),
            Seen::Phase(worker, Phase::Stopping) => self.step(worker.slot, |step, manner| {
                let leaves = step.state == StepState::Draining && manner != Manner::Come;
                leaves.then_some(StepState::Stopping)
            }),
            Seen::Replaced(slot) => self.step(Some(*slot), |step, manner| match manner {
                Manner::Reload => {
                    // Who drains and stops is the old one.
                    step.pid = None;
                    Some(StepState::Draining)
                }
                Manner::Come | Manner::Leave | Manner::Change { .. } | Manner::Renew => None,
            }),
            Seen::Late(worker) => {
                let late =
                    self.manner != Manner::Reload && self.state_of(worker) == Some(StepState::Starting);
                late && self.fail(*worker, "is up and not ready in time".to_owned())
            }
            Seen::Gone(worker, exit, cause) => self.gone(*worker, *exit, *cause, is_empty),
            Seen::Errored(slot) => self.ended_there(*slot, "is given up"),
            Seen::Finished(slot) => self.ended_there(*slot, "has ended for good"),
            Seen::Aborted(_, worker, failure) if self.manner == Manner::Reload => {
                self.fail(*worker, failure_words(*failure)) | self.give_up()
            }
            Seen::Reloaded if self.manner == Manner::Reload => {
                self.job.state = JobState::Done;
                self.all_done()
            }
            Seen::Over => match self.manner {
                Manner::Leave => self.all_done(),
                Manner::Come | Manner::Change { .. } | Manner::Reload => self.give_up(),
                Manner::Renew => self.step_all(StepState::Stopping, StepState::Starting),
            },
            Seen::Aborted(..)
            | Seen::Reloaded
            | Seen::Trouble(..)
            | Seen::Phase(..)
            | Seen::Listens(_)
            | Seen::Pausing(_)
            | Seen::Says(..)
            | Seen::Lost(_) => false,
        };
        self.conclude();
        changed
    }

    fn born(&mut self, worker: WorkerRef) -> bool {
        let Some(at) = self.at(worker.slot) else { return false };
        let step = &mut self.job.steps[at];
        let comes = match (self.manner, step.state) {
            // Whose turn has not come may crash and come again.
            (Manner::Leave, _) | (Manner::Change { .. }, StepState::Waiting) => false,
            // One that is awaited, the next one after a failure, or the first sign that the core has begun here.
            (Manner::Come | Manner::Renew, StepState::Starting | StepState::Failed)
            | (Manner::Change { .. }, StepState::Starting | StepState::Draining | StepState::Stopping)
            | (Manner::Reload, StepState::Waiting | StepState::Starting) => true,
            (Manner::Come | Manner::Renew | Manner::Change { .. } | Manner::Reload, _) => false,
        };
        if comes {
            step.state = StepState::Starting;
            step.pid = Some(worker.pid).filter(|pid| *pid != 0);
            self.who[at] = Some(worker.id);
        }
        comes
    }

    fn gone(
        &mut self,
        worker: WorkerRef,
        exit: Exit,
        cause: EndCause,
        is_empty: impl Fn(Slot) -> bool,
    ) -> bool {
        let Some((at, slot)) = self.at(worker.slot).zip(worker.slot) else { return false };
        let is_whom = self.who[at] == Some(worker.id);
        let state = self.job.steps[at].state;
        match (self.manner, state) {
            // In a reload two are there, and both have to go.
            (Manner::Leave, _) => is_empty(slot) && self.step(Some(slot), |_, _| Some(StepState::Done)),
            // The successor's name is known: whoever else goes here is its predecessor.
            (Manner::Reload, StepState::Draining | StepState::Stopping) => {
                !is_whom && self.step(Some(slot), |_, _| Some(StepState::Done))
            }
            (Manner::Change { .. }, StepState::Draining | StepState::Stopping) if is_whom => {
                self.who[at] = None;
                self.step(Some(slot), |_, _| Some(StepState::Starting))
            }
            (
                Manner::Come | Manner::Change { .. } | Manner::Renew,
                StepState::Starting | StepState::Proving,
            ) if is_whom => {
                if cause == EndCause::ByItself && self.ends.are_well(exit) {
                    return self.step(Some(slot), |_, _| Some(StepState::Done));
                }
                self.fail(worker, format!("{} before it was ready", exit_words(exit)))
            }
            // What the core does about it is told by its own events; who ended unasked elsewhere is no matter of the job.
            (Manner::Come | Manner::Change { .. } | Manner::Renew | Manner::Reload, _) => false,
        }
    }

    /// Nobody comes to that slot any more.
    fn ended_there(&mut self, slot: Slot, why: &str) -> bool {
        let Some(at) = self.at(Some(slot)) else { return false };
        let awaits = match (self.manner, self.job.steps[at].state) {
            (Manner::Leave | Manner::Reload, _) => false,
            (
                Manner::Come | Manner::Change { .. } | Manner::Renew,
                StepState::Starting | StepState::Proving | StepState::Draining | StepState::Stopping,
            ) => true,
            (Manner::Come | Manner::Change { .. } | Manner::Renew, _) => false,
        };
        awaits && self.fail_step(slot, why.to_owned())
    }

    fn at(&self, slot: Option<Slot>) -> Option<usize> {
        let slot = slot?;
        self.job.steps.iter().position(|step| step.slot == slot.0)
    }

    /// How far the step is that is about this worker.
    fn state_of(&self, worker: &WorkerRef) -> Option<StepState> {
        let at = self.at(worker.slot)?;
        (self.who[at] == Some(worker.id)).then(|| self.job.steps[at].state)
    }

    /// Changes the step that is about this worker. The last argument of `act`: whether being ready is not enough.
    fn of(&mut self, worker: &WorkerRef, act: impl FnOnce(&Step, Manner, bool) -> Option<StepState>) -> bool {
        if self.state_of(worker).is_none() {
            return false;
        }
        let proves = self.job.kind == JobKind::Reload && matches!(self.manner, Manner::Change { .. });
        self.step(worker.slot, |step, manner| act(step, manner, proves))
    }

    fn step(&mut self, slot: Option<Slot>, act: impl FnOnce(&mut Step, Manner) -> Option<StepState>) -> bool {
        let manner = self.manner;
        let of_slot = |step: &&mut Step| slot.is_some_and(|slot| slot.0 == step.slot);
        let Some(step) = self.job.steps.iter_mut().find(of_slot) else { return false };
        match act(step, manner) {
            Some(state) => {
                step.state = state;
                true
            }
            None => false,
        }
    }

    fn fail(&mut self, worker: WorkerRef, why: String) -> bool {
        self.culprit.get_or_insert(worker.id);
        worker.slot.is_some_and(|slot| self.fail_step(slot, why))
    }

    fn fail_step(&mut self, slot: Slot, why: String) -> bool {
        let (verb, app) = (self.job.kind.word(), &self.app);
        self.job.error.get_or_insert_with(|| format!("cannot {verb} `{app}`: worker {slot} {why}"));
        self.step(Some(slot), |step, _| {
            step.note = Some(why);
            Some(StepState::Failed)
        })
    }

    /// It cannot be done, for a reason that is no worker's.
    pub(super) fn fail_whole(&mut self, error: String, hint: Option<String>) {
        (self.job.state, self.job.error, self.job.hint) = (JobState::Failed, Some(error), hint);
    }

    /// Something else comes in between.
    pub(super) fn interrupt(&mut self) {
        if !self.is_over() {
            self.give_up();
        }
    }

    fn step_all(&mut self, from: StepState, to: StepState) -> bool {
        let steps = self.job.steps.iter_mut().filter(|step| step.state == from);
        steps.map(|step| step.state = to).count() > 0
    }

    /// Nothing more of it will be done.
    fn give_up(&mut self) -> bool {
        self.job.state = JobState::Failed;
        self.job.error.get_or_insert_with(|| {
            format!("cannot {} `{}`: it was interrupted", self.job.kind.word(), self.app)
        });
        true
    }

    fn all_done(&mut self) -> bool {
        for step in &mut self.job.steps {
            if step.state != StepState::Failed {
                step.state = StepState::Done;
            }
        }
        true
    }

    fn conclude(&mut self) {
        if self.is_over() {
            return;
        }
        let failed = self.job.steps.iter().any(|step| step.state == StepState::Failed);
        let under_way = self.job.steps.iter().any(|step| is_under_way(step.state));
        let waiting = self.job.steps.iter().any(|step| step.state == StepState::Waiting);
        match (self.manner, failed) {
            // Only the core says when it is through: another reload before that would become a second whole one.
            (Manner::Reload, _) => {}
            // A restart goes no further, as a reload does; who is on the way comes to its end.
            (Manner::Change { .. }, true) if !under_way => self.job.state = JobState::Failed,
            (_, true) if !under_way && !waiting => self.job.state = JobState::Failed,
            (_, false) if !under_way && !waiting => {
                self.job.state = JobState::Done;
                // Who failed at first has come since.
                (self.job.error, self.culprit) = (None, None);
                self.job.steps.iter_mut().for_each(|step| step.note = None);
            }
            (Manner::Come | Manner::Leave | Manner::Change { .. } | Manner::Renew, _) => {}
        }
    }
}

fn is_under_way(state: StepState) -> bool {
    match state {
        StepState::Starting | StepState::Proving | StepState::Draining | StepState::Stopping => true,
        StepState::Waiting | StepState::Done | StepState::Failed => false,
    }
}

pub(super) fn exit_words(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("ended with code {code}"),
        Exit::Signal(signal) => format!("was ended by signal {signal}"),
        Exit::NotSpawned => "could not be started".to_owned(),
    }
}

fn failure_words(failure: ReloadFailure) -> String {
    match failure {
        ReloadFailure::Died(exit) => format!("{} before it was proven", exit_words(exit)),
        ReloadFailure::NotReady(after) => format!("was not ready after {}", span(after)),
        ReloadFailure::Condemned(_) => "broke the protocol or hung".to_owned(),
        ReloadFailure::Interrupted => "was interrupted".to_owned(),
    }
}

#[cfg(test)]
mod tests;
