//! Package managers as commands. Each is a Node program itself: started as a worker it takes the channel for
//! itself (npm 6 to 11 say `online` and never listen), and the server it starts binds alone, so that the second
//! copy fails with EADDRINUSE. They are recognised by name, and the script they would run is named instead.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use crate::error::Failure;

const WRAPPERS: [&str; 5] = ["npm", "npx", "yarn", "pnpm", "corepack"];

pub(super) fn refuse(target: &OsStr, args: &[OsString], cwd: Option<&Path>) -> Result<(), Failure> {
    let name = Path::new(target).file_name().and_then(OsStr::to_str).unwrap_or_default();
    if !WRAPPERS.contains(&name) {
        return Ok(());
    }
    let words: Vec<_> = args.iter().map(|arg| arg.to_string_lossy()).collect();
    let command = [&[name.into()], &words[..]].concat().join(" ");
    let hint = match script_behind(&words, cwd) {
        Some(script) => format!("run what it would start: oneport run {script}"),
        None => "run the script that it would start: oneport run server.js".to_owned(),
    };
    let message =
        format!("cannot run `{command}`: {name} keeps the channel to itself and its child binds alone");
    Err(Failure::usage(message).hint(hint))
}

/// What `npm start` or `npm run NAME` would execute, when that is a plain `node SCRIPT`.
fn script_behind(words: &[std::borrow::Cow<'_, str>], cwd: Option<&Path>) -> Option<String> {
    let mut words = words.iter().map(AsRef::as_ref).filter(|word: &&str| !word.starts_with('-'));
    let name = match words.next()? {
        "run" | "run-script" => words.next()?,
        name => name,
    };
    let package = fs::read(cwd.unwrap_or(Path::new(".")).join("package.json")).ok()?;
    let package: serde_json::Value = serde_json::from_slice(&package).ok()?;
    let script = match package.get("scripts").and_then(|scripts| scripts.get(name)) {
        Some(script) => script.as_str()?,
        // npm's default for `start`.
        None if name == "start" => "node server.js",
        None => return None,
    };
    let rest = script.strip_prefix("node ")?;
    let plain = !rest.contains(['&', '|', ';', '$', '`', '>', '<']) && !rest.starts_with('-');
    let (file, args) = rest.split_once(' ').unwrap_or((rest, ""));
    plain.then(|| if args.is_empty() { file.to_owned() } else { format!("{file} -- {args}") })
}
