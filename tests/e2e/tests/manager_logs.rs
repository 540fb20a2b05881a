//! Log files: where lines go, in which form, what the verbs about them do.

use std::path::{Path, PathBuf};

use oneport_e2e::Signal;
use oneport_e2e::manager::Manager;
use oneport_e2e::wait::eventually;
use serde_json::Value;

/// Says a line on each stream at its start, and on SIGUSR2 and SIGHUP another.
const TALKER: &str = "
const me = process.env.NODE_APP_INSTANCE || '0';
let n = 0;
const say = () => { n += 1; console.log('out ' + me + ' line ' + n); console.error('err ' + me + ' line ' + n); };
process.on('SIGUSR2', say);
say();
setInterval(() => {}, 1000);
";

fn talking(words: &[&str]) -> Manager {
    let manager = Manager::new();
    manager.write("talk.js", TALKER);
    let mut all = vec!["start", "talk.js", "--min-uptime", "100"];
    all.extend(words);
    manager.ok(&all);
    manager
}

#[track_caller]
fn waits(path: &Path, text: &str) -> String {
    eventually(&format!("`{text}` in `{}`", path.display()), || {
        std::fs::read_to_string(path).ok().filter(|found| found.contains(text))
    })
}

fn log(manager: &Manager, name: &str) -> PathBuf {
    manager.in_home("logs").join(name)
}

#[test]
fn each_stream_has_its_file_and_one_worker_has_no_number_in_it() {
    let manager = talking(&[]);
    assert_eq!(waits(&log(&manager, "talk-out.log"), "line 1"), "out 0 line 1\n");
    assert_eq!(waits(&log(&manager, "talk-error.log"), "line 1"), "err 0 line 1\n");
    let worker = manager.app("talk")["workers"][0].clone();
    assert_eq!(worker["logs"]["out"], log(&manager, "talk-out.log").display().to_string());
}

#[test]
fn several_workers_have_files_of_their_own_or_one_together() {
    let manager = talking(&["-i", "2"]);
    for id in manager.ids("talk") {
        assert_eq!(
            waits(&log(&manager, &format!("talk-out-{id}.log")), "line 1"),
            format!("out {id} line 1\n")
        );
        assert_eq!(
            waits(&log(&manager, &format!("talk-error-{id}.log")), "line 1"),
            format!("err {id} line 1\n")
        );
    }
    let manager = talking(&["-i", "2", "--merge-logs"]);
    let both = eventually("both lines", || {
        let text = std::fs::read_to_string(log(&manager, "talk-out.log")).ok()?;
        (text.lines().count() == 2).then_some(text)
    });
    assert!(both.contains("out 0 line 1") && both.contains("out 1 line 1"), "{both}");
}

#[test]
fn files_of_ones_own_are_made_with_their_folders_and_null_is_nowhere() {
    let manager = talking(&["-o", "deep/er/mine.log", "-e", "/dev/null", "-l", "all/both.log"]);
    assert_eq!(waits(&manager.file("deep/er/mine.log"), "line 1"), "out 0 line 1\n");
    let both = eventually("both streams", || {
        let text = std::fs::read_to_string(manager.file("all/both.log")).ok()?;
        (text.lines().count() == 2).then_some(text)
    });
    assert!(both.contains("out 0") && both.contains("err 0"), "{both}");
    assert!(!log(&manager, "talk-error.log").exists());
    let manager = talking(&["--disable-logs"]);
    manager.ok(&["sendSignal", "SIGUSR2", "talk"]);
    assert_eq!(std::fs::read_dir(manager.in_home("logs")).expect("logs").count(), 0);
}

