//! Times as `log_date_format` writes them: Moment.js' words, in English and in the zone of this machine. A
//! letter that means nothing there stands for itself, as it does there.

use std::io::Write;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

/// A format, read once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
    /// Digits of the fraction of a second, 1 to 9.
    Fraction(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Year,
    YearShort,
    Quarter,
    Month(Width),
    MonthShort,
    MonthName,
    Day(Width),
    DayOrdinal,
    DayOfYear,
    DayOfYearLong,
    Weekday,
    WeekdayTwo,
    WeekdayShort,
    WeekdayName,
    IsoWeekday,
    IsoWeek(Width),
    IsoYear,
    Hour(Width),
    /// 1 to 12.
    Half(Width),
    /// 1 to 24.
    HourFromOne(Width),
    Minute(Width),
    Second(Width),
    Noon,
    NoonSmall,
    /// `+01:00`.
    Offset,
    /// `+0100`.
    OffsetShort,
    UnixSeconds,
    UnixMillis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Plain,
    Two,
}

/// Longer words before those that they begin with.
const WORDS: [(&str, Field); 41] = {
    use Field as F;
    use Width::{Plain, Two};
    [
        ("YYYY", F::Year),
        ("YY", F::YearShort),
        ("Y", F::Year),
        ("GGGG", F::IsoYear),
        ("Q", F::Quarter),
        ("MMMM", F::MonthName),
        ("MMM", F::MonthShort),
        ("MM", F::Month(Two)),
        ("M", F::Month(Plain)),
        ("DDDD", F::DayOfYearLong),
        ("DDD", F::DayOfYear),
        ("DD", F::Day(Two)),
        ("Do", F::DayOrdinal),
        ("D", F::Day(Plain)),
        ("dddd", F::WeekdayName),
        ("ddd", F::WeekdayShort),
        ("dd", F::WeekdayTwo),
        ("d", F::Weekday),
        ("E", F::IsoWeekday),
        ("e", F::Weekday),
        ("WW", F::IsoWeek(Two)),
        ("W", F::IsoWeek(Plain)),
        ("HH", F::Hour(Two)),
        ("H", F::Hour(Plain)),
        ("hh", F::Half(Two)),
        ("h", F::Half(Plain)),
        ("kk", F::HourFromOne(Two)),
        ("k", F::HourFromOne(Plain)),
        ("mm", F::Minute(Two)),
        ("m", F::Minute(Plain)),
        ("ss", F::Second(Two)),
        ("s", F::Second(Plain)),
        ("A", F::Noon),
        ("a", F::NoonSmall),
        ("ZZ", F::OffsetShort),
        ("Z", F::Offset),
        ("X", F::UnixSeconds),
        ("x", F::UnixMillis),
        // A day.js habit that is met in PM2's files.
        ("yyyy", F::Year),
        ("yy", F::YearShort),
        ("y", F::Year),
    ]
};

/// Words that stand for several.
const SHORT: [(&str, &str); 6] = [
    ("LTS", "h:mm:ss A"),
    ("LT", "h:mm A"),
    ("LLLL", "dddd, MMMM D, YYYY h:mm A"),
    ("LLL", "MMMM D, YYYY h:mm A"),
    ("LL", "MMMM D, YYYY"),
    ("L", "MM/DD/YYYY"),
];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl Moment {
    pub(crate) fn parse(format: &str) -> Moment {
        let mut moment = Moment { parts: Vec::new() };
        moment.read(format);
        moment
    }

    fn read(&mut self, mut rest: &str) {
        while let Some(letter) = rest.chars().next() {
            let bracketed = rest.strip_prefix('[').and_then(|inner| inner.split_once(']'));
            let escaped = rest.strip_prefix('\\').and_then(|inner| inner.chars().next());
            let fraction = rest.bytes().take_while(|byte| *byte == b'S').count().min(9);
            let short = SHORT.iter().find(|(word, _)| rest.starts_with(word));
            let known = WORDS.iter().find(|(word, _)| rest.starts_with(word));
            if let Some((text, behind)) = bracketed.filter(|(text, _)| !text.contains('[')) {
                self.text(text);
                rest = behind;
            } else if let Some(letter) = escaped {
                self.text(letter.encode_utf8(&mut [0; 4]));
                rest = &rest[1 + letter.len_utf8()..];
            } else if fraction > 0 {
                self.parts.push(Part::Fraction(fraction));
                rest = &rest[fraction..];
            } else if let Some((word, meaning)) = short {
                self.read(meaning);
                rest = &rest[word.len()..];
            } else if let Some((word, field)) = known {
                self.parts.push(Part::Field(*field));
                rest = &rest[word.len()..];
            } else {
                self.text(letter.encode_utf8(&mut [0; 4]));
                rest = &rest[letter.len_utf8()..];
            }
        }
    }

    fn text(&mut self, more: &str) {
        match self.parts.last_mut() {
            Some(Part::Text(text)) => text.push_str(more),
            Some(Part::Field(_) | Part::Fraction(_)) | None => self.parts.push(Part::Text(more.to_owned())),
        }
    }

    /// Whether two times within a second may look different.
    fn is_fine(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Fraction(_) | Part::Field(Field::UnixMillis)))
    }

    pub(crate) fn write(&self, at: &Zoned, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Field(field) => field.write(at, out),
                Part::Fraction(digits) => {
                    let all = format!("{:09}", at.subsec_nanosecond());
                    out.extend_from_slice(&all.as_bytes()[..*digits]);
                }
            }
        }
    }
}

