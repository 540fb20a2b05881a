//! The primary of one app under a daemon: `oneport run` without a terminal, which lives as long as its app is on the list,
//! with or without workers, and whoever else ends. What was asked for comes by its control socket.

mod answer;
mod boot;
mod change;
mod course;
mod guard;
mod note;
mod plan;
mod request;
mod seen;
mod slots;
mod view;
mod work;

use std::collections::{BTreeMap, VecDeque};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use oneport::{Slot as Place, WorkerId};
use oneport_sys::process::Signal;
use oneport_wire::control::{AppSpec, Happening as Told, Job, JobKind, What};
use tokio::sync::broadcast;

use super::{Beginner, Happening, Manner as RunManner, PATIENCE, Run, WAITING};
use crate::Done;
use crate::args::LogFormat;
use crate::detach;
use crate::guards::Guards;
use crate::logs::Store;
use crate::output::Shelf;
use crate::render::life::{Loudness, Notes, Teller, gap};
use crate::render::scribe::Scribe;
use crate::usage::Usage;
use crate::{signals, strangers};

pub(crate) use boot::{Boot, Origin, Trace, boot_id, socket_of, trace_of};
use course::Course;
use guard::Living;
use plan::Plan;
pub(crate) use plan::check_values;
#[cfg(test)]
pub(crate) use request::{Planned, Sent};
pub(crate) use request::{Request, ScaleTo};
use seen::Seen;
use slots::Slot;

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
    /// This process ends, and the app stays on the list: the daemon starts another primary for it.
    Leave,
}

/// What is known of the cluster that runs.
struct Running {
    run: Run,
    shape: plan::Shape,
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
    /// Configuration and environment from before the reload under way, for when it fails.
    before: Option<(AppSpec, BTreeMap<String, String>)>,
    /// The core is replacing workers, whether a job still tells of it or not.
    rolling: bool,
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
    // What its workers get by default is what programs got before the daemon asked for more.
    let _ = boot.nofile_soft.map(oneport_sys::process::set_nofile_soft);
    detach::stand_alone();
    let (happenings, queue) = sync_channel(WAITING);
    signals::listen(happenings.clone(), Happening::Signal)?;
    let app = boot.spec.name.clone();
    let scribe = Scribe::stamped(boot::stamp(&app), move |dropped| gap(LogFormat::Text, &app, dropped))?;
    super::setup::log_to(&scribe, false);
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
        before: None,
        rolling: false,
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
    managed.tell(What::Created);
    let stopped = |id: u32| managed.boot.stopped.contains(&id);
    let to_start = managed.all();
    let to_start: Vec<Place> =
        to_start.into_iter().filter(|at| !stopped(managed.slots[at.0 as usize].id)).collect();
    if !to_start.is_empty() {
        managed.start(&to_start, JobKind::Start);
    }
    detach::say_ready();
    managed.set_guards();
    let code = managed.until_the_end(&queue);
    if managed.after == After::Delete {
        managed.tell(What::Deleted);
    }
    // Who waits to tell this loop something waits no longer.
    drop(queue);
    desk.close();
    let (written, done) = std::sync::mpsc::channel();
    managed.shelf.store.finish(move || _ = written.send(()));
    // What a disk that hangs does not take is lost.
    let _ = done.recv_timeout(PATIENCE);
    managed.clean_up();
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
            match super::receive(queue, due) {
                Ok(Happening::Cluster(event)) => self.hear(*event),
                Ok(Happening::Control(request)) => self.answer(*request),
                Ok(Happening::Signal(signal)) => self.obey(signal),
                Ok(Happening::Alarm(alarm)) => self.alarmed(alarm),
                Ok(Happening::PrimaryLost) => {
                    self.teller().error("cannot go on: the primary has ended unexpectedly", None);
                    self.running.iter().for_each(|running| running.run.end_everybody());
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

    /// Only an app that is off the list leaves nothing behind: any other is brought back by the daemon, which goes by trace and
    /// socket.
    fn clean_up(&mut self) {
        for slot in &mut self.slots {
            let _ = slot.pid_file.take().map(std::fs::remove_file);
        }
        if self.after == After::Delete {
            self.boot.remove_trace();
        }
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
        let listed: Vec<u32> = self.slots.iter().filter(|slot| !slot.deleted).map(|slot| slot.id).collect();
        self.shelf.store.replan(self.boot.log_plan(&self.spec, listed.len()).of_slots(listed));
    }

    /// Slots that are on the list.
    fn all(&self) -> Vec<Place> {
        let listed = self.slots.iter().enumerate().filter(|(_, slot)| !slot.deleted);
        listed.map(|(at, _)| place(at)).collect()
    }

    /// Finds out what the app would be, for who looks at it before it runs.
    fn plan_ahead(&mut self) {
        if let Ok(plan) = Plan::of(&self.spec) {
            self.words = view::Words::of(&plan);
            self.awaits_word = plan.awaits_word();
        }
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
