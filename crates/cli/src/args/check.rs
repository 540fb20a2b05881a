//! The command line of `oneport check`.

use std::time::Duration;

use clap::Args as ClapArgs;

use super::program::ProgramArgs;
use super::target::TargetArgs;
use super::values::parse_time;

const AFTER_CHECK: &str = "\
Examples:
  oneport check app.py
  oneport check --json -- ./server --port 8000

One copy is started, on free ports of the loopback interface in place of its own, watched until it has listened for a \
second, and stopped. What it does beside listening it does.

Exit codes: 0 it will work; 1 it will not; 2 the command line is wrong; 130 interrupted.";

#[derive(Clone, Debug, ClapArgs)]
#[command(
    after_help = AFTER_CHECK,
    override_usage = "oneport check [OPTIONS] SCRIPT-OR-PROGRAM [-- ARGS...]\n       oneport check [OPTIONS] -- COMMAND [ARGS...]"
)]
pub(crate) struct CheckArgs {
    /// How long the program may take until it listens and is ready
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_time)]
    pub(crate) timeout: Duration,
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) what: TargetArgs,
    #[command(flatten)]
    pub(crate) program: ProgramArgs,
}
