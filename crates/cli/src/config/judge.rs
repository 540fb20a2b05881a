//! What the types of [`AppSpec`] leave open: words that the command line would refuse, too.

use clap::ValueEnum;
use oneport::{PortRange, Published};
use oneport_sys::process::Signal;
use oneport_wire::control::AppSpec;

use super::cron::check_cron;
use super::near::did_you_mean;
use super::source::quoted;
use crate::args::program::{AttachArg, ListenArg, ReadyOnArg};
use crate::args::{PolicyArg, TierArg};

/// What is wrong about the keys that are there.
pub(super) fn judge(spec: &AppSpec) -> Result<(), String> {
    fn one_of<T: ValueEnum>(word: Option<&String>) -> Result<(), String> {
        let Some(word) = word.filter(|word| T::from_str(word, false).is_err()) else { return Ok(()) };
        let names: Vec<_> = T::value_variants()
            .iter()
            .filter_map(|variant| Some(variant.to_possible_value()?.get_name().to_owned()))
            .collect();
        let hint = did_you_mean(word, names.iter().map(String::as_str));
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        Err(format!("expected one of {}, found {}{hint}", names.join(", "), quoted(word)))
    }
    fn each<T: std::str::FromStr<Err: ToString>>(texts: &[String]) -> Result<(), String> {
        match texts.iter().find_map(|text| Some((text, text.parse::<T>().err()?))) {
            Some((text, cause)) => Err(format!("{}: {}", quoted(text), cause.to_string())),
            None => Ok(()),
        }
    }
    one_of::<PolicyArg>(spec.policy.as_ref())?;
    one_of::<TierArg>(spec.tier.as_ref())?;
    one_of::<AttachArg>(spec.attach.as_ref())?;
    each::<PortRange>(&spec.ports.0)?;
    each::<PortRange>(&spec.exclude_ports.0)?;
    each::<Published>(&spec.publish.0)?;
    each::<ListenArg>(&spec.listen)?;
    each::<ReadyOnArg>(spec.ready_on.as_slice())?;
    if let Some(name) = spec.stop_signal.as_ref().filter(|name| Signal::from_name(name).is_none()) {
        let names: Vec<_> = (1..=31).filter_map(Signal::from_number).map(Signal::name).collect();
        let near = did_you_mean(name, names.iter().copied())
            .or_else(|| did_you_mean(name, names.iter().filter_map(|name| name.strip_prefix("SIG"))));
        let hint = near.map_or_else(String::new, |hint| format!("; {hint}"));
        return Err(format!("expected a signal such as \"SIGTERM\", found {}{hint}", quoted(name)));
    }
    if let Some(credits) = spec.credits.filter(|credits| !(1..=64).contains(credits)) {
        return Err(format!("expected 1 to 64, found {credits}"));
    }
    if spec.parallel == Some(0) {
        return Err("expected 1 or more, found 0".to_owned());
    }
    if let Some(user) = [&spec.uid, &spec.gid].into_iter().flatten().find(|user| user.0.trim().is_empty()) {
        return Err(format!("expected a name or a number, found {}", quoted(&user.0)));
    }
    match &spec.cron_restart {
        Some(schedule) => {
            check_cron(&schedule.0).map_err(|cause| format!("{cause} (it is {})", quoted(&schedule.0)))
        }
        None => Ok(()),
    }
}
