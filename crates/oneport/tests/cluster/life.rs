//! The life of one worker: its events in order, each once, its states and flags, in every way of ending.

use oneport::{Address, AddressKind, EndCause, Exit, Signal, State};

use crate::harness::{Test, programs, who};

programs! { nothing, listen_and_exit, hang_up_and_return }

/// Ends before it said anything.
async fn nothing() {}

/// Leaves with a code of its own as soon as it listens.
async fn listen_and_exit() {
    let _listener = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
    std::process::exit(42);
}

/// Closes its channel and comes to its end.
async fn hang_up_and_return() {
    let _listener = oneport::TcpListener::bind("127.0.0.1:0").await.unwrap();
    oneport::channel().unwrap().unwrap().disconnect();
    oneport::disconnected().await;
}

const WHOLE_LIFE: [&str; 5] = ["fork", "online", "listening", "disconnect", "exit"];

#[test]
fn states_and_flags_follow_a_life() {
    let mut test = Test::forked(1, "puppet", |_| {});
    let worker = test.worker(1).clone();
    let flags =
        || (worker.state(), worker.is_connected(), worker.is_dead(), worker.exited_after_disconnect());
    assert_eq!((worker.id().0, worker.slot()), (1, None));
    assert!(worker.pid() > 0);
    assert_eq!(flags(), (State::Starting, true, false, None));
    assert!(worker.addresses().is_empty());

    test.ask(1, "online");
    test.event(1, "online");
    assert_eq!(flags(), (State::Online, true, false, None));

    let text = test.ask(1, "listen 127.0.0.1:0");
    let told = test.event(1, "listening").address.unwrap();
    let socket = text.parse().ok();
    assert_eq!(told, Address { kind: AddressKind::Tcp, text, socket });
    assert_ne!(told.socket.unwrap().port(), 0);
    assert_eq!(worker.addresses(), [told]);
    assert_eq!(flags(), (State::Listening, true, false, None));

    test.ask(1, "disconnect");
    test.event(1, "disconnect");
    assert_eq!(flags(), (State::Disconnected, false, false, Some(true)));

    test.tell(1, "exit 0");
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::Voluntary));
    assert_eq!(flags(), (State::Dead, false, true, Some(true)));
    assert_eq!(test.life(1), WHOLE_LIFE);
    assert!(test.workers.len() == 1 && test.cluster.workers().is_empty());
    test.stop();
}

#[test]
fn a_worker_takes_the_channels_variables_out_of_its_environment() {
    let mut test = Test::forked(1, "puppet", |settings| {
        // What a primary was itself started with is not its workers'.
        settings.env.push(("NODE_UNIQUE_ID".into(), "77".into()));
    });
    for name in ["NODE_UNIQUE_ID", "NODE_CHANNEL_FD", "NODE_CHANNEL_SERIALIZATION_MODE"] {
        assert_eq!(test.ask(1, &format!("variable {name}")), "None", "{name}");
    }
    let address = test.ask(1, "listen 127.0.0.1:0").parse().unwrap();
    assert_eq!(who(address), (1, -1));
    test.stop();
}

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
fn a_worker_that_ends_as_soon_as_it_listens_has_its_whole_life_told() {
    let mut test = Test::forked(1, "listen_and_exit", |_| {});
    assert_eq!(test.exit(1), (Exit::Code(42), EndCause::ByItself));
    assert_eq!(test.life(1), WHOLE_LIFE);
    assert_eq!(test.worker(1).exited_after_disconnect(), Some(false));
    test.stop();
}

#[test]
fn a_worker_that_ends_at_once_disconnects_and_exits_once_each() {
    let mut test = Test::forked(1, "nothing", |_| {});
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::ByItself));
    assert_eq!(test.life(1), ["fork", "disconnect", "exit"]);
    test.stop();
}

#[test]
fn a_worker_that_closes_its_channel_and_comes_to_its_end_exits_with_zero() {
    let mut test = Test::forked(1, "hang_up_and_return", |_| {});
    assert_eq!(test.exit(1), (Exit::Code(0), EndCause::ByItself));
    assert_eq!(test.life(1), WHOLE_LIFE);
    assert_eq!(test.worker(1).exited_after_disconnect(), Some(false));
    test.stop();
}

