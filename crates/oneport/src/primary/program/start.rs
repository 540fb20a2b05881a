//! What a program is started with, by the way it is attached and by what makes it ready.
//!
//! What does not live here: what every worker gets (`spawn`). Invariant: what fails here fails before there is a process.

use std::io;

use oneport_core::WorkerId;
use oneport_sys::spawn::Command;

use super::ProgramWorker;
use crate::primary::Primary;
use crate::program::ProgramWay;

impl Primary {
    /// Completes the command, whose environment is set already, and begins what is kept of the worker.
    pub(in crate::primary) fn prepare_program(&mut self, command: &mut Command) -> io::Result<ProgramWorker> {
        let mut program = ProgramWorker::default();
        match self.settings.program.way.clone() {
            ProgramWay::Own | ProgramWay::Slot => command.trap = self.traps(),
            ProgramWay::Preload { library } => {
                let (token, variables) = self.shim_variables(&library, &command.env)?;
                program.token = Some(token);
                command.env.extend(variables);
            }
            ProgramWay::ListenFds { .. } => {}
        }
        // Connections are counted on when this process is gone and the program is not.
        command.keep = self.lanes.counting().and_then(|link| link.try_clone_to_owned().ok());
        program.notify = self.open_notify()?;
        if let Some(notify) = &program.notify {
            command.env.extend(self.notify_variables(notify));
        }
        Ok(program)
    }

    pub(in crate::primary) fn watch_program(
        &self,
        worker: WorkerId,
        program: &ProgramWorker,
    ) -> io::Result<()> {
        match &program.notify {
            Some(notify) => self.watch_notify(worker, notify),
            None => Ok(()),
        }
    }
}
