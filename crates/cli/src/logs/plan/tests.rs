use super::*;
use oneport_wire::control::ByteSize;

fn spec(name: &str) -> AppSpec {
    AppSpec { name: name.into(), ..AppSpec::default() }
}

fn paths(spec: &AppSpec, instances: u32, id: u32) -> (String, String, String) {
    let paths = Plan::of(spec, Path::new("/home/logs"), instances).paths(id);
    let word = |path: Option<String>| path.unwrap_or_else(|| "-".into());
    (word(paths.out), word(paths.error), word(paths.both))
}

fn texts(out: &str, error: &str, both: &str) -> (String, String, String) {
    (out.into(), error.into(), both.into())
}

#[test]
fn one_worker_has_plain_names_and_several_have_numbered_ones() {
    let web = spec("web");
    assert_eq!(paths(&web, 1, 3), texts("/home/logs/web-out.log", "/home/logs/web-error.log", "-"));
    assert_eq!(paths(&web, 2, 3), texts("/home/logs/web-out-3.log", "/home/logs/web-error-3.log", "-"));
    let merged = AppSpec { merge_logs: Some(true), ..spec("web") };
    assert_eq!(paths(&merged, 2, 3), paths(&web, 1, 3));
    let apart = AppSpec { merge_logs: Some(false), ..spec("web") };
    assert_eq!(paths(&apart, 1, 3), paths(&web, 2, 3));
}

#[test]
fn configured_files_are_numbered_before_their_extension() {
    let web = AppSpec {
        out_file: Some("/var/log/o.txt".into()),
        error_file: Some("/var/log/e".into()),
        log_file: Some("/x/.hidden".into()),
        ..spec("web")
    };
    assert_eq!(paths(&web, 1, 0), texts("/var/log/o.txt", "/var/log/e", "/x/.hidden"));
    assert_eq!(paths(&web, 2, 0), texts("/var/log/o-0.txt", "/var/log/e-0", "/x/.hidden-0"));
}

#[test]
fn nowhere_is_nowhere() {
    let web = AppSpec { out_file: Some("/dev/null".into()), error_file: Some("NULL".into()), ..spec("web") };
    assert_eq!(paths(&web, 4, 0), texts("-", "-", "-"));
    assert!(Plan::of(&web, Path::new("/l"), 1).stores_nothing());
    assert!(Plan::of(&AppSpec { disable_logs: true, ..spec("web") }, Path::new("/l"), 1).stores_nothing());
}

#[test]
fn one_file_for_both_streams_is_written_once() {
    let all = Some("/l/all.log".to_owned());
    let web = AppSpec { out_file: all.clone(), error_file: all.clone(), log_file: all, ..spec("web") };
    let plan = Plan::of(&web, Path::new("/l"), 1);
    assert_eq!(plan.files(0, Stream::Err), [PathBuf::from("/l/all.log")]);
}

#[test]
fn names_of_apps_become_names_of_files_and_stay_different() {
    assert_eq!(file_name("web-1.api_2"), "web-1.api_2");
    assert_eq!(file_name("caféあ"), "caféあ");
    assert_eq!(file_name("../etc/x y"), "%2E.%2Fetc%2Fx%20y");
    assert_eq!((file_name(""), file_name("%")), ("%".into(), "%25".into()));
    let (long, longer) = (file_name(&"é/".repeat(2000)), file_name(&"é/".repeat(2001)));
    assert!(long.len() < 200 && long != longer);
    assert!(!file_name("a\0b\nc").contains(['\0', '\n', '/']));
}

#[test]
fn files_of_slots_that_are_gone_are_known_and_those_of_other_apps_are_not() {
    let plan = Plan::of(&spec("web"), Path::new("/l"), 4);
    let owned = |path: &str| plan.owns(Path::new(path));
    assert!(owned("/l/web-out-17.log") && owned("/l/web-out.log"), "it had one worker once");
    for other in ["/l/web-out-017.log", "/l/web-out-x.log", "/l/web-2-out-1.log", "/web-out-1.log"] {
        assert!(!owned(other), "{other}");
    }
    let elsewhere = AppSpec { out_file: Some("/var/log/a.log".into()), ..spec("web") };
    let one = Plan::of(&elsewhere, Path::new("/l"), 1);
    assert!(one.owns(Path::new("/var/log/a.log")) && !one.owns(Path::new("/var/log/a-1.log")));
    let two = Plan::of(&elsewhere, Path::new("/l"), 2);
    assert!(two.owns(Path::new("/var/log/a-1.log")) && !two.owns(Path::new("/var/log/a.log")));
}

#[test]
fn many_files_are_cut_earlier_so_that_the_sum_holds() {
    let rotation = |max_size, max_total| {
        Rotation::of(&LogRotate {
            max_size: Some(ByteSize(max_size)),
            max_total: Some(ByteSize(max_total)),
            ..LogRotate::default()
        })
    };
    assert_eq!(rotation(10 * MIB, 200 * MIB).size_of_each(2), Some(10 * MIB));
    assert_eq!(rotation(10 * MIB, 200 * MIB).size_of_each(40), Some(200 * MIB / 80));
    assert_eq!(rotation(0, 200 * MIB).size_of_each(1), Some(100 * MIB));
    assert_eq!(rotation(0, 0).size_of_each(1), None);
    assert_eq!(rotation(0, 1).size_of_each(1), Some(SMALLEST));
}
