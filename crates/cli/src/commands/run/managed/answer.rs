//! What comes by the control socket, answered: orders become jobs, questions are answered at once.

use oneport::{Canary, ReloadTerms, Signal as SignalName, Slot as Place};
use oneport_wire::control::{Job, JobKind, Line, Problem, ProblemKind, Reload, Restart, Signal, Slots};
use rustix::io::Errno;

use super::change::Takes;
use super::course::Manner;
use super::request::{Order, Reply, Request, ScaleTo, Sent};
use super::slots::Slot;
use super::{After, Managed, Origin, place};
use crate::control::problem;

/// Of a line that is sent, with its end. The kernel writes so much to a pipe as a whole or not at all (`PIPE_BUF`, pipe(7)).
const LONGEST_LINE: usize = 4096;

impl Managed {
    pub(super) fn answer(&mut self, request: Request) {
        if request.is_too_late() {
            return;
        }
        let reply = self.obey_order(request.order);
        // Whoever asked may have left.
        let _ = request.reply.send(reply);
    }

    fn obey_order(&mut self, order: Order) -> Reply {
        let job = match order {
            Order::View => return Ok(spell(&self.view())),
            Order::Origin => {
                return Ok(spell(&Origin {
                    spec: self.spec.clone(),
                    environment: self.environment.clone(),
                    ids: self.slots.iter().filter(|slot| !slot.deleted).map(|slot| slot.id).collect(),
                    created_at: self.boot.created_at,
                    pid: oneport_sys::process::own_pid().get(),
                    mark: self.boot.mark.clone(),
                }));
            }
            Order::Job(id) => return self.find_job(id).map(|job| spell(&job)),
            Order::Reset(slots) => {
                for place in self.places(&slots.ids)? {
                    let slot = &mut self.slots[place.0 as usize];
                    (slot.restarts, slot.unstable) = (0, 0);
                }
                return done();
            }
            Order::Signal(signal) => return self.signal(&signal),
            Order::Send(line) => return self.send(&line),
            Order::Flush => {
                self.shelf.store.empty();
                return done();
            }
            Order::Reopen => {
                self.shelf.store.reopen();
                return done();
            }
            Order::Start(start) => {
                self.is_free()?;
                let places = self.places(&start.ids)?;
                self.start(&places, JobKind::Start)
            }
            Order::Stop(slots) => self.stop(&slots)?,
            Order::Delete(slots) => self.delete(&slots)?,
            Order::Restart(restart) => self.restart(restart)?,
            Order::Reload(reload) if reload.plan => return self.plan_of(reload),
            Order::Reload(reload) => self.reload(reload)?,
            Order::Scale(scale) => self.scale(&scale)?,
        };
        self.settle_job();
        self.find_job(job).map(|job| spell(&job))
    }

    fn find_job(&self, id: u64) -> Result<Job, Problem> {
        let current = self.course.iter().map(|(course, _)| &course.job);
        let found = current.chain(&self.past).find(|job| job.id == id);
        found.cloned().ok_or_else(|| {
            let message = format!("cannot find job `{id}` of `{}`: it is over long since", self.spec.name);
            problem(ProblemKind::Unknown, message, None)
        })
    }

    fn is_free(&self) -> Result<(), Problem> {
        if matches!(self.after, After::Delete | After::Leave) {
            let message = format!("cannot do that with `{}`: it is on its way out", self.spec.name);
            return Err(problem(ProblemKind::Conflict, message, None));
        }
        match &self.course {
            None if self.rolling => {
                let message =
                    format!("cannot do two things with `{}` at once: a reload is under way", self.spec.name);
                Err(problem(ProblemKind::Conflict, message, Some("wait for it, or `oneport stop` ends it")))
            }
            None => Ok(()),
            Some((course, _)) => {
                let (verb, name) = (course.job.kind.word(), &self.spec.name);
                let message = format!("cannot do two things with `{name}` at once: a {verb} is under way");
                Err(problem(ProblemKind::Conflict, message, Some("wait for it, or `oneport stop` ends it")))
            }
        }
    }

