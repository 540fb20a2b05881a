//! Jobs as they are begun, go on and end; and workers who come for them.

use std::time::Instant;

use oneport::Slot as Place;
use oneport_wire::control::{JobKind, JobState, StepState, What};

use super::super::listen::Taken;
use super::course::{Course, Do, Ends, Manner};
use super::plan::{self, Plan};
use super::seen::Seen;
use super::slots::Vacancy;
use super::{After, Beginner, Managed, REMEMBERED, RunManner, Running, Trace, view};
use crate::error::Failure;
use crate::output::{Carrier, Sink};

impl Managed {
    /// Lets the job under way see it, and does what it asks for.
    pub(super) fn go_on(&mut self, seen: &Seen) {
        let Some((course, began)) = &mut self.course else { return };
        let slots = &self.slots;
        let is_empty = |place: Place| slots.get(place.0 as usize).is_none_or(super::Slot::is_empty);
        let changed = course.see(seen, is_empty);
        course.job.took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if course.is_over() {
            return self.job_over();
        }
        if changed {
            let job = course.job.clone();
            self.tell(What::Job { job });
        }
        self.do_next();
    }

    pub(super) fn do_next(&mut self) {
        let Some((course, _)) = &mut self.course else { return };
        let slots = &self.slots;
        let stays = |place: Place| slots.get(place.0 as usize)?.stays().map(|tenant| tenant.worker.id);
        let todo = course.next(stays);
        if todo.is_empty() {
            return;
        }
        let job = course.job.clone();
        for act in todo {
            match act {
                Do::Fill(place) => self.fill(&[place]),
                Do::Change(place) => {
                    let tenant = self.slots.get(place.0 as usize).and_then(super::Slot::stays);
                    let worker = tenant
                        .zip(self.running.as_ref())
                        .and_then(|(tenant, running)| running.run.cluster.worker(tenant.worker.id));
                    // One that has gone meanwhile needs no asking.
                    let _ = worker.map(|worker| worker.disconnect());
                }
            }
        }
        self.tell(What::Job { job });
    }

    fn job_over(&mut self) {
        let Some((mut course, began)) = self.course.take() else { return };
        course.job.took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let failed = course.job.state == JobState::Failed;
        if failed {
            if let Some((culprit, running)) = course.culprit.zip(self.running.as_ref()) {
                course.job.last_lines = running.run.carrier.last_lines(culprit);
            }
            let taken = self.running.as_ref().and_then(|running| running.run.taken.as_ref());
            course.job.hint = course.job.hint.or_else(|| taken.map(|taken| self.who_has(taken)));
            self.forgive(course.job.steps.iter().map(|step| step.id));
        }
        let before = self.before.take();
        let untouched = course.job.steps.iter().all(|step| step.state != StepState::Done);
        if let Some((spec, environment)) = before.filter(|_| failed && untouched) {
            // The old workers serve on, and whoever replaces one of them is to be like it.
            if let Err(problem) = self.reconfigure(Some(spec), Some(environment)) {
                self.teller().error(&problem.error, problem.hint.as_deref());
            }
        }
        self.past.push_back(course.job.clone());
        if self.past.len() > REMEMBERED {
            self.past.pop_front();
        }
        self.tell(What::Job { job: course.job });
    }

    /// Who has an address that a worker was to have. Another app of this daemon is known by its name.
    fn who_has(&self, taken: &Taken) -> String {
        let address = &taken.address;
        let Some((pid, command)) = &taken.holder else {
            return format!("`{address}` is taken, by whom cannot be seen");
        };
        let files = std::fs::read_dir(self.boot.home.join("run")).into_iter().flatten().flatten();
        let traces =
            files.filter_map(|file| serde_json::from_slice::<Trace>(&std::fs::read(file.path()).ok()?).ok());
        match traces.into_iter().find(|trace| trace.pid == *pid) {
            Some(trace) => format!("the app `{}` has `{address}`", trace.name),
            None => format!("pid {pid} ({command}) has `{address}`"),
        }
    }

    fn ids(&self, places: &[Place]) -> Vec<(u32, Place)> {
        let known = |place: &Place| Some((self.slots.get(place.0 as usize)?.id, *place));
        places.iter().filter_map(known).collect()
    }

    fn ends(&self) -> Ends {
        Ends { once: self.spec.autorestart == Some(false), codes: self.spec.stop_exit_codes.clone() }
    }

