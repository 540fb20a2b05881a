//! The records of one app, together.

use std::collections::{BTreeMap, BTreeSet};

use oneport_wire::control::{Instances, SavedApp};

use super::super::environment::listed;
use super::ImportOptions;
use super::paths::{File, Kind};
use super::record::Record;
use super::variables;

/// As many workers as one app may have.
const MOST_INSTANCES: usize = 4096;

/// At least one record.
pub(super) struct Group {
    first: Record,
    rest: Vec<Record>,
}

/// Numbers of slots: PM2's, as far as they are known and are there once.
struct Ids {
    known: BTreeSet<u32>,
    given: BTreeSet<u32>,
    next: u32,
}

/// Names of apps, which are there once.
#[derive(Default)]
struct Names {
    given: BTreeSet<String>,
    /// The number to try next, behind a name.
    next: BTreeMap<String, u32>,
}

/// What all apps of a dump have in common.
pub(super) struct Common {
    ids: Ids,
    names: Names,
    /// Variables that were left out because whoever imports has the same.
    pub(super) inherited: BTreeSet<String>,
}

impl Common {
    pub(super) fn of(groups: &[Group]) -> Common {
        Common { ids: Ids::of(groups), names: Names::default(), inherited: BTreeSet::new() }
    }
}

impl Ids {
    fn of(groups: &[Group]) -> Ids {
        let known = groups.iter().flat_map(Group::records).filter_map(|record| record.id);
        Ids { known: known.collect(), given: BTreeSet::new(), next: 0 }
    }

    /// This one, or the lowest that nobody has.
    fn give(&mut self, wanted: Option<u32>) -> u32 {
        if let Some(id) = wanted.filter(|id| self.given.insert(*id)) {
            return id;
        }
        while self.known.contains(&self.next) || !self.given.insert(self.next) {
            self.next = self.next.saturating_add(1);
        }
        self.next
    }
}

impl Names {
    /// This one, or where it is taken one with a number.
    fn give(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_owned();
        while !self.given.insert(name.clone()) {
            let number = self.next.entry(wanted.to_owned()).or_insert(1);
            name = format!("{wanted}-{number}");
            *number = number.saturating_add(1);
        }
        name
    }
}

impl Group {
    pub(super) fn new(record: Record) -> Group {
        Group { first: record, rest: Vec::new() }
    }

    /// The one with the lowest number is the first: the others' configuration is not looked at.
    pub(super) fn add(&mut self, mut record: Record) {
        if record.id.is_some_and(|id| self.first.id.is_none_or(|first| id < first)) {
            std::mem::swap(&mut self.first, &mut record);
        }
        self.rest.push(record);
    }

    fn records(&self) -> impl Iterator<Item = &Record> + Clone {
        std::iter::once(&self.first).chain(&self.rest)
    }

    pub(super) fn into_app(
        mut self,
        options: &ImportOptions,
        common: &mut Common,
        warnings: &mut Vec<String>,
    ) -> SavedApp {
        self.rest.sort_by_key(|record| record.id);
        let name = common.names.give(&self.first.key.name);
        if name != self.first.key.name {
            warnings.push(format!("`{}` is there twice; one is imported as `{name}`", self.first.key.name));
        }
        if self.rest.len() >= MOST_INSTANCES {
            let there = self.rest.len() + 1;
            self.rest.truncate(MOST_INSTANCES - 1);
            warnings.push(format!("`{name}` has {there} instances; {MOST_INSTANCES} are imported"));
        }
        if self.rest.iter().any(|record| record.spec != self.first.spec) {
            warnings
                .push(format!("`{name}`: its instances are configured differently; the first one counts"));
        }
        let mut app = SavedApp { spec: self.first.spec.clone(), ..SavedApp::default() };
        app.spec.name.clone_from(&name);
        self.files(&mut app, warnings);
        common.inherited.extend(self.variables(&mut app, options, warnings));
        for record in self.records() {
            let id = common.ids.give(record.id);
            app.ids.push(id);
            if record.stopped {
                app.stopped.push(id);
            }
        }
        app.instances = u32::try_from(app.ids.len()).unwrap_or(u32::MAX);
        app.spec.instances = Instances::Exactly(app.instances);
        app
    }

    fn files(&self, app: &mut SavedApp, warnings: &mut Vec<String>) {
        let home = self.first.environment.get("PM2_HOME").map(String::as_str);
        let paths = || self.records().map(|record| (&record.paths, record.id));
        let mut each = false;
        let mut file = |kind: Kind, key: &str| match kind.together(paths(), home) {
            File::Default => None,
            File::Shared(path) => Some(path),
            File::Each(path) => {
                each |= kind != Kind::Pid;
                Some(path)
            }
            File::Various(path) => {
                warnings.push(format!("`{}`: `{key}` differs among its instances", app.spec.name));
                Some(path)
            }
        };
        app.spec.out_file = file(Kind::Out, "out_file");
        app.spec.error_file = file(Kind::Error, "error_file");
        app.spec.log_file = file(Kind::Both, "log_file");
        app.spec.pid_file = file(Kind::Pid, "pid_file");
        app.spec.merge_logs = match self.rest.len() {
            0 => None,
            _ if each => Some(false),
            _ => app.spec.merge_logs.filter(|merged| *merged),
        };
    }

    /// Gives back the names of those that are inherited.
    fn variables(
        &self,
        app: &mut SavedApp,
        options: &ImportOptions,
        warnings: &mut Vec<String>,
    ) -> Vec<String> {
        let first = &self.first;
        let instance_var = app.spec.instance_var.as_deref();
        let sort = |record: &Record| {
            variables::sort(&first.key.name, instance_var, &record.environment, &record.configured, options)
        };
        let mut sorted = sort(first);
        if !sorted.secret.is_empty() {
            let (app, names) = (&app.spec.name, listed(&sorted.secret, super::NAMES));
            warnings.push(format!("`{app}`: left out, because it looks like a secret: {names}"));
        }
        if let Some(counted) = &app.spec.increment_var {
            let value = |record: &Record| record.environment.get(counted)?.parse::<i64>().ok();
            if let Some(lowest) = self.records().filter_map(value).min() {
                sorted.configured.insert(counted.clone(), lowest.to_string());
            }
        }
        let counted = app.spec.increment_var.as_ref();
        let differs = |record: &Record| {
            let other = sort(record).configured;
            let names = other.keys().chain(sorted.configured.keys()).filter(|name| Some(*name) != counted);
            let mut names = names.filter(|name| other.get(*name) != sorted.configured.get(*name));
            names.next().cloned()
        };
        if let Some(name) = self.rest.iter().find_map(differs) {
            let app = &app.spec.name;
            warnings.push(format!("`{app}`: `{name}` differs among its instances; that of the first counts"));
        }
        app.spec.env = sorted.configured;
        app.environment = sorted.environment;
        sorted.inherited
    }
}
