//! What a process finds at start: inherited descriptors, the channel, the variables. Each case runs this binary again with
//! one test, which reports what it found.

mod common;

use std::os::fd::AsFd;

use oneport_sys::fdpass::{channel_pair, receive, send};
use oneport_sys::process::Exit;
use oneport_sys::spawn::Command;
use oneport_sys::startup;

use common::{Running, command};

const VARIABLES: [&str; 4] =
    ["NODE_CHANNEL_FD", "NODE_UNIQUE_ID", "NODE_CHANNEL_SERIALIZATION_MODE", "ONEPORT_SLOT"];

/// This binary, running the reporting test below with more descriptors (7 and 9 are `/dev/null`).
fn reporter(env: &[(&str, &str)]) -> Command {
    let script =
        "exec 7</dev/null 9</dev/null; exec \"$0\" --exact --nocapture --test-threads=1 reports_its_start";
    let mut reporter = command("sh", &["-c", script]);
    reporter.args.push(std::env::current_exe().expect("own path").into());
    reporter.env.push(("ONEPORT_TEST_REPORT".into(), "1".into()));
    reporter.env.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
    reporter
}

fn report_of(command: Command) -> String {
    let mut child = Running::start(command);
    let text = common::read_to_end(child.take_output());
    assert_eq!(child.wait(), Exit::Code(0), "{text}");
    text
}

/// Started by hand it is an ordinary process and must take nothing; started by the tests here it prints what it finds.
#[test]
fn reports_its_start() {
    if std::env::var_os("ONEPORT_TEST_REPORT").is_none() {
        if startup::worker_env().is_none() {
            assert!(startup::take_channel().unwrap().is_none());
        }
        return;
    }
    println!("\nenv: {:?}", startup::worker_env());
    for name in VARIABLES {
        println!("{name}: {:?}", std::env::var(name).ok());
    }
    println!("inherited: {:?}", startup::inherited_fds());
    for fd in [3, 7, 8] {
        let duplicate = startup::dup_inherited(fd);
        println!("dup {fd}: {:?}", duplicate.map(drop).map_err(|error| error.raw_os_error()));
    }
    let children = std::process::Command::new("ls").arg("/proc/self/fd").output().unwrap();
    println!(
        "child: {:?}",
        String::from_utf8(children.stdout).unwrap().split_whitespace().collect::<Vec<_>>()
    );
    let exposed = |fd: &i32| {
        // What a worker of ours gets is decided where it is spawned, whatever is inheritable here.
        command("sh", &["-c", &format!("test ! -e /proc/self/fd/{fd}")])
    };
    for fd in startup::inherited_fds() {
        println!("spawned without {fd}: {:?}", Running::start(exposed(fd)).wait());
    }
    match startup::take_channel() {
        Ok(Some(channel)) => {
            send(channel.as_fd(), b"hello from the worker", None).unwrap();
            println!("channel: taken");
        }
        Ok(None) => println!("channel: none"),
        Err(error) => println!("channel: {:?} {error}", error.kind()),
    }
    println!("again: {}", startup::take_channel().unwrap().is_none());
}

#[test]
fn a_worker_finds_its_channel_and_its_children_find_all_but_that() {
    let (ours, theirs) = channel_pair().unwrap();
    let mut worker = reporter(&[
        ("NODE_CHANNEL_FD", "3"),
        ("NODE_UNIQUE_ID", "5"),
        ("NODE_CHANNEL_SERIALIZATION_MODE", "json"),
        ("ONEPORT_SLOT", "2"),
    ]);
    worker.channel = Some(theirs);
    let report = report_of(worker);
    assert!(
        report.contains(
            "env: Some(WorkerEnv { channel: 3, channel_text: \"3\", unique_id: Some(\"5\"), \
             serialization: Some(\"json\"), slot: Some(2) })"
        ),
        "{report}"
    );
    for name in VARIABLES {
        assert!(report.contains(&format!("{name}: None")), "{report}");
    }
    assert!(report.contains("inherited: [7, 9]"), "{report}");
    assert!(report.contains("spawned without 7: Code(0)\nspawned without 9: Code(0)"), "{report}");
    assert!(report.contains("dup 3: Err(Some(9))"), "{report}");
    assert!(report.contains("dup 7: Ok(())"), "{report}");
    assert!(report.contains("dup 8: Err(Some(9))"), "{report}");
    // 3 is the directory itself, not the channel.
    assert!(report.contains("child: [\"0\", \"1\", \"2\", \"3\", \"7\", \"9\"]"), "{report}");
    assert!(report.contains("channel: taken"), "{report}");
    assert!(report.contains("again: true"), "{report}");
    let mut buf = [0; 64];
    let received = receive(ours.as_fd(), &mut buf).unwrap();
    assert_eq!(&buf[..received.bytes], b"hello from the worker");
}

