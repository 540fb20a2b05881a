//! Which tier can be had here, found out by doing it once.

use std::io;

use super::{Counter, Loaded, Refused, Tier, grant};

/// What came of it.
#[derive(Debug)]
pub struct Probe {
    /// The best that can be had.
    pub tier: Tier,
    /// The better ones, and what stood in the way.
    pub refused: Vec<Refused>,
    /// Where connections would be counted, in tier A.
    pub counter: Option<Counter>,
}

/// Loads what each tier needs, the best first, and gives it up again. A refusal costs some microseconds, a success about a
/// millisecond. What this process was [given](grant) is not tried. Nothing is attached to sockets; the counter is attached for that moment, and counts nothing.
pub fn probe() -> Probe {
    if let Some(Ok(given)) = grant::inherited() {
        return Probe { tier: given.tier(), refused: Vec::new(), counter: given.counter() };
    }
    let mut refused = Vec::new();
    for tier in [Tier::A, Tier::B] {
        match try_out(tier) {
            Ok(counter) => return Probe { tier, refused, counter },
            Err(error) => refused.push(error),
        }
    }
    Probe { tier: Tier::C, refused, counter: None }
}

fn try_out(tier: Tier) -> Result<Option<Counter>, Refused> {
    let mut loaded = Loaded::load(tier)?;
    loaded.selector()?;
    Ok(loaded.counter())
}

impl Refused {
    /// Whether a privilege is what is missing.
    pub fn is_privilege(&self) -> bool {
        self.error.kind() == io::ErrorKind::PermissionDenied
    }
}
