//! The primary of one app under a daemon: `oneport run` without a terminal, which lives as long as its app is on the list,
//! with or without workers, and whoever else ends. What was asked for comes by its control socket.

mod answer;
mod boot;
mod course;
mod guard;
mod plan;
mod request;
mod seen;
mod slots;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use oneport::{Slot as Place, WorkerId};
use oneport_sys::process::Signal;
use oneport_wire::control::{AppSpec, Happening as Told, Job, JobKind, JobState, What};
use tokio::sync::broadcast;

use super::{Beginner, Happening, Manner as RunManner, PATIENCE, Run, WAITING};
use crate::Done;
use crate::args::LogFormat;
use crate::error::Failure;
use crate::guards::Guards;
use crate::logs::Store;
use crate::output::{Carrier, Shelf, Sink};
use crate::render::life::{Loudness, Notes, Teller, gap};
use crate::render::scribe::Scribe;
use crate::usage::Usage;
use crate::{signals, strangers};

pub(crate) use boot::{Boot, Origin, Trace, boot_id, socket_of, trace_of};
use course::{Course, Do, Ends, Manner};
use guard::Living;
use plan::Plan;
pub(crate) use request::{Request, ScaleTo};
use seen::Seen;
use slots::{Slot, Vacancy};

/// Jobs that are remembered when they are over.
const REMEMBERED: usize = 16;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What comes once everybody is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    /// The app stays on the list.
    Stay,
    /// Workers come again, by a new cluster.
    Begin,
    /// This process ends, and the app is off the list.
    Delete,
    /// This process ends: the machine is going down, or somebody ends processes by hand.
    Leave,
}

