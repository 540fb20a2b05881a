//! Deadlines and patience. A slow machine sets `ONEPORT_TEST_PATIENCE` (a factor, default 1) and every
//! deadline grows with it; no test waits longer than it must.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up, before patience is applied.
pub const LONG: Duration = Duration::from_secs(15);

/// The factor from `ONEPORT_TEST_PATIENCE`.
///
/// # Panics
/// If the variable is set but is not a number above zero.
pub fn patience() -> f64 {
    static FACTOR: OnceLock<f64> = OnceLock::new();
    *FACTOR.get_or_init(|| match std::env::var("ONEPORT_TEST_PATIENCE") {
        Err(_) => 1.0,
        Ok(text) => text
            .parse()
            .ok()
            .filter(|factor| *factor > 0.0)
            .unwrap_or_else(|| panic!("ONEPORT_TEST_PATIENCE must be a number above 0, not `{text}`")),
    })
}

/// `time` stretched by the patience factor.
pub fn patient(time: Duration) -> Duration {
    time.mul_f64(patience())
}

/// The moment `time` from now, stretched by the patience factor.
pub fn within(time: Duration) -> Instant {
    Instant::now() + patient(time)
}

/// Asks `look` again and again until it has an answer.
///
/// # Panics
/// If there is none within [`LONG`]; `what` is named in the message.
pub fn eventually<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    eventually_within(LONG, what, look)
}

/// As [`eventually`], with a deadline of one's own.
///
/// # Panics
/// If there is no answer within `time`.
pub fn eventually_within<T>(time: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = within(time);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {:?}: {what}", patient(time));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Looks for `time` whether `holds` stays true.
///
/// # Panics
/// As soon as it does not; `what` is named in the message.
pub fn throughout(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert!(holds(), "not true any more: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
