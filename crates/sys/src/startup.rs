//! What this process was given at exec, looked at once, before `main` and before any thread exists.
//!
//! An initialiser notes the inherited descriptors, makes the channel close-on-exec, and takes the channel's
//! variables out of the environment, so that nothing this process starts inherits either by accident; everything
//! else stays as it was found. Changing the environment is only sound while there is one thread: see `alone`. Also
//! here: the ELF note by which a primary recognises a program that speaks the channel. Not here: its messages.
#![expect(
    unsafe_code,
    reason = "init_array entry, note section, getenv/unsetenv before threads, adopting fds"
)]

use std::ffi::{CStr, c_char};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

use rustix::net::{AddressFamily, SocketType, sockopt};

use crate::fdscan;

/// Inherited descriptors remembered; any beyond are as good as not inherited.
const MAX_INHERITED: usize = 1024;

static INHERITED: [AtomicI32; MAX_INHERITED] = [const { AtomicI32::new(-1) }; MAX_INHERITED];
static INHERITED_COUNT: AtomicUsize = AtomicUsize::new(0);
static CHANNEL: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
static UNIQUE_ID: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
static SERIALIZATION: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
static SLOT: AtomicPtr<c_char> = AtomicPtr::new(std::ptr::null_mut());
static CHANNEL_TAKEN: AtomicBool = AtomicBool::new(false);

/// glibc passes `argc, argv, envp` to these functions, musl nothing; taking no arguments is right for both. The
/// C library is initialised by then (`environ` is set), Rust's runtime is not and is not needed.
#[used]
#[unsafe(link_section = ".init_array")]
static INITIALISE: extern "C" fn() = initialise;

/// Note record as `elf(5)` lays it out: sizes, type, padded name, padded contents.
#[repr(C, align(4))]
struct Note {
    name_size: u32,
    contents_size: u32,
    kind: u32,
    name: [u8; 8],
    version: u32,
}

/// Linkers keep note sections even when they collect unreferenced ones, and `strip` keeps loaded notes.
#[used]
#[unsafe(link_section = ".note.oneport")]
static NOTE: Note =
    Note { name_size: 8, contents_size: 4, kind: crate::elf::NOTE_KIND, name: *b"oneport\0", version: 1 };

/// The variables of a worker, or of a child that was merely forked with a channel (Node's `child_process.fork`), as they
/// were before they were removed from the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerEnv {
    /// The number in `NODE_CHANNEL_FD`, or -1 when its text is not a number.
    pub channel: i32,
    /// `NODE_CHANNEL_FD` as it was written; never empty.
    pub channel_text: String,
    /// `NODE_UNIQUE_ID`, which may be empty; `None` for a child that was merely forked.
    pub unique_id: Option<String>,
    /// `NODE_CHANNEL_SERIALIZATION_MODE`, when it was set.
    pub serialization: Option<String>,
    /// `ONEPORT_SLOT`, when it was set to a number. Without a `unique_id` it is `None`: a child that a worker forked
    /// inherits the variable, but the slot is its parent's.
    pub slot: Option<u32>,
}

extern "C" fn initialise() {
    if !alone() {
        return;
    }
    take_environment();
    let channel = channel_number();
    fdscan::visit_open_fds(|fd| {
        let Some(flags) = fdscan::fd_flags(fd) else { return };
        if flags & libc::FD_CLOEXEC != 0 {
            return; // exec would have closed it: an earlier initialiser of this process opened it
        }
        if Some(fd) == channel {
            fdscan::set_fd_flags(fd, flags | libc::FD_CLOEXEC);
            CHANNEL_OPEN.store(true, Ordering::Relaxed);
            return;
        }
        let index = INHERITED_COUNT.load(Ordering::Relaxed);
        if let Some(place) = INHERITED.get(index) {
            place.store(fd, Ordering::Relaxed);
            INHERITED_COUNT.store(index + 1, Ordering::Relaxed);
        }
    });
}

/// Whether this is the only thread, as far as the kernel tells: the links of `/proc/self/task` are two and one per
/// thread (Linux 2.6 to 6.x). In a program that is linked with this crate the answer is yes, unless an initialiser
/// of another library started a thread.
///
/// In a shared object that was loaded later it may be no: then others may be using the environment, the variables
/// and the channel are somebody else's (Node's, for an addon), and descriptors cannot be told from inherited ones.
/// Such a process is left alone and counts as no worker. Two limits remain. Loaded late by a process with one thread, what was
/// opened without close-on-exec until then counts as inherited. Without `/proc` nobody can tell, and it is taken
/// for the start of a process.
fn alone() -> bool {
    rustix::fs::stat(c"/proc/self/task").map_or(true, |task| task.st_nlink <= 3)
}

/// Whether the channel's number was open at exec. Without that a later descriptor of this process that happens
/// to get the same number could be taken for the channel.
static CHANNEL_OPEN: AtomicBool = AtomicBool::new(false);

fn take_environment() {
    let Some(channel) = read_variable(c"NODE_CHANNEL_FD").filter(|text| !text.is_empty()) else {
        return; // a left-over NODE_UNIQUE_ID alone makes no worker
    };
    keep_copy(&CHANNEL, channel);
    if let Some(unique_id) = read_variable(c"NODE_UNIQUE_ID") {
        keep_copy(&UNIQUE_ID, unique_id);
    }
    if let Some(mode) = read_variable(c"NODE_CHANNEL_SERIALIZATION_MODE") {
        keep_copy(&SERIALIZATION, mode);
    }
    if let Some(slot) = read_variable(c"ONEPORT_SLOT") {
        keep_copy(&SLOT, slot);
    }
    for name in [c"NODE_CHANNEL_FD", c"NODE_UNIQUE_ID", c"NODE_CHANNEL_SERIALIZATION_MODE", c"ONEPORT_SLOT"] {
        // SAFETY: `alone` held and this thread starts none, so nobody reads the environment meanwhile.
        unsafe { libc::unsetenv(name.as_ptr()) };
    }
}

