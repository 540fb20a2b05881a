use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;

use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::super::queue::{Batch, Entry, Queue};
use super::super::writer::Writer;
use crate::logs::testing::{House, by, finish, put, text, until};
use crate::logs::{Source, Stream};

const MIB: usize = 1 << 20;

fn fifo() -> House {
    let house = House::new(|spec, home| spec.out_file = Some(home.join("fifo").display().to_string()));
    let path = house.home.path().join("fifo");
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    house
}

#[test]
fn a_fifo_that_nobody_opens_costs_its_own_bytes_and_nothing_else() {
    let house = fifo();
    let store = house.start(1);
    for _ in 0..200 {
        store.put(by(0), Stream::Out, &[b'x'; 65_536]);
        store.put(by(0), Stream::Err, b"an error\n");
    }
    until("it is said", || store.trouble().is_some_and(|trouble| trouble.starts_with("cannot open `")));
    finish(&store);
    assert!(text(&house.logs().join("web-error.log")).starts_with("an error\n"));
    assert!(store.dropped() >= 200 * 65_536);
}

#[test]
fn a_fifo_that_is_no_longer_read_drops_and_tells_when_it_is_read_again() {
    let house = fifo();
    let path = house.home.path().join("fifo");
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
    let mut reader = fs::File::options().read(true).custom_flags(flags).open(&path).unwrap();
    let store = house.start(1);
    let mut sent = 0;
    // The reader stops; the pipe and what may wait are full soon.
    until("something is dropped", || {
        put(&store, 0, &"a line that nobody reads for now\n".repeat(100));
        store.dropped() > 0
    });
    sent += 1;
    let mut all = Vec::new();
    let mut buffer = vec![0; MIB];
    let mut read = || {
        while let Ok(n) = reader.read(&mut buffer)
            && n > 0
        {
            all.extend_from_slice(&buffer[..n]);
        }
        String::from_utf8_lossy(&all).into_owned()
    };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !read().contains("[oneport] ") {
        put(&store, 0, "it is read again\n");
        std::thread::yield_now();
        sent += 1;
        assert!(std::time::Instant::now() < end, "after {sent} lines");
    }
    let told = read();
    let gap = told.lines().find(|line| line.starts_with("[oneport] ")).unwrap();
    assert!(gap.ends_with(" bytes dropped here: the disk was full or too slow"), "{gap}");
}

#[test]
fn a_full_disk_is_counted_and_ends_nothing() {
    let house = House::new(|spec, _| spec.out_file = Some("/dev/full".into()));
    let store = house.start(1);
    for _ in 0..100 {
        put(&store, 0, "no room for this\n");
    }
    store.put(by(0), Stream::Err, b"there is room for this\n");
    until("it is said", || {
        store.trouble().as_deref() == Some("cannot write to `/dev/full`: no space left on device")
    });
    finish(&store);
    assert_eq!(store.dropped(), 1700);
    assert_eq!(text(&house.logs().join("web-error.log")), "there is room for this\n");
}

#[test]
fn what_is_missing_is_told_in_its_place_when_writing_goes_on() {
    let house = House::new(|_, _| {});
    // In the place of the file there is something that cannot be written to.
    fs::create_dir_all(house.out()).unwrap();
    let store = house.start(1);
    put(&store, 0, "lost\n");
    until("it is counted", || store.dropped() == 5);
    assert!(store.trouble().unwrap().ends_with("web-out.log`: is a directory"));
    fs::remove_dir(house.out()).unwrap();
    until("it goes on", || {
        put(&store, 0, "kept\n");
        house.out().exists()
    });
    finish(&store);
    let lost = store.dropped();
    let stored = text(&house.out());
    let gap = format!("[oneport] {lost} bytes dropped here: the disk was full or too slow\n");
    assert!(stored.starts_with(&format!("{gap}kept\n")), "{stored}");
    assert_eq!(store.trouble(), None);
}

