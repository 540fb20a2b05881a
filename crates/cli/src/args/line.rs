//! The command line as PM2's users type it: options before the verb, and options of `start` with every verb.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory, Parser};

use super::Args;
use crate::render::manager::{Tone, says};

/// Reads the command line. PM2 takes every flag of `start` with every verb: what is known of `start` and means nothing with
/// another one is left out, and named in one warning.
pub(crate) fn parse(mut line: Vec<OsString>) -> Result<Args, clap::Error> {
    let mut dropped: Vec<String> = Vec::new();
    put_first(&mut line);
    loop {
        let error = match Args::try_parse_from(&line) {
            Ok(args) => {
                if !dropped.is_empty() {
                    let text = format!("{} mean nothing with this command", dropped.join(", "));
                    crate::render::voice::err(format_args!("{}", says(Tone::Warning, &text).trim_end()));
                }
                return Ok(args);
            }
            Err(error) => error,
        };
        let Some((at, count, name)) = unwanted(&line, &error) else { return Err(error) };
        line.drain(at..at + count);
        dropped.push(name);
    }
}

/// Where an argument of `start` stands that this verb does not know, and how many words it takes.
fn unwanted(line: &[OsString], error: &clap::Error) -> Option<(usize, usize, String)> {
    if error.kind() != clap::error::ErrorKind::UnknownArgument {
        return None;
    }
    let verb = line.get(1)?.to_str()?;
    // These have their own flags, and a mistake in them is one.
    if ["run", "check", "doctor", "grant", "demo", "start", "daemon", "primary"].contains(&verb) {
        return None;
    }
    let clap::error::ContextValue::String(given) = error.get(clap::error::ContextKind::InvalidArg)? else {
        return None;
    };
    let given = given.split(['=', ' ']).next()?.to_owned();
    let command = Args::command();
    let known = option_of_start(&command, &given)?;
    let at = line.iter().position(|word| {
        let word = word.to_string_lossy();
        word == given.as_str() || word.starts_with(&format!("{given}="))
    })?;
    let takes = takes_next(known) && !line[at].to_string_lossy().contains('=');
    let count = if takes && at + 1 < line.len() { 2 } else { 1 };
    Some((at, count, given))
}

/// What `start` knows by this name: `-i` or `--instances`.
fn option_of_start<'a>(command: &'a Command, given: &str) -> Option<&'a Arg> {
    command.find_subcommand("start")?.get_arguments().find(|arg| {
        let long = arg.get_long().map(|long| format!("--{long}"));
        let short = arg.get_short().map(|short| format!("-{short}"));
        long.as_deref() == Some(given) || short.as_deref() == Some(given)
    })
}

/// Whether the next word is its value. One that may be left out is taken for one only where it cannot be what the verb is
/// about.
fn takes_next(option: &Arg) -> bool {
    let must = option.get_num_args().is_none_or(|count| count.min_values() > 0);
    option.get_action().takes_values() && must
}

/// `-s --no-color start app.js`: the verb comes first, and what stood before it behind it.
fn put_first(line: &mut [OsString]) {
    let command = Args::command();
    let mut at = 1;
    while let Some(word) = line.get(at).and_then(|word| word.to_str()).filter(|word| word.starts_with('-')) {
        let (name, has_value) = word.split_once('=').map_or((word, false), |(name, _)| (name, true));
        let Some(option) = option_of_start(&command, name) else { return };
        at += if takes_next(option) && !has_value { 2 } else { 1 };
    }
    if let Some(before) = line.get_mut(1..=at) {
        before.rotate_right(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Verb;

    fn read(line: &str) -> Result<Verb, String> {
        let line = line.split_whitespace().map(Into::into).collect();
        parse(line).map(|args| args.verb).map_err(|error| error.to_string())
    }

    #[test]
    fn options_before_the_verb_are_those_of_the_verb() {
        let Ok(Verb::Start(args)) = read("oneport -s --no-color -i 4 --name=web start app.js -m") else {
            panic!("it is read")
        };
        assert!(args.common.silent && args.common.no_color && args.common.mini_list);
        assert_eq!((args.spec.name.as_deref(), &*args.targets), (Some("web"), &["app.js".into()][..]));
        assert!(matches!(read("oneport -m ls"), Ok(Verb::List(args)) if args.common.mini_list));
        for line in ["oneport -s", "oneport -x=1", "oneport --no-such start x", "oneport -i"] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn flags_that_pm2_takes_everywhere_are_passed_over_where_they_mean_nothing() {
        for line in [
            "oneport delete web --force",
            "oneport stop --watch web",
            "oneport resurrect --no-daemon",
            "oneport delete web --env production --only=web -i 4",
        ] {
            assert!(read(line).is_ok(), "{line}");
        }
        let Ok(Verb::Delete(args)) = read("oneport delete --env production web") else {
            panic!("it is read")
        };
        assert_eq!(args.targets, ["web"]);
        assert!(read("oneport delete web --no-such-flag").is_err());
        assert!(read("oneport run --force x.js").is_err());
    }
}
