use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use oneport_wire::control::{ByteSize, LogRotate, Span};

use crate::logs::aside::{self, Packed};
use crate::logs::testing::{House, by, finish, put, text, until};
use crate::logs::{Source, Stream};

fn house(rotate: LogRotate) -> House {
    House::new(|spec, _| spec.log_rotate = Some(rotate))
}

fn plain(max_size: u64) -> LogRotate {
    LogRotate { max_size: Some(ByteSize(max_size)), compress: Some(false), ..LogRotate::default() }
}

fn content(path: &Path) -> String {
    let mut content = String::new();
    match path.extension().is_some_and(|extension| extension == "gz") {
        true => {
            flate2::read::MultiGzDecoder::new(File::open(path).unwrap()).read_to_string(&mut content).unwrap()
        }
        false => File::open(path).unwrap().read_to_string(&mut content).unwrap(),
    };
    content
}

/// All that is stored of the file, the oldest first.
fn all(house: &House) -> Vec<String> {
    let mut all: Vec<String> =
        aside::of_file(&house.out()).iter().map(|aside| content(&aside.path)).collect();
    all.push(text(&house.out()));
    all
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n}\n")).collect()
}

#[test]
fn a_file_is_put_aside_between_lines_and_no_byte_is_lost() {
    let house = house(LogRotate { keep: Some(1000), ..plain(500) });
    let store = house.start(1);
    let all_lines = numbers(0..2000);
    for piece in all_lines.as_bytes().chunks(77) {
        store.put(by(0), Stream::Out, piece);
    }
    finish(&store);
    let files = all(&house);
    assert_eq!(files.concat(), all_lines);
    let (last, before) = files.split_last().unwrap();
    assert!(
        before.iter().all(|file| file.ends_with('\n') && (400..=500).contains(&file.len())),
        "{before:?}"
    );
    assert!(last.len() <= 500);
}

#[test]
fn with_large_pieces_it_is_the_same() {
    let house = house(LogRotate { keep: Some(1000), ..plain(100_000) });
    let store = house.start(1);
    let all_lines = numbers(0..50_000);
    for piece in all_lines.as_bytes().chunks(65_536) {
        let before = store.progress();
        store.put(by(0), Stream::Out, piece);
        until("it is written", || store.progress() >= before + piece.len() as u64);
    }
    finish(&store);
    let files = all(&house);
    assert_eq!(files.concat(), all_lines);
    assert!(files.len() > 5 && files.iter().all(|file| file.ends_with('\n') && file.len() <= 100_000));
}

#[test]
fn a_line_is_not_split_but_one_without_end_is_after_a_megabyte() {
    let house = house(LogRotate { max_total: Some(ByteSize(0)), ..plain(1000) });
    let store = house.start(1);
    put(&store, 0, &format!("{}\nnext\n", "x".repeat(5000)));
    finish(&store);
    assert_eq!(all(&house).iter().map(String::len).collect::<Vec<_>>(), [5001, 5]);

    let house = self::house(LogRotate { max_total: Some(ByteSize(0)), ..plain(1000) });
    let store = house.start(1);
    for _ in 0..40 {
        let before = store.progress();
        put(&store, 0, &"x".repeat(65_536));
        until("it is written", || store.progress() == before + 65_536);
    }
    finish(&store);
    let files = all(&house);
    assert_eq!(files.concat().len(), 40 * 65_536);
    assert_eq!(files.iter().map(String::len).collect::<Vec<_>>(), [1_049_576, 1_049_576, 522_288]);
}

#[test]
fn only_so_many_are_kept_of_each_file() {
    let house = house(LogRotate { keep: Some(2), ..plain(100) });
    let store = house.start(1);
    let lines = numbers(0..200);
    put(&store, 0, &lines);
    store.put(by(0), Stream::Err, numbers(0..10).as_bytes());
    finish(&store);
    let files = all(&house);
    assert_eq!(files.len(), 3);
    assert!(lines.ends_with(&files.concat()), "the newest are kept");
}

