//! Which of this worker's listeners on one and the same address a listener is, counted as Node's workers count: that
//! is how the n-th listener on port 0 shares its port with the n-th of each sibling.
//!
//! One difference: a listen that failed gives its number back. Node up to 20 keeps it, and is out of step with its
//! siblings from then on.

use std::collections::{HashMap, HashSet};

use oneport_wire::node::message::Query;

#[derive(Debug, Default)]
pub(super) struct Indexes(HashMap<String, Numbers>);

#[derive(Debug, Default)]
struct Numbers {
    next: u32,
    open: HashSet<u32>,
}

/// A number in use, to be given back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Index {
    address: String,
    pub(super) number: u32,
}

impl Indexes {
    /// The next number of that address.
    pub(super) fn take(&mut self, query: &Query<'_>) -> Index {
        let Query { address, port, address_type, fd, .. } = query;
        let address = format!("{address:?}:{port:?}:{address_type:?}:{fd:?}");
        let numbers = self.0.entry(address.clone()).or_default();
        let number = numbers.next;
        numbers.next = numbers.next.wrapping_add(1);
        numbers.open.insert(number);
        Index { address, number }
    }

    /// Closed. Once every number of the address is, counting starts over.
    pub(super) fn release(&mut self, index: Option<&Index>) {
        let Some(index) = index else { return };
        let Some(numbers) = self.0.get_mut(&index.address) else { return };
        numbers.open.remove(&index.number);
        if numbers.open.is_empty() {
            self.0.remove(&index.address);
        }
    }
}