impl Field {
    fn write(self, at: &Zoned, out: &mut Vec<u8>) {
        let mut number = |number: i64, width: usize| {
            // A vector takes everything.
            let _ = write!(out, "{number:0width$}");
        };
        let mut two = |value: i8, width: Width| match width {
            Width::Plain => number(value.into(), 1),
            Width::Two => number(value.into(), 2),
        };
        let half = if at.hour() % 12 == 0 { 12 } else { at.hour() % 12 };
        let month = MONTHS[usize::from(at.month().unsigned_abs().saturating_sub(1)).min(11)];
        let weekday = at.weekday().to_sunday_zero_offset();
        let weekday_name = WEEKDAYS[usize::from(weekday.unsigned_abs()).min(6)];
        let (sign, minutes) =
            (if at.offset().seconds() < 0 { '-' } else { '+' }, at.offset().seconds().abs() / 60);
        let noon = at.hour() >= 12;
        match self {
            Field::Year => number(at.year().into(), 4),
            Field::YearShort => number(i64::from(at.year()).rem_euclid(100), 2),
            Field::Quarter => number(i64::from((at.month() + 2) / 3), 1),
            Field::Month(width) => two(at.month(), width),
            Field::MonthShort => out.extend_from_slice(&month.as_bytes()[..3]),
            Field::MonthName => out.extend_from_slice(month.as_bytes()),
            Field::Day(width) => two(at.day(), width),
            Field::DayOrdinal => {
                let _ = write!(out, "{}{}", at.day(), ordinal(at.day()));
            }
            Field::DayOfYear => number(at.day_of_year().into(), 1),
            Field::DayOfYearLong => number(at.day_of_year().into(), 3),
            Field::Weekday => number(weekday.into(), 1),
            Field::WeekdayTwo => out.extend_from_slice(&weekday_name.as_bytes()[..2]),
            Field::WeekdayShort => out.extend_from_slice(&weekday_name.as_bytes()[..3]),
            Field::WeekdayName => out.extend_from_slice(weekday_name.as_bytes()),
            Field::IsoWeekday => number(at.weekday().to_monday_one_offset().into(), 1),
            Field::IsoWeek(width) => two(at.date().iso_week_date().week(), width),
            Field::IsoYear => number(at.date().iso_week_date().year().into(), 4),
            Field::Hour(width) => two(at.hour(), width),
            Field::Half(width) => two(half, width),
            Field::HourFromOne(width) => two(if at.hour() == 0 { 24 } else { at.hour() }, width),
            Field::Minute(width) => two(at.minute(), width),
            Field::Second(width) => two(at.second(), width),
            Field::Noon => out.extend_from_slice(if noon { b"PM" } else { b"AM" }),
            Field::NoonSmall => out.extend_from_slice(if noon { b"pm" } else { b"am" }),
            Field::Offset => {
                let _ = write!(out, "{sign}{:02}:{:02}", minutes / 60, minutes % 60);
            }
            Field::OffsetShort => {
                let _ = write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60);
            }
            Field::UnixSeconds => number(at.timestamp().as_second(), 1),
            Field::UnixMillis => number(at.timestamp().as_millisecond(), 1),
        }
    }
}

fn ordinal(day: i8) -> &'static str {
    match (day % 10, day / 10) {
        (1, tens) if tens != 1 => "st",
        (2, tens) if tens != 1 => "nd",
        (3, tens) if tens != 1 => "rd",
        (_, _) => "th",
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// The last time that was written is kept: in a flood most lines have the same.
#[derive(Clone, Debug)]
pub(crate) struct Stamps {
    /// `None`: ISO 8601 with milliseconds, in UTC, as JavaScript's `Date` is written in JSON.
    moment: Option<Moment>,
    step: i64,
    last: Option<i64>,
    text: Vec<u8>,
}

impl Stamps {
    pub(crate) fn new(moment: Option<Moment>) -> Stamps {
        let step = if moment.as_ref().is_none_or(Moment::is_fine) { 1 } else { 1000 };
        Stamps { moment, step, last: None, text: Vec::new() }
    }

    /// The time in milliseconds since 1970, as text.
    pub(crate) fn of(&mut self, at: i64) -> &[u8] {
        let at = at.div_euclid(self.step) * self.step;
        if self.last != Some(at) {
            self.last = Some(at);
            self.text.clear();
            let time = Timestamp::from_millisecond(at).unwrap_or(Timestamp::UNIX_EPOCH);
            match &self.moment {
                Some(moment) => moment.write(&time.to_zoned(TimeZone::system()), &mut self.text),
                None => {
                    let _ = write!(self.text, "{time:.3}");
                }
            }
        }
        &self.text
    }
}

#[cfg(test)]
mod tests;
