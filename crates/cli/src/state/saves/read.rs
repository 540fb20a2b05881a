//! Reading the saved list: the newest that is good.

use std::os::fd::OwnedFd;

use oneport_wire::control::Saved;

use super::Saves;
use super::generation::{self, Found, Generation};
use crate::error::{Failure, plain};

impl Saves {
    /// The newest list that can be read, and what is to be said about those that cannot; these are put aside.
    pub(crate) fn read(&self) -> Result<(Saved, Vec<String>), Failure> {
        let directory = self.lock().map_err(|error| {
            let shown = self.directory.display();
            Failure::new(format!("cannot read saved apps in `{shown}`: {}", plain(&error)))
        })?;
        let mut warnings = Vec::new();
        for generation in Generation::all() {
            match generation.look(&directory) {
                Found::Good(saved) => {
                    if generation != Generation::NEWEST {
                        if warnings.is_empty() {
                            warnings.push(format!("`{}` is missing", Generation::NEWEST.name()));
                        }
                        warnings.push(format!("the apps are those of `{}`", generation.name()));
                    }
                    return Ok((saved, warnings));
                }
                Found::Nothing => {}
                Found::Broken(cause) => warnings.push(aside(&directory, generation, &cause)),
                Found::TooNew(cause) if generation == Generation::NEWEST => {
                    let message = format!("cannot read saved apps in `{}`: {cause}", self.shown(generation));
                    return Err(Failure::new(message).hint("use the oneport that wrote it, or a newer one"));
                }
                Found::TooNew(cause) | Found::Unreadable(cause) => {
                    warnings.push(format!("`{}` cannot be read: {cause}", generation.name()));
                }
            }
        }
        match warnings.as_slice() {
            [] => {
                let message = format!(
                    "cannot read saved apps in `{}`: nothing was saved",
                    self.shown(Generation::NEWEST)
                );
                Err(Failure::new(message).hint("`oneport save` saves the apps that there are"))
            }
            causes => {
                let shown = self.directory.display();
                let causes = causes.join("; ");
                Err(Failure::new(format!("cannot read saved apps in `{shown}`: no list is good: {causes}")))
            }
        }
    }

    /// The newest list, if it is good. Changes nothing, says nothing; for comparing.
    pub(crate) fn peek(&self) -> Option<Saved> {
        let directory = super::open_directory(&self.directory).ok()?;
        match Generation::NEWEST.look(&directory) {
            Found::Good(saved) => Some(saved),
            Found::Nothing | Found::Broken(_) | Found::TooNew(_) | Found::Unreadable(_) => None,
        }
    }
}

fn aside(directory: &OwnedFd, generation: Generation, cause: &str) -> String {
    generation::put_aside(directory, generation, cause).unwrap_or_else(|error| {
        format!("`{}` is broken: {cause}; it stays where it is: {}", generation.name(), plain(&error))
    })
}
