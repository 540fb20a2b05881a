//! The control API on the wire: HTTP with JSON bodies over a Unix socket. Both sides are here; what is asked for and
//! answered are the types of `oneport_wire::control`.

pub(crate) mod client;
#[cfg(test)]
mod openapi;
pub(crate) mod server;

use oneport_wire::control::{Problem, ProblemKind};

/// Names the moment after which whoever asks has given up, by [`now_ms`]: what waited in the queue of a process that was
/// stopped is not done when nobody expects it any more.
const DEADLINE: &str = "oneport-deadline";

/// The same in all processes, whoever sets the clock.
fn now_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * 1000 + nanos / 1_000_000
}

/// How long whoever asks still waits, as the head of its request says.
pub(crate) fn time_left(headers: &axum::http::HeaderMap) -> std::time::Duration {
    let deadline = headers.get(DEADLINE).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    std::time::Duration::from_millis(deadline.map_or(u64::MAX, |deadline| deadline.saturating_sub(now_ms())))
}

/// A problem in words.
pub(crate) fn problem(kind: ProblemKind, error: impl Into<String>, hint: Option<&str>) -> Problem {
    Problem { kind, error: error.into(), hint: hint.map(str::to_owned) }
}

/// A name as one part of a path (RFC 3986).
pub(crate) fn segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn names_are_one_part_of_a_path_whatever_they_are() {
        assert_eq!(segment("web-1.0_a~b"), "web-1.0_a~b");
        assert_eq!(segment("a/b c?d#é%"), "a%2Fb%20c%3Fd%23%C3%A9%25");
    }
}
