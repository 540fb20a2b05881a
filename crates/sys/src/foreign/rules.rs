//! Rules of the network that decide what a program's `bind` means.
//!
//! Invariant: a rule that cannot be read is taken for the kernel's default. They are those of this process's network namespace,
//! and the administrator may change them at any moment, so they are read whenever they are asked for.

use crate::proc::read_bounded;

/// Before Linux 4.11 a constant.
const DEFAULT_LOWEST: u16 = 1024;

/// The lowest port that may be bound without a capability (`net.ipv4.ip_unprivileged_port_start`; it counts for IPv6 too).
/// Below it [`may_bind_low`](super::may_bind_low) decides.
pub fn lowest_free_port() -> u16 {
    read_number("ip_unprivileged_port_start").unwrap_or(DEFAULT_LOWEST)
}

fn read_number(name: &str) -> Option<u16> {
    let text = read_bounded(&format!("/proc/sys/net/ipv4/{name}")).ok()?;
    std::str::from_utf8(&text).ok()?.trim().parse().ok()
}