#[test]
fn lines_can_be_json_and_can_have_a_time() {
    let manager = talking(&["--log-type", "json"]);
    let line: Value =
        serde_json::from_str(waits(&log(&manager, "talk-out.log"), "line 1").trim()).expect("JSON");
    assert_eq!(line["message"].as_str().map(str::trim_end), Some("out 0 line 1"), "{line}");
    assert_eq!(
        (&line["type"], &line["app_name"], &line["process_id"]),
        (&"out".into(), &"talk".into(), &0.into())
    );
    assert!(line["timestamp"].is_string(), "{line}");
    let manager = talking(&["--time"]);
    let line = waits(&log(&manager, "talk-out.log"), "line 1");
    let (stamp, text) = line.split_once(": ").expect("a time and a line");
    assert!(stamp.len() == 19 && stamp.as_bytes()[10] == b'T' && text == "out 0 line 1\n", "{line}");
    let manager = talking(&["--log-date-format", "[at] YYYY"]);
    let line = waits(&log(&manager, "talk-error.log"), "line 1");
    assert!(line.starts_with("at 20") && line.ends_with(": err 0 line 1\n"), "{line}");
}

#[test]
fn what_was_renamed_is_opened_anew() {
    let manager = talking(&[]);
    let (file, moved) = (log(&manager, "talk-out.log"), log(&manager, "moved.log"));
    waits(&file, "line 1");
    std::fs::rename(&file, &moved).expect("it is there");
    manager.ok(&["reloadLogs"]);
    manager.ok(&["sendSignal", "SIGUSR2", "talk"]);
    assert_eq!(waits(&file, "line 2"), "out 0 line 2\n");
    assert_eq!(std::fs::read_to_string(&moved).expect("it is there"), "out 0 line 1\n");
}

#[test]
fn flush_empties_one_or_all() {
    let manager = talking(&[]);
    manager.ok(&["start", "talk.js", "-n", "other", "--min-uptime", "100"]);
    let files = ["talk-out.log", "talk-error.log", "other-out.log", "other-error.log"]
        .map(|name| log(&manager, name));
    files.iter().for_each(|file| _ = waits(file, "line 1"));
    manager.ok(&["flush", "talk"]);
    eventually("two empty files", || {
        let size = |file: &PathBuf| std::fs::metadata(file).map_or(0, |facts| facts.len());
        (size(&files[0]) + size(&files[1]) == 0 && size(&files[2]) > 0).then_some(())
    });
    manager.ok(&["sendSignal", "SIGUSR2", "all"]);
    assert_eq!(waits(&files[0], "line 2"), "out 0 line 2\n", "no hole of zeros before it");
    waits(&files[2], "line 2");
    manager.ok(&["flush"]);
    eventually("all empty", || {
        files.iter().all(|file| std::fs::metadata(file).is_ok_and(|facts| facts.len() == 0)).then_some(())
    });
}

#[test]
fn logs_shows_the_last_lines_in_every_form() {
    let manager = Manager::new();
    manager.write(
        "many.js",
        "for (let i = 1; i <= 40; i++) { console.log('out-' + i); console.error('err-' + i); } setInterval(() => {}, 1000);",
    );
    manager.ok(&["start", "many.js", "--min-uptime", "100", "--namespace", "here"]);
    manager.ok(&["start", "many.js", "-n", "other", "--min-uptime", "100"]);
    for name in ["many-out.log", "many-error.log", "other-out.log", "other-error.log"] {
        waits(&log(&manager, name), "-40\n");
    }
    let shows = |words: &[&str]| {
        let mut all = vec!["logs", "--nostream"];
        all.extend(words);
        manager.ok(&all).out
    };
    let told = shows(&["many"]);
    assert!(
        told.contains("out-40") && told.contains("out-26") && !told.contains("out-25\n"),
        "15 lines: {told}"
    );
    assert!(told.contains("err-40") && told.contains("many") && !told.contains("other"), "{told}");
    assert!(!told.contains('\u{1b}'), "no colours in a pipe");
    assert_eq!(shows(&["many", "--raw", "--out", "--lines", "2"]), "out-39\nout-40\n");
    assert_eq!(shows(&["many", "--raw", "--err", "--lines", "1"]), "err-40\n");
    assert_eq!(shows(&["0", "--raw", "--out", "--lines", "1"]), "out-40\n", "by id");
    assert_eq!(shows(&["/^oth/", "--raw", "--out", "--lines", "1"]), "out-40\n");
    let of_namespace = shows(&["here", "--lines", "1"]);
    assert!(of_namespace.contains("many") && !of_namespace.contains("other"), "{of_namespace}");
    let all = shows(&["--lines", "1"]);
    assert!(all.contains("many") && all.contains("other"), "{all}");
    let json = shows(&["many", "--json", "--out", "--lines", "3"]);
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 3);
    assert!(
        lines[2]["message"] == "out-40" && lines[2]["app_name"] == "many" && lines[2]["type"] == "out",
        "{json}"
    );
    assert!(shows(&["oneport"]).contains("daemon: started"));
}

