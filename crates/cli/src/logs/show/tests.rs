use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use oneport_wire::control::{ByteSize, LogRotate};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::logs::testing::{House, finish, put, until};

fn how(lines: usize) -> Show {
    Show {
        lines,
        only: None,
        look: Look::Raw,
        timestamp: None,
        highlight: None,
        follow: false,
        paint: Paint::Plain,
    }
}

fn wanted(app: &str, id: u32, stream: Stream, path: &Path) -> Wanted {
    Wanted { app: app.into(), id, stream, path: path.to_owned(), from: None }
}

fn shown(sources: &[Wanted], how: &Show) -> String {
    let mut out = Vec::new();
    show(sources, how, &mut out, &|| true).unwrap();
    String::from_utf8(out).unwrap()
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|n| format!("line {n}\n")).collect()
}

fn gzip(path: &Path, text: &str) {
    let mut encoder = flate2::write::GzEncoder::new(File::create(path).unwrap(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap();
}

/// A folder with `out` and `err` of two apps.
fn folder() -> (TempDir, Vec<Wanted>) {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = Vec::new();
    for (app, id) in [("web", 0), ("worker", 11)] {
        for (stream, word) in [(Stream::Out, "out"), (Stream::Err, "error")] {
            let path = folder.path().join(format!("{app}-{word}.log"));
            fs::write(&path, format!("{app} {word} 1\n{app} {word} 2\n")).unwrap();
            sources.push(wanted(app, id, stream, &path));
        }
    }
    (folder, sources)
}

#[test]
fn the_last_lines_have_a_heading_for_each_file_and_bars_that_align() {
    let (folder, mut sources) = folder();
    sources.push(wanted("web", 0, Stream::Out, &folder.path().join("not there")));
    let text = shown(&sources, &Show { look: Look::Labelled, ..how(1) });
    let text = text.replace(&folder.path().display().to_string(), "");
    let expected = "\
==> /web-out.log: the last line
0|web      | web out 2

==> /web-error.log: the last line
0|web      | web error 2

==> /worker-out.log: the last line
11|worker  | worker out 2

==> /worker-error.log: the last line
11|worker  | worker error 2
";
    assert_eq!(text, expected);
}

#[test]
fn one_stream_alone_and_each_file_once() {
    let (_folder, mut sources) = folder();
    let again = Wanted { id: 1, ..sources[1].clone() };
    sources.push(again);
    let text = shown(&sources, &Show { only: Some(Stream::Err), ..how(15) });
    assert_eq!(text, "web error 1\nweb error 2\nworker error 1\nworker error 2\n");
    assert_eq!(shown(&sources, &how(0)), "");
}

#[test]
fn colours_are_by_app_and_errors_are_red() {
    let (_folder, sources) = folder();
    let look = Show { look: Look::Labelled, paint: Paint::Colours, highlight: Some("2".into()), ..how(1) };
    let text = shown(&sources, &look);
    assert!(text.contains("\u{1b}[36m0|web      | \u{1b}[0mweb out \u{1b}[7m2\u{1b}[0m\n"), "{text:?}");
    assert!(text.contains("\u{1b}[31m11|worker  | "));
    assert!(text.contains("\u{1b}[32m11|worker  | "));
    let plain = shown(&sources, &Show { paint: Paint::Plain, ..look });
    assert!(!plain.contains('\u{1b}'));
}

#[test]
fn json_is_one_object_a_line_and_those_of_ours_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let ours = r#"{"message":"m","timestamp":"t","type":"out","process_id":3,"app_name":"web"}"#;
    fs::write(&path, format!("{ours}\n{{\"message\":\"other\"}}\nwords\r\n")).unwrap();
    let text = shown(&[wanted("web", 3, Stream::Err, &path)], &Show { look: Look::Json, ..how(15) });
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], ours);
    let values: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values[1]["message"], "{\"message\":\"other\"}");
    assert_eq!((&values[2]["message"], &values[2]["type"]), (&"words".into(), &"err".into()));
    assert_eq!((&values[2]["process_id"], &values[2]["timestamp"]), (&3.into(), &Value::Null));
    let pairs = shown(&[wanted("web", 3, Stream::Err, &path)], &Show { look: Look::Pairs, ..how(1) });
    assert_eq!(pairs, "app=web id=3 type=err message=words\n");
}

#[test]
fn lines_that_were_put_aside_are_found_compressed_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    gzip(&folder.path().join("file.2026-01-01T00-00-00.000Z.gz"), &numbers(0..10));
    gzip(&folder.path().join("file.2026-01-02T00-00-00.000Z.gz"), &numbers(10..20));
    fs::write(folder.path().join("file.2026-01-03T00-00-00.000Z"), numbers(20..30)).unwrap();
    let of = |lines| shown(&[wanted("web", 0, Stream::Out, &path)], &how(lines));
    assert_eq!(of(5), numbers(25..30), "the file itself is not there yet");
    fs::write(&path, numbers(30..33)).unwrap();
    assert_eq!(of(2), numbers(31..33));
    assert_eq!(of(15), numbers(18..33));
    assert_eq!(of(100), numbers(0..33));
}

