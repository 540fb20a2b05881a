//! `reload` and its kin: what is replaced, what is counted, what comes with it, and that nothing is lost by it.

use std::time::Duration;

use oneport_e2e::load::{Load, Style};
use oneport_e2e::manager::{Manager, QUEUE, SERVER};
use oneport_e2e::wait::throughout;
use oneport_e2e::{Signal, http, procfs};

/// Two apps of two workers.
fn two() -> Manager {
    let manager = Manager::new();
    manager.write("app.js", SERVER);
    manager.write(
        "ecosystem.config.js",
        "const of = (name) => ({name, script: 'app.js', instances: 2, min_uptime: 100});\n\
         module.exports = {apps: [of('one'), of('two')]};",
    );
    manager.ok(&["start"]);
    manager
}

#[track_caller]
fn replaced(manager: &Manager, app: &str, before: &[u32]) {
    let now = manager.pids(app);
    assert_eq!(now.len(), before.len());
    assert!(now.iter().all(|pid| *pid > 0 && !before.contains(pid)), "{before:?} became {now:?}");
}

#[test]
fn a_reload_counts_one_for_each_of_its_app_and_none_for_others() {
    let manager = two();
    let ids = (manager.ids("one"), manager.ids("two"));
    let (one, two) = (manager.pids("one"), manager.pids("two"));
    manager.ok(&["reload", "one"]);
    replaced(&manager, "one", &one);
    assert_eq!((manager.restarts("one"), manager.restarts("two")), (vec![1, 1], vec![0, 0]));
    assert_eq!(manager.pids("two"), two);
    manager.ok(&["reload", "all"]);
    replaced(&manager, "two", &two);
    assert_eq!((manager.restarts("one"), manager.restarts("two")), (vec![2, 2], vec![1, 1]));
    manager.ok(&["reload", "ecosystem.config.js"]);
    assert_eq!((manager.restarts("one"), manager.restarts("two")), (vec![3, 3], vec![2, 2]));
    manager.ok(&["reload", &ids.0[1].to_string()]);
    assert_eq!((manager.restarts("one"), manager.restarts("two")), (vec![3, 4], vec![2, 2]));
    assert_eq!((manager.ids("one"), manager.ids("two")), ids);
    assert!(manager.statuses("one").iter().all(|status| status == "online"));
}

#[test]
fn one_that_never_listens_is_reloaded_and_does_not_hang() {
    let manager = Manager::new();
    manager.write("queue.js", QUEUE);
    manager.ok(&["start", "queue.js", "-i", "2", "--min-uptime", "100"]);
    let before = manager.pids("queue");
    manager.ok(&["reload", "queue"]);
    replaced(&manager, "queue", &before);
    manager.ok(&["start", "queue.js", "-x", "-n", "forked", "--min-uptime", "100"]);
    assert_eq!(manager.app("forked")["mode"], "fork");
    let before = manager.pids("forked");
    manager.ok(&["reload", "forked"]);
    replaced(&manager, "forked", &before);
}

#[test]
fn a_reload_under_load_loses_nothing() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "100"]);
    let (address, before) = (manager.address("app"), manager.pids("app"));
    let new = Load::start(address, "/?ms=20", 4, Style::Close);
    let kept = Load::start(address, "/?ms=20", 4, Style::KeepAlive);
    new.wait_more(20);
    kept.wait_more(20);
    manager.ok(&["reload", "app"]);
    manager.ok(&["scale", "app", "4"]);
    manager.ok(&["scale", "app", "1"]);
    new.wait_more(20);
    kept.wait_more(20);
    for tally in [new.stop(), kept.stop()] {
        assert!(tally.lost.is_empty(), "{:?} of {}", tally.lost, tally.total());
        assert!(tally.answered.keys().any(|pid| !before.contains(pid)));
    }
}

#[test]
fn a_broken_build_is_given_up_and_the_old_ones_serve_all_the_while() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "300"]);
    let (address, before) = (manager.address("app"), manager.pids("app"));
    manager.write("app.js", "throw new Error('this build is broken');");
    let mut reload = manager.begin(&["reload", "app"]);
    let mut probes = 0;
    while !reload.is_over() {
        assert!(before.contains(&http::get(address, "/").pid()));
        probes += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let outcome = reload.end();
    assert_eq!(outcome.code, 1, "{}", outcome.all());
    assert!(outcome.err.contains("cannot reload `app`"), "{}", outcome.all());
    assert!(outcome.err.contains("this build is broken"), "its last lines: {}", outcome.all());
    throughout(Duration::from_secs(1), "the old ones serve", || {
        before.contains(&http::get(address, "/").pid())
    });
    assert!(probes > 2);
    assert_eq!((manager.pids("app"), manager.restarts("app")), (before.clone(), vec![0, 0]));
    // The next one is right again.
    manager.write("app.js", SERVER);
    manager.ok(&["reload", "app"]);
    replaced(&manager, "app", &before);
}

#[test]
fn a_build_that_never_gets_ready_is_given_up_too() {
    let manager = Manager::new();
    let ready = "process.send('ready');";
    manager.write("app.js", &format!("{SERVER}{ready}"));
    manager.ok(&["start", "app.js", "--wait-ready", "--listen-timeout", "700", "--min-uptime", "100"]);
    let before = manager.pids("app");
    manager.write("app.js", SERVER);
    let outcome = manager.ends(&["reload", "app"], 1);
    assert!(outcome.err.contains("was not ready after"), "{}", outcome.all());
    assert_eq!(manager.pids("app"), before);
}

