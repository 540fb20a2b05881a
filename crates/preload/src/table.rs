//! Which sockets are the primary's, and which it does not want.
//!
//! Sockets are known by their cookies, not by descriptors: a duplicate is the same socket, and a number that was closed and given
//! anew is another. Invariant: no lock, so `fork` and signal handlers may come at any time; bounded, the oldest entry
//! gives way. A lost entry costs a question to the primary, see [`hooks`](crate::hooks).

use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

const PLACES: usize = 32;

/// The primary's sockets, standing at descriptors of this process.
pub(crate) static SHARED: Table = Table::new();

/// The program's own sockets that the primary does not want.
pub(crate) static PASSED: Table = Table::new();

/// Cookies. The kernel gives each number once (Linux 4.12), never 0.
pub(crate) struct Table {
    places: [AtomicU64; PLACES],
    oldest: AtomicUsize,
}

impl Table {
    const fn new() -> Self {
        Self { places: [const { AtomicU64::new(0) }; PLACES], oldest: AtomicUsize::new(0) }
    }

    /// Whether nothing was ever put here.
    pub(crate) fn is_empty(&self) -> bool {
        self.places.first().is_none_or(|first| first.load(Ordering::Relaxed) == 0)
    }

    /// Whether this socket is here.
    pub(crate) fn has(&self, cookie: u64) -> bool {
        self.places.iter().any(|place| place.load(Ordering::Relaxed) == cookie)
    }

    /// Remembers it.
    pub(crate) fn put(&self, cookie: u64) {
        if self.has(cookie) {
            return;
        }
        for place in &self.places {
            if place.compare_exchange(0, cookie, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
                return;
            }
        }
        let turn = self.oldest.fetch_add(1, Ordering::Relaxed) % PLACES;
        if let Some(place) = self.places.get(turn) {
            place.store(cookie, Ordering::Relaxed);
        }
    }
}