    /// The slots of these numbers; all where none is named.
    pub(super) fn places(&self, ids: &[u32]) -> Result<Vec<Place>, Problem> {
        if ids.is_empty() {
            return Ok(self.all());
        }
        let find = |id: &u32| {
            let at = self.slots.iter().position(|slot| slot.id == *id && !slot.deleted);
            at.map(place).ok_or_else(|| {
                let message = format!("cannot find `{id}`: `{}` has no such slot", self.spec.name);
                problem(ProblemKind::Unknown, message, None)
            })
        };
        let mut places = ids.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        // Once each, however often it was named.
        places.sort_unstable();
        places.dedup();
        Ok(places)
    }

    fn stop(&mut self, slots: &Slots) -> Result<u64, Problem> {
        let places = self.places(&slots.ids)?;
        let living = self.occupied(&places);
        let job = self.begin_job(JobKind::Stop, Manner::Leave, &living);
        self.leave(&places, After::Stay);
        Ok(job)
    }

    fn occupied(&self, places: &[Place]) -> Vec<Place> {
        let is_there = |place: &Place| !self.slots[place.0 as usize].is_empty();
        places.iter().copied().filter(is_there).collect()
    }

    /// Asks them to leave. With nobody left who is wanted, the cluster goes as well, and then comes what is to come.
    fn leave(&mut self, places: &[Place], after: After) {
        for place in places {
            self.slots[place.0 as usize].wanted = after == After::Begin;
        }
        let nobody = |slot: &Slot| slot.deleted || !slot.wanted;
        let ends = after == After::Begin || self.slots.iter().all(nobody);
        // A process that is to end for good does, whatever else is wished for.
        if ends && !matches!(self.after, After::Delete | After::Leave) {
            self.after = after;
        }
        if let Some(running) = &mut self.running {
            match ends {
                true => running.run.ask_to_end(super::super::STOPPED),
                // The primary has ended: its last event is on its way.
                false => _ = running.run.cluster.stop_slots(places),
            }
        }
        self.keep_trace();
    }

    fn delete(&mut self, slots: &Slots) -> Result<u64, Problem> {
        let places = self.places(&slots.ids)?;
        let leaving = self.course.as_ref().filter(|_| self.after == After::Delete);
        if let Some((course, _)) = leaving {
            // Asked again: it is the same deletion.
            return Ok(course.job.id);
        }
        let living = self.occupied(&places);
        let job = self.begin_job(JobKind::Delete, Manner::Leave, &living);
        let whole = self.all().iter().all(|place| places.contains(place));
        // Its last slots may be off the list while others of it were stopped before.
        self.leave(&places, if whole { After::Delete } else { After::Stay });
        if !whole {
            self.take_off(&places);
        }
        Ok(job)
    }

    /// These slots are no longer on the list.
    fn take_off(&mut self, places: &[Place]) {
        places.iter().for_each(|place| self.slots[place.0 as usize].deleted = true);
        self.number_slots();
        self.keep_trace();
    }

    fn scale(&mut self, scale: &ScaleTo) -> Result<u64, Problem> {
        self.is_free()?;
        let listed = self.all();
        let wanted = scale.to as usize;
        if let Some(configured) = scale.configured.filter(|_| wanted > 0) {
            self.spec.instances = configured;
        }
        if wanted == 0 {
            let message = format!("cannot scale `{}` to 0", self.spec.name);
            return Err(problem(ProblemKind::Conflict, message, Some("oneport stop, or oneport delete")));
        }
        if wanted <= listed.len() {
            let surplus = listed[wanted..].to_vec();
            let living: Vec<Place> = surplus.iter().copied().filter(|place| self.is_there(*place)).collect();
            let job = self.begin_job(JobKind::Scale, Manner::Leave, &living);
            self.leave(&surplus, After::Stay);
            self.take_off(&surplus);
            return Ok(job);
        }
        let missing = wanted - listed.len();
        let mut ids = scale.ids.iter().copied();
        let mut newcomers = Vec::new();
        // The lowest free number of a slot is taken first, as PM2 does.
        for at in 0..self.slots.len() {
            if newcomers.len() < missing && self.slots[at].deleted && self.slots[at].tenant.is_none() {
                let Some(id) = ids.next() else { break };
                self.slots[at] = Slot::new(id);
                newcomers.push(place(at));
            }
        }
        while newcomers.len() < missing {
            let Some(id) = ids.next() else { break };
            newcomers.push(place(self.slots.len()));
            self.slots.push(Slot::new(id));
        }
        self.renew_slots();
        self.number_slots();
        self.keep_trace();
        Ok(self.start(&newcomers, JobKind::Scale))
    }