#[test]
fn all_files_together_take_no_more_than_they_may() {
    let rotate = LogRotate { max_total: Some(ByteSize(600_000)), keep: Some(1000), ..plain(0) };
    let house = house(rotate);
    fs::create_dir(house.logs()).unwrap();
    // Of a slot that is gone, and of another app.
    let ancient = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let current = house.logs().join("web-out-98.log");
    fs::write(&current, "x").unwrap();
    File::options().append(true).open(&current).unwrap().set_modified(ancient).unwrap();
    let (gone, other) =
        ("web-out-99.log.2020-01-01T00-00-00.000Z.gz", "other-out-99.log.2020-01-01T00-00-00.000Z.gz");
    for name in [gone, other] {
        fs::write(house.logs().join(name), "x").unwrap();
    }
    let store = house.start(3);
    let line = format!("{}\n", "x".repeat(99));
    let total = || -> u64 {
        let entries = fs::read_dir(house.logs()).unwrap();
        // One may go between being listed and being looked at.
        entries.filter_map(|entry| entry.unwrap().metadata().ok()).map(|metadata| metadata.len()).sum()
    };
    for round in 0..300_u32 {
        let before = store.progress();
        let stream = if round % 2 == 0 { Stream::Out } else { Stream::Err };
        store.put(by(round % 3), stream, line.repeat(100).as_bytes());
        until("it is written", || store.progress() >= before + 10_000);
        assert!(total() <= 600_001, "{}", total());
    }
    finish(&store);
    assert!(total() > 200_000);
    assert!(!house.logs().join(gone).exists() && !current.exists());
    assert!(house.logs().join(other).exists());
}

#[test]
fn an_old_file_is_put_aside_before_the_next_line() {
    let house = house(LogRotate { max_age: Some(Span(50)), compress: Some(false), ..LogRotate::default() });
    let store = house.start(1);
    put(&store, 0, "old\nol");
    until("it is written", || text(&house.out()) == "old\nol");
    put(&store, 0, "d\n");
    // Each write is looked at; the first that finds the file old enough begins the next one.
    until("there are two", || {
        put(&store, 0, "new\n");
        house.names().len() == 2
    });
    finish(&store);
    assert!(all(&house)[0].starts_with("old\nold\n"));
}

#[test]
fn what_was_put_aside_is_compressed_and_halves_are_cleared_away() {
    let house = house(LogRotate { compress: None, ..plain(500) });
    fs::create_dir(house.logs()).unwrap();
    let name = |ending: &str| house.logs().join(format!("web-out.log.2020-01-01T00-00-00.000Z{ending}"));
    // As a crash leaves them: whole, and half of it compressed.
    fs::write(name(""), "ancient\n").unwrap();
    fs::write(name(".gz.tmp"), "ha").unwrap();
    let left = house.logs().join("web-out.log.2019-01-01T00-00-00.000Z.gz.tmp");
    let file = File::create(&left).unwrap();
    let then = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    file.set_modified(then).unwrap();
    let store = house.start(1);
    let lines = numbers(0..200);
    put(&store, 0, &lines);
    until("all are compressed", || {
        let there = aside::of_file(&house.out());
        there.len() > 2 && there.iter().all(|aside| aside.packed == Packed::Gzip)
    });
    until("no half is left", || house.names().iter().all(|name| !name.ends_with(".tmp")));
    finish(&store);
    assert_eq!(all(&house).concat(), format!("ancient\n{lines}"));
}

#[test]
fn lines_of_a_shared_file_are_whole_in_each_file() {
    let house = House::new(|spec, _| {
        spec.merge_logs = Some(true);
        spec.log_rotate = Some(LogRotate { keep: Some(1000), ..plain(300) });
    });
    let store = house.start(2);
    let mine = |worker: u32| (0..200).map(move |n| format!("{worker} {n}\n")).collect::<String>();
    let (one, two) = (mine(1), mine(2));
    for (one, two) in one.as_bytes().chunks(31).zip(two.as_bytes().chunks(31)) {
        store.put(Source { pid: 1, ..by(1) }, Stream::Out, one);
        store.put(Source { pid: 2, ..by(2) }, Stream::Out, two);
    }
    finish(&store);
    let stored = all(&house).concat();
    let of = |worker: &str| {
        stored.split_inclusive('\n').filter(|line| line.starts_with(worker)).collect::<String>()
    };
    assert_eq!((of("1 "), of("2 ")), (one, two));
}

#[test]
fn a_file_that_cannot_be_renamed_is_written_on() {
    let house = house(plain(100));
    let store = house.start(1);
    put(&store, 0, "first\n");
    until("it is written", || text(&house.out()) == "first\n");
    // The name that it would get is as long as a name may be and longer.
    let long = house.home.path().join("l".repeat(250));
    let web =
        oneport_wire::control::AppSpec { out_file: Some(long.display().to_string()), ..house.spec.clone() };
    store.replan(crate::logs::Plan::of(&web, &house.logs(), 1));
    let lines = numbers(0..100);
    put(&store, 0, &lines);
    until("it is said", || store.trouble().is_some());
    assert!(store.trouble().unwrap().starts_with("cannot rotate `"));
    finish(&store);
    assert_eq!(text(&long), lines);
    assert_eq!(store.dropped(), 0);
}