/// What is known of the cluster that runs.
struct Running {
    run: Run,
    shape: (oneport::Policy, oneport::Attach, &'static str),
}

struct Managed {
    boot: Boot,
    spec: AppSpec,
    environment: BTreeMap<String, String>,
    slots: Vec<Slot>,
    running: Option<Running>,
    /// What the last plan came to, in words.
    words: view::Words,
    awaits_word: bool,
    addresses: Vec<String>,
    course: Option<(Course, Instant)>,
    past: VecDeque<Job>,
    next_job: u64,
    after: After,
    usage: Usage,
    notes: Notes,
    shelf: Shelf,
    /// Who watches over memory, hours and files.
    guards: Option<Guards>,
    /// Who runs, for those who watch: numbers and processes.
    living: Living,
    /// What the guards want done as soon as nothing else is.
    wishes: guard::Wishes,
    connections_lost: u64,
    scribe: Scribe,
    happenings: SyncSender<Happening>,
    events: broadcast::Sender<Told>,
}

/// `oneport primary`: what it is to be comes on standard input.
pub(crate) fn run() -> Done {
    // Each worker that leaves has a thread that looks after it.
    oneport_sys::heap::share_one_heap();
    let boot = Boot::read()?;
    boot::stand_alone();
    let (happenings, queue) = sync_channel(WAITING);
    signals::listen(happenings.clone(), Happening::Signal)?;
    let app = boot.spec.name.clone();
    let scribe = Scribe::stamped(boot::stamp(&app), move |dropped| gap(LogFormat::Text, &app, dropped))?;
    let (events, _) = broadcast::channel(request::WAITING);
    let shelf =
        Shelf { store: Store::start(boot.log_plan(&boot.spec, boot.ids.len()))?, ids: Arc::default() };
    let desk = boot.answer_at(happenings.clone(), events.clone())?;
    let mut managed = Managed {
        spec: boot.spec.clone(),
        environment: boot.environment.clone(),
        slots: boot.ids.iter().map(|id| Slot::new(*id)).collect(),
        running: None,
        words: view::Words::default(),
        awaits_word: false,
        addresses: Vec::new(),
        course: None,
        past: VecDeque::new(),
        next_job: 1,
        after: After::Stay,
        usage: Usage::default(),
        notes: Notes::default(),
        shelf,
        guards: None,
        living: Living::default(),
        wishes: guard::Wishes::default(),
        connections_lost: 0,
        scribe,
        happenings,
        events,
        boot,
    };
    managed.number_slots();
    managed.plan_ahead();
    managed.set_guards();
    managed.tell(What::Created);
    if !managed.boot.stopped {
        managed.start(&managed.all(), JobKind::Start);
    }
    boot::say_ready();
    let code = managed.until_the_end(&queue);
    if managed.after == After::Delete {
        managed.tell(What::Deleted);
    }
    desk.close();
    let (written, done) = std::sync::mpsc::channel();
    managed.shelf.store.finish(move || _ = written.send(()));
    // What a disk that hangs does not take is lost.
    let _ = done.recv_timeout(PATIENCE);
    managed.boot.clean_up(&managed.slots);
    managed.scribe.flush_within(PATIENCE);
    Ok(ExitCode::from(code))
}

impl Managed {
    fn until_the_end(&mut self, queue: &Receiver<Happening>) -> u8 {
        loop {
            if self.running.is_none() {
                match self.after {
                    After::Stay => {}
                    After::Begin => self.begin_again(),
                    After::Delete | After::Leave => return 0,
                }
            }
            let due = self.running.as_ref().and_then(|running| running.run.unheard.due());
            let happening = match due {
                Some(due) => queue.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match happening {
                Ok(Happening::Cluster(event)) => self.hear(*event),
                Ok(Happening::Control(request)) => self.answer(*request),
                Ok(Happening::Signal(signal)) => self.obey(signal),
                Ok(Happening::Alarm(alarm)) => self.alarmed(alarm),
                Ok(Happening::PrimaryLost) => {
                    self.teller().error("cannot go on: the primary has ended unexpectedly", None);
                    return crate::error::BUG;
                }
                Ok(Happening::Carried | Happening::Told) => {}
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(running) = &mut self.running {
                        running.run.look_at_unheard(Instant::now());
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return crate::error::BUG,
            }
        }
    }

    fn hear(&mut self, event: oneport::Event) {
        let seen = Seen::of(&event);
        let over = self.running.as_mut().and_then(|running| running.run.hear(event)).is_some();
        if let Some(seen) = seen {
            self.note(&seen);
            self.go_on(&seen);
        }
        if over {
            self.run_over();
        }
        self.count_living();
        self.grant_wishes();
    }

    /// Keeps the slots up to date.
    fn note(&mut self, seen: &Seen) {
        let now = now_ms();
        let slot_of = |worker: &oneport::WorkerRef| worker.slot.map(|slot| slot.0 as usize);
        match seen {
            Seen::Born(worker) => {
                let Some(slot) = slot_of(worker).and_then(|at| self.slots.get_mut(at)) else { return };
                slot.born(*worker, now);
                self.boot.write_pid(slot.id, worker.pid);
                self.tell_slot(worker.slot);
            }
            Seen::Phase(worker, phase) => {
                let slot = slot_of(worker).and_then(|at| self.slots.get_mut(at));
                let Some(tenant) = slot.and_then(|slot| slot.tenant_mut(worker.id)) else { return };
                tenant.phase = *phase;
                self.tell_slot(worker.slot);
            }
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
                let dead = slot.died(worker.id, *exit);
                let unstable = dead.is_some_and(|dead| !dead.proven) && !cause.is_in_order();
                slot.unstable += u32::from(unstable);
                match slot.tenant {
                    Some(tenant) => self.boot.write_pid(slot.id, tenant.worker.pid),
                    None => self.boot.remove_pid(slot.id),
                }
                self.tell_slot(worker.slot);
            }
            Seen::Pausing(slot) => self.vacate(*slot, Vacancy::Pausing),
            Seen::Errored(slot) => self.vacate(*slot, Vacancy::Errored),
            Seen::Finished(slot) => self.vacate(*slot, Vacancy::Stopped),
            Seen::Listens(address) => {
                let known = self.addresses.contains(address) || self.addresses.len() >= view::MOST_ADDRESSES;
                if !known {
                    self.addresses.push(address.clone());
                    self.tell(What::Listening { address: address.clone() });
                }
            }
            Seen::Lost(connections) => self.connections_lost += u64::from(*connections),
            Seen::Trouble(..) | Seen::Replaced(_) | Seen::Reloaded | Seen::Aborted(..) | Seen::Over => {}
        }
    }

    fn of_tenant(&mut self, worker: &oneport::WorkerRef, act: impl FnOnce(&mut slots::Tenant)) {
        let slot = worker.slot.and_then(|slot| self.slots.get_mut(slot.0 as usize));
        if let Some(tenant) = slot.and_then(|slot| slot.tenant_mut(worker.id)) {
            act(tenant);
            self.tell_slot(worker.slot);
        }
    }

    fn vacate(&mut self, place: Place, vacancy: Vacancy) {
        if let Some(slot) = self.slots.get_mut(place.0 as usize) {
            slot.vacancy = vacancy;
            self.tell_slot(Some(place));
        }
    }

    /// Nothing is left of the cluster.
    fn run_over(&mut self) {
        let Some(running) = self.running.take() else { return };
        strangers::reap(&running.run.cluster);
        // Its last output is written by its own thread.
        running.run.carrier.finish(|| {});
        running.run.teller.stopped();
        self.addresses.clear();
        for slot in &mut self.slots {
            (slot.tenant, slot.successor) = (None, None);
            if slot.vacancy != Vacancy::Errored || self.after != After::Stay {
                slot.vacancy = Vacancy::Stopped;
            }
        }
        (0..self.slots.len()).for_each(|at| self.tell_slot(Some(place(at))));
    }

    fn obey(&mut self, signal: Signal) {
        if signal == Signal::CHILD {
            match &self.running {
                Some(running) => strangers::reap(&running.run.cluster),
                None => strangers::reap_all(),
            }
        } else if signal == Signal::HUP {
            self.reload_all();
        } else {
            let again = self.after == After::Leave;
            self.after = After::Leave;
            if let Some(running) = &mut self.running {
                match again {
                    false => running.run.ask_to_end(super::STOPPED),
                    true => running.run.order(oneport::Cluster::stop_now),
                }
            }
        }
    }

    /// Lets the job under way see it, and does what it asks for.
    fn go_on(&mut self, seen: &Seen) {
        let Some((course, began)) = &mut self.course else { return };
        let changed = course.see(seen);
        course.job.took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if course.is_over() {
            return self.job_over();
        }
        if changed {
            let job = course.job.clone();
            self.tell(What::Job { job });
        }
        self.do_next();
    }

    fn do_next(&mut self) {
        let Some((course, _)) = &mut self.course else { return };
        let slots = &self.slots;
        let there = |place: Place| slots.get(place.0 as usize).is_some_and(|slot| slot.tenant.is_some());
        let todo = course.next(there);
        if todo.is_empty() {
            return;
        }
        let job = course.job.clone();
        for act in todo {
            match act {
                Do::Fill(place) => self.fill(&[place]),
                Do::Change(place) => {
                    let tenant = self.slots.get(place.0 as usize).and_then(|slot| slot.tenant);
                    let running = self.running.as_ref();
                    let worker = tenant
                        .zip(running)
                        .and_then(|(tenant, running)| running.run.cluster.worker(tenant.worker.id));
                    // One that has gone meanwhile needs no asking.
                    let _ = worker.map(|worker| worker.disconnect());
                }
            }
        }
        self.tell(What::Job { job });
    }

    fn job_over(&mut self) {
        let Some((mut course, began)) = self.course.take() else { return };
        course.job.took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if course.job.state == JobState::Failed
            && let Some((culprit, running)) = course.culprit.zip(self.running.as_ref())
        {
            course.job.last_lines = running.run.carrier.last_lines(culprit);
        }
        if course.job.state == JobState::Failed {
            self.forgive(course.job.steps.iter().map(|step| step.id));
        }
        self.past.push_back(course.job.clone());
        if self.past.len() > REMEMBERED {
            self.past.pop_front();
        }
        self.tell(What::Job { job: course.job });
    }

    fn tell(&self, what: What) {
        // Nobody may be listening.
        let _ = self.events.send(Told { at: now_ms(), app: self.spec.name.clone(), what });
    }

    fn tell_slot(&self, place: Option<Place>) {
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

    fn teller(&self) -> Teller {
        Teller {
            format: LogFormat::Text,
            loudness: Loudness::Normal,
            app: self.spec.name.clone(),
            scribe: self.scribe.clone(),
            notes: Some(self.notes.clone()),
        }
    }

    /// By which numbers slots are known in files.
    fn number_slots(&mut self) {
        let ids = self.slots.iter().map(|slot| slot.id).collect();
        *self.shelf.ids.lock().unwrap_or_else(PoisonError::into_inner) = ids;
        let listed = self.all().len();
        self.shelf.store.replan(self.boot.log_plan(&self.spec, listed));
    }

    /// Slots that are on the list.
    fn all(&self) -> Vec<Place> {
        let listed = self.slots.iter().enumerate().filter(|(_, slot)| !slot.deleted);
        listed.map(|(at, _)| place(at)).collect()
    }

    fn ids(&self, places: &[Place]) -> Vec<(u32, Place)> {
        let known = |place: &Place| Some((self.slots.get(place.0 as usize)?.id, *place));
        places.iter().filter_map(known).collect()
    }

    fn ends(&self) -> Ends {
        Ends { once: self.spec.autorestart == Some(false), codes: self.spec.stop_exit_codes.clone() }
    }

    /// Begins a job, and says what it is.
    fn begin_job(&mut self, kind: JobKind, manner: Manner, places: &[Place]) -> u64 {
        let id = self.next_job;
        self.next_job += 1;
        if let Some((course, _)) = &mut self.course {
            // Only what ends everything may come in between.
            course.interrupt();
            self.job_over();
        }
        let slots = self.ids(places);
        let course = Course::new(id, kind, manner, &slots, self.ends(), &self.spec.name);
        let job = course.job.clone();
        self.course = Some((course, Instant::now()));
        self.tell(What::Job { job });
        id
    }

    /// What ends at once.
    fn settle_job(&mut self) {
        if self.course.as_ref().is_some_and(|(course, _)| course.is_over()) {
            self.job_over();
        }
    }

    fn fail_job(&mut self, failure: &Failure) {
        if let Some((course, _)) = &mut self.course {
            course.fail_whole(failure.message().to_owned(), failure.advice().map(str::to_owned));
        }
        self.settle_job();
    }

    /// Finds out what the app would be, for who looks at it before it runs.
    fn plan_ahead(&mut self) {
        if let Ok(plan) = Plan::of(&self.spec) {
            self.words = view::Words::of(&plan);
            self.awaits_word = plan.awaits_word();
        }
    }

    /// Starts these, in a cluster that is begun if there is none.
    fn start(&mut self, places: &[Place], kind: JobKind) -> u64 {
        let absent: Vec<Place> = places.iter().copied().filter(|place| !self.is_there(*place)).collect();
        let id = self.begin_job(kind, Manner::Come, &absent);
        self.after = After::Stay;
        self.settle_job();
        self.fill(&absent);
        id
    }

    fn is_there(&self, place: Place) -> bool {
        self.slots.get(place.0 as usize).is_some_and(|slot| slot.tenant.is_some())
    }

    /// Fills empty slots; begins a cluster for them where there is none.
    fn fill(&mut self, places: &[Place]) {
        if places.is_empty() {
            return;
        }
        let begun = match &self.running {
            Some(_) => Ok(()),
            None => self.begin(),
        };
        let count = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        let started = begun.and_then(|()| {
            let Some(running) = &self.running else { return Ok(()) };
            let cluster = &running.run.cluster;
            cluster.reserve_slots(count).and_then(|()| cluster.start_slots(places)).map_err(Failure::new)
        });
        match started {
            Ok(()) => places.iter().for_each(|place| self.vacate(*place, Vacancy::Coming)),
            Err(failure) => {
                self.teller().error(failure.message(), failure.advice());
                places.iter().for_each(|place| self.vacate(*place, Vacancy::Errored));
                self.fail_job(&failure);
            }
        }
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let plan = Plan::of(&self.spec)?;
        self.words = view::Words::of(&plan);
        self.awaits_word = plan.awaits_word();
        let shape = plan.shape();
        let carrier = Carrier::start(Sink::Store(self.shelf.clone()))?;
        let ids: Vec<u32> = self.slots.iter().map(|slot| slot.id).collect();
        let (mode, account) = (plan.mode(), plan.account);
        let home = self.boot.home.display().to_string();
        let beginner = Beginner {
            args: &plan.args,
            placing: &plan.placing,
            attachment: plan.attachment,
            happenings: self.happenings.clone(),
            manner: RunManner::Managed,
        };
        let run = beginner.begin(plan.program, self.teller(), carrier, |settings| {
            plan::adjust(settings, &self.spec, &self.environment, &ids, mode, &home);
            (settings.uid, settings.gid) = account;
        })?;
        self.running = Some(Running { run, shape });
        Ok(())
    }

    /// The cluster that was in the way is gone: those come that are to come.
    fn begin_again(&mut self) {
        self.after = After::Stay;
        let waiting = self.course.as_ref().map(|(course, _)| course.job.steps.clone()).unwrap_or_default();
        let places: Vec<Place> = waiting.iter().map(|step| Place(step.slot)).collect();
        let places = if places.is_empty() { self.all() } else { places };
        self.fill(&places);
    }
}

/// A slot's number as a type.
fn place(at: usize) -> Place {
    Place(u32::try_from(at).unwrap_or(u32::MAX))
}

/// Who is in a slot, for the list of processes.
fn tenant_of(slot: &Slot) -> Option<(WorkerId, i32)> {
    slot.tenant.filter(|tenant| tenant.worker.pid != 0).map(|tenant| (tenant.worker.id, tenant.worker.pid))
}
