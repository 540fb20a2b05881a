//! Words for people: the life of an app on standard error, as text or as one JSON object a line.

pub(crate) mod beginning;
pub(crate) mod life;
#[allow(dead_code, unused_imports, reason = "joined by the next commits")]
pub(crate) mod manager;
mod program;
pub(crate) mod scribe;
pub(crate) mod voice;

use std::time::Duration;

/// A time as people say it: `100 ms`, `1.5 s`.
pub(crate) fn span(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        format!("{} ms", time.as_millis())
    } else if time.subsec_millis() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{:.1} s", time.as_secs_f64())
    }
}
