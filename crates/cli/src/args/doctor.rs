//! The command line of `oneport doctor`.

use clap::Args as ClapArgs;

const AFTER_DOCTOR: &str = "\
Everything is tried out where that is harmless, as this user, at this place: run it as the user and in the container or unit \
in which `oneport run` is to work.

Exit code: 0, whatever was found; 1 if it could not be tried; 2 the command line is wrong.";

#[derive(Clone, Copy, Debug, ClapArgs)]
#[command(after_help = AFTER_DOCTOR)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
