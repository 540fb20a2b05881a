//! What happens in the cluster, noted slot by slot, and told to who listens.

use oneport::{Slot as Place, WorkerRef};
use oneport_wire::control::{Happening as Told, What};

use super::seen::Seen;
use super::slots::{Tenant, Vacancy};
use super::{After, Managed, now_ms, place, view};
use crate::strangers;

impl Managed {
    /// Keeps the slots up to date.
    pub(super) fn note(&mut self, seen: &Seen) {
        let slot_of = |worker: &WorkerRef| worker.slot.map(|slot| slot.0 as usize);
        match seen {
            Seen::Born(worker) => {
                let Some(slot) = slot_of(worker).and_then(|at| self.slots.get_mut(at)) else { return };
                slot.born(*worker, now_ms());
                self.keep_pid(worker.slot);
                self.tell_slot(worker.slot);
            }
            Seen::Phase(worker, phase) => self.of_tenant(worker, |tenant| tenant.phase = *phase),
            Seen::Ready(worker) => self.of_tenant(worker, |tenant| tenant.ready = true),
            Seen::Late(worker) => self.of_tenant(worker, |tenant| tenant.late = true),
            Seen::Proven(worker) => self.of_tenant(worker, |tenant| tenant.proven = true),
            Seen::Says(worker, text) => {
                if let Some(slot) = slot_of(worker).and_then(|at| self.slots.get_mut(at)) {
                    slot.says = Some(text.clone());
                }
            }
            Seen::Gone(worker, exit, cause) => {
                let Some(slot) = slot_of(worker).and_then(|at| self.slots.get_mut(at)) else { return };
                // One that was to come in a reload, and did not, is told by that.
                let served = slot.tenant.is_some_and(|tenant| tenant.worker.id == worker.id);
                let dead = slot.died(worker.id, *exit);
                let unstable = served && dead.is_some_and(|dead| !dead.proven) && !cause.is_in_order();
                slot.unstable += u32::from(unstable);
                self.keep_pid(worker.slot);
                self.tell_slot(worker.slot);
            }
            Seen::Pausing(slot) => self.vacate(*slot, Vacancy::Pausing),
            Seen::Errored(slot) => self.vacate(*slot, Vacancy::Errored),
            Seen::Finished(slot) => self.vacate(*slot, Vacancy::Finished),
            Seen::Listens(address) => {
                let known = self.addresses.contains(address) || self.addresses.len() >= view::MOST_ADDRESSES;
                if !known {
                    self.addresses.push(address.clone());
                    self.tell(What::Listening { address: address.clone() });
                }
            }
            Seen::Lost(connections) => self.connections_lost += u64::from(*connections),
            Seen::Reloaded | Seen::Aborted(..) | Seen::Over => self.rolling = false,
            Seen::Trouble(..) | Seen::Replaced(_) => {}
        }
    }

    fn keep_pid(&mut self, place: Option<Place>) {
        let several = self.all().len() > 1;
        if let Some(slot) = place.and_then(|at| self.slots.get_mut(at.0 as usize)) {
            slot.keep_pid(self.boot.pid_file(&self.spec, slot.id, several));
        }
    }

    fn of_tenant(&mut self, worker: &WorkerRef, act: impl FnOnce(&mut Tenant)) {
        let slot = worker.slot.and_then(|slot| self.slots.get_mut(slot.0 as usize));
        if let Some(tenant) = slot.and_then(|slot| slot.tenant_mut(worker.id)) {
            act(tenant);
            self.tell_slot(worker.slot);
        }
    }

    pub(super) fn vacate(&mut self, place: Place, vacancy: Vacancy) {
        if let Some(slot) = self.slots.get_mut(place.0 as usize) {
            slot.vacancy = vacancy;
            self.tell_slot(Some(place));
        }
    }

    /// Nothing is left of the cluster.
    pub(super) fn run_over(&mut self) {
        let Some(running) = self.running.take() else { return };
        strangers::reap(&running.run.cluster);
        // Its last output is written by its own thread.
        running.run.carrier.finish(|| {});
        running.run.teller.stopped();
        self.addresses.clear();
        for slot in &mut self.slots {
            (slot.tenant, slot.successor) = (None, None);
            match slot.vacancy {
                Vacancy::Errored if self.after == After::Stay => {}
                Vacancy::Errored
                | Vacancy::Coming
                | Vacancy::Pausing
                | Vacancy::Finished
                | Vacancy::Empty => {
                    slot.vacancy = Vacancy::Empty;
                }
            }
        }
        (0..self.slots.len()).for_each(|at| self.tell_slot(Some(place(at))));
    }

    pub(super) fn tell(&self, what: What) {
        // Nobody may be listening.
        let _ = self.events.send(Told { at: now_ms(), app: self.spec.name.clone(), what });
    }

    pub(super) fn tell_slot(&self, place: Option<Place>) {
        let Some((place, slot)) = place.and_then(|at| Some((at, self.slots.get(at.0 as usize)?))) else {
            return;
        };
        let what = What::Worker {
            id: slot.id,
            slot: place.0,
            status: slot.status(self.awaits_word),
            pid: slot.tenant.map(|tenant| tenant.worker.pid),
            exit: slot.last_exit.filter(|_| slot.tenant.is_none()),
        };
        self.tell(what);
    }
}
