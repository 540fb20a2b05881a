//! Changed configurations and environments: what they take, and handing them to the cluster.

use std::collections::BTreeMap;

use oneport_wire::control::{AppSpec, Problem, ProblemKind, Reload};

use super::Managed;
use super::answer::spell;
use super::plan::{self, Plan};
use super::request::{Planned, Reply};
use crate::control::problem;
use crate::error::Failure;
use crate::program::look_in;

/// What has to be done for a changed configuration to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Later workers are started with it.
    NewWorkers,
    /// The cluster has to be begun anew.
    NewCluster,
}

impl Managed {
    /// Variables of slots that have come.
    pub(super) fn renew_slots(&mut self) {
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
        let listed = self.all().len();
        plan::adjust(settings, &self.spec, &self.environment, &ids, listed, plan.manner(), &self.boot);
        (settings.uid, settings.gid) = plan.account;
    }

    /// How many may be missing meanwhile, where that is allowed: never all of several.
    pub(super) fn unavailable(&self, spec: Option<&AppSpec>, of: usize) -> Option<usize> {
        let most = spec.unwrap_or(&self.spec).max_unavailable? as usize;
        (most > 0).then(|| most.min(of.saturating_sub(1)).max(1))
    }

    /// What a changed configuration takes.
    pub(super) fn takes(&self, spec: Option<&AppSpec>) -> Result<Takes, Problem> {
        let Some((spec, running)) = spec.zip(self.running.as_ref()) else { return Ok(Takes::NewWorkers) };
        let plan = Plan::of(&self.completed(spec.clone())).map_err(of_failure)?;
        Ok(if plan.shape() == running.shape { Takes::NewWorkers } else { Takes::NewCluster })
    }

    /// The name stays: files and other apps go by it. The number of workers is changed by `scale`, and remembered when it is.
    pub(super) fn completed(&self, spec: AppSpec) -> AppSpec {
        AppSpec { name: self.spec.name.clone(), instances: self.spec.instances, ..spec }
    }

    /// Takes a configuration and an environment for all workers to come.
    pub(super) fn reconfigure(
        &mut self,
        spec: Option<AppSpec>,
        environment: Option<BTreeMap<String, String>>,
    ) -> Result<Takes, Problem> {
        let path = environment.as_ref().and_then(|environment| environment.get("PATH"));
        let former = path.map(|path| look_in(Some(path.into())));
        let taken = self.take(spec, environment);
        if let (Err(_), Some(former)) = (&taken, former) {
            look_in(former);
        }
        taken
    }

    fn take(
        &mut self,
        spec: Option<AppSpec>,
        environment: Option<BTreeMap<String, String>>,
    ) -> Result<Takes, Problem> {
        let spec = spec.map_or_else(|| self.spec.clone(), |spec| self.completed(spec));
        let plan = Plan::of(&spec).map_err(of_failure)?;
        let takes = match &self.running {
            Some(running) if plan.shape() != running.shape => Takes::NewCluster,
            Some(_) | None => Takes::NewWorkers,
        };
        let environment = environment.unwrap_or_else(|| self.environment.clone());
        let is_other = self.spec != spec;
        let before =
            (std::mem::replace(&mut self.spec, spec), std::mem::replace(&mut self.environment, environment));
        if let (Some(_), Takes::NewWorkers) = (&self.running, takes)
            && let Err(problem) = self.hand_settings(&plan)
        {
            (self.spec, self.environment) = before;
            return Err(problem);
        }
        self.words = super::view::Words::of(&plan);
        self.awaits_word = plan.awaits_word();
        self.number_slots();
        self.keep_trace();
        if is_other {
            self.set_guards();
        }
        Ok(takes)
    }

    /// Tells the cluster how later workers are started and treated.
    fn hand_settings(&self, plan: &Plan) -> Result<(), Problem> {
        let Some(running) = &self.running else { return Ok(()) };
        let cluster = &running.run.cluster;
        let mut settings =
            super::super::setup::settings(&plan.args, &plan.program, &plan.placing, &plan.attachment);
        self.adjust(&mut settings, plan);
        let conduct = settings.conduct.clone();
        let changed = cluster.setup_primary(settings).and_then(|()| cluster.treat(conduct));
        changed.map_err(|error| problem(ProblemKind::Failed, error.to_string(), None))
    }

    /// What a reload with this configuration would do.
    pub(super) fn plan_of(&self, reload: Reload) -> Reply {
        let places = self.places(&reload.ids)?;
        let takes = self.takes(reload.spec.as_deref())?;
        let after = reload.spec.map_or_else(|| self.spec.clone(), |spec| self.completed(*spec));
        let parallel = reload.parallel.map_or(self.width(places.len()), |parallel| parallel.max(1) as usize);
        Ok(spell(&Planned {
            app: self.spec.name.clone(),
            workers: places.len(),
            parallel,
            restart_needed: takes == Takes::NewCluster,
            before: self.spec.clone(),
            after,
        }))
    }
}

fn of_failure(failure: Failure) -> Problem {
    let kind = if failure.is_usage() { ProblemKind::BadRequest } else { ProblemKind::Failed };
    problem(kind, failure.message(), failure.advice())
}
