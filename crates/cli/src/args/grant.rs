//! The command line of `oneport grant`.

use std::ffi::OsString;

use clap::Args as ClapArgs;

const AFTER_GRANT: &str = "\
Examples:
  oneport grant --user www-data -- oneport run -i 4 server.js
  oneport grant --user 1000:1000 -- oneport run -i max -- ./server

What --policy least needs of the kernel is loaded, and the command executed in place of this one, as that user and \
without any privilege; it has the same number. Each address gets 63 workers at most at one time.

Exit codes: those of the command; 1 it could not be loaded or executed; 2 the command line is wrong.";

#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = AFTER_GRANT, override_usage = "oneport grant [OPTIONS] -- COMMAND [ARGS...]")]
pub(crate) struct GrantArgs {
    /// Who the command is executed as: a name, or UID or UID:GID [default: who executes this]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Addresses that the app may listen on
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(crate) addresses: u32,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}
