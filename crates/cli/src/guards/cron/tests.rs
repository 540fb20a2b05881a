use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Span, Zoned, civil};

use super::{LONGEST_WAIT, Schedule, Timetable};

/// A moment in Berlin, whose clocks go on at 02:00 on 2026-03-29 and back at 03:00 on 2026-10-25. Spelled as a rule, so that no
/// table of zones is needed.
fn berlin(text: &str) -> Zoned {
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    text.parse::<civil::DateTime>().unwrap().to_zoned(zone).unwrap()
}

fn later(moment: &Zoned, seconds: i64) -> Zoned {
    moment.checked_add(Span::new().seconds(seconds)).unwrap()
}

fn parse(text: &str) -> Schedule {
    Schedule::parse(text).unwrap()
}

fn moments(schedule: &str, from: &str, count: usize) -> Vec<String> {
    let schedule = parse(schedule);
    let mut moment = berlin(from);
    let mut found = Vec::new();
    for _ in 0..count {
        moment = schedule.next_after(&moment).unwrap();
        found.push(moment.strftime("%m-%d %H:%M:%S %Z").to_string());
    }
    found
}

#[test]
fn five_fields_six_and_names() {
    let night = "2026-11-20T22:15:30";
    assert_eq!(moments("0 3 * * *", night, 2), ["11-21 03:00:00 CET", "11-22 03:00:00 CET"]);
    assert_eq!(moments("*/20 0 3 * * *", night, 2), ["11-21 03:00:00 CET", "11-21 03:00:20 CET"]);
    assert_eq!(moments("0/15 * * * *", night, 1), ["11-20 22:30:00 CET"]);
    assert_eq!(moments("@daily", night, 1), ["11-21 00:00:00 CET"]);
    assert_eq!(moments("@midnight", night, 1), ["11-21 00:00:00 CET"]);
    assert_eq!(moments("@Weekly", night, 1), ["11-22 00:00:00 CET"]);
    assert_eq!(moments("30 4 * * MON-FRI", night, 1), ["11-23 04:30:00 CET"]);
    assert_eq!(moments("0 0 L * *", night, 1), ["11-30 00:00:00 CET"]);
    assert_eq!(moments("0 0 1 * 0", night, 2), ["11-22 00:00:00 CET", "11-29 00:00:00 CET"], "either day");
    assert_eq!(moments("0 0 * * 7", night, 1), ["11-22 00:00:00 CET"]);
}

#[test]
fn nothing_and_zero_are_never() {
    for text in ["", "  ", "0", " 0 "] {
        assert!(parse(text).is_never());
        assert_eq!(parse(text).next_after(&berlin("2026-11-20T00:00:00")), None);
    }
    assert!(!parse("* * * * *").is_never());
}

#[test]
fn the_wrong_field_is_named() {
    let error = |text: &str| Schedule::parse(text).unwrap_err();
    assert_eq!(error("61 * * * *"), "minute `61`: expected 0-59");
    assert_eq!(error("0 24 * * *"), "hour `24`: expected 0-23");
    assert_eq!(error("99 0 0 * * *"), "second `99`: expected 0-59");
    assert_eq!(error("0 0 32 * *"), "day of the month `32`: expected 1-31");
    assert_eq!(error("0 0 * 13 *"), "month `13`: expected 1-12");
    assert_eq!(error("0 0 * * 8"), "day of the week `8`: expected 0-7");
    assert!(error("0 x * * *").starts_with("hour `x`: "), "{}", error("0 x * * *"));
    assert_eq!(error("* * *"), "it has 3 fields: expected 5, or 6 with seconds first, or @daily");
    assert_eq!(error("daily"), "it has 1 field: expected 5, or 6 with seconds first, or @daily");
    assert!(error("0 0 0 1 1 * 2030").starts_with("it has 7 fields"));
    assert!(error("@reboot").starts_with("`@reboot` is none of @hourly, "));
    assert_eq!(error("0 0 30 2 *"), "that moment never comes");
}

