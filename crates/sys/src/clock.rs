//! The one clock: nanoseconds since boot, suspend included.
//!
//! Not wall time and not `Instant`: a number since boot can be written into saved state and still means the same
//! in the process that reads it back.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds since the machine booted, time asleep included (`CLOCK_BOOTTIME`). Never goes backwards.
pub fn boot_time() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanos = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}
