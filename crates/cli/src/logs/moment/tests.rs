use super::*;

fn written(format: &str, civil: &str) -> String {
    let mut out = Vec::new();
    Moment::parse(format).write(&civil.parse().unwrap(), &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn words_that_people_use_are_those_of_moment() {
    let at = "2026-11-03T05:07:09.045678912+01:30[+01:30]";
    for (format, expected) in [
        ("YYYY-MM-DDTHH:mm:ss", "2026-11-03T05:07:09"),
        ("YYYY-MM-DD HH:mm:ss.SSS Z", "2026-11-03 05:07:09.045 +01:30"),
        ("YY M D H h m s S SS ZZ", "26 11 3 5 5 7 9 0 04 +0130"),
        ("ddd, DD MMM YYYY hh:mm A", "Tue, 03 Nov 2026 05:07 AM"),
        ("dddd D. MMMM a dd d E", "Tuesday 3. November am Tu 2 2"),
        ("X x", "1793677029 1793677029045"),
        ("[at] HH [o'clock]", "at 05 o'clock"),
        ("Do Q DDD DDDD WW GGGG k", "3rd 4 307 307 45 2026 5"),
        ("LT|L", "5:07 AM|11/03/2026"),
        (r"\M\D | é [", "MD | é ["),
        ("", ""),
    ] {
        assert_eq!(written(format, at), expected, "{format}");
    }
}

#[test]
fn noon_and_midnight_are_twelve() {
    assert_eq!(written("h A k", "2026-01-01T00:00:00+00:00[UTC]"), "12 AM 24");
    assert_eq!(written("hh a H", "2026-01-11T12:00:00+00:00[UTC]"), "12 pm 12");
    assert_eq!(written("Do Z", "2026-01-11T12:00:00-03:00[-03:00]"), "11th -03:00");
}

#[test]
fn any_text_is_a_format() {
    for format in ["[[a]]", "[", "]", "\\", "SSSSSSSSSSSS", "LLLLL", "日本 YYYY", "\u{0}%s{}"] {
        written(format, "2026-01-01T00:00:00+00:00[UTC]");
    }
    assert_eq!(written("日本 YYYY", "2026-01-01T00:00:00+00:00[UTC]"), "日本 2026");
}

#[test]
fn without_a_format_it_is_the_time_of_json() {
    let mut stamps = Stamps::new(None);
    assert_eq!(stamps.of(1_793_677_029_045), b"2026-11-03T03:37:09.045Z");
    assert_eq!(stamps.of(-1), b"1969-12-31T23:59:59.999Z");
    assert!(!stamps.of(i64::MAX).is_empty());
}
