//! The life of one worker: its events in order, each once, in every way of ending.

use oneport::{EndCause, Exit, Signal, State};

use crate::harness::{Test, who};

#[test]
fn the_code_a_worker_ends_with_is_told() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let worker = test.worker(1).clone();
    test.tell(1, "exit 42");
    assert_eq!(test.exit(1), (Exit::Code(42), EndCause::ByItself));
    assert!(worker.is_dead() && !worker.is_connected());
    assert_eq!(worker.exited_after_disconnect(), Some(false));
    assert_eq!(worker.state(), State::Dead);
    test.stop();
}

#[test]
fn a_killed_worker_disconnects_and_exits_once_each() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let address = test.ask(1, "listen 127.0.0.1:0").parse().unwrap();
    assert_eq!(who(address), (1, -1));
    test.event(1, "listening");
    test.worker(1).kill(Signal::KILL).unwrap();
    assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::ByItself));
    assert_eq!(test.life(1), ["fork", "online", "listening", "disconnect", "exit"]);
    test.stop();
}
