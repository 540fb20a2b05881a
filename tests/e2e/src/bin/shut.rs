//! Shuts the reading side of the socket it inherited as its stdin. Started by a fixture; never by a person.

use std::os::fd::AsFd;
use std::process::ExitCode;

use rustix::net::{Shutdown, shutdown};

fn main() -> ExitCode {
    match shutdown(std::io::stdin().as_fd(), Shutdown::Read) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot shut stdin: {error}");
            ExitCode::FAILURE
        }
    }
}
