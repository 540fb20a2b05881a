//! Apps that come, and that become more or fewer: what they are called and which numbers they get.

use std::collections::HashSet;

use oneport_sys::process;
use oneport_sys::tree::TreeMark;
use oneport_wire::control::{AppView, Create, Job, Problem, ProblemKind, Scale};

use super::Daemon;
use super::apps::App;
use super::routes::of_call;
use super::trace::forget;
use crate::commands::run::managed::{ScaleTo, now_ms};
use crate::control::{problem, segment};

/// Apps of one daemon.
const MOST_APPS: usize = 4096;

impl Daemon {
    pub(super) async fn create(&self, wanted: Create) -> Result<AppView, Problem> {
        let Create { mut spec, environment, force, ids, stopped } = wanted;
        if !is_name(&spec.name) {
            let message = format!("cannot name an app `{}`", spec.name.escape_debug());
            let hint = "1 to 128 bytes, none of them a control; not `all`, nothing that begins with `-` or is a /pattern/";
            return Err(problem(ProblemKind::BadRequest, message, Some(hint)));
        }
        let count = spec.instances.count(process::cpus());
        let failed =
            |cause: std::io::Error| problem(ProblemKind::Failed, format!("cannot mark it: {cause}"), None);
        let (name, serial) = {
            let mut table = self.table();
            if table.ending {
                let message = format!("cannot start `{}`: everything is being stopped", spec.name);
                return Err(problem(ProblemKind::Conflict, message, None));
            }
            if table.apps.len() >= MOST_APPS {
                let message = format!("cannot start `{}`: there are {MOST_APPS} apps already", spec.name);
                return Err(problem(ProblemKind::Conflict, message, None));
            }
            if table.apps.contains_key(&spec.name) {
                if !force {
                    let message = format!("cannot start `{}`: there is an app of this name", spec.name);
                    let hint =
                        "oneport restart or reload; --name gives another name, and -f one with a number";
                    return Err(problem(ProblemKind::Conflict, message, Some(hint)));
                }
                let mut numbered = (1u32..).map(|n| format!("{}-{n}", spec.name));
                spec.name = numbered.find(|name| !table.apps.contains_key(name)).unwrap_or_default();
            }
            let taken: HashSet<u32> = table.apps.values().flat_map(|app| app.ids.iter().copied()).collect();
            let free = ids.len() == count as usize && !ids.iter().any(|id| taken.contains(id));
            let ids = if free { ids } else { table.new_ids(count) };
            let serial = table.new_serial();
            table.took(serial, &ids);
            let mark = TreeMark::of_worker(now_ms()).map_err(failed)?;
            let app = App {
                environment,
                created_at: now_ms(),
                mark: format!("{}-{serial}", mark.as_str()),
                spec: spec.clone(),
                ..App::nobody(&spec.name, serial, ids)
            };
            table.apps.insert(spec.name.clone(), app);
            (spec.name, serial)
        };
        let stopped = if stopped { self.table().apps.get(&name).map(|app| app.ids.clone()) } else { None };
        if let Err(problem) = self.launch(&name, serial, stopped.unwrap_or_default()).await {
            let mut table = self.table();
            // There may be another one of this name meanwhile.
            if table.apps.get(&name).is_some_and(|app| app.serial == serial) {
                table.apps.remove(&name);
            }
            forget(self.0.home.path(), serial);
            return Err(problem);
        }
        let client = self.primary_of(&name)?;
        client.get(&format!("/v1/apps/{}", segment(&name))).await.map_err(|error| of_call(&name, &error))
    }

    pub(super) async fn scale(&self, name: &str, wanted: Scale) -> Result<Job, Problem> {
        let client = self.primary_of(name)?;
        let path = format!("/v1/apps/{}", segment(name));
        let view: AppView = client.get(&path).await.map_err(|error| of_call(name, &error))?;
        let now = u32::try_from(view.workers.len()).unwrap_or(u32::MAX);
        let to = match wanted {
            Scale::To(to) => to,
            Scale::Configured(instances) => instances.count(process::cpus()),
            Scale::By(more) => u32::try_from(i64::from(now).saturating_add(more).max(0)).unwrap_or(u32::MAX),
        };
        let configured = match wanted {
            Scale::Configured(instances) => Some(instances),
            Scale::To(_) | Scale::By(_) => None,
        };
        let most = 4096;
        if to > most {
            let message = format!("cannot scale `{name}` to {to}: at most {most} workers");
            return Err(problem(ProblemKind::BadRequest, message, None));
        }
        if to == now && configured.is_none() {
            let message = format!("cannot scale `{name}` to {to}: it has so many already");
            return Err(problem(ProblemKind::Conflict, message, None));
        }
        let ids = self.table().new_ids(to.saturating_sub(now));
        let job: Job = client
            .post(&format!("{path}/scale"), &ScaleTo { to, ids, configured })
            .await
            .map_err(|error| of_call(name, &error))?;
        self.refresh(name).await;
        Ok(job)
    }
}

/// Whether an app may be called so: what selects several apps, or looks like an option, could never be meant.
fn is_name(name: &str) -> bool {
    let is_pattern = name.len() > 2 && name.starts_with('/') && name.ends_with('/');
    let is_plain = !name.is_empty() && name.len() <= 128 && !name.chars().any(char::is_control);
    is_plain && name != "all" && !name.starts_with('-') && !is_pattern
}
