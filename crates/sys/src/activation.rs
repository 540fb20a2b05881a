//! The environment of a program that is given listening sockets as systemd gives them: `LISTEN_FDS`, `LISTEN_FDNAMES`,
//! `LISTEN_PID` (sd_listen_fds(3)).
//!
//! What does not live here: the sockets and their numbers (`placement`). Invariant: everything is laid out before `fork`; the
//! child writes digits and one pointer.
//!
//! `LISTEN_PID` is the child's own number, which nobody knows before there is a child, and the standard library sets the
//! environment after the last moment when one could be told. Without changes of its own it leaves `environ` alone, and `execvp`
//! takes what it finds there, `PATH` included.
#![expect(unsafe_code, reason = "setting environ, in the child")]

use std::collections::BTreeMap;
use std::ffi::{CString, OsString, c_char};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicPtr, AtomicU8, Ordering};

use crate::process::own_pid;

const PID: &[u8] = b"LISTEN_PID=";
/// Digits of the largest pid (2^22, but its type has ten) and the terminating NUL.
const DIGITS: usize = 11;

unsafe extern "C" {
    static mut environ: *const *mut c_char;
}

/// A complete environment, to be entered in the child. Atomics only because the child writes through a shared reference; a
/// pointer in one is laid out like a plain pointer.
pub(crate) struct Activation {
    /// What `pointers` point to.
    _entries: Vec<CString>,
    pid: Box<[AtomicU8]>,
    /// `NAME=value` each, then null.
    pointers: Vec<AtomicPtr<c_char>>,
}

impl Activation {
    /// The environment with what says that these descriptors lie from 3 on. `InvalidInput`: a NUL byte somewhere; a name with
    /// a colon, which separates names, or a control character.
    pub(crate) fn new(env: Vec<(OsString, OsString)>, names: &[String]) -> io::Result<Self> {
        if names.iter().any(|name| name.contains(|c: char| c == ':' || c.is_control())) {
            let cause = "cannot name descriptor: a colon or a control character in its name";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, cause));
        }
        // A later entry of the same name wins.
        let mut variables: BTreeMap<OsString, OsString> = env.into_iter().collect();
        variables.insert("LISTEN_FDS".into(), names.len().to_string().into());
        variables.insert("LISTEN_FDNAMES".into(), names.join(":").into());
        variables.remove(&OsString::from("LISTEN_PID"));
        let entries = variables
            .into_iter()
            .map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                Ok(CString::new(name.into_vec())?)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let pid: Box<[AtomicU8]> = PID.iter().copied().chain([0; DIGITS]).map(AtomicU8::new).collect();
        let mut pointers: Vec<AtomicPtr<c_char>> =
            entries.iter().map(|entry| AtomicPtr::new(entry.as_ptr().cast_mut())).collect();
        pointers.push(AtomicPtr::new(pid.as_ptr().cast::<c_char>().cast_mut()));
        pointers.push(AtomicPtr::new(std::ptr::null_mut()));
        Ok(Self { _entries: entries, pid, pointers })
    }

    /// In the child: says its number, and makes this the environment that exec takes.
    pub(crate) fn enter(&self) {
        let mut rest = own_pid().get().unsigned_abs();
        let mut digits = [0; DIGITS];
        let mut count = 0;
        for digit in &mut digits {
            *digit = b'0' + (rest % 10) as u8;
            count += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        // No leading zero: sd_listen_fds would take the number for an octal one.
        let written = digits.iter().take(count).rev().chain([&0]);
        for (place, digit) in self.pid.iter().skip(PID.len()).zip(written) {
            place.store(*digit, Ordering::Relaxed);
        }
        // SAFETY: this child has one thread, nobody reads meanwhile; what is pointed to lives until exec.
        unsafe { environ = self.pointers.as_ptr().cast() };
    }
}

#[cfg(test)]
mod tests {
    use super::Activation;

    #[test]
    fn what_would_be_read_as_something_else_is_refused() {
        let refused = |env: Vec<(&str, &str)>, names: &[&str]| {
            let env = env.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
            let names: Vec<String> = names.iter().map(|name| (*name).into()).collect();
            Activation::new(env, &names).err().map(|error| error.kind())
        };
        let invalid = Some(std::io::ErrorKind::InvalidInput);
        assert_eq!(refused(vec![("A", "1")], &["http", "", "with blank"]), None);
        for name in ["a:b", "a\nb", "a\0b"] {
            assert_eq!(refused(vec![], &[name]), invalid, "{name:?}");
        }
        assert_eq!(refused(vec![("A", "1\u{0}2")], &["a"]), invalid);
    }
}
