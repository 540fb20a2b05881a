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
    let line = target.to_string_lossy();
    if line.contains(char::is_whitespace) && script_here(&cwd, target).is_none() {
        return spec_of_line(args, &line, rest, &cwd, &here);
    }
    let program = Program::resolve(&wanted).map_err(Failure::in_the_world)?;
    let text = target.to_string_lossy().into_owned();
    let script = if script_here(&cwd, target).is_some() { absolute(&cwd, &text) } else { text };
    let stem = Path::new(&program.title).file_stem();
    let mut spec = AppSpec {
        name: stem.map_or(program.title.clone(), |stem| stem.to_string_lossy().into_owned()),
        script,
        args: rest.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
        cwd: Some(cwd.to_string_lossy().into_owned()),
        ..AppSpec::default()
    };
    args.spec.apply(&mut spec, &here)?;
    spec.cwd = Some(cwd.to_string_lossy().into_owned());
    Ok(spec)
}

/// As PM2: `start "npm run web"` is a line of shell.
fn spec_of_line(
    args: &StartArgs,
    line: &str,
    rest: &[OsString],
    cwd: &Path,
    here: &Path,
) -> Result<AppSpec, Failure> {
    let rest = rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let mut spec = AppSpec {
        name: crate::config::name_of_line(line),
        script: "bash".to_owned(),
        args: crate::config::shell_words(line, rest),
        cwd: Some(cwd.to_string_lossy().into_owned()),
        ..AppSpec::default()
    };
    args.spec.apply(&mut spec, here)?;
    spec.cwd = Some(cwd.to_string_lossy().into_owned());
    Ok(spec)
}