    /// Begins a job, and says what it is.
    pub(super) fn begin_job(&mut self, kind: JobKind, manner: Manner, places: &[Place]) -> u64 {
        let id = self.next_job;
        self.next_job += 1;
        if let Some((course, _)) = &mut self.course {
            // Only what ends everything may come in between.
            course.interrupt();
            self.job_over();
        }
        if let Some(running) = &mut self.running {
            // Of another time.
            running.run.taken = None;
        }
        let slots = self.ids(places);
        let course = Course::new(id, kind, manner, &slots, self.ends(), &self.spec.name);
        let job = course.job.clone();
        self.course = Some((course, Instant::now()));
        self.tell(What::Job { job });
        id
    }

    /// What ends at once.
    pub(super) fn settle_job(&mut self) {
        if self.course.as_ref().is_some_and(|(course, _)| course.is_over()) {
            self.job_over();
        }
    }

    fn fail_job(&mut self, failure: &Failure) {
        if let Some((course, _)) = &mut self.course {
            course.fail_whole(failure.message().to_owned(), failure.advice().map(str::to_owned));
        }
        self.settle_job();
    }

    /// Starts these, in a cluster that is begun if there is none; in the next one, if this one is ending.
    pub(super) fn start(&mut self, places: &[Place], kind: JobKind) -> u64 {
        for place in places {
            if let Some(slot) = self.slots.get_mut(place.0 as usize) {
                slot.wanted = true;
            }
        }
        let stays = |place: &Place| self.slots.get(place.0 as usize).and_then(super::Slot::stays).is_some();
        let absent: Vec<Place> = places.iter().copied().filter(|place| !stays(place)).collect();
        if self.is_ending() {
            let id = self.begin_job(kind, Manner::Renew, &absent);
            self.after = After::Begin;
            self.keep_trace();
            return id;
        }
        let id = self.begin_job(kind, Manner::Come, &absent);
        for place in &absent {
            let slot = &mut self.slots[place.0 as usize];
            if slot.is_empty() && slot.vacancy == Vacancy::Empty {
                slot.start_afresh();
            }
        }
        self.after = After::Stay;
        self.settle_job();
        self.fill(&absent);
        id
    }

    /// Whether the cluster is on its way out.
    pub(super) fn is_ending(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.run.end != super::super::End::NotYet)
    }

    pub(super) fn is_there(&self, place: Place) -> bool {
        self.slots.get(place.0 as usize).is_some_and(|slot| slot.tenant.is_some())
    }

    /// Fills empty slots; begins a cluster for them where there is none.
    pub(super) fn fill(&mut self, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        for place in places {
            if let Some(slot) = self.slots.get_mut(place.0 as usize) {
                slot.wanted = true;
            }
        }
        let begun = match &self.running {
            Some(_) => Ok(()),
            None => self.begin(),
        };
        let count = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let started = begun.and_then(|()| {
            let Some(running) = &self.running else { return Ok(()) };
            let cluster = &running.run.cluster;
            cluster.reserve_slots(count).and_then(|()| cluster.start_slots(places)).map_err(Failure::new)
        });
        match started {
            Ok(()) => places.iter().for_each(|place| self.vacate(*place, Vacancy::Coming)),
            Err(failure) => {
                self.teller().error(failure.message(), failure.advice());
                places.iter().for_each(|place| self.vacate(*place, Vacancy::Errored));
                self.fail_job(&failure);
            }
        }
        self.keep_trace();
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let plan = Plan::of(&self.spec)?;
        self.words = view::Words::of(&plan);
        self.awaits_word = plan.awaits_word();
        let shape = plan.shape();
        let carrier = Carrier::start(Sink::Store(self.shelf.clone()))?;
        let ids: Vec<u32> = self.slots.iter().map(|slot| slot.id).collect();
        let (manner, account, listed) = (plan.manner(), plan.account, self.all().len());
        let beginner = Beginner {
            args: &plan.args,
            placing: &plan.placing,
            attachment: plan.attachment,
            happenings: self.happenings.clone(),
            manner: RunManner::Managed,
        };
        let run = beginner.begin(plan.program, self.teller(), carrier, |settings| {
            plan::adjust(settings, &self.spec, &self.environment, &ids, listed, manner, &self.boot);
            (settings.uid, settings.gid) = account;
        })?;
        self.running = Some(Running { run, shape });
        Ok(())
    }

    /// The cluster that was in the way is gone: those come that are to be there.
    pub(super) fn begin_again(&mut self) {
        self.after = After::Stay;
        let wanted = |place: &Place| self.slots[place.0 as usize].wanted;
        let places: Vec<Place> = self.all().into_iter().filter(wanted).collect();
        self.fill(&places);
        self.settle_job();
    }
}
