//! Copies whose trees are left alone (`TreeRule::LeftAlone`): they are signalled and ended themselves, and whoever they started
//! goes on as if nothing had happened.

use std::time::Duration;

use oneport::{EndCause, Event, Exit, Oddity, ProgramWay, Signal, TreeRule};

use crate::acts::Scratch;
use crate::harness::{Test, Watched, ask, call, eventually, free_port, in_both_ways};

in_both_ways! {
    the_stop_signal_reaches_the_process_alone,
    what_a_killed_copy_started_goes_on_and_can_bind,
    a_copy_that_does_not_stop_in_time_is_killed_alone,
    a_copy_that_ends_in_peace_has_nobody_looked_for,
}

/// A process that outlives its copy, and not the test.
struct Offspring {
    watched: Watched,
    pid: i32,
}

impl Offspring {
    fn of(test: &mut Test, fact: usize) -> Offspring {
        Offspring::of_copy(test, 1, fact)
    }

    fn of_copy(test: &mut Test, copy: u32, fact: usize) -> Offspring {
        let pid = test.played(copy)[fact].strip_prefix("ok ").unwrap().parse().unwrap();
        Offspring { watched: Watched::new(pid), pid }
    }

    fn lives(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
    }

    /// Once it has ended there is nobody to signal.
    fn end(&self) {
        let _ = rustix::process::kill_process(
            rustix::process::Pid::from_raw(self.pid).unwrap(),
            rustix::process::Signal::KILL,
        );
        self.watched.ended();
    }
}

impl Drop for Offspring {
    fn drop(&mut self) {
        if std::thread::panicking() && self.lives() {
            self.end();
        }
    }
}

fn start(way: ProgramWay, script: &str) -> Test {
    Test::start_with(1, script, |settings| {
        settings.program.way = way;
        settings.tree = TreeRule::LeftAlone;
    })
}

fn server() -> String {
    format!("server a 127.0.0.1:{}", free_port())
}

fn the_stop_signal_reaches_the_process_alone(way: ProgramWay) {
    let mut test = start(way, &format!("{}; child a", server()));
    test.proven(1);
    let child = Offspring::of(&mut test, 1);
    test.cluster.stop().unwrap();
    assert_eq!(test.exit(1), (Exit::Signal(15), EndCause::Asked));
    test.stopped();
    assert!(child.lives());
    child.end();
}

fn what_a_killed_copy_started_goes_on_and_can_bind(way: ProgramWay) {
    let scratch = [Scratch::new(), Scratch::new()];
    let [begin, end] = &scratch;
    let port = free_port();
    let mut test = start(way, &format!("{}; apart 127.0.0.1:{port} {begin} {end}", server()));
    let address = test.proven(1);
    let other = Offspring::of(&mut test, 1);
    let killed = test.workers.values().next().unwrap().clone();
    killed.end_now().unwrap();
    assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::Killed));
    test.proven(2);
    assert_eq!(ask(address), test.pid(2));
    // What the second copy started would bind the same.
    Offspring::of_copy(&mut test, 2, 1).end();
    // It is under the traps of a copy that is gone, and does as it likes.
    begin.write("now");
    let own = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    eventually("it serves", || call(own, b'?').is_ok());
    assert_eq!(ask(own), other.pid);
    test.stop();
    assert!(other.lives(), "it serves on when the app is gone");
    end.write("now");
    other.watched.ended();
}

fn a_copy_that_does_not_stop_in_time_is_killed_alone(way: ProgramWay) {
    let mut test = Test::start_with(1, &format!("{}; child a", server()), |settings| {
        settings.program.way = way;
        settings.tree = TreeRule::LeftAlone;
        settings.stop_signal = Signal::CONT;
        settings.conduct.kill_timeout = Duration::from_millis(50);
    });
    test.proven(1);
    let child = Offspring::of(&mut test, 1);
    test.cluster.stop().unwrap();
    assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::Asked));
    test.stopped();
    assert!(child.lives());
    child.end();
}

fn a_copy_that_ends_in_peace_has_nobody_looked_for(way: ProgramWay) {
    let mut test = Test::start_with(1, &format!("{}; child a", server()), |settings| {
        settings.program.way = way;
        settings.tree = TreeRule::LeftAlone;
        settings.conduct.restarts = oneport::Restarts::Never;
    });
    test.proven(1);
    let child = Offspring::of(&mut test, 1);
    test.order_without_answer(1, "exit 0");
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::ByItself));
    assert!(child.lives());
    test.stop();
    child.end();
}

/// The other rule, with the same program: nothing of it is left.
#[test]
fn by_default_a_tree_ends_with_its_copy() {
    let mut test = Test::start(1, ProgramWay::Own, &format!("{}; child a", server()));
    test.proven(1);
    let child = Offspring::of(&mut test, 1);
    test.cluster.stop().unwrap();
    test.stopped();
    child.watched.ended();
    let told = |event: &Event| matches!(event, Event::Oddity { oddity: Oddity::WentToBackground { .. }, .. });
    assert_eq!(test.count(told), 0);
}
