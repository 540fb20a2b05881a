//! All that is told, gathered once: `text` and `json` spell the same facts.

use oneport_sys::caps::{Capability, Held};
use oneport_sys::host::Setting;

use super::advise::{Advice, advise};
use super::facts::Facts;
use super::features::{Feature, features};
use super::picks::{Pick, picks};

#[derive(Debug)]
pub(super) struct Report {
    pub(super) facts: Facts,
    pub(super) features: Vec<Feature>,
    pub(super) picks: Vec<Pick>,
    pub(super) advice: Vec<Advice>,
}

impl Report {
    pub(super) fn of(facts: Facts) -> Report {
        let (features, picks, advice) = (features(&facts), picks(&facts), advise(&facts));
        Report { facts, features, picks, advice }
    }

    /// The file that this process executes.
    pub(super) fn path(&self) -> Option<String> {
        self.facts.executable.as_ref().ok().map(|file| file.path.display().to_string())
    }
}

/// Whether each set of capabilities has this one. Those of the first three names are what it comes to.
pub(super) fn sets(held: &Held, capability: Capability) -> [(&'static str, bool); 5] {
    let Held { permitted, effective, inheritable, bounding, ambient } = *held;
    [
        ("permitted", permitted),
        ("effective", effective),
        ("bounding", bounding),
        ("inheritable", inheritable),
        ("ambient", ambient),
    ]
    .map(|(name, mask)| (name, Held::has(mask, capability)))
}

/// Without the directories that sysctl(8) puts in front.
pub(super) fn short(setting: Setting) -> &'static str {
    let name = setting.name();
    name.rsplit_once('.').map_or(name, |(_, short)| short)
}

#[cfg(test)]
mod tests {
    use super::super::tests::unprivileged;
    use super::Report;

    #[test]
    fn text_and_json_have_the_same_facts() {
        let report = Report::of(unprivileged());
        let (text, object) = (report.text(), report.json());
        for feature in &report.features {
            let (word, detail) = feature.found.words();
            assert_eq!(object["features"][feature.key]["found"], word);
            assert_eq!(object["features"][feature.key]["detail"].as_str().unwrap_or_default(), detail);
            let told = text
                .lines()
                .any(|line| line.contains(feature.name) && line.contains(word) && line.ends_with(detail));
            assert!(told, "{} in {text}", feature.name);
        }
        for pick in &report.picks {
            assert_eq!(object["auto"][pick.key]["policy"].as_str(), pick.policy);
            assert!(text.lines().any(|line| line.contains(pick.name) && line.contains(&pick.why)), "{text}");
        }
        assert_eq!(object["advice"].as_array().map(Vec::len), Some(report.advice.len()));
    }
}
