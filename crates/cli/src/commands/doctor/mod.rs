//! `oneport doctor`: what this system allows, what `auto` makes of it, and what would make it better. `facts` asks, `features`,
//! `picks` and `advise` conclude, `text` and `json` spell; nothing is changed or left running.

mod advise;
mod facts;
mod features;
mod json;
mod picks;
mod report;
mod text;

use std::process::ExitCode;

use crate::Done;
use crate::args::DoctorArgs;
use crate::render::voice;
use facts::Facts;
use report::Report;

pub(crate) fn run(args: DoctorArgs) -> Done {
    let report = Report::of(Facts::gather()?);
    if args.json {
        voice::out(format_args!("{}", report.json()));
    } else {
        voice::out(format_args!("{}", report.text()));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
