//! What comes by the control socket, answered: orders become jobs, questions are answered at once.

use oneport::{Canary, ReloadTerms, Signal as SignalName, Slot as Place};
use oneport_wire::control::{
    AppSpec, Job, JobKind, Line, Problem, ProblemKind, Reload, Restart, Signal, Slots,
};
use serde_json::json;

use super::course::Manner;
use super::plan::{self, Plan};
use super::request::{Order, Reply, Request, ScaleTo};
use super::slots::Slot;
use super::{After, Managed, Origin, place};
use crate::control::problem;
use crate::error::Failure;

/// What has to be done for a changed configuration to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// Later workers are started with it.
    NewWorkers,
    /// The cluster has to be begun anew.
    NewCluster,
}

impl Managed {
    pub(super) fn answer(&mut self, request: Request) {
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
                    ids: self.slots.iter().map(|slot| slot.id).collect(),
                    created_at: self.boot.created_at,
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
        match &self.course {
            None => Ok(()),
            Some((course, _)) => {
                let (verb, name) = (course.job.kind.word(), &self.spec.name);
                let message = format!("cannot do two things with `{name}` at once: a {verb} is under way");
                Err(problem(ProblemKind::Conflict, message, Some("wait for it, or `oneport stop` ends it")))
            }
        }
    }

    /// The slots of these numbers; all where none is named.
    fn places(&self, ids: &[u32]) -> Result<Vec<Place>, Problem> {
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
        ids.iter().map(find).collect()
    }

    fn stop(&mut self, slots: &Slots) -> Result<u64, Problem> {
        let places = self.places(&slots.ids)?;
        let living: Vec<Place> = places.iter().copied().filter(|place| self.is_there(*place)).collect();
        let job = self.begin_job(JobKind::Stop, Manner::Leave, &living);
        self.leave(&places, After::Stay);
        Ok(job)
    }

    /// Asks them to leave; all of them together take the cluster with them.
    fn leave(&mut self, places: &[Place], after: After) {
        let everybody = self.all().iter().all(|place| places.contains(place));
        for place in places {
            self.slots[place.0 as usize].vacancy = super::Vacancy::Stopped;
        }
        if everybody {
            self.after = after;
        }
        let Some(running) = &mut self.running else { return };
        match everybody {
            true => running.run.ask_to_end(super::super::STOPPED),
            // The primary has ended: its last event is on its way.
            false => _ = running.run.cluster.stop_slots(places),
        }
    }

    fn delete(&mut self, slots: &Slots) -> Result<u64, Problem> {
        let places = self.places(&slots.ids)?;
        let living: Vec<Place> = places.iter().copied().filter(|place| self.is_there(*place)).collect();
        let job = self.begin_job(JobKind::Delete, Manner::Leave, &living);
        self.leave(&places, After::Delete);
        if self.after != After::Delete {
            places.iter().for_each(|place| self.slots[place.0 as usize].deleted = true);
            self.keep_trace();
        }
        Ok(job)
    }

