//! Which apps are meant: by id, name, namespace, `/regex/` or `all`; several at once.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use oneport_wire::control::AppView;
use regex_lite::Regex;

use crate::error::Failure;

/// An app, and which of its slots. None named: all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) app: String,
    pub(super) ids: Vec<u32>,
}

/// Everything that these words mean, each app once, in the order in which they were said.
pub(super) fn choose(words: &[OsString], apps: &[AppView]) -> Result<Vec<Chosen>, Failure> {
    let mut chosen: Vec<Chosen> = Vec::new();
    for word in words {
        let word = word.to_string_lossy();
        for found in one(&word, apps)? {
            match chosen.iter_mut().find(|known| known.app == found.app) {
                // All is more than some.
                Some(known) if known.ids.is_empty() || found.ids.is_empty() => known.ids.clear(),
                Some(known) => known.ids.extend(found.ids),
                None => chosen.push(found),
            }
        }
    }
    for known in &mut chosen {
        known.ids.sort_unstable();
        known.ids.dedup();
        let of = apps.iter().find(|app| app.name == known.app).map_or(0, |app| app.workers.len());
        if known.ids.len() == of {
            known.ids.clear();
        }
    }
    Ok(chosen)
}

fn one(word: &str, apps: &[AppView]) -> Result<Vec<Chosen>, Failure> {
    let whole = |app: &AppView| Chosen { app: app.name.clone(), ids: Vec::new() };
    if word == "all" {
        if apps.is_empty() {
            return Err(Failure::new("cannot find any app: the list is empty").hint("oneport start SCRIPT"));
        }
        return Ok(apps.iter().map(whole).collect());
    }
    // An app may be called by a number: its name is meant then.
    if let Some(app) = apps.iter().find(|app| app.name == word) {
        return Ok(vec![whole(app)]);
    }
    if let Ok(id) = word.parse::<u32>() {
        let of = apps.iter().find(|app| app.workers.iter().any(|worker| worker.id == id));
        if let Some(app) = of {
            return Ok(vec![Chosen { app: app.name.clone(), ids: vec![id] }]);
        }
    }
    let pattern =
        word.strip_prefix('/').and_then(|rest| rest.strip_suffix('/')).filter(|rest| !rest.is_empty());
    if let Some(pattern) = pattern {
        let regex = Regex::new(pattern)
            .map_err(|cause| Failure::usage(format!("cannot use pattern `{word}`: {cause}")))?;
        let found: Vec<Chosen> = apps.iter().filter(|app| regex.is_match(&app.name)).map(whole).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    let of_namespace: Vec<Chosen> = apps.iter().filter(|app| app.namespace == word).map(whole).collect();
    if !of_namespace.is_empty() {
        return Ok(of_namespace);
    }
    Err(unknown(word, apps))
}

/// As PM2: what is on the list may be meant as it was started, by its script. The file is meant, and not its name alone: in
/// another directory there may be another one.
pub(super) fn by_script(word: &OsStr, apps: &[AppView], here: &Path) -> Vec<Chosen> {
    let path: PathBuf = here.join(word).components().collect();
    let is_it = |app: &&AppView| Path::new(&app.spec.script) == path;
    apps.iter().filter(is_it).map(|app| Chosen { app: app.name.clone(), ids: Vec::new() }).collect()
}

pub(super) fn unknown(word: &str, apps: &[AppView]) -> Failure {
    let failure = Failure::new(format!("cannot find `{}`: there is no such app", word.escape_debug()));
    let near = apps.iter().map(|app| (strsim::osa_distance(word, &app.name), &app.name)).min();
    match near.filter(|(distance, _)| *distance <= 1 + word.chars().count() / 4) {
        Some((_, name)) => failure.hint(format!("did you mean `{name}`?")),
        None => failure.hint("`oneport list` shows those there are"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::manager::sample_apps;

    fn chosen(words: &[&str]) -> Result<Vec<(String, Vec<u32>)>, String> {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        let apps =
            sample_apps(&[("api", "default", &[0, 1]), ("web", "front", &[2]), ("web-2", "front", &[3, 4])]);
        let chosen = choose(&words, &apps).map_err(|failure| failure.words())?;
        Ok(chosen.into_iter().map(|one| (one.app, one.ids)).collect())
    }

    fn whole(names: &[&str]) -> Vec<(String, Vec<u32>)> {
        names.iter().map(|name| ((*name).to_owned(), Vec::new())).collect()
    }

    #[test]
    fn apps_are_meant_by_name_namespace_pattern_and_all() {
        assert_eq!(chosen(&["all"]).unwrap(), whole(&["api", "web", "web-2"]));
        assert_eq!(chosen(&["web"]).unwrap(), whole(&["web"]));
        assert_eq!(chosen(&["front"]).unwrap(), whole(&["web", "web-2"]));
        assert_eq!(chosen(&["/^web/"]).unwrap(), whole(&["web", "web-2"]));
        assert_eq!(chosen(&["api", "web", "api"]).unwrap(), whole(&["api", "web"]));
    }

    #[test]
    fn an_id_means_one_slot_and_all_ids_of_an_app_mean_the_app() {
        assert_eq!(chosen(&["1"]).unwrap(), [("api".to_owned(), vec![1])]);
        assert_eq!(chosen(&["1", "0"]).unwrap(), whole(&["api"]));
        assert_eq!(chosen(&["2"]).unwrap(), whole(&["web"]), "its only one");
        assert_eq!(chosen(&["4", "web-2"]).unwrap(), whole(&["web-2"]));
    }

    #[test]
    fn what_is_unknown_is_said_with_what_may_have_been_meant() {
        assert!(chosen(&["wbe"]).unwrap_err().contains("did you mean `web`?"));
        assert!(chosen(&["9"]).unwrap_err().contains("cannot find `9`"));
        assert!(chosen(&["/x(/"]).unwrap_err().contains("cannot use pattern"));
        assert!(chosen(&["api", "nothing-like-it"]).unwrap_err().contains("oneport list"));
    }
}
