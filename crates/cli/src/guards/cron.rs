//! When an app is replaced by the clock: the words of cron, and waiting for the next moment.
//!
//! Invariants: the next moment is computed from the wall clock each time, in the zone that is in force then; no moment comes
//! twice, and one that was missed (the machine slept, or the clock was set on by less than three hours) comes once.

use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Year};
use jiff::{SignedDuration, Timestamp, Zoned};

/// The clock is looked at again at least this often: nobody tells that it was set, or that the machine slept.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// As for cron(8): a clock that is set by less was wrong by a little, or is one that follows the sun, and no moment may be lost
/// or come twice. One that is set by more was wrong altogether, and what it said before means nothing.
const CORRECTION: SignedDuration = SignedDuration::from_hours(3);

/// The fields in the order of six, and the numbers that each takes.
const FIELDS: [(&str, &str); 6] = [
    ("second", "0-59"),
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of the month", "1-31"),
    ("month", "1-12"),
    ("day of the week", "0-7"),
];

/// Moments, as cron writes them: five fields, six with seconds before them, or `@daily` and its like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Schedule(Option<Cron>);

impl Schedule {
    /// Reads it. Nothing, or `0`, is no moment at all. The error says which field is wrong.
    pub(crate) fn parse(text: &str) -> Result<Schedule, String> {
        let text = text.trim();
        if text.is_empty() || text == "0" {
            return Ok(Schedule(None));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if let [word] = words.as_slice()
            && word.starts_with('@')
        {
            let word = word.to_lowercase();
            let alias = if word == "@midnight" { "@daily" } else { word.as_str() };
            let known = "@hourly, @daily, @midnight, @weekly, @monthly, @yearly or @annually";
            let cron = parser().parse(alias).map_err(|_| format!("`{word}` is none of {known}"))?;
            return Ok(Schedule(Some(cron)));
        }
        let expected = match words.len() {
            5 => FIELDS.get(1..).unwrap_or_default(),
            6 => &FIELDS[..],
            fields => {
                let s = if fields == 1 { "" } else { "s" };
                return Err(format!(
                    "it has {fields} field{s}: expected 5, or 6 with seconds first, or @daily"
                ));
            }
        };
        let cron = parser().parse(text).map_err(|error| blame(&words, expected, &error.to_string()))?;
        let schedule = Schedule(Some(cron));
        match schedule.next_after(&Zoned::now()) {
            Some(_) => Ok(schedule),
            None => Err("that moment never comes".to_owned()),
        }
    }

    /// Whether no moment ever comes.
    pub(crate) fn is_never(&self) -> bool {
        self.0.is_none()
    }

    /// The first moment after this one, in its zone. A fixed time of day that a change of the clocks leaves out comes at the end
    /// of the gap, one that it repeats comes once.
    pub(crate) fn next_after(&self, moment: &Zoned) -> Option<Zoned> {
        self.0.as_ref()?.find_next_occurrence(moment, false).ok()
    }
}

fn parser() -> CronParser {
    // PM2 takes `0/15` as well.
    CronParser::builder().year(Year::Disallowed).sloppy_ranges(true).build()
}

/// Which field it is: the one that is wrong among others that are not.
fn blame(words: &[&str], fields: &[(&str, &str)], error: &str) -> String {
    let wrong = words.iter().zip(fields).enumerate().find_map(|(place, (word, (name, range)))| {
        let mut others = vec!["*"; words.len()];
        *others.get_mut(place)? = word;
        let error = parser().parse(&others.join(" ")).err()?.to_string();
        if error.contains("out of bounds") {
            return Some(format!("{name} `{word}`: expected {range}"));
        }
        Some(format!("{name} `{word}`: {}", plain(&error)))
    });
    wrong.unwrap_or_else(|| plain(error))
}

/// The crate's words in our form.
fn plain(error: &str) -> String {
    let cause = error.split_once(": ").map_or(error, |(_, cause)| cause).trim_end_matches('.');
    let cause = cause.replace("CronPattern contains ", "").replace("CronScheduler ", "").replace('\'', "`");
    let cause = cause.split(" in part ").next().unwrap_or_default();
    let mut letters = cause.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Waits for the moments of a schedule. It keeps no time itself: both clocks are told to it.
#[derive(Debug)]
pub(crate) struct Timetable {
    schedule: Schedule,
    /// Everything up to here has had its run.
    handled: Timestamp,
    /// Both clocks at the last look: what the wall clock went further than the other, it was set.
    wall: Timestamp,
    boot: Duration,
}

impl Timetable {
    /// From now on. `boot` is the time since boot, sleep included.
    pub(crate) fn new(schedule: Schedule, now: &Zoned, boot: Duration) -> Timetable {
        Timetable { schedule, handled: now.timestamp(), wall: now.timestamp(), boot }
    }

    /// Whether a moment has come since the last one that did.
    pub(crate) fn is_due(&mut self, now: &Zoned, boot: Duration) -> bool {
        let wall = now.timestamp();
        let passed = SignedDuration::try_from(boot.saturating_sub(self.boot)).unwrap_or(SignedDuration::MAX);
        let set_by = wall.duration_since(self.wall).saturating_sub(passed);
        (self.wall, self.boot) = (wall, boot);
        if set_by.abs() >= CORRECTION {
            self.handled = wall;
            return false;
        }
        let due = self.next(now).is_some_and(|next| next.timestamp() <= wall);
        if due {
            self.handled = wall;
        }
        due
    }

    /// How long to wait before looking again.
    pub(crate) fn wait(&self, now: &Zoned) -> Duration {
        let left = self.next(now).map(|next| next.timestamp().duration_since(now.timestamp()));
        let left = left.map(|left| Duration::try_from(left).unwrap_or(Duration::ZERO));
        left.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
    }

    fn next(&self, now: &Zoned) -> Option<Zoned> {
        self.schedule.next_after(&self.handled.to_zoned(now.time_zone().clone()))
    }
}

#[cfg(test)]
mod tests;
