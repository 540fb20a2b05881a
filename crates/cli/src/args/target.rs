//! What is to be run and in which surroundings: the part of the command line that `run` and `check` have in common.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::values::parse_variable;

#[derive(Clone, Debug, Default, ClapArgs)]
pub(crate) struct TargetArgs {
    /// Script or program to run
    #[arg(value_name = "SCRIPT-OR-PROGRAM")]
    pub(crate) target: Option<OsString>,
    /// What was put behind the script without `--`: asked for only to be explained
    #[arg(hide = true)]
    pub(crate) stray: Vec<OsString>,
    /// Arguments of the script or program; without one, a whole command with its arguments
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) rest: Vec<OsString>,

    /// Working directory of the program; a relative script is looked up there
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,
    /// Set an environment variable for the program; may be repeated
    #[arg(long, value_name = "K=V", value_parser = parse_variable)]
    pub(crate) env: Vec<(String, String)>,
    /// Program that runs the script [default: by its extension or `#!` line]; `none`: execute the script itself
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) interpreter: Option<OsString>,
    /// Arguments for the interpreter, split at blanks, as in --node-args "--no-warnings --trace-gc"; may be repeated
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true, visible_alias = "interpreter-args")]
    pub(crate) node_args: Vec<String>,
}
