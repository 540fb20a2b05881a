//! What a script, a program or a line of shell on the command line of `start` comes to as an app.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use oneport_wire::control::AppSpec;

use super::apply::{absolute, here};
use super::gather::script_here;
use crate::args::manager::StartArgs;
use crate::args::target::TargetArgs;
use crate::error::Failure;
use crate::program::Program;

/// `start --watch app.js`: an option whose value may be left out has taken the script for one.
pub(super) fn give_back(args: &StartArgs, here: &Path) -> StartArgs {
    let mut args = args.clone();
    let options = [&mut args.spec.watch, &mut args.spec.filter_env];
    for values in options.into_iter().flatten() {
        if let ([], [], [word]) = (&*args.targets, &*args.rest, &**values)
            && here.join(word).is_file()
        {
            args.targets.push(word.into());
            values.clear();
        }
    }
    args
}

pub(super) fn spec_of(args: &StartArgs, target: &OsStr, rest: &[OsString]) -> Result<AppSpec, Failure> {
    let here = here()?;
    let cwd = args.spec.cwd.as_ref().map_or(here.clone(), |cwd| here.join(cwd));
    let wanted = TargetArgs {
        target: Some(target.to_owned()),
        stray: Vec::new(),
        rest: rest.to_vec(),
        cwd: Some(cwd.clone()),
        env: Vec::new(),
        interpreter: args.spec.interpreter.clone().map(Into::into),
        node_args: args.spec.node_args.clone(),
    };
    if !cwd.is_dir() {
        return Err(crate::commands::run::no_directory(&cwd).in_the_world());
    }
    let (text, is_here) = (target.to_string_lossy().into_owned(), script_here(&cwd, target).is_some());
    let rest = rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (name, script, words) = if text.contains(char::is_whitespace) && !is_here {
        // As PM2: `start "npm run web"` is a line of shell.
        (crate::config::name_of_line(&text), "bash".to_owned(), crate::config::shell_words(&text, rest))
    } else {
        let program = Program::resolve(&wanted).map_err(Failure::in_the_world)?;
        let stem = Path::new(&program.title).file_stem();
        let name = stem.map_or(program.title.clone(), |stem| stem.to_string_lossy().into_owned());
        (name, if is_here { absolute(&cwd, &text) } else { text }, rest)
    };
    let mut spec = AppSpec { name, script, args: words, ..AppSpec::default() };
    args.spec.apply(&mut spec, &here)?;
    spec.cwd = Some(cwd.to_string_lossy().into_owned());
    Ok(spec)
}
