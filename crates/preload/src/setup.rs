//! Where the primary is, read once from the environment when the library is loaded: later the program may have cleared its
//! environment or written its title over it.
//!
//! Invariant: the variable stays where it is. What a wrapper starts must find it.
#![expect(unsafe_code, reason = "the environment as the C library keeps it, a constructor")]

use core::cell::UnsafeCell;
use core::ffi::{CStr, c_char};
use core::sync::atomic::{AtomicU8, Ordering};

use crate::message::{Token, VARIABLE};
use crate::real;

/// Longest abstract name, without its leading NUL.
pub(crate) const NAME_ROOM: usize = 107;

/// Who is asked.
pub(crate) struct Primary {
    name: [u8; NAME_ROOM],
    length: usize,
    /// Who this program is to it.
    pub(crate) token: Token,
}

impl Primary {
    /// Its abstract name, without the leading NUL.
    pub(crate) fn name(&self) -> &[u8] {
        self.name.get(..self.length).unwrap_or(&[])
    }

    /// From `NAME:TOKEN`.
    fn parse(value: &[u8]) -> Option<Self> {
        let colon = value.iter().rposition(|byte| *byte == b':')?;
        let (given, token) = (value.get(..colon)?, value.get(colon..)?);
        let (_, token) = token.split_first()?;
        let token = token.try_into().ok()?;
        let mut name = [0; NAME_ROOM];
        if given.is_empty() || given.len() > name.len() {
            return None;
        }
        for (place, byte) in name.iter_mut().zip(given) {
            *place = *byte;
        }
        Some(Self { name, length: given.len(), token })
    }
}

const UNREAD: u8 = 0;
const READING: u8 = 1;
const READ: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(UNREAD);
static PRIMARY: Once = Once(UnsafeCell::new(None));

struct Once(UnsafeCell<Option<Primary>>);

// SAFETY: written by the one thread that took `STATE` from `UNREAD` to `READING`, read only after it is `READ`.
unsafe impl Sync for Once {}

/// The C library's list of variables.
type Variables = *const *const c_char;

unsafe extern "C" {
    static environ: Variables;
}

#[used]
// SAFETY: the section lists functions that the loader calls, with arguments that this one does not look at.
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

extern "C" fn at_load() {
    real::find();
    read_once();
}

/// Who is to be asked; `None`: nobody, the library was loaded without a primary.
pub(crate) fn primary() -> Option<&'static Primary> {
    // Another library's constructor may bind before ours has run.
    read_once();
    if STATE.load(Ordering::Acquire) != READ {
        return None;
    }
    // SAFETY: nobody writes it any more.
    let primary = unsafe { &*PRIMARY.0.get() };
    primary.as_ref()
}

fn read_once() {
    if STATE.load(Ordering::Acquire) != UNREAD {
        return;
    }
    if STATE.compare_exchange(UNREAD, READING, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        let found = variable().and_then(Primary::parse);
        // SAFETY: this thread alone is between `UNREAD` and `READ`.
        unsafe { *PRIMARY.0.get() = found };
        STATE.store(READ, Ordering::Release);
    }
}

/// Not by `getenv`: bash brings one of its own.
fn variable() -> Option<&'static [u8]> {
    // SAFETY: the C library sets it before any constructor runs.
    let mut next = unsafe { environ };
    if next.is_null() {
        return None;
    }
    loop {
        // SAFETY: the list ends with a null pointer, and `next` has not passed it.
        let entry = unsafe { next.read() };
        if entry.is_null() {
            return None;
        }
        // SAFETY: entries are strings that end with NUL; nothing changes them while the program is loaded.
        let entry = unsafe { CStr::from_ptr(entry) };
        let value = entry.to_bytes().strip_prefix(VARIABLE.as_bytes());
        if let Some(value) = value.and_then(|rest| rest.strip_prefix(b"=")) {
            return Some(value);
        }
        // SAFETY: not at the end yet.
        next = unsafe { next.add(1) };
    }
}
