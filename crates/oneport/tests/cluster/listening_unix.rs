//! Listening on Unix sockets, in every way in which connections come: paths, permissions, and what is left behind.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use oneport::Signal;

use crate::harness::{PATIENCE, programs};
use crate::listening_apart::{Directory, run_apart, test_apart};
use crate::listening_ways::{Way, in_every_way, in_ways, open};

programs! { has_a_mask, lives_deep_down }

/// Which worker and which of its tasks answers there.
pub(crate) fn who_on(path: impl AsRef<Path>) -> (u32, i64) {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
    let (worker, task) = answer.trim_end().split_once(' ').unwrap();
    (worker.parse().unwrap(), task.parse().unwrap())
}

in_every_way! {
    /// The listener's address is the path; clients have none, which the worker itself checks.
    fn workers_share_a_path_and_it_goes_with_them(way: Way) {
        let (mut test, directory) = (way.cluster(2), Directory::new());
        let path = directory.join("socket");
        for worker in 1..=2 {
            assert_eq!(open(&mut test, worker, &format!("unix a {path}")), path);
            // Paths cannot be shared by several sockets.
            let seen = if way == Way::Lanes { Way::Stream } else { way };
            assert_eq!(test.ask(worker, "way a"), format!("{seen:?}"));
            let told = test.event(worker, "listening").address.unwrap();
            assert_eq!((told.text.as_str(), told.socket), (path.as_str(), None));
        }
        for _ in 0..20 {
            who_on(&path);
        }
        test.stop();
        assert!(!Path::new(&path).exists());
    }
}

in_ways! { Stream, Channel;
    fn workers_are_served_in_strict_rotation(way: Way) {
        let (mut test, directory) = (way.cluster(3), Directory::new());
        let path = directory.join("socket");
        for worker in 1..=3 {
            open(&mut test, worker, &format!("unix a {path}"));
        }
        let round = [(); 3].map(|()| who_on(&path).0);
        assert_eq!(round.iter().sum::<u32>(), 6);
        for _ in 0..10 {
            assert_eq!([(); 3].map(|()| who_on(&path).0), round);
        }
        test.stop();
    }
}

in_every_way! {
    fn a_second_listener_on_one_path_in_one_worker_is_refused(way: Way) {
        let (mut test, directory) = (way.cluster(1), Directory::new());
        let path = directory.join("socket");
        open(&mut test, 1, &format!("unix a {path}"));
        assert_eq!(test.ask(1, &format!("unix b {path}")), "AddrInUse");
        assert_eq!(who_on(&path), (1, 0));
        assert_eq!(test.ask(1, "close a"), "closed");
        open(&mut test, 1, &format!("unix b {path}"));
        assert_eq!(who_on(&path), (1, 0));
        test.stop();
    }
}

in_every_way! {
    fn a_path_stays_while_its_only_worker_is_replaced(way: Way) {
        let (mut test, directory) = (way.cluster(1), Directory::new());
        let path = directory.join("socket");
        open(&mut test, 1, &format!("unix a {path}"));
        test.worker(1).kill(Signal::KILL).unwrap();
        test.exit(1);
        let early = std::thread::spawn({
            let path = path.clone();
            move || who_on(path)
        });
        test.fork();
        open(&mut test, 2, &format!("unix a {path}"));
        assert_eq!(early.join().unwrap(), (2, 0));
        test.stop();
    }
}

in_every_way! {
    fn permissions_are_those_asked_for_under_any_mask(way: Way) {
        run_apart("has_a_mask", way, "umask 077", |_| {});
        run_apart("has_a_mask", way, "umask 022", |_| {});
    }
}

async fn has_a_mask() {
    test_apart(|way| {
        let (mut test, directory) = (way.cluster(2), Directory::new());
        let mode = |name: &str| std::fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
        let usual = 0o777 & !mask();
        for (wishes, more) in
            [("", 0), (" readable", 0o444), (" writable", 0o222), (" readable writable", 0o666)]
        {
            let name = format!("socket{more}");
            let path = directory.join(&name);
            open(&mut test, 1, &format!("unix {name} {path}{wishes}"));
            assert_eq!(mode(&name), usual | more);
            // A sibling that wants more gets it, one that wants less takes nothing away.
            open(&mut test, 2, &format!("unix {name} {path} readable"));
            assert_eq!(mode(&name), usual | more | 0o444);
            who_on(&path);
        }
        test.stop();
    });
}

/// The mask of new files.
fn mask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(mask.trim(), 8).unwrap()
}

in_every_way! {
    fn a_relative_path_may_be_longer_than_an_address_where_the_primary_is_near_it(way: Way) {
        let directory = Directory::new();
        let deep = directory.path().join("d".repeat(100));
        std::fs::create_dir(&deep).unwrap();
        run_apart("lives_deep_down", way, "", |command| _ = command.current_dir(&deep));
        assert!(!deep.join("socket").exists());
    }
}

async fn lives_deep_down() {
    test_apart(|way| {
        let mut test = way.cluster(2);
        for worker in 1..=2 {
            open(&mut test, worker, "unix a socket");
        }
        let absolute = std::path::absolute("socket").unwrap();
        assert!(absolute.as_os_str().len() > 107 && absolute.exists());
        assert_eq!(test.event(1, "listening").address.unwrap().text, absolute.to_str().unwrap());
        who_on("socket");
        test.stop();
        assert!(!absolute.exists());
    });
}
