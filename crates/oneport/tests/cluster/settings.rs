//! How workers are started: the settings, when they count, and what of them a worker sees.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use oneport::{Cluster, Event, Exit, InspectPort, Policy, Settings, Stdio};

use crate::apart::Apart;
use crate::harness::{ARGS, Facts, PATIENCE, Test, programs, settings, skipped};

programs! { echo_on_five, its_own_worker }

/// Gives back, on its second extra pipe, what comes there.
async fn echo_on_five() {
    let mut pipe = UnixStream::from(oneport_sys::startup::dup_inherited(5).unwrap());
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    pipe.write_all(text.as_bytes()).unwrap();
}

/// A program that is its own worker: what Node's cluster does by default.
async fn its_own_worker() {
    let facts = Facts::open();
    if oneport::is_worker() {
        facts.tell(format!("worker {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")));
        return;
    }
    let settings = Settings::this_program().unwrap();
    facts.tell(format!("primary {:?} {:?}", settings.exec, settings.conduct.policy));
    let (cluster, mut events) = Cluster::start(settings).unwrap();
    cluster.fork(&[("A", "b")]).unwrap();
    while let Some(event) = events.recv().await {
        if let Event::Exit { exit, .. } = event {
            facts.tell(format!("{exit:?}"));
            return;
        }
    }
}