    pub(super) fn restart(&mut self, restart: Restart) -> Result<u64, Problem> {
        self.is_free()?;
        let places = self.places(&restart.ids)?;
        let takes = self.reconfigure(restart.spec.map(|spec| *spec), restart.environment)?;
        for place in &places {
            self.slots[place.0 as usize].wanted = true;
        }
        if self.running.is_none() || self.is_ending() {
            return Ok(self.start(&places, JobKind::Restart));
        }
        match takes {
            Takes::NewCluster => {
                let wanted = |place: &Place| self.slots[place.0 as usize].wanted;
                let all: Vec<Place> = self.all().into_iter().filter(wanted).collect();
                let job = self.begin_job(JobKind::Restart, Manner::Renew, &all);
                self.leave(&all, After::Begin);
                Ok(job)
            }
            Takes::NewWorkers => {
                let width = self.width(places.len());
                let job = self.begin_job(JobKind::Restart, Manner::Change { width }, &places);
                self.do_next();
                Ok(job)
            }
        }
    }

    /// How many are replaced at a time: PM2's two, one where there are at most two.
    pub(super) fn width(&self, of: usize) -> usize {
        match self.spec.parallel {
            Some(parallel) => parallel.max(1) as usize,
            None if of > 2 => 2,
            None => 1,
        }
    }

    pub(super) fn reload_all(&mut self) {
        // Who sends a signal does not hear of what is in the way; the log does.
        if let Err(problem) = self.reload(Reload::default()) {
            self.teller().error(&problem.error, problem.hint.as_deref());
        }
    }

    pub(super) fn reload(&mut self, reload: Reload) -> Result<u64, Problem> {
        self.is_free()?;
        let whole = reload.ids.is_empty();
        let mut places = self.places(&reload.ids)?;
        if self.running.is_some() && self.takes(reload.spec.as_deref())? == Takes::NewCluster {
            let message = format!("cannot reload `{}`: the change needs a restart", self.spec.name);
            let hint = "oneport restart with the same arguments; `oneport reload --plan` shows what changed";
            return Err(problem(ProblemKind::Conflict, message, Some(hint)));
        }
        let unavailable = self.unavailable(reload.spec.as_deref(), places.len());
        if unavailable.is_some() && reload.canary.is_some() {
            let message = format!(
                "cannot reload `{}` with a canary: max_unavailable has workers leave first",
                self.spec.name
            );
            return Err(problem(ProblemKind::BadRequest, message, None));
        }
        let before = (self.spec.clone(), self.environment.clone());
        let changes = reload.spec.is_some() || reload.environment.is_some();
        self.reconfigure(reload.spec.map(|spec| *spec), reload.environment)?;
        if self.running.is_none() || self.is_ending() {
            return Ok(self.start(&places, JobKind::Reload));
        }
        if whole {
            // What was stopped by name stays so.
            places.retain(|place| self.slots[place.0 as usize].wanted);
        }
        for place in &places {
            self.slots[place.0 as usize].wanted = true;
        }
        if places.is_empty() {
            return Ok(self.begin_job(JobKind::Reload, Manner::Come, &[]));
        }
        if let Some(width) = unavailable {
            let job = self.begin_job(JobKind::Reload, Manner::Change { width }, &places);
            self.before = changes.then_some(before);
            self.do_next();
            return Ok(job);
        }
        let job = self.begin_job(JobKind::Reload, Manner::Reload, &places);
        self.before = changes.then_some(before);
        let canary = reload.canary.map(|workers| Canary {
            workers: workers.max(1) as usize,
            watch: reload.watch.map_or(std::time::Duration::ZERO, oneport_wire::control::Span::duration),
        });
        let parallel =
            reload.parallel.map(|parallel| parallel.max(1) as usize).unwrap_or(self.width(places.len()));
        let terms = ReloadTerms { slots: places, parallel: Some(parallel), canary };
        if let Some(running) = &self.running {
            // The primary has ended: its last event is on its way, and ends the job.
            self.rolling = running.run.cluster.reload_with(terms).is_ok();
        }
        Ok(job)
    }