    fn scale(&mut self, scale: &ScaleTo) -> Result<u64, Problem> {
        self.is_free()?;
        let listed = self.all();
        let wanted = scale.to as usize;
        if wanted == 0 {
            let message = format!("cannot scale `{}` to 0", self.spec.name);
            return Err(problem(ProblemKind::BadRequest, message, Some("oneport stop, or oneport delete")));
        }
        if wanted <= listed.len() {
            let surplus = listed[wanted..].to_vec();
            let living: Vec<Place> = surplus.iter().copied().filter(|place| self.is_there(*place)).collect();
            let job = self.begin_job(JobKind::Scale, Manner::Leave, &living);
            self.leave(&surplus, After::Stay);
            surplus.iter().for_each(|place| self.slots[place.0 as usize].deleted = true);
            self.keep_trace();
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

    /// Variables of slots that have come.
    fn renew_slots(&mut self) {
        let Some(running) = &self.running else { return };
        let mut settings = running.run.cluster.settings();
        if let Ok(plan) = Plan::of(&self.spec) {
            self.adjust(&mut settings, &plan);
        }
        let Some(running) = &self.running else { return };
        // Said when the next worker is started, if it cannot be.
        let _ = running.run.cluster.setup_primary(settings);
    }

    fn adjust(&self, settings: &mut oneport::Settings, plan: &Plan) {
        let ids: Vec<u32> = self.slots.iter().map(|slot| slot.id).collect();
        let home = self.boot.home.display().to_string();
        plan::adjust(settings, &self.spec, &self.environment, &ids, plan.manner(), &home);
        (settings.uid, settings.gid) = plan.account;
    }

    pub(super) fn restart(&mut self, restart: Restart) -> Result<u64, Problem> {
        self.is_free()?;
        let places = self.places(&restart.ids)?;
        let takes = self.reconfigure(restart.spec.map(|spec| *spec), restart.environment)?;
        if self.running.is_none() {
            return Ok(self.start(&places, JobKind::Restart));
        }
        match takes {
            Takes::NewCluster => {
                let all = self.all();
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
    fn width(&self, of: usize) -> usize {
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
        self.reconfigure(reload.spec.map(|spec| *spec), reload.environment)?;
        if self.running.is_none() {
            return Ok(self.start(&places, JobKind::Reload));
        }
        if whole {
            // What was stopped by name stays so.
            let stopped = |place: &Place| self.slots[place.0 as usize].vacancy != super::Vacancy::Stopped;
            places.retain(|place| self.is_there(*place) || stopped(place));
        }
        if places.is_empty() {
            return Ok(self.begin_job(JobKind::Reload, Manner::Come, &[]));
        }
        let unavailable = self.spec.max_unavailable.unwrap_or(0) as usize;
        if unavailable > 0 {
            let manner = Manner::Change { width: unavailable };
            let job = self.begin_job(JobKind::Reload, manner, &places);
            self.do_next();
            return Ok(job);
        }
        let job = self.begin_job(JobKind::Reload, Manner::Reload, &places);
        let canary = reload.canary.map(|workers| Canary {
            workers: workers.max(1) as usize,
            watch: reload.watch.map_or(std::time::Duration::ZERO, oneport_wire::control::Span::duration),
        });
        let parallel =
            reload.parallel.map(|parallel| parallel.max(1) as usize).unwrap_or(self.width(places.len()));
        let terms = ReloadTerms { slots: places, parallel: Some(parallel), canary };
        if let Some(running) = &self.running {
            // The primary has ended: its last event is on its way, and ends the job.
            let _ = running.run.cluster.reload_with(terms);
        }
        Ok(job)
    }

    /// What a changed configuration takes.
    fn takes(&self, spec: Option<&AppSpec>) -> Result<Takes, Problem> {
        let Some((spec, running)) = spec.zip(self.running.as_ref()) else { return Ok(Takes::NewWorkers) };
        let plan = Plan::of(&self.completed(spec.clone())).map_err(of_failure)?;
        Ok(if plan.shape() == running.shape { Takes::NewWorkers } else { Takes::NewCluster })
    }

    /// The name, and the number of workers, are changed by their own verbs.
    fn completed(&self, spec: AppSpec) -> AppSpec {
        AppSpec { name: self.spec.name.clone(), ..spec }
    }

    /// Takes a configuration and an environment for all workers to come.
    fn reconfigure(
        &mut self,
        spec: Option<AppSpec>,
        environment: Option<std::collections::BTreeMap<String, String>>,
    ) -> Result<Takes, Problem> {
        let spec = spec.map_or_else(|| self.spec.clone(), |spec| self.completed(spec));
        if let Some(path) = environment.as_ref().and_then(|environment| environment.get("PATH")) {
            crate::program::look_in(path.into());
        }
        let plan = Plan::of(&spec).map_err(of_failure)?;
        let takes = match &self.running {
            Some(running) if plan.shape() != running.shape => Takes::NewCluster,
            Some(_) | None => Takes::NewWorkers,
        };
        self.spec = spec;
        self.environment = environment.unwrap_or_else(|| std::mem::take(&mut self.environment));
        self.words = super::view::Words::of(&plan);
        self.awaits_word = plan.awaits_word();
        self.number_slots();
        self.keep_trace();
        self.set_guards();
        let Some(running) = &self.running else { return Ok(takes) };
        if takes == Takes::NewWorkers {
            let mut settings =
                super::super::setup::settings(&plan.args, &plan.program, &plan.placing, &plan.attachment);
            // Our own limit was raised when the cluster was begun: what the workers get is known since then.
            settings.worker_nofile = running.run.cluster.settings().worker_nofile;
            self.adjust(&mut settings, &plan);
            let conduct = settings.conduct.clone();
            let changed =
                running.run.cluster.setup_primary(settings).and_then(|()| running.run.cluster.treat(conduct));
            changed.map_err(|error| problem(ProblemKind::Failed, error.to_string(), None))?;
        }
        Ok(takes)
    }

    /// What a reload with this configuration would do.
    fn plan_of(&self, reload: Reload) -> Reply {
        let places = self.places(&reload.ids)?;
        let takes = self.takes(reload.spec.as_deref())?;
        let after = reload.spec.map_or_else(|| self.spec.clone(), |spec| self.completed(*spec));
        let parallel = reload.parallel.map_or(self.width(places.len()), |parallel| parallel.max(1) as usize);
        Ok(json!({
            "app": self.spec.name,
            "workers": places.len(),
            "parallel": parallel,
            "restart_needed": takes == Takes::NewCluster,
            "before": self.spec,
            "after": after,
        })
        .to_string())
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
        Ok(json!({"sent": sent}).to_string())
    }

    fn send(&self, line: &Line) -> Reply {
        let mut sent = 0;
        for place in self.places(&line.ids)? {
            let tenant = self.slots[place.0 as usize].tenant;
            let input = tenant.zip(self.running.as_ref());
            let input = input.and_then(|(tenant, running)| running.run.inputs.get(&tenant.worker.id));
            // It does not block: a worker that does not read loses the line, and this one says so.
            let text = format!("{}\n", line.line);
            sent += u32::from(
                input.is_some_and(|input| rustix::io::write(input, text.as_bytes()) == Ok(text.len())),
            );
        }
        if sent > 0 {
            return Ok(json!({"sent": sent}).to_string());
        }
        let message = format!("cannot send a line to `{}`: nobody reads its standard input", self.spec.name);
        Err(problem(
            ProblemKind::BadRequest,
            message,
            Some("workers in fork mode have one (exec_mode, or -x)"),
        ))
    }

    fn keep_trace(&self) {
        let ids: Vec<u32> = self.slots.iter().filter(|slot| !slot.deleted).map(|slot| slot.id).collect();
        if let Err(failure) = self.boot.leave_trace(&self.spec, &ids) {
            self.teller().error(failure.message(), failure.advice());
        }
    }
}

fn spell<T: serde::Serialize>(value: &T) -> String {
    // These types have no maps with keys that are no texts.
    serde_json::to_string(value).unwrap_or_default()
}

fn done() -> Reply {
    Ok("{}".to_owned())
}

fn of_failure(failure: Failure) -> Problem {
    problem(ProblemKind::BadRequest, failure.message(), failure.advice())
}