#[test]
fn logs_follows_across_a_rotation_and_a_worker_that_comes_anew() {
    let manager = Manager::new();
    manager.write("talk.js", TALKER);
    manager.write(
        "apps.json",
        r#"{"apps": [{"name": "talk", "script": "talk.js", "min_uptime": 100, "log_rotate": {"max_size": "64K"}}]}"#,
    );
    manager.write(
        "flood.js",
        "let i = 0; process.on('SIGUSR2', () => { for (let k = 0; k < 3000; k++) console.log('flood line number ' + (++i) + ' '.repeat(40)); console.log('end ' + i); }); setInterval(() => {}, 1000); console.log('up');",
    );
    manager.ok(&["start", "apps.json"]);
    let follow = manager.begin(&["logs", "talk", "--raw", "--out"]);
    follow.wait_for("out 0 line 1");
    manager.ok(&["sendSignal", "SIGUSR2", "talk"]);
    follow.wait_for("out 0 line 2");
    manager.ok(&["restart", "talk"]);
    eventually("the first line of the next", || {
        (follow.told().matches("out 0 line 1").count() == 2).then_some(())
    });
    follow.signal(Signal::INT);
    let outcome = follow.end();
    assert!(outcome.code == 0 || outcome.code == 130, "{}", outcome.all());
    manager.ok(&["delete", "talk"]);

    manager.write("apps.json", r#"{"apps": [{"name": "flood", "script": "flood.js", "min_uptime": 100, "log_rotate": {"max_size": "64K", "keep": 3}}]}"#);
    manager.ok(&["start", "apps.json"]);
    waits(&log(&manager, "flood-out.log"), "up");
    let follow = manager.begin(&["logs", "flood", "--raw", "--out"]);
    follow.wait_for("up");
    for round in 1..=3 {
        manager.ok(&["sendSignal", "SIGUSR2", "flood"]);
        follow.wait_for(&format!("end {}", round * 3000));
    }
    let told = follow.told();
    let numbers: Vec<u32> = told
        .lines()
        .filter_map(|line| line.strip_prefix("flood line number ")?.trim().parse().ok())
        .collect();
    assert_eq!(numbers, (1..=9000).collect::<Vec<u32>>(), "each line once, in order");
    let files: Vec<String> = std::fs::read_dir(manager.in_home("logs"))
        .expect("logs")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("flood-out"))
        .collect();
    assert!(files.len() > 1 && files.len() <= 5, "{files:?}");
}

#[test]
fn a_full_disk_neither_blocks_nor_kills_and_what_is_dropped_is_counted() {
    let manager = Manager::new();
    manager.write(
        "flood.js",
        "require('http').createServer((q, s) => { for (let i = 0; i < 2000; i++) console.log('x'.repeat(100)); s.end('hello from ' + process.pid); }).listen(process.env.PORT);",
    );
    manager.ok(&["start", "flood.js", "-o", "/dev/full"]);
    let (address, pids) = (manager.address("flood"), manager.pids("flood"));
    for _ in 0..20 {
        assert_eq!(oneport_e2e::http::get(address, "/").pid(), pids[0]);
    }
    manager.wait("dropped bytes", |apps| (apps[0]["log_bytes_dropped"].as_u64()? >= 1_000_000).then_some(()));
    assert_eq!((manager.pids("flood"), manager.restarts("flood")), (pids, vec![0]));
    let notes = manager.app("flood")["notes"].to_string();
    assert!(notes.contains("/dev/full"), "{notes}");
    manager.ok(&["reload", "flood", "--min-uptime", "100"]);
}