/// What the workers of a cluster write to a pipe that ends with them.
fn everything(pipe: Option<OwnedFd>) -> String {
    let pipe = pipe.unwrap();
    let flags = rustix::fs::fcntl_getfl(&pipe).unwrap();
    rustix::fs::fcntl_setfl(&pipe, flags - rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut text = String::new();
    File::from(pipe).read_to_string(&mut text).unwrap();
    text
}

/// A cluster that forks this command; what it writes, and how it ends.
fn run(program: &str, args: &[&str], change: impl FnOnce(&mut Settings)) -> (String, Exit) {
    let mut test = Test::new("none", |settings| {
        (settings.exec, settings.args) = (program.into(), args.iter().map(Into::into).collect());
        (settings.stdout, settings.extra_pipes) = (Stdio::Pipe, 0);
        change(settings);
    });
    let id = test.fork().id();
    let (exit, _) = test.exit(id.0);
    let text = everything(test.outputs.get_mut(&id).unwrap().stdout.take());
    test.stop();
    (text, exit)
}

#[test]
fn the_settings_are_told_at_the_start_and_after_each_change() {
    let mut test = Test::new("nothing", |settings| settings.args.push("0".into()));
    for last in ["1", "2", "3"] {
        let mut changed = test.cluster.settings();
        changed.args.push(last.into());
        test.cluster.setup_primary(changed).unwrap();
    }
    for count in 1..=4 {
        let args = test.wait("setup", |event| match event {
            Event::Setup { settings } => Some(settings.args.clone()),
            _ => None,
        });
        let wanted: Vec<OsString> =
            ARGS.into_iter().chain(["0", "1", "2", "3"]).take(ARGS.len() + count).map(Into::into).collect();
        assert_eq!(args, wanted);
    }
    assert_eq!(test.count("setup"), 4);
    // A fork says nothing about settings.
    test.fork();
    test.exit(1);
    assert_eq!(test.count("setup"), 4);
    test.stop();
}

#[test]
fn a_change_keeps_what_it_does_not_name_and_concerns_later_workers_only() {
    let mut test = Test::forked(1, "puppet", |settings| settings.env.push(("KEPT".into(), "yes".into())));
    let before = test.cluster.settings();
    let mut changed = before.clone();
    changed.args.push("more".into());
    changed.conduct.policy = Policy::Shared;
    changed.conduct.credits = 77;
    test.cluster.setup_primary(changed).unwrap();
    let now = test.cluster.settings();
    assert_eq!((&now.exec, &now.env), (&before.exec, &before.env));
    // Fixed when the cluster started.
    assert_eq!(now.conduct, before.conduct);
    assert_eq!(test.cluster.scheduling_policy(), Policy::RoundRobin);

    test.fork();
    let plain = ARGS.join(" ");
    assert_eq!(test.ask(1, "arguments"), plain);
    assert_eq!(test.ask(2, "arguments"), format!("{plain} more"));
    assert_eq!(test.ask(2, "variable KEPT"), "Some(\"yes\")");
    test.stop();
}

#[test]
fn by_default_a_program_is_its_own_worker_with_its_own_arguments() {
    let mut apart = Apart::start("its_own_worker", &[]);
    let exec = std::env::current_exe().unwrap();
    assert_eq!(apart.fact(), format!("primary {exec:?} RoundRobin"));
    // What a worker writes goes where its primary's output goes.
    assert_eq!(apart.fact(), format!("worker {}", ARGS.join(" ")));
    assert_eq!(apart.fact(), "Code(0)");
    assert!(apart.end().success());
}

#[test]
fn the_policy_can_be_chosen_by_a_variable_as_in_node() {
    for (value, policy) in [("none", Policy::Shared), ("rr", Policy::RoundRobin), ("x", Policy::RoundRobin)] {
        let mut apart = Apart::start("its_own_worker", &[("NODE_CLUSTER_SCHED_POLICY", value)]);
        let told = apart.fact();
        assert!(told.ends_with(&format!(" {policy:?}")), "{told}");
        assert!(apart.end().success());
    }
}

#[test]
fn workers_start_in_their_directory() {
    let directory = std::env::temp_dir().canonicalize().unwrap();
    let mut test = Test::forked(1, "puppet", |settings| settings.cwd = Some(directory.clone()));
    assert_eq!(test.ask(1, "directory"), directory.display().to_string());
    let mut elsewhere = test.cluster.settings();
    elsewhere.cwd = Some("/".into());
    test.cluster.setup_primary(elsewhere).unwrap();
    test.fork();
    assert_eq!(test.ask(2, "directory"), "/");
    test.stop();
}

#[test]
fn a_directory_that_is_not_there_is_refused_and_changes_nothing() {
    let nowhere = |settings: &mut Settings| settings.cwd = Some("/nonexistent/directory".into());
    let mut wrong = settings("nothing");
    nowhere(&mut wrong);
    let refused = Cluster::start(wrong).unwrap_err();
    assert!(refused.to_string().starts_with("cannot use directory `/nonexistent/directory`: "), "{refused}");
    assert_eq!(refused.io_error().unwrap().kind(), std::io::ErrorKind::NotFound);

    let mut test = Test::new("nothing", |_| {});
    let mut wrong = test.cluster.settings();
    nowhere(&mut wrong);
    test.cluster.setup_primary(wrong).unwrap_err();
    assert_eq!(test.cluster.settings().cwd, None);
    test.fork();
    assert_eq!(test.exit(1).0, Exit::Code(0));
    assert_eq!(test.count("setup"), 1);
    test.stop();
}

#[test]
fn variables_of_a_fork_go_over_those_of_the_settings_and_concern_it_alone() {
    let mut test = Test::new("puppet", |settings| {
        settings.env.push(("COMMON".into(), "settings".into()));
        settings.env.push(("KEPT".into(), "settings".into()));
    });
    let worker = test.fork_with(&[("COMMON", "fork"), ("OWN", "fork")]);
    test.fork();
    let mut seen =
        |worker| ["COMMON", "KEPT", "OWN"].map(|name| test.ask(worker, &format!("variable {name}")));
    assert_eq!(seen(1), ["Some(\"fork\")", "Some(\"settings\")", "Some(\"fork\")"]);
    assert_eq!(seen(2), ["Some(\"settings\")", "Some(\"settings\")", "None"]);
    worker.send(&"a message").unwrap();
    assert_eq!(test.ask(1, "receive"), "\"a message\"");
    test.stop();
}

#[test]
fn a_supervised_worker_knows_its_slot_and_a_forked_one_has_none() {
    let (text, _) = run("sh", &["-c", "echo $NODE_APP_INSTANCE,$ONEPORT_SLOT"], |_| {});
    assert_eq!(text, ",\n");
    let mut test = Test::new("none", |settings| {
        settings.exec = "sh".into();
        settings.args = ["-c", "echo $NODE_APP_INSTANCE,$ONEPORT_SLOT; read rest"].map(Into::into).to_vec();
        (settings.stdout, settings.stdin) = (Stdio::Pipe, Stdio::Pipe);
    });
    test.cluster.scale(2).unwrap();
    for (id, told) in [(1, "0,0\n"), (2, "1,1\n")] {
        let forked = test.event(id, "fork").worker.unwrap();
        let output = test.outputs.get_mut(&forked).unwrap();
        let mut line = [0; 4];
        let pipe = output.stdout.take().unwrap();
        let mut wanted = [rustix::event::PollFd::new(&pipe, rustix::event::PollFlags::IN)];
        let patience = rustix::event::Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        assert_eq!(rustix::event::poll(&mut wanted, Some(&patience)).unwrap(), 1);
        assert_eq!(rustix::io::read(&pipe, &mut line).unwrap(), 4);
        assert_eq!(str::from_utf8(&line).unwrap(), told);
    }
    test.stop();
}

#[test]
fn standard_streams_are_piped_where_that_is_asked_for() {
    let script = "read line; echo \"out $line\"; echo err >&2; exit 3";
    let mut test = Test::new("none", |settings| {
        (settings.exec, settings.extra_pipes) = ("sh".into(), 0);
        settings.args = vec!["-c".into(), script.into()];
        settings.stdin = Stdio::Pipe;
        *settings = settings.clone().silent();
    });
    let id = test.fork().id();
    let output = test.outputs.get_mut(&id).unwrap();
    rustix::io::write(output.stdin.as_ref().unwrap(), b"in\n").unwrap();
    assert_eq!(test.exit(1).0, Exit::Code(3));
    let output = test.outputs.remove(&id).unwrap();
    assert_eq!(everything(output.stdout), "out in\n");
    assert_eq!(everything(output.stderr), "err\n");
    assert!(output.extra.is_empty());
    test.stop();
}

#[test]
fn without_pipes_a_worker_has_no_input_and_the_owner_gets_nothing() {
    let mut test = Test::new("none", |settings| {
        (settings.exec, settings.extra_pipes) = ("sh".into(), 0);
        settings.args = vec!["-c".into(), "read line; echo lost; exit $?".into()];
        settings.stderr = Stdio::Null;
    });
    let id = test.fork().id();
    assert_eq!(test.exit(1).0, Exit::Code(0));
    let output = &test.outputs[&id];
    assert!(output.stdin.is_none() && output.stdout.is_none() && output.stderr.is_none());
    test.stop();
}

#[test]
fn extra_pipes_begin_at_descriptor_four_and_lead_both_ways() {
    // The first is the tests' own line.
    let mut test = Test::forked(1, "echo_on_five", |settings| settings.extra_pipes = 2);
    let id = test.worker(1).id();
    let mut extra = std::mem::take(&mut test.outputs.get_mut(&id).unwrap().extra);
    assert_eq!(extra.len(), 1);
    let mut pipe = UnixStream::from(extra.remove(0));
    pipe.set_nonblocking(false).unwrap();
    pipe.set_read_timeout(Some(PATIENCE)).unwrap();
    pipe.write_all(b"there and back").unwrap();
    pipe.shutdown(std::net::Shutdown::Write).unwrap();
    let mut text = String::new();
    pipe.read_to_string(&mut text).unwrap();
    assert_eq!(text, "there and back");
    assert_eq!(test.exit(1).0, Exit::Code(0));
    test.stop();
}

#[test]
fn each_worker_with_an_inspector_gets_the_next_port() {
    let mut test = Test::new("none", |settings| {
        (settings.exec, settings.extra_pipes, settings.stdout) = ("echo".into(), 0, Stdio::Pipe);
        settings.exec_args = vec!["--inspect=7000".into()];
        settings.args = vec!["last".into()];
    });
    let told = |test: &mut Test| {
        let id = test.fork().id();
        test.exit(id.0);
        everything(test.outputs.get_mut(&id).unwrap().stdout.take())
    };
    assert_eq!(told(&mut test), "--inspect=7000 --inspect-port=7000 last\n");
    assert_eq!(told(&mut test), "--inspect=7000 --inspect-port=7001 last\n");
    let mut fixed = test.cluster.settings();
    fixed.inspect_port = InspectPort::Fixed(0);
    test.cluster.setup_primary(fixed.clone()).unwrap();
    assert_eq!(told(&mut test), "--inspect=7000 --inspect-port=0 last\n");
    fixed.exec_args.clear();
    test.cluster.setup_primary(fixed).unwrap();
    assert_eq!(told(&mut test), "last\n");
    test.stop();
}

#[test]
fn workers_run_as_another_user_where_that_is_allowed() {
    if !rustix::process::geteuid().is_root() {
        return skipped("workers_run_as_another_user_where_that_is_allowed", "only root may change its user");
    }
    let (text, exit) = run("id", &["-u"], |settings| settings.uid = Some(65534));
    assert_eq!((text.as_str(), exit), ("65534\n", Exit::Code(0)));
    let (text, _) = run("sh", &["-c", "id -u; id -G"], |settings| {
        (settings.uid, settings.gid) = (Some(65534), Some(65533));
    });
    // Nothing of the primary's own groups is left.
    assert_eq!(text, "65534\n65533\n");
}
