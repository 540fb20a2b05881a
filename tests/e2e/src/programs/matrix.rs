//! What every cell of the matrix {program x mechanism} must do: all copies answer, one may be killed, all are replaced
//! under load. The tables themselves are in `tests/programs_*.rs`.
//!
//! Invariant: a load is closed, so that a lost request is counted; what a kill may cost is what the copy had in its hands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rustix::process::Signal;

use super::{Hands, Program, Speech, catalogue, copy_of, or_skip};
use crate::load::Load;
use crate::wait::eventually;
use crate::{App, Event, TempDir, place, procfs};

/// How copies are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// The program's own socket.
    Own,
    /// A socket of the primary's, one per worker, put over the program's.
    Slot,
    /// As own, and one socket for all.
    Shared,
    /// As slot, put over the program's from inside.
    Preload,
}

impl Mechanism {
    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Own => &["--attach", "own"],
            Self::Slot => &["--attach", "slot"],
            // A copy that leaves goes on taking connections, so under load only this ends its waiting for them.
            Self::Shared => &["--attach", "own", "--policy", "shared", "--drain-timeout", "2s"],
            Self::Preload => &["--attach", "preload"],
        }
    }

    /// Can a copy that leaves be taken out of the choice? Where all share a socket it takes connections until it is gone.
    fn unschedules(self) -> bool {
        match self {
            Self::Own | Self::Slot | Self::Preload => true,
            Self::Shared => false,
        }
    }
}

const COPIES: usize = 3;
const CLIENTS: usize = 4;

/// Three copies that serve.
#[derive(Debug)]
struct Started {
    app: App,
    address: SocketAddr,
    speech: Speech,
    hands: Hands,
    /// Removed after the app has ended.
    _dir: TempDir,
}

fn start(test: &str, server: &str, mechanism: Mechanism) -> Option<Started> {
    let (dir, port) = (TempDir::new(), place::free_port());
    let test = format!("{server} ({mechanism:?}, {test})");
    let program: Program = or_skip(&test, catalogue::server(server, port, &dir))?;
    let app = program.run().instances(COPIES).args(mechanism.options().iter().copied()).start();
    let address = app.serving(COPIES);
    assert_eq!(address.port(), port, "the port it was told");
    Some(Started { app, address, speech: program.speech, hands: program.hands, _dir: dir })
}

impl Started {
    fn load(&self) -> Load {
        let (address, speech) = (self.address, self.speech);
        Load::of(CLIENTS, move || move || speech.ask(address))
    }

    /// Asks until this copy has answered.
    fn served_by(&self, copy: u32) {
        eventually(&format!("an answer of copy {copy}"), || {
            let pid = self.speech.ask(self.address).ok()?;
            (copy_of(&self.app, pid) == Some(copy)).then_some(())
        });
    }

    fn copies(&self) -> BTreeSet<u32> {
        self.app.workers().into_values().collect()
    }
}

/// 240 new connections from 8 clients: none fails, every copy answers.
///
/// # Panics
/// If it is not so.
pub fn every_copy_answers(server: &str, mechanism: Mechanism) {
    let Some(started) = start("every copy answers", server, mechanism) else { return };
    let (address, speech) = (started.address, started.speech);
    let clients: Vec<_> = (0..8)
        .map(|_| std::thread::spawn(move || (0..30).map(|_| speech.ask(address)).collect::<Vec<_>>()))
        .collect();
    let mut answers: BTreeMap<u32, usize> = BTreeMap::new();
    for outcome in clients.into_iter().flat_map(|client| client.join().expect("a client does not panic")) {
        let pid = outcome.unwrap_or_else(|e| panic!("{server}: {e}; answers so far by pid: {answers:?}"));
        *answers.entry(pid).or_default() += 1;
    }
    let copies: BTreeSet<u32> = answers.keys().filter_map(|pid| copy_of(&started.app, *pid)).collect();
    assert_eq!(copies, started.copies(), "copies that answered, and copies; answers by pid: {answers:?}");
    assert_eq!(started.app.all("died").len(), 0, "nobody died");
    started.app.stop();
}

/// One copy is killed under load: what it had in its hands is lost, what waited in its queue is not, and its
/// replacement serves.
///
/// # Panics
/// If it is not so.
pub fn a_kill_costs_what_was_in_its_hands(server: &str, mechanism: Mechanism) {
    let Some(started) = start("one is killed", server, mechanism) else { return };
    let victim = started.app.worker(0);
    let load = started.load();
    load.wait_more(60);
    procfs::signal(victim, Signal::KILL);
    let next = started.app.wait_for("the replacement to be proven", |event| {
        event.is("proven") && event.slot() == 0 && !event.of(victim)
    });
    load.wait_more(60);
    started.served_by(next.pid());
    let tally = load.stop();
    let bound = match started.hands {
        Hands::One => 1,
        Hands::Many => CLIENTS,
    };
    assert!(tally.lost.len() <= bound, "lost of {}: {:?}, at most {bound}", tally.total(), tally.lost);
    started.app.stop();
}

/// All copies are replaced under load, and nobody notices.
///
/// # Panics
/// If it is not so.
pub fn a_reload_under_load_loses_nothing(server: &str, mechanism: Mechanism) {
    let Some(started) = start("reload", server, mechanism) else { return };
    let app = &started.app;
    let old = started.copies();
    let load = started.load();
    load.wait_more(60);
    app.signal(Signal::HUP);
    let done = app.wait_for("the reload to be done", |event: &Event| {
        event.is("reloaded") || event.is("reload_aborted")
    });
    assert!(done.is("reloaded"), "{}", done.value);
    load.wait_more(60);
    let new = started.copies();
    assert!(old.is_disjoint(&new) && new.len() == COPIES, "{old:?} {new:?}");
    for copy in &new {
        started.served_by(*copy);
    }
    let tally = load.stop();
    if mechanism.unschedules() {
        assert_eq!(tally.lost, Vec::<String>::new(), "of {} requests", tally.total());
    }
    for pid in old {
        assert!(!procfs::runs(pid), "old worker {pid} lives");
    }
    started.app.stop();
}

/// Three tests for each row of a table `name = "server"`.
#[macro_export]
macro_rules! matrix {
    ($mechanism:ident: $($row:ident = $server:literal),+ $(,)?) => {
        $(mod $row {
            use oneport_e2e::programs::matrix::{self, Mechanism};

            #[test]
            fn every_copy_answers() {
                matrix::every_copy_answers($server, Mechanism::$mechanism);
            }

            #[test]
            fn a_kill_costs_what_was_in_its_hands() {
                matrix::a_kill_costs_what_was_in_its_hands($server, Mechanism::$mechanism);
            }

            #[test]
            fn a_reload_under_load_loses_nothing() {
                matrix::a_reload_under_load_loses_nothing($server, Mechanism::$mechanism);
            }
        })+
    };
}
