use crate::Done;
use std::process::ExitCode;
pub(crate) fn run() -> Done {
    Ok(ExitCode::SUCCESS)
}
