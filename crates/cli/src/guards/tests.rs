use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use oneport_wire::control::{ByteSize, Span, Watch, WordOrNumber};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// A child that is ended with the test.
struct Running(Child);

impl Running {
    fn new() -> Running {
        Running(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap())
    }

    fn pid(&self) -> i32 {
        self.0.id().cast_signed()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn plan(spec: &AppSpec, cwd: &Path) -> Plan {
    Plan::of(spec, cwd, &[]).unwrap()
}

fn start(spec: &AppSpec, cwd: &Path, workers: Vec<(u32, i32)>) -> (Guards, Receiver<Alarm>) {
    let (sender, alarms): (Sender<Alarm>, _) = channel();
    let act = move |alarm| sender.send(alarm).unwrap();
    (Guards::start(plan(spec, cwd), move || workers.clone(), act).unwrap().unwrap(), alarms)
}

#[test]
fn nothing_configured_is_no_thread() {
    let specs = [
        AppSpec::default(),
        AppSpec {
            max_memory_restart: Some(ByteSize(0)),
            cron_restart: Some(WordOrNumber("0".to_owned())),
            ..AppSpec::default()
        },
    ];
    for spec in specs {
        assert!(Guards::start(plan(&spec, Path::new("/")), Vec::new, |_| {}).unwrap().is_none());
    }
}

#[test]
fn a_worker_above_its_limit_is_told_of_once_and_again_when_asked() {
    let (small, large) = (Running::new(), Running::new());
    let spec = AppSpec { max_memory_restart: Some(ByteSize(1)), ..AppSpec::default() };
    let workers = vec![(3, small.pid()), (5, large.pid()), (7, i32::MAX)];
    let (guards, alarms) = start(&spec, Path::new("/"), workers);
    let key = |alarm| {
        let Alarm::Memory { key, used, limit: 1 } = alarm else { panic!("{alarm:?}") };
        assert!(used > 1);
        key
    };
    let mut told: Vec<u32> = (0..2).map(|_| key(alarms.recv_timeout(PATIENCE).unwrap())).collect();
    told.sort_unstable();
    assert_eq!(told, [3, 5]);
    guards.forget(5);
    assert_eq!(key(alarms.recv_timeout(PATIENCE).unwrap()), 5, "and 3 is not told of again");
}

#[test]
fn each_second_comes() {
    let spec = AppSpec { cron_restart: Some(WordOrNumber("* * * * * *".to_owned())), ..AppSpec::default() };
    let (_guards, alarms) = start(&spec, Path::new("/"), Vec::new());
    for _ in 0..2 {
        assert_eq!(alarms.recv_timeout(PATIENCE), Ok(Alarm::Cron));
    }
}

#[test]
fn a_change_is_told_and_nothing_after_it_was_dropped() {
    let directory = std::env::temp_dir().join(format!("oneport-guards-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let spec = AppSpec { watch: Watch::Everything, watch_delay: Some(Span(1)), ..AppSpec::default() };
    let (guards, alarms) = start(&spec, &directory, Vec::new());
    let file = directory.join("a.js");
    // It begins to see at some time: what is written before that is no change.
    let until = std::time::Instant::now() + PATIENCE;
    let told = loop {
        std::fs::write(&file, "1").unwrap();
        match alarms.recv_timeout(Duration::from_millis(50)) {
            Err(RecvTimeoutError::Timeout) if std::time::Instant::now() < until => {}
            told => break told,
        }
    };
    assert_eq!(told, Ok(Alarm::Changed { path: file.clone() }));
    drop(guards);
    // The thread has ended, and what it would tell with is gone.
    while alarms.try_recv().is_ok() {}
    std::fs::write(&file, "2").unwrap();
    assert_eq!(alarms.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Disconnected));
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn who_is_told_may_drop_the_guards() {
    let spec = AppSpec { max_memory_restart: Some(ByteSize(1)), ..AppSpec::default() };
    let own = std::process::id().cast_signed();
    let (sender, dropped) = channel();
    let (give, take) = channel::<Guards>();
    let act = move |_| {
        drop(take.recv_timeout(PATIENCE).unwrap());
        sender.send(()).unwrap();
    };
    let workers = move || vec![(1, own), (2, own)];
    give.send(Guards::start(plan(&spec, Path::new("/")), workers, act).unwrap().unwrap()).unwrap();
    assert_eq!(dropped.recv_timeout(PATIENCE), Ok(()));
    assert_eq!(
        dropped.recv_timeout(PATIENCE),
        Err(RecvTimeoutError::Disconnected),
        "once, and the thread ended"
    );
}

#[test]
fn hours_that_cannot_be_read_are_refused_with_the_field() {
    let spec = AppSpec { cron_restart: Some(WordOrNumber("0 25 * * *".to_owned())), ..AppSpec::default() };
    let words = Plan::of(&spec, Path::new("/"), &[]).unwrap_err().words();
    assert!(
        words.contains("cannot use `0 25 * * *` for `cron_restart`: hour `25`: expected 0-23"),
        "{words}"
    );
}
