//! Signals as something to read. Tests run in threads of one process, so each blocks and raises in its own thread.
#![expect(unsafe_code, reason = "raise, which directs a signal at the calling thread")]

mod common;

use std::os::fd::AsFd;

use oneport_sys::process::Signal;
use oneport_sys::signals;

use common::{Running, command};

fn raise(signal: Signal) {
    // SAFETY: a plain number; the signal is blocked in this thread and waits.
    assert_eq!(unsafe { libc::raise(signal.number()) }, 0);
}

#[test]
fn a_blocked_signal_is_read_instead_of_acting() {
    let signals = signals::block(&[Signal::TERM, Signal::USR2]).unwrap();
    assert_eq!(signals.read().unwrap(), None);
    raise(Signal::TERM);
    raise(Signal::TERM);
    common::wait_readable(signals.as_fd());
    assert_eq!(signals.wait().unwrap(), Signal::TERM);
    assert_eq!(signals.read().unwrap(), None, "two deliveries of one signal are one");
    raise(Signal::USR2);
    assert_eq!(signals.read().unwrap(), Some(Signal::USR2));
}

#[test]
fn dispositions_are_told() {
    assert!(signals::is_ignored(Signal::PIPE), "the runtime ignores it");
    assert!(!signals::is_ignored(Signal::TERM));
}

#[test]
fn an_ignored_hang_up_is_inherited_by_a_plain_child_and_told_there() {
    // `nohup` ignores it and executes us again; what our own spawn starts has defaults, hence the two steps.
    let exe = std::env::current_exe().unwrap();
    let mut ignoring = command("sh", &["-c", "trap '' HUP; exec \"$0\" --exact --nocapture report_hang_up"]);
    ignoring.args.push(exe.into());
    ignoring.env.push(("ONEPORT_TEST_EXPECT".into(), "ignored".into()));
    let mut child = Running::start(ignoring);
    let text = common::read_to_end(child.take_output());
    assert_eq!(child.wait(), oneport_sys::process::Exit::Code(0), "{text}");
    assert!(text.contains("hang-up ignored: true"), "{text}");
}

/// Alone it checks the disposition this run was started with; started by the test above, an ignored one.
#[test]
fn report_hang_up() {
    let ignored = signals::is_ignored(Signal::HUP);
    println!("\nhang-up ignored: {ignored}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let mask = u64::from_str_radix(mask.trim(), 16).unwrap();
    assert_eq!(ignored, mask & 1 != 0);
    if std::env::var_os("ONEPORT_TEST_EXPECT").is_some() {
        assert!(ignored);
    }
}

#[test]
fn names_and_numbers_are_read_in_every_spelling() {
    for spelling in ["SIGTERM", "TERM", "15", "sigterm", " term "] {
        assert_eq!(Signal::from_name(spelling), Some(Signal::TERM), "{spelling}");
    }
    assert_eq!(Signal::from_name("CLD"), Some(Signal::CHILD));
    for nonsense in ["", "SIG", "0", "32", "-9", "SIGSIGTERM", "NOPE", "99999999999"] {
        assert_eq!(Signal::from_name(nonsense), None, "{nonsense}");
    }
    for number in 1..=31 {
        let signal = Signal::from_number(number).unwrap();
        assert_eq!(signal.number(), number);
        assert_eq!(Signal::from_name(signal.name()), Some(signal));
    }
    assert_eq!(Signal::KILL.to_string(), "SIGKILL");
    assert_eq!((Signal::HUP.number(), Signal::KILL.number(), Signal::TERM.number()), (1, 9, 15));
}
