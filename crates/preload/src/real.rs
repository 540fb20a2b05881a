//! The functions that the program would have called without us: those of the next library in the search order.
//!
//! Invariant: found when the library is loaded, because `dlsym` is nothing for a signal handler, and `bind` and `listen` are.
//! None of them unwinds through us: `connect`, where a cancelled thread ends, is only looked up here.
#![expect(unsafe_code, reason = "functions found by name")]

use core::ffi::{CStr, c_int, c_void};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{sockaddr, socklen_t};

use crate::kernel::{call, set_errno, word};

type Bind = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;
type WithNumber = unsafe extern "C" fn(c_int, c_int) -> c_int;

struct Function {
    name: &'static CStr,
    found: AtomicPtr<c_void>,
}

impl Function {
    const fn new(name: &'static CStr) -> Self {
        Self { name, found: AtomicPtr::new(null_mut()) }
    }

    fn find(&self) -> *mut c_void {
        let known = self.found.load(Ordering::Relaxed);
        if !known.is_null() {
            return known;
        }
        // SAFETY: a string that ends with NUL; `RTLD_NEXT` begins the search behind this library.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        self.found.store(found, Ordering::Relaxed);
        found
    }

    fn bind(&self) -> Option<Bind> {
        // SAFETY: null is `None`; else it is the function of that name, which has this type.
        unsafe { transmute::<*mut c_void, Option<Bind>>(self.find()) }
    }

    fn with_number(&self) -> Option<WithNumber> {
        // SAFETY: as above.
        unsafe { transmute::<*mut c_void, Option<WithNumber>>(self.find()) }
    }
}

static BIND: Function = Function::new(c"bind");
#[cfg(target_arch = "x86_64")]
static CONNECT: Function = Function::new(c"connect");
static LISTEN: Function = Function::new(c"listen");
static SHUTDOWN: Function = Function::new(c"shutdown");

/// Looks for all of them.
pub(crate) fn find() {
    for function in [&BIND, &LISTEN, &SHUTDOWN] {
        function.find();
    }
    #[cfg(target_arch = "x86_64")]
    CONNECT.find();
}

/// # Safety
///
/// As the function of this name.
pub(crate) unsafe fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    match BIND.bind() {
        // SAFETY: promised by the caller.
        Some(bind) => unsafe { bind(fd, address, length) },
        None => {
            let arguments = [word(fd), address as usize, length as usize, 0, 0, 0];
            // SAFETY: the same.
            by_number(unsafe { call(libc::SYS_bind, arguments) })
        }
    }
}

/// Where `connect` is; null if there is none.
#[cfg(target_arch = "x86_64")]
pub(crate) fn connect() -> *const c_void {
    CONNECT.find()
}

/// As the function of this name.
pub(crate) fn listen(fd: c_int, backlog: c_int) -> c_int {
    match LISTEN.with_number() {
        // SAFETY: takes numbers.
        Some(listen) => unsafe { listen(fd, backlog) },
        // SAFETY: the same.
        None => by_number(unsafe { call(libc::SYS_listen, [word(fd), word(backlog), 0, 0, 0, 0]) }),
    }
}

/// As the function of this name.
pub(crate) fn shutdown(fd: c_int, how: c_int) -> c_int {
    match SHUTDOWN.with_number() {
        // SAFETY: takes numbers.
        Some(shutdown) => unsafe { shutdown(fd, how) },
        // SAFETY: the same.
        None => by_number(unsafe { call(libc::SYS_shutdown, [word(fd), word(how), 0, 0, 0, 0]) }),
    }
}

fn by_number(outcome: Result<usize, c_int>) -> c_int {
    match outcome {
        Ok(_) => 0,
        Err(error) => {
            set_errno(error);
            -1
        }
    }
}