/// `show` on a thread, and what it has shown so far.
struct Shown {
    text: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<io::Result<()>>>,
}

struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shown {
    fn begin(sources: Vec<Wanted>, how: Show) -> Shown {
        let (text, stop) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::new(AtomicBool::new(false)));
        let (into, stopped) = (text.clone(), stop.clone());
        let how = Show { follow: true, ..how };
        let work = move || show(&sources, &how, &mut Shared(into), &|| stopped.load(Ordering::Relaxed));
        Shown { text, stop, thread: Some(thread::spawn(work)) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap()).into_owned()
    }

    fn until(&self, expected: &str) {
        until(expected, || self.text() == expected);
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap().unwrap();
    }
}

fn append(path: &Path, text: &str) {
    File::options().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn a_file_is_followed_across_everything_that_happens_to_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("later/file");
    let shown = Shown::begin(vec![wanted("web", 0, Stream::Out, &path)], how(15));
    fs::create_dir(path.parent().unwrap()).unwrap();
    let mut expected = String::new();
    let mut step = |text: &str| {
        append(&path, text);
        expected += text;
        shown.until(&expected);
    };
    step("it is there\n");
    step("it grows\n");
    fs::rename(&path, path.with_extension("1")).unwrap();
    step("after a rename\n");
    fs::remove_file(&path).unwrap();
    step("after a removal\n");
    File::options().write(true).truncate(true).open(&path).unwrap();
    step("cut\n");
    let aside = folder.path().join("later/file.2026-01-03T00-00-00.000Z");
    fs::rename(&path, aside).unwrap();
    step("after it was put aside\n");
}

#[test]
fn lines_come_whole_and_an_unfinished_one_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "first\nsec").unwrap();
    let shown = Shown::begin(vec![wanted("web", 0, Stream::Out, &path)], how(15));
    shown.until("first\n");
    append(&path, "ond\nthird");
    until("the third is shown", || {
        shown.text() == "first\nsecond\nthird\n" || shown.text() == "first\nsec\nond\nthird\n"
    });
}

#[test]
fn several_files_are_followed_in_the_order_in_which_they_grow() {
    let (_folder, sources) = folder();
    let look = Show { look: Look::Labelled, timestamp: Some("[now]".into()), ..how(1) };
    let shown = Shown::begin(sources.clone(), look);
    until("all are open", || shown.text().ends_with("worker error 2\n"));
    let mut expected = shown.text();
    for place in [0, 3, 1, 0] {
        append(&sources[place].path, "more\n");
        let label = if place == 3 { "11|worker  " } else { "0|web      " };
        expected += &format!("now: {label}| more\n");
        shown.until(&expected);
    }
}

#[test]
fn nothing_is_lost_or_shown_twice_while_files_are_put_aside_in_a_flood() {
    let house = House::new(|spec, _| {
        let max_size = Some(ByteSize(2_000));
        spec.log_rotate = Some(LogRotate { max_size, keep: Some(100_000), ..LogRotate::default() });
    });
    let store = house.start(1);
    put(&store, 0, &numbers(0..100));
    until("they are there", || store.progress() > 0 && house.out().exists());
    let shown = Shown::begin(vec![wanted("web", 0, Stream::Out, &house.out())], how(1_000_000));
    for n in 1..100 {
        let before = store.progress();
        put(&store, 0, &numbers(n * 100..n * 100 + 100));
        until("it is written", || store.progress() > before);
    }
    finish(&store);
    let all = numbers(0..10_000);
    until("all are shown", || shown.text().len() >= all.len());
    assert!(shown.text() == all);
    assert!(house.names().len() > 20);
}

#[test]
fn it_ends_when_nobody_reads() {
    struct Gone;
    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_folder, sources) = folder();
    let error = show(&sources, &Show { follow: true, ..how(15) }, &mut Gone, &|| false).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
}

#[test]
fn files_are_emptied_and_what_is_not_there_is_empty() {
    let (folder, sources) = folder();
    let mut paths: Vec<PathBuf> = sources.into_iter().map(|wanted| wanted.path).collect();
    paths.extend([folder.path().join("not there"), "/dev/full".into()]);
    empty_files(&paths).unwrap();
    assert!(paths[..4].iter().all(|path| fs::metadata(path).unwrap().len() == 0));
    fs::write(&paths[0], "full").unwrap();
    let words = empty_files(&[folder.path().to_owned(), paths[0].clone()]).unwrap_err().words();
    assert!(words.ends_with("`: is a directory"), "{words}");
    assert_eq!(fs::metadata(&paths[0]).unwrap().len(), 0, "the others are emptied nevertheless");
}