fn read_variable(name: &CStr) -> Option<&'static CStr> {
    // SAFETY: `alone` held and this thread starts none: nobody changes the environment meanwhile.
    let value = unsafe { libc::getenv(name.as_ptr()) };
    if value.is_null() {
        return None;
    }
    // SAFETY: a value is NUL-terminated; it stays in place while the one thread there is copies it.
    Some(unsafe { CStr::from_ptr(value) })
}

fn keep_copy(place: &AtomicPtr<c_char>, value: &CStr) {
    // SAFETY: `value` is NUL-terminated. The copy is never freed; out of memory leaves null, as if unset.
    let copy = unsafe { libc::strdup(value.as_ptr()) };
    place.store(copy, Ordering::Release);
}

fn read_copy(place: &AtomicPtr<c_char>) -> Option<&'static CStr> {
    let copy = place.load(Ordering::Acquire);
    if copy.is_null() {
        return None;
    }
    // SAFETY: only `keep_copy` stores here, and what it stores is NUL-terminated and never freed.
    Some(unsafe { CStr::from_ptr(copy) })
}

fn channel_number() -> Option<i32> {
    read_copy(&CHANNEL)?.to_str().ok()?.parse().ok().filter(|number| *number >= 0)
}

/// The descriptors from 3 on that were open at exec without being close-on-exec, in the kernel's order, at most
/// 1024, without the channel. They stay inheritable, as the program that links this crate found them. Numbers only:
/// whoever wants one calls [`dup_inherited`].
pub fn inherited_fds() -> &'static [i32] {
    static LIST: OnceLock<Vec<i32>> = OnceLock::new();
    LIST.get_or_init(|| {
        let count = INHERITED_COUNT.load(Ordering::Acquire);
        INHERITED.iter().take(count).map(|place| place.load(Ordering::Relaxed)).collect()
    })
}

/// A close-on-exec duplicate of an inherited descriptor. `EBADF` for any number that was not inherited, so that a
/// stranger's number never names a descriptor of our own.
pub fn dup_inherited(fd: i32) -> io::Result<OwnedFd> {
    if !inherited_fds().contains(&fd) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number was open at exec and this crate never closes it; were it closed elsewhere since, the
    // call below answers EBADF or duplicates what took its place, and neither touches memory.
    let inherited = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(rustix::io::fcntl_dupfd_cloexec(inherited, 3)?)
}

/// The variables this process was started with, or `None` when it was given no channel: `NODE_CHANNEL_FD` unset or
/// empty. Whether it is a worker or was merely forked tells [`WorkerEnv::unique_id`]. Also `None` when other threads ran
/// before this crate was loaded.
pub fn worker_env() -> Option<&'static WorkerEnv> {
    static ENV: OnceLock<Option<WorkerEnv>> = OnceLock::new();
    ENV.get_or_init(|| {
        let text = |value: &CStr| value.to_string_lossy().into_owned();
        let channel_text = read_copy(&CHANNEL).map(text)?;
        let unique_id = read_copy(&UNIQUE_ID).map(text);
        let slot = read_copy(&SLOT).filter(|_| unique_id.is_some());
        Some(WorkerEnv {
            channel: channel_number().unwrap_or(-1),
            channel_text,
            unique_id,
            serialization: read_copy(&SERIALIZATION).map(text),
            slot: slot.and_then(|slot| slot.to_str().ok()?.parse().ok()),
        })
    })
    .as_ref()
}

/// Takes the channel, once: later calls, and calls in a process that was given none, answer `None`. `InvalidInput`
/// when the number names nothing that was inherited, a standard stream, or no Unix stream socket.
pub fn take_channel() -> io::Result<Option<OwnedFd>> {
    let Some(env) = worker_env() else { return Ok(None) };
    if CHANNEL_TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(None);
    }
    let refuse = |cause: &str| {
        let message = format!("cannot use channel descriptor `{}`: {cause}", env.channel_text);
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    };
    if env.channel < 3 {
        return refuse("not a descriptor number from 3 on");
    }
    if !CHANNEL_OPEN.load(Ordering::Acquire) {
        return refuse("not open at start");
    }
    // SAFETY: the number was inherited, nothing else in this process owns it (it is not in `inherited_fds`), and
    // the flag above lets this line run once.
    let channel = unsafe { OwnedFd::from_raw_fd(env.channel) };
    if !is_unix_stream(channel.as_fd()) {
        // Whatever it is, it is not ours: leave it open for its owner.
        std::mem::forget(channel);
        return refuse("not a Unix stream socket");
    }
    Ok(Some(channel))
}

fn is_unix_stream(fd: BorrowedFd<'_>) -> bool {
    matches!(sockopt::socket_domain(fd), Ok(domain) if domain == AddressFamily::UNIX)
        && matches!(sockopt::socket_type(fd), Ok(kind) if kind == SocketType::STREAM)
}

#[cfg(test)]
mod tests {
    use super::alone;

    #[test]
    fn a_process_with_threads_is_not_alone() {
        let (release, held) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || held.recv());
        assert!(!alone());
        drop(release);
        assert!(other.join().expect("ends").is_err());
    }
}
