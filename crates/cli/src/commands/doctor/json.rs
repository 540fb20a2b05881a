//! The report as one JSON object.

use oneport_sys::bpf::{Counter, Probe, Refused};
use oneport_sys::caps::Held;
use oneport_sys::host::{Privileges, UserNamespace};
use serde_json::{Map, Value, json};

use super::advise::{Advice, CAPABILITIES, How};
use super::features::Feature;
use super::picks::{Pick, letter, meaning};
use super::report::{Report, sets, short};
use crate::error::plain;

impl Report {
    pub(super) fn json(&self) -> Value {
        let facts = &self.facts;
        let standing = facts.standing.as_ref().ok();
        json!({
            "kernel": {"release": facts.kernel.release, "machine": facts.kernel.machine},
            "user": facts.user,
            "executable": self.path(),
            "no_new_privs": standing.map(|standing| standing.privileges == Privileges::Kept),
            "user_namespace": standing.map(|standing| standing.user_namespace == UserNamespace::Below),
            "cgroup": facts.cgroup.as_ref().ok().map(|directory| directory.display().to_string()),
            "features": object(self.features.iter().map(feature)),
            "capabilities": facts.held.as_ref().ok().map(capabilities),
            "limits": {"nofile": {"soft": facts.nofile.soft, "hard": facts.nofile.hard}},
            "settings": object(facts.settings.iter().map(|(setting, value)| (short(*setting), json!(value.as_ref().ok())))),
            "tier": facts.tiers.as_ref().map(tier),
            "auto": object(self.picks.iter().map(pick)),
            "advice": self.advice.iter().map(advice).collect::<Vec<_>>(),
        })
    }
}

fn capabilities(held: &Held) -> Value {
    object(CAPABILITIES.into_iter().map(|(capability, name)| {
        (name, object(sets(held, capability).into_iter().map(|(set, has)| (set, has.into()))))
    }))
}

fn object(fields: impl Iterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

/// Nothing to say is null.
fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

fn feature(feature: &Feature) -> (&'static str, Value) {
    let (word, detail) = feature.found.words();
    (feature.key, json!({"found": word, "detail": some(detail)}))
}

fn tier(probe: &Probe) -> Value {
    let counter = probe.counter.map(|counter| match counter {
        Counter::Cgroup => "cgroup",
        Counter::Tracepoint => "tracepoint",
    });
    let refused = probe.refused.iter().map(refused).collect::<Vec<_>>();
    json!({"best": letter(probe.tier), "means": meaning(probe.tier), "counter": counter, "refused": refused})
}

fn refused(refused: &Refused) -> Value {
    json!({
        "tier": letter(refused.tier),
        "what": refused.what,
        "error": plain(&refused.error),
        "errno": refused.error.raw_os_error(),
    })
}

fn pick(pick: &Pick) -> (&'static str, Value) {
    let Pick { key, name: _, attach, policy, tier, why, not } = pick;
    let tier = tier.map(letter);
    (*key, json!({"attach": attach, "policy": policy, "tier": tier, "why": some(why), "not": not}))
}

fn advice(advice: &Advice) -> Value {
    let (command, change) = match &advice.how {
        How::Command(command) => (Some(command), None),
        How::Change(change) => (None, Some(change)),
    };
    json!({"gain": advice.gain, "command": command, "change": change, "unit": advice.unit})
}