    fn signal(&mut self, signal: &Signal) -> Reply {
        let Some(name) = SignalName::from_name(&signal.signal) else {
            let message = format!("cannot send `{}`: there is no such signal", signal.signal);
            return Err(problem(ProblemKind::BadRequest, message, Some("SIGUSR1, SIGHUP, SIGTERM ...")));
        };
        let mut sent = 0;
        for place in self.places(&signal.ids)? {
            let tenant = self.slots[place.0 as usize].tenant;
            let worker = tenant.zip(self.running.as_ref());
            let worker = worker.and_then(|(tenant, running)| running.run.cluster.worker(tenant.worker.id));
            sent += u32::from(worker.is_some_and(|worker| worker.kill(name).is_ok()));
        }
        Ok(spell(&Sent { sent }))
    }

    fn send(&self, line: &Line) -> Reply {
        let name = &self.spec.name;
        let text = format!("{}\n", line.line);
        if text.len() > LONGEST_LINE {
            let message =
                format!("cannot send a line of {} bytes to `{name}`: at most {LONGEST_LINE}", text.len());
            return Err(problem(ProblemKind::BadRequest, message, None));
        }
        let (mut sent, mut full) = (0, 0);
        for place in self.places(&line.ids)? {
            let tenant = self.slots[place.0 as usize].tenant;
            let input = tenant.zip(self.running.as_ref());
            let input = input.and_then(|(tenant, running)| running.run.inputs.get(&tenant.worker.id));
            match input.map(|input| rustix::io::retry_on_intr(|| rustix::io::write(input, text.as_bytes()))) {
                Some(Ok(_)) => sent += 1,
                Some(Err(Errno::AGAIN)) => full += 1,
                // Nobody is there, or it has closed its end.
                None | Some(Err(_)) => {}
            }
        }
        if sent > 0 {
            return Ok(spell(&Sent { sent }));
        }
        if full > 0 {
            let message = format!("cannot send a line to `{name}`: what was sent before is not read yet");
            return Err(problem(ProblemKind::Failed, message, None));
        }
        let message = format!("cannot send a line to `{name}`: nobody reads its standard input");
        let hint = "programs have one, and Node in fork mode (exec_mode, or -x)";
        Err(problem(ProblemKind::BadRequest, message, Some(hint)))
    }

    /// For the next daemon, and for the next primary if this one is killed.
    pub(super) fn keep_trace(&self) {
        let listed = || self.slots.iter().filter(|slot| !slot.deleted);
        let ids: Vec<u32> = listed().map(|slot| slot.id).collect();
        let stopped = listed().filter(|slot| !slot.wanted).map(|slot| slot.id);
        if let Err(failure) = self.boot.leave_trace(&self.spec, &ids, &stopped.collect::<Vec<_>>()) {
            self.teller().error(failure.message(), failure.advice());
        }
    }
}

pub(super) fn spell<T: serde::Serialize>(value: &T) -> String {
    // These types have no maps with keys that are no texts.
    serde_json::to_string(value).unwrap_or_default()
}

fn done() -> Reply {
    Ok("{}".to_owned())
}
