//! The time of day, for people.

/// Now, as `2026-11-30T12:00:00Z`.
pub(crate) fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
