use serde_json::Value;

use super::super::Store;
use crate::logs::testing::{House, by, finish, put, text, until};
use crate::logs::{LONGEST_LINE, Source, Stream};

fn merged() -> House {
    House::new(|spec, _| spec.merge_logs = Some(true))
}

fn stamped() -> House {
    House::new(|spec, _| {
        spec.merge_logs = Some(true);
        // The same at all times.
        spec.log_date_format = Some("[now]".into());
    })
}

fn json() -> House {
    House::new(|spec, _| {
        spec.merge_logs = Some(true);
        spec.log_type = Some(oneport_wire::control::LogType::Json);
    })
}

/// So that the next piece is one of its own.
fn written(house: &House, store: &Store, more: &str) {
    let before = text(&house.out()).len();
    put(store, 0, more);
    until("it is written", || text(&house.out()).len() >= before + more.len());
}

#[test]
fn lines_of_two_workers_do_not_mix_in_one_file() {
    let house = merged();
    let store = house.start(2);
    put(&store, 0, "a\n");
    put(&store, 1, "b1 ");
    put(&store, 0, "a1 ");
    put(&store, 1, "b2\nb3 ");
    put(&store, 0, "a2\n");
    put(&store, 1, "b4\n");
    finish(&store);
    assert_eq!(text(&house.out()), "a\nb1 b2\na1 a2\nb3 b4\n");
}

#[test]
fn an_unfinished_line_of_a_shared_file_does_not_wait_for_ever() {
    let house = merged();
    let store = house.start(2);
    put(&store, 0, "first\n");
    put(&store, 1, "a question? ");
    until("it is written", || text(&house.out()) == "first\na question? ");
    put(&store, 1, "an answer\n");
    finish(&store);
    assert_eq!(text(&house.out()), "first\na question? an answer\n");
}

#[test]
fn two_generations_of_one_slot_do_not_mix_either() {
    let house = House::new(|_, _| {});
    let store = house.start(1);
    let (old, new) = (by(0), Source { pid: 7, ..by(0) });
    put(&store, 0, "old begins\n");
    store.put(new, Stream::Out, b"new ");
    store.put(old, Stream::Out, b"old goes\n");
    store.line_end(old, Stream::Out);
    store.put(new, Stream::Out, b"comes\n");
    finish(&store);
    assert_eq!(text(&house.out()), "old begins\nold goes\nnew comes\n");
}

#[test]
fn each_line_gets_a_time_wherever_pieces_end() {
    let house = stamped();
    let store = house.start(1);
    for piece in ["on", "e\ntwo\n", "\nthr"] {
        written(&house, &store, piece);
    }
    written(&house, &store, "ee\r\nfo");
    store.line_end(by(0), Stream::Out);
    finish(&store);
    assert_eq!(text(&house.out()), "now: one\nnow: two\nnow: \nnow: three\r\nnow: fo\n");
}

#[test]
fn with_times_lines_of_two_workers_stay_whole() {
    let house = stamped();
    let store = house.start(2);
    put(&store, 0, "a\n");
    put(&store, 1, "b1 ");
    put(&store, 0, "a1 ");
    put(&store, 1, "b2\nb3 ");
    put(&store, 0, "a2\n");
    until("what is unfinished is written", || text(&house.out()).ends_with("now: b3 "));
    put(&store, 0, "a3\n");
    put(&store, 1, "b4\n");
    finish(&store);
    assert_eq!(text(&house.out()), "now: a\nnow: b1 b2\nnow: a1 a2\nnow: b3 \nnow: a3\nnow: b4\n");
}

#[test]
fn the_short_form_of_the_time_is_that_of_pm2() {
    let house = House::new(|spec, _| spec.time = true);
    let store = house.start(1);
    put(&store, 0, "hello\n");
    finish(&store);
    let line = text(&house.out());
    let shape: String =
        line.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00: hello\n");
}

#[test]
fn json_lines_have_the_keys_of_pm2() {
    let house = json();
    let store = house.start(2);
    put(&store, 3, "say \"hi\"\n\nun");
    store.put(by(4), Stream::Err, b"\xffbad\r\n");
    put(&store, 3, "finished");
    store.line_end(by(3), Stream::Out);
    finish(&store);
    let lines: Vec<Value> =
        text(&house.out()).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let messages: Vec<&str> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
    assert_eq!(messages, ["say \"hi\"", "", "unfinished"]);
    assert_eq!((&lines[0]["type"], &lines[0]["process_id"]), (&"out".into(), &3.into()));
    assert_eq!(lines[0]["app_name"], "web");
    assert!(lines[0]["timestamp"].as_str().unwrap().ends_with('Z'));
    let keys: Vec<&String> = lines[0].as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 5);
    let error: Value = serde_json::from_str(&text(&house.logs().join("web-error.log"))).unwrap();
    assert_eq!((error["message"].as_str(), error["type"].as_str()), (Some("\u{fffd}bad"), Some("err")));
}

#[test]
fn a_line_without_end_is_cut_and_no_letter_with_it() {
    let house = json();
    let store = house.start(1);
    let line = "é".repeat(3 * LONGEST_LINE / 2);
    // Pieces of an odd length, so that letters are cut by them.
    for piece in format!("x{line}").as_bytes().chunks(4099) {
        store.put(by(0), Stream::Out, piece);
    }
    store.line_end(by(0), Stream::Out);
    finish(&store);
    let messages: Vec<String> = text(&house.out())
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(messages.concat(), format!("x{line}"));
    assert!(messages.iter().all(|message| message.len() <= LONGEST_LINE));
    assert!(messages.len() <= 5);
}

#[test]
fn a_flood_of_empty_lines_becomes_no_flood_of_memory() {
    let house = stamped();
    let store = house.start(1);
    for _ in 0..4 {
        put(&store, 0, &"\n".repeat(100_000));
        let before = store.progress();
        until("some of it is written", || store.progress() > before || store.dropped() > 0);
    }
    finish(&store);
    let stored = text(&house.out()).lines().filter(|line| *line == "now: ").count();
    assert_eq!(stored as u64 + store.dropped(), 400_000);
}