#[test]
fn deploy_verbs_start_what_is_not_there_and_replace_what_is() {
    let manager = Manager::with_server();
    manager.write(
        "apps.json",
        r#"{"apps": [{"name": "x", "script": "app.js", "min_uptime": 100}, {"name": "y", "script": "app.js", "min_uptime": 100}]}"#,
    );
    manager.ok(&["startOrReload", "apps.json", "--only", "x"]);
    assert_eq!(manager.names(), ["x"]);
    manager.ok(&["startOrReload", "apps.json"]);
    assert_eq!((manager.restarts("x"), manager.restarts("y")), (vec![1], vec![0]));
    manager.ok(&["startOrRestart", "apps.json"]);
    manager.ok(&["startOrGracefulReload", "apps.json"]);
    assert_eq!((manager.restarts("x"), manager.restarts("y")), (vec![3], vec![2]));
    manager.ok(&["stop", "x"]);
    manager.ok(&["startOrReload", "apps.json"]);
    assert_eq!(manager.statuses("x"), ["online"]);
    assert_eq!(manager.names(), ["x", "y"]);
}

#[test]
fn a_second_reload_is_refused_while_one_runs_and_leaving_it_does_not_stop_it() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "1500"]);
    let before = manager.pids("app");
    let first = manager.begin(&["reload", "app"]);
    first.wait_for("proving");
    for verb in [&["reload", "app"][..], &["restart", "app"], &["scale", "app", "3"]] {
        let refused = manager.ends(verb, 1);
        assert!(refused.err.contains("a reload is under way"), "{}", refused.all());
    }
    first.signal(Signal::INT);
    let left = first.end();
    assert_eq!(left.code, 130, "{}", left.all());
    assert!(left.err.contains("goes on"), "{}", left.all());
    assert_eq!(manager.app("app")["job"]["kind"], "reload");
    manager.wait("the end of the job", |apps| apps[0]["job"].is_null().then_some(()));
    replaced(&manager, "app", &before);
    assert_eq!(manager.restarts("app"), [1, 1]);
}

#[test]
fn stop_ends_a_reload_that_is_under_way() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "5000"]);
    let reload = manager.begin(&["reload", "app"]);
    reload.wait_for("proving");
    manager.ok(&["stop", "app"]);
    let outcome = reload.end();
    assert!(outcome.code == 1 && outcome.err.contains("interrupted"), "{}", outcome.all());
    assert_eq!(manager.statuses("app"), ["stopped", "stopped"]);
    let daemon = manager.daemon();
    let primary = manager.primary("app");
    let left: Vec<u32> =
        manager.living().into_iter().filter(|pid| ![daemon, primary].contains(pid)).collect();
    assert!(left.is_empty(), "{left:?} of the reload live on");
}

#[test]
fn a_plan_does_nothing() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "100"]);
    let before = manager.pids("app");
    let told = manager.ok(&["reload", "app", "--plan", "--kill-timeout", "7000", "--policy", "rr"]).out;
    assert!(told.contains("kill_timeout") && told.contains("policy"), "{told}");
    assert!(told.contains("2 workers would be replaced"), "{told}");
    assert_eq!((manager.pids("app"), manager.restarts("app")), (before, vec![0, 0]));
    let app = manager.app("app");
    assert!(app["job"].is_null() && app["spec"]["kill_timeout"].is_null(), "{app}");
}

#[test]
fn a_canary_serves_beside_the_old_ones_and_the_rest_follows() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--policy", "rr", "--min-uptime", "100"]);
    let (address, before) = (manager.address("app"), manager.pids("app"));
    let load = Load::start(address, "/", 2, Style::Close);
    let reload = manager.begin(&["reload", "app", "--canary", "1", "--watch-canary", "2s"]);
    reload.wait_for("starting");
    let mut seen = std::collections::BTreeSet::new();
    oneport_e2e::wait::eventually("the canary and all the old ones serve", || {
        seen.insert(http::get(address, "/").pid());
        let all_old = before.iter().all(|pid| seen.contains(pid) && procfs::runs(*pid));
        (all_old && seen.len() == 3).then_some(())
    });
    let outcome = reload.end();
    assert_eq!(outcome.code, 0, "{}", outcome.all());
    replaced(&manager, "app", &before);
    let tally = load.stop();
    assert!(tally.lost.is_empty(), "{:?}", tally.lost);
}

#[test]
fn a_canary_of_a_configuration_brings_its_new_apps_and_numbers_too() {
    let manager = Manager::with_server();
    let write = |text: &str| manager.write("apps.json", text);
    write(r#"{"apps": [{"name": "web", "script": "app.js", "instances": 2, "min_uptime": 100}]}"#);
    manager.ok(&["start", "apps.json"]);
    write(
        r#"{"apps": [{"name": "web", "script": "app.js", "instances": 3, "min_uptime": 100},
                     {"name": "other", "script": "app.js", "min_uptime": 100}]}"#,
    );
    let told = manager.ok(&["reload", "apps.json", "--plan"]);
    assert!(told.out.contains("`other` would be started"), "{}", told.all());
    assert_eq!(manager.names(), ["web"]);
    manager.ok(&["reload", "apps.json", "--canary", "1", "--watch", "100ms"]);
    assert_eq!((manager.pids("web").len(), manager.pids("other").len()), (3, 1));
}

#[test]
fn a_canary_that_dies_leaves_all_the_old_ones() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "--min-uptime", "100"]);
    let (address, before) = (manager.address("app"), manager.pids("app"));
    manager.write("app.js", &format!("{SERVER} setTimeout(() => process.exit(9), 700);"));
    let outcome = manager.ends(&["reload", "app", "--canary", "1", "--watch-canary", "20s"], 1);
    assert!(outcome.err.contains("code 9"), "{}", outcome.all());
    assert_eq!(manager.pids("app"), before);
    assert!(before.contains(&http::get(address, "/").pid()));
}