/// What a worker is told to do, and how it then ends: its exit, its cause, and whether it left after a disconnect.
const ENDS: [(&[&str], Exit, EndCause, bool); 9] = [
    (&["exit 0"], Exit::Code(0), EndCause::ByItself, false),
    (&["exit 3"], Exit::Code(3), EndCause::ByItself, false),
    (&["panic"], Exit::Code(101), EndCause::ByItself, false),
    (&["abort"], Exit::Signal(6), EndCause::ByItself, false),
    (&["hang-up", "exit 4"], Exit::Code(4), EndCause::ByItself, false),
    (&["disconnect", "exit 0"], Exit::Code(0), EndCause::Voluntary, true),
    (&["disconnect", "exit 5"], Exit::Code(5), EndCause::Voluntary, true),
    (&["disconnect", "disconnect", "hang-up", "exit 6"], Exit::Code(6), EndCause::Voluntary, true),
    (&["disconnect", "abort"], Exit::Signal(6), EndCause::Voluntary, true),
];

#[test]
fn events_come_in_order_and_once_however_a_worker_ends_itself() {
    let mut test = Test::forked(ENDS.len() as u32, "puppet", |_| {});
    for (worker, (orders, ..)) in (1..).zip(ENDS) {
        test.ask(worker, "listen 127.0.0.1:0");
        test.event(worker, "listening");
        let (last, before) = orders.split_last().unwrap();
        for order in before {
            test.ask(worker, order);
        }
        test.tell(worker, last);
    }
    for (worker, (orders, exit, cause, in_order)) in (1..).zip(ENDS) {
        assert_eq!(test.exit(worker), (exit, cause), "{orders:?}");
        assert_eq!(test.worker(worker).exited_after_disconnect(), Some(in_order), "{orders:?}");
    }
    // Nothing comes after the exit of a worker, and this is after all of them.
    test.cluster.stop().unwrap();
    test.until("the stop", |test| (test.count("stopped") == 1).then_some(()));
    for (worker, (orders, ..)) in (1..).zip(ENDS) {
        assert_eq!(test.life(worker), WHOLE_LIFE, "{orders:?}");
    }
}

#[test]
fn a_killed_worker_disconnects_and_exits_once_each() {
    let mut test = Test::forked(2, "puppet", |_| {});
    for worker in [1, 2] {
        test.ask(worker, "listen 127.0.0.1:0");
        test.event(worker, "listening");
    }
    // By its handle, and behind the primary's back.
    test.worker(1).kill(Signal::KILL).unwrap();
    let pid = rustix::process::Pid::from_raw(test.worker(2).pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    for worker in [1, 2] {
        assert_eq!(test.exit(worker), (Exit::Signal(9), EndCause::ByItself));
        assert_eq!(test.life(worker), WHOLE_LIFE);
        let killed = test.worker(worker);
        assert!(killed.is_dead() && !killed.is_connected());
        assert_eq!((killed.state(), killed.exited_after_disconnect()), (State::Dead, Some(false)));
    }
    test.stop();
}

#[test]
fn a_worker_that_spins_is_ended_by_a_signal() {
    let mut test = Test::forked(1, "puppet", |_| {});
    assert_eq!(test.ask(1, "spin"), "spinning");
    test.worker(1).kill(Signal::TERM).unwrap();
    assert_eq!(test.exit(1), (Exit::Signal(15), EndCause::ByItself));
    assert_eq!(test.worker(1).exited_after_disconnect(), Some(false));
    test.stop();
}

#[test]
fn a_worker_is_ended_now_while_it_leaves_and_after_it_is_gone() {
    let mut test = Test::forked(2, "puppet", |_| {});
    test.ask(1, "listen 127.0.0.1:0");
    test.ask(1, "disconnect");
    test.event(1, "disconnect");
    let (leaving, stays) = (test.worker(1).clone(), test.worker(2).clone());
    for worker in [&leaving, &stays] {
        worker.end_now().unwrap();
    }
    assert_eq!(test.exit(1), (Exit::Signal(9), EndCause::Voluntary));
    assert_eq!(test.exit(2), (Exit::Signal(9), EndCause::Killed));
    assert_eq!(leaving.exited_after_disconnect(), Some(true));
    assert_eq!(stays.exited_after_disconnect(), Some(false));
    for worker in [&leaving, &stays] {
        worker.end_now().unwrap();
        worker.kill(Signal::TERM).unwrap();
        worker.disconnect().unwrap();
    }
    assert_eq!(test.count("error"), 0);
    test.stop();
}
