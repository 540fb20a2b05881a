//! What is known of each slot of an app: who is there, and how it went so far.

use std::path::PathBuf;

use oneport::{Exit, Phase, WorkerId, WorkerRef};
use oneport_wire::control::{self as wire, Status};

use super::Boot;

/// A worker in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tenant {
    pub(super) worker: WorkerRef,
    /// Milliseconds since 1970.
    pub(super) started_at: u64,
    pub(super) phase: Phase,
    pub(super) ready: bool,
    pub(super) proven: bool,
    /// It took too long to become ready, and stays.
    pub(super) late: bool,
}

/// Why nobody is in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vacancy {
    /// Somebody comes at once.
    Coming,
    /// Somebody comes after a pause.
    Pausing,
    /// Its worker has ended for good, by itself.
    Finished,
    /// Nobody was there yet, or whoever was left with everybody else.
    Empty,
    /// Given up.
    Errored,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Its number among all of the daemon.
    pub(super) id: u32,
    /// It is off the list; its place is taken by the next one that is added.
    pub(super) deleted: bool,
    /// Somebody is to be there, as far as it is the owner's wish. Only orders change that.
    pub(super) wanted: bool,
    pub(super) tenant: Option<Tenant>,
    /// Who comes in a reload.
    pub(super) successor: Option<Tenant>,
    pub(super) vacancy: Vacancy,
    pub(super) restarts: u32,
    pub(super) unstable: u32,
    /// Whether somebody was there before: who comes next is a restart.
    lived_in: bool,
    pub(super) last_exit: Option<wire::Exit>,
    pub(super) says: Option<String>,
    /// Where its process is written down.
    pub(super) pid_file: Option<PathBuf>,
}

impl Slot {
    pub(super) fn new(id: u32) -> Slot {
        Slot {
            id,
            deleted: false,
            wanted: false,
            tenant: None,
            successor: None,
            vacancy: Vacancy::Empty,
            restarts: 0,
            unstable: 0,
            lived_in: false,
            last_exit: None,
            says: None,
            pid_file: None,
        }
    }

    /// Writes down who is there, and removes that where nobody is or another file is meant.
    pub(super) fn keep_pid(&mut self, path: PathBuf) {
        if self.pid_file.as_ref().is_some_and(|former| self.tenant.is_none() || *former != path) {
            // It may have been removed by somebody else.
            let _ = self.pid_file.take().map(std::fs::remove_file);
        }
        if let Some(tenant) = self.tenant {
            Boot::write_pid(&path, tenant.worker.pid);
            self.pid_file = Some(path);
        }
    }

    /// Somebody came.
    pub(super) fn born(&mut self, worker: WorkerRef, now: u64) {
        let tenant = Tenant {
            worker,
            started_at: now,
            phase: Phase::Starting,
            ready: false,
            proven: false,
            late: false,
        };
        self.vacancy = Vacancy::Coming;
        match self.tenant {
            Some(_) => self.successor = Some(tenant),
            None => {
                self.tenant = Some(tenant);
                self.restarts += u32::from(self.lived_in);
            }
        }
        self.lived_in = true;
    }

    /// The next one is no restart: the owner had stopped this slot.
    pub(super) fn start_afresh(&mut self) {
        self.lived_in = false;
    }

    pub(super) fn tenant_mut(&mut self, worker: WorkerId) -> Option<&mut Tenant> {
        let tenants = [self.tenant.as_mut(), self.successor.as_mut()];
        tenants.into_iter().flatten().find(|tenant| tenant.worker.id == worker)
    }

    /// Somebody is gone. Gives whether it was who served here, and not who was to come.
    pub(super) fn died(&mut self, worker: WorkerId, exit: Exit) -> Option<Tenant> {
        let was = |tenant: &Option<Tenant>| tenant.filter(|tenant| tenant.worker.id == worker);
        if let Some(dead) = was(&self.tenant) {
            self.last_exit = Some(exit_of(exit));
            self.restarts += u32::from(self.successor.is_some());
            self.tenant = self.successor.take();
            return Some(dead);
        }
        was(&self.successor).inspect(|_| self.successor = None)
    }

    /// Whether nobody is there any more, neither who was nor who was to come.
    pub(super) fn is_empty(&self) -> bool {
        self.tenant.is_none() && self.successor.is_none()
    }

    /// Whoever serves there, and is not on the way out.
    pub(super) fn stays(&self) -> Option<Tenant> {
        self.tenant.filter(|tenant| !tenant.phase.is_leaving())
    }

    pub(super) fn status(&self, awaits_word: bool) -> Status {
        let Some(tenant) = self.tenant else {
            return match self.vacancy {
                Vacancy::Errored => Status::Errored,
                Vacancy::Coming if self.wanted => Status::Launching,
                Vacancy::Pausing if self.wanted => Status::WaitingRestart,
                Vacancy::Coming | Vacancy::Pausing | Vacancy::Finished | Vacancy::Empty => Status::Stopped,
            };
        };
        match tenant.phase {
            Phase::Starting => Status::Launching,
            Phase::Online | Phase::Listening if awaits_word && !tenant.ready && !tenant.late => {
                Status::Launching
            }
            Phase::Online | Phase::Listening => Status::Online,
            Phase::Draining | Phase::Leaving | Phase::Stopping | Phase::Ending | Phase::Gone => {
                Status::Stopping
            }
        }
    }
}

/// How a process ended, in the words of the control API.
pub(super) fn exit_of(exit: Exit) -> wire::Exit {
    match exit {
        Exit::Code(code) => wire::Exit::Code(code),
        Exit::Signal(signal) => wire::Exit::Signal(signal),
        Exit::NotSpawned => wire::Exit::NotStarted,
    }
}

#[cfg(test)]
mod tests {
    use oneport::Slot as Place;

    use super::*;

    fn worker(id: u32) -> WorkerRef {
        WorkerRef { id: WorkerId(id), slot: Some(Place(0)), pid: 100 }
    }

    #[test]
    fn the_first_one_is_no_restart_and_each_later_one_is() {
        let mut slot = Slot::new(3);
        assert_eq!(slot.status(false), Status::Stopped);
        slot.born(worker(1), 5);
        assert_eq!((slot.restarts, slot.status(false)), (0, Status::Launching));
        slot.died(WorkerId(1), Exit::Code(1));
        slot.born(worker(2), 6);
        assert_eq!(slot.restarts, 1);
        slot.born(worker(3), 7);
        assert_eq!(slot.restarts, 1, "a reload may fail yet");
        slot.died(WorkerId(2), Exit::Code(0));
        assert_eq!((slot.restarts, slot.tenant.unwrap().worker.id), (2, WorkerId(3)));
    }

    #[test]
    fn a_successor_that_dies_leaves_everything_as_it_was() {
        let mut slot = Slot::new(0);
        slot.born(worker(1), 5);
        slot.born(worker(2), 6);
        slot.died(WorkerId(2), Exit::Signal(9));
        assert_eq!((slot.restarts, slot.tenant.unwrap().worker.id, slot.successor), (0, WorkerId(1), None));
    }

    #[test]
    fn one_that_is_to_say_that_it_is_ready_is_launching_until_it_does_or_is_late() {
        let mut slot = Slot::new(0);
        slot.born(worker(1), 5);
        slot.tenant_mut(WorkerId(1)).unwrap().phase = Phase::Listening;
        assert_eq!((slot.status(true), slot.status(false)), (Status::Launching, Status::Online));
        slot.tenant_mut(WorkerId(1)).unwrap().late = true;
        assert_eq!(slot.status(true), Status::Online);
    }
}