#[test]
fn in_json_and_with_times_a_gap_looks_like_every_line() {
    for (json, expected) in [(true, "\"message\":\"[oneport] 5 bytes"), (false, "now: [oneport] 5 bytes")] {
        let house = House::new(|spec, _| {
            spec.log_date_format = Some("[now]".into());
            spec.log_type = json.then_some(oneport_wire::control::LogType::Json);
        });
        let queue = Queue::new(&house.plan(1));
        let queue = std::sync::Arc::new(queue);
        queue.put(by(0), Stream::Out, b"begun ");
        queue.order(Entry::Gap { source: by(0), stream: Stream::Out, bytes: 5 });
        queue.put(by(0), Stream::Out, b"goes on\n");
        queue.order(Entry::Finish(Box::new(|| {})));
        Writer::new(queue, house.plan(1)).run();
        let stored = text(&house.out());
        let lines: Vec<&str> = stored.lines().collect();
        assert_eq!(lines.len(), 3, "{stored}");
        assert!(lines[1].contains(expected), "{stored}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_no_death() {
    const NAME: &str = "a_limit_on_the_size_of_files_is_an_error_and_no_death";
    if std::env::var_os("ONEPORT_TEST_LIMITED").is_none() {
        let this = std::env::current_exe().unwrap();
        let mut limited = Command::new("sh");
        limited.args(["-c", "ulimit -f 8; exec \"$0\" \"$@\""]).arg(this).args([NAME, "--test-threads=1"]);
        let done = limited.env("ONEPORT_TEST_LIMITED", "1").output().unwrap();
        let words = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.status.success() && words.contains("1 passed"), "{:?}: {words}", done.status);
        return;
    }
    let house = House::new(|_, _| {});
    let store = house.start(1);
    put(&store, 0, &"a line\n".repeat(10_000));
    until("it is said", || store.trouble().is_some_and(|trouble| trouble.ends_with("file too large")));
    finish(&store);
    let stored = text(&house.out()).len() as u64;
    assert!(stored > 0 && stored + store.dropped() == 70_000);
}

#[test]
fn who_puts_in_is_never_kept_waiting_and_waiting_takes_no_more_than_its_room() {
    let house = House::new(|_, _| {});
    // Without a thread nothing is taken out.
    let queue = Queue::new(&house.plan(1));
    for _ in 0..100 {
        queue.put(by(0), Stream::Out, &[b'x'; 65_536]);
        queue.put(by(1), Stream::Err, b"y");
    }
    let kept = 100 * 65_537 - queue.dropped();
    assert!((MIB as u64 - 3 * 65_536..MIB as u64).contains(&kept), "{kept}");

    let queue = Queue::new(&house.plan(1));
    for n in 0..200_000_u32 {
        queue.put(by(n % 2), Stream::Out, b"x");
        let source = Source { pid: i32::try_from(n).unwrap(), ..by(0) };
        queue.order(Entry::LineEnd { source, stream: Stream::Out });
    }
    let mut batch = Batch::default();
    queue.next(&mut batch, None);
    assert!(batch.bytes.len() + size_of_val(batch.entries.as_slice()) <= 3 * MIB);
}

#[test]
fn who_lets_the_thread_catch_up_does_not_wait_for_one_that_does_not_write() {
    let house = House::new(|_, _| {});
    let queue = Queue::new(&house.plan(1));
    queue.put(by(0), Stream::Out, &vec![b'x'; MIB - 4096]);
    let began = std::time::Instant::now();
    // Each would be ten milliseconds, if it were tried again.
    (0..10_000).for_each(|_| queue.breathe());
    assert!(began.elapsed() < std::time::Duration::from_secs(10));
    // And one that writes is waited for only as long as it takes.
    let mut batch = Batch::default();
    queue.next(&mut batch, None);
    std::thread::scope(|scope| {
        scope.spawn(|| queue.next(&mut batch, Some(std::time::Duration::from_millis(1))));
        until("there is room", || {
            queue.write_bytes(1);
            queue.breathe();
            let before = queue.dropped();
            queue.put(by(0), Stream::Out, b"x");
            queue.dropped() == before
        });
    });
}