#[test]
fn what_a_worker_says_last_is_kept() {
    let manager = Manager::new();
    manager.write(
        "last.js",
        "process.on('SIGINT', () => { for (let i = 0; i < 5000; i++) console.log('last ' + i); process.exit(0); }); setInterval(() => {}, 1000); console.log('up');",
    );
    manager.ok(&["start", "last.js", "--min-uptime", "100"]);
    waits(&log(&manager, "last-out.log"), "up");
    manager.ok(&["delete", "last"]);
    let text = std::fs::read_to_string(log(&manager, "last-out.log")).expect("it stays");
    assert_eq!(text.lines().last(), Some("last 4999"));
    assert_eq!(text.lines().count(), 5001);
}

#[test]
fn output_of_native_code_and_of_children_is_stored_too() {
    let manager = Manager::new();
    manager.write(
        "native.js",
        "require('fs').writeSync(1, 'by descriptor\\n'); require('child_process').spawn('sh', ['-c', 'echo by child; echo by child >&2'], {stdio: 'inherit'}); setInterval(() => {}, 1000);",
    );
    manager.ok(&["start", "native.js", "--min-uptime", "100"]);
    let out = waits(&log(&manager, "native-out.log"), "by child");
    assert!(out.contains("by descriptor"), "{out}");
    assert_eq!(waits(&log(&manager, "native-error.log"), "by child"), "by child\n");
}

#[test]
fn logs_shows_slots_that_come_later() {
    let manager = Manager::new();
    manager.write("talk.js", TALKER);
    manager.ok(&["start", "talk.js", "--min-uptime", "100"]);
    let follow = manager.begin(&["logs", "talk", "--raw", "--out"]);
    follow.wait_for("out 0 line 1");
    manager.ok(&["scale", "talk", "2"]);
    follow.wait_for("out 1 line 1");
    manager.ok(&["sendSignal", "SIGUSR2", "talk"]);
    follow.wait_for("out 0 line 2");
    assert_eq!(follow.told().matches("out 1 line 1").count(), 1, "{}", follow.told());
    follow.signal(Signal::INT);
    assert_eq!(follow.end().code, 130);
}

#[test]
fn what_is_old_is_put_aside_and_compressed_and_still_shown() {
    let manager = Manager::new();
    manager.write("count.js", "let i = 0; setInterval(() => console.log('number ' + (++i)), 20);");
    manager.write(
        "apps.json",
        r#"{"apps": [{"name": "count", "script": "count.js", "min_uptime": 100, "log_rotate": {"max_age": "400ms", "keep": 50}}]}"#,
    );
    manager.ok(&["start", "apps.json"]);
    let names = || -> Vec<String> {
        let files = std::fs::read_dir(manager.in_home("logs")).expect("logs").flatten();
        files.filter_map(|file| file.file_name().into_string().ok()).collect()
    };
    eventually("two compressed ones", || {
        (names().iter().filter(|name| name.ends_with(".gz")).count() >= 2).then_some(())
    });
    manager.ok(&["stop", "count"]);
    let told = manager.ok(&["logs", "count", "--raw", "--out", "--nostream", "--lines", "100000"]).out;
    let numbers: Vec<u32> =
        told.lines().filter_map(|line| line.strip_prefix("number ")?.parse().ok()).collect();
    let last = u32::try_from(numbers.len()).expect("not that many");
    assert!(last > 50, "{numbers:?}");
    assert_eq!(numbers, (1..=last).collect::<Vec<u32>>(), "each line once, in order: {:?}", names());
}
