//! Which apps are not as the saved list has them.

use std::collections::BTreeSet;

use oneport_wire::control::{AppSpec, AppView, SavedApp};

/// The names of apps of one of the two alone, and of those whose configuration or number of workers differs.
/// One that is stopped for now is as saved.
pub(super) fn names(apps: &[AppView], saved: &[SavedApp]) -> Vec<String> {
    let differs =
        |app: &&AppView| !saved.iter().any(|saved| saved.spec.name == app.name && is_as_saved(app, saved));
    let gone = |saved: &&SavedApp| !apps.iter().any(|app| app.name == saved.spec.name);
    let changed = apps.iter().filter(differs).map(|app| app.name.clone());
    let names: BTreeSet<String> =
        changed.chain(saved.iter().filter(gone).map(|saved| saved.spec.name.clone())).collect();
    names.into_iter().collect()
}

fn is_as_saved(app: &AppView, saved: &SavedApp) -> bool {
    // A primary that does not answer tells of no workers.
    let has_as_many = app.workers.is_empty() || u32::try_from(app.workers.len()) == Ok(saved.instances);
    // `max` was saved as that, and comes back as the number that it was.
    let spec = AppSpec { instances: app.spec.instances, ..saved.spec.clone() };
    has_as_many && spec == app.spec
}

#[cfg(test)]
mod tests {
    use oneport_wire::control::Instances;

    use super::*;
    use crate::render::manager::full_app;

    fn saved(app: &AppView) -> SavedApp {
        let instances = u32::try_from(app.workers.len()).unwrap();
        SavedApp { spec: app.spec.clone(), instances, ..SavedApp::default() }
    }

    #[test]
    fn an_app_as_it_was_saved_is_not_named() {
        let app = full_app();
        assert!(names(std::slice::from_ref(&app), &[saved(&app)]).is_empty());
        let mut back = app.clone();
        back.spec.instances = Instances::Exactly(7);
        assert!(names(&[back], &[saved(&app)]).is_empty());
        let mut silent = app.clone();
        silent.workers.clear();
        assert!(names(&[silent], &[saved(&app)]).is_empty());
    }

    #[test]
    fn what_is_new_gone_scaled_or_changed_is_named() {
        let app = full_app();
        assert_eq!(names(std::slice::from_ref(&app), &[]), [app.name.as_str()]);
        assert_eq!(names(&[], &[saved(&app)]), [app.name.as_str()]);
        let scaled = SavedApp { instances: 99, ..saved(&app) };
        assert_eq!(names(std::slice::from_ref(&app), &[scaled]), [app.name.as_str()]);
        let mut changed = saved(&app);
        changed.spec.script = "/another.js".into();
        assert_eq!(names(std::slice::from_ref(&app), &[changed]), [app.name.as_str()]);
    }
}