#[test]
fn a_child_that_was_merely_forked_has_a_channel_and_no_number() {
    let (ours, theirs) = channel_pair().unwrap();
    let mut forked = reporter(&[
        ("NODE_CHANNEL_FD", "3"),
        ("NODE_CHANNEL_SERIALIZATION_MODE", "advanced"),
        ("ONEPORT_SLOT", "2"),
    ]);
    forked.channel = Some(theirs);
    let report = report_of(forked);
    assert!(
        report.contains(
            "env: Some(WorkerEnv { channel: 3, channel_text: \"3\", unique_id: None, \
             serialization: Some(\"advanced\"), slot: None })"
        ),
        "{report}"
    );
    for name in VARIABLES {
        assert!(report.contains(&format!("{name}: None")), "{report}");
    }
    assert!(report.contains("inherited: [7, 9]"), "{report}");
    // 3 is the directory itself, not the channel.
    assert!(report.contains("child: [\"0\", \"1\", \"2\", \"3\", \"7\", \"9\"]"), "{report}");
    assert!(report.contains("channel: taken"), "{report}");
    assert!(report.contains("again: true"), "{report}");
    let mut buf = [0; 64];
    let received = receive(ours.as_fd(), &mut buf).unwrap();
    assert_eq!(&buf[..received.bytes], b"hello from the worker");
}

#[test]
fn without_a_channel_everything_stays_where_it_is() {
    let (_ours, theirs) = channel_pair().unwrap();
    let mut alone = reporter(&[("NODE_UNIQUE_ID", "5"), ("ONEPORT_SLOT", "2")]);
    alone.channel = Some(theirs);
    let report = report_of(alone);
    assert!(report.contains("env: None"), "{report}");
    assert!(report.contains("NODE_UNIQUE_ID: Some(\"5\")"), "{report}");
    assert!(report.contains("ONEPORT_SLOT: Some(\"2\")"), "{report}");
    assert!(report.contains("inherited: [3, 7, 9]"), "{report}");
    assert!(report.contains("child: [\"0\", \"1\", \"2\", \"3\", \"4\", \"7\", \"9\"]"), "{report}");
    assert!(report.contains("channel: none"), "{report}");
}

#[test]
fn an_empty_channel_number_is_no_channel() {
    let report = report_of(reporter(&[("NODE_CHANNEL_FD", ""), ("NODE_UNIQUE_ID", "5")]));
    assert!(report.contains("env: None"), "{report}");
    assert!(report.contains("NODE_UNIQUE_ID: Some(\"5\")"), "{report}");
}

#[test]
fn a_number_that_is_no_channel_is_refused_by_name() {
    for (number, cause) in [
        ("9", "not a Unix stream socket"),
        ("8", "not open at start"),
        ("1", "not a descriptor number from 3 on"),
        ("-3", "not a descriptor number from 3 on"),
        ("zebra", "not a descriptor number from 3 on"),
        ("99999999999", "not a descriptor number from 3 on"),
    ] {
        let report = report_of(reporter(&[("NODE_CHANNEL_FD", number), ("NODE_UNIQUE_ID", "")]));
        let line = format!("channel: InvalidInput cannot use channel descriptor `{number}`: {cause}");
        assert!(report.contains(&line), "{report}");
        assert!(report.contains("again: true"), "{report}");
    }
}