#[test]
fn strange_texts_are_refused_and_nothing_worse() {
    for text in [
        "* * * * */0",
        "1-0 * * * *",
        "0/0 * * * *",
        "- - - - -",
        ", , , , ,",
        "# # # # #",
        "L L L L L",
        "99999999999999999999 * * * *",
        "*/99999999999 * * * *",
        "0 0 W * *",
        "0 0 * * 1#9",
        "ünf * * * *",
        "@",
    ] {
        let _ = Schedule::parse(text);
    }
}

#[test]
fn a_fixed_time_comes_once_on_the_days_when_the_clocks_are_changed() {
    let spring = moments("30 2 * * *", "2026-03-28T12:00:00", 2);
    assert_eq!(spring, ["03-29 03:00:00 CEST", "03-30 02:30:00 CEST"], "02:30 is left out");
    let autumn = moments("30 2 * * *", "2026-10-24T12:00:00", 2);
    assert_eq!(autumn, ["10-25 02:30:00 CEST", "10-26 02:30:00 CET"], "02:30 is there twice");
    let hourly = moments("0 * * * *", "2026-10-25T01:30:00", 3);
    assert_eq!(hourly, ["10-25 02:00:00 CEST", "10-25 02:00:00 CET", "10-25 03:00:00 CET"]);
}

/// A timetable whose two clocks go alike until one of them is moved.
struct Clocks {
    table: Timetable,
    wall: Zoned,
    boot: Duration,
}

impl Clocks {
    fn new(schedule: &str, from: &str) -> Clocks {
        let (wall, boot) = (berlin(from), Duration::from_secs(1000));
        Clocks { table: Timetable::new(parse(schedule), &wall, boot), wall, boot }
    }

    fn pass(&mut self, seconds: u32) -> bool {
        self.boot += Duration::from_secs(u64::from(seconds));
        self.set(i64::from(seconds))
    }

    fn set(&mut self, seconds: i64) -> bool {
        self.wall = later(&self.wall, seconds);
        self.table.is_due(&self.wall, self.boot)
    }

    fn wait(&self) -> u64 {
        self.table.wait(&self.wall).as_secs()
    }
}

#[test]
fn each_moment_is_due_once_and_the_wait_is_short() {
    let mut clocks = Clocks::new("0 3 * * *", "2026-11-20T02:58:30");
    assert_eq!(clocks.wait(), 60);
    assert!(!clocks.pass(60));
    assert_eq!(clocks.wait(), 30);
    assert!(!clocks.pass(29));
    assert!(clocks.pass(1), "at the moment itself");
    assert!(!clocks.pass(0) && !clocks.pass(1));
    assert_eq!(clocks.wait(), LONGEST_WAIT.as_secs());
    assert!(clocks.pass(24 * 3600), "the next day");
}

#[test]
fn moments_missed_while_the_machine_slept_come_once() {
    let mut clocks = Clocks::new("*/10 * * * *", "2026-11-20T02:58:30");
    assert!(clocks.pass(8 * 3600));
    assert!(!clocks.pass(1));
    assert!(clocks.pass(600));
}

#[test]
fn a_clock_that_is_set_back_a_little_repeats_nothing() {
    let mut clocks = Clocks::new("0 3 * * *", "2026-11-20T02:59:00");
    assert!(clocks.pass(60));
    assert!(!clocks.set(-1800));
    assert!(!clocks.pass(1800) && !clocks.pass(60), "03:00 was had");
    assert!(clocks.pass(24 * 3600));
}

#[test]
fn a_clock_that_is_set_on_a_little_leaves_nothing_out() {
    let mut clocks = Clocks::new("0 3 * * *", "2026-11-20T02:30:00");
    assert!(clocks.set(3600));
    assert!(!clocks.pass(60));
}

#[test]
fn a_clock_that_was_wrong_altogether_begins_anew() {
    let mut clocks = Clocks::new("0 3 * * *", "1999-11-20T02:30:00");
    assert!(!clocks.set(27 * 365 * 24 * 3600), "nothing was missed in 27 years");
    assert!(clocks.pass(24 * 3600));
    assert!(!clocks.set(-27 * 365 * 24 * 3600));
    assert!(clocks.pass(24 * 3600), "and nothing is waited for so long");
}
