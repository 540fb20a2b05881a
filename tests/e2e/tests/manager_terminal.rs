//! What a person sees on a terminal: progress that is drawn in place, tables that fit, and Ctrl-C.

use oneport_e2e::Signal;
use oneport_e2e::manager::{Manager, SERVER};

/// Listens after a while, so that there is something to see.
fn slow(ms: u32) -> Manager {
    let manager = Manager::new();
    manager.write("app.js", &format!("setTimeout(() => {{ {SERVER} }}, {ms});"));
    manager
}

#[test]
fn progress_is_drawn_in_place_and_the_ticks_stay() {
    let manager = slow(400);
    let mut start = manager.on_terminal(&["start", "app.js", "-i", "3", "--min-uptime", "100"], 40, 110);
    start.wait_until("all three at once", |screen| {
        screen.lines().filter(|line| line.contains("starting") || line.contains("proving")).count() == 3
    });
    assert_eq!(start.end(), 0);
    let screen = start.screen();
    let ticks = screen.lines().filter(|line| line.contains("[app](") && line.contains('✓')).count();
    assert_eq!(ticks, 3, "{screen}");
    assert!(!screen.contains("starting") && !screen.contains("proving"), "it is erased: {screen}");
    assert_eq!(screen.matches("online").count(), 3, "the table follows: {screen}");
    assert!(start.raw().contains("\x1b[3A"), "three lines are drawn over");
    assert!(start.raw().contains("\x1b[32m") || start.raw().contains("\x1b[1m\x1b[32m"), "in colours");
}

#[test]
fn no_color_leaves_the_cursor_and_takes_the_colours() {
    let manager = slow(400).env("NO_COLOR", "1");
    let mut start = manager.on_terminal(&["start", "app.js", "--min-uptime", "100"], 40, 110);
    assert_eq!(start.end(), 0);
    let raw = start.raw();
    assert!(raw.contains("\x1b[1A") && !raw.contains("\x1b[32m") && !raw.contains("\x1b[1m"), "{raw:?}");
}

#[test]
fn ctrl_c_stops_watching_and_not_the_job() {
    let manager = slow(2000);
    let mut start = manager.on_terminal(&["start", "app.js", "--min-uptime", "100"], 40, 110);
    start.wait_until("a job", |screen| screen.contains("starting"));
    start.signal(Signal::INT);
    assert_eq!(start.end(), 130);
    assert!(start.screen().contains("the start of `app` goes on"), "{}", start.screen());
    manager.wait_status("app", "online");
}

#[test]
fn tables_fit_the_terminal() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-i", "2", "-n", "a-name-that-is-rather-long", "--min-uptime", "100"]);
    for columns in [180, 120, 90, 60] {
        let mut list = manager.on_terminal(&["list"], 30, columns);
        assert_eq!(list.end(), 0);
        let screen = list.screen();
        // A line that is too long would go on in the next one, which has no frame.
        let table: Vec<&str> =
            screen.lines().filter(|line| !line.is_empty() && !line.starts_with('[')).collect();
        let framed =
            |line: &&str| line.starts_with(['┌', '│', '├', '└']) && line.ends_with(['┐', '│', '┤', '┘']);
        assert!(table.len() >= 5 && table.iter().all(framed), "{columns}: {screen}");
        assert_eq!(screen.matches("online").count(), 2, "{columns}: {screen}");
    }
}

#[test]
fn monit_is_renewed_in_place_until_it_is_ended() {
    let manager = Manager::with_server();
    manager.ok(&["start", "app.js", "-n", "first", "--min-uptime", "100"]);
    let mut monit = manager.on_terminal(&["monit"], 30, 120);
    monit.wait_until("the first", |screen| screen.contains("first"));
    manager.ok(&["start", "app.js", "-n", "second", "--min-uptime", "100"]);
    let screen = monit.wait_until("both", |screen| screen.contains("first") && screen.contains("second"));
    assert_eq!(screen.matches("first").count(), 1, "what was drawn before is gone: {screen}");
    manager.ok(&["delete", "first"]);
    monit.wait_until("one", |screen| !screen.contains("first") && screen.contains("second"));
    monit.signal(Signal::INT);
    assert!([0, 130].contains(&monit.end()));
}
