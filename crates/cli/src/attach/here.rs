//! Asking this system and this program what `choose` wants to know: what the kernel and the container allow, where the
//! library for `preload` lies, how the executable is linked.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use oneport_sys::elf::{self, Class, Facts};
use oneport_sys::seccomp::{self, Reason, Unavailable, Waits};

use super::choose::{Bits, Here, Image, Lack, Linked, Rights};
use crate::error::{Failure, plain};

const LIBRARY: &str = "liboneport_preload.so";
/// Names the library where it lies elsewhere.
const LIBRARY_VARIABLE: &str = "ONEPORT_PRELOAD_LIBRARY";

/// What was tried out.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) here: Here,
    /// How trapped calls wait, where there are any.
    pub(crate) waits: Option<Waits>,
    pub(crate) bpf: Bpf,
}

/// Whether anything that makes or frees a BPF program comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bpf {
    Answers,
    Hangs,
}

/// What this system allows, tried out.
pub(crate) fn explore() -> Result<Explored, Failure> {
    let reach = seccomp::probe()
        .map_err(|cause| Failure::new(format!("cannot try out what this system allows: {cause}")))?;
    let bpf = match &reach.traps {
        Err(unavailable) if unavailable.reason() == Reason::Hangs => Bpf::Hangs,
        Ok(_) | Err(_) => Bpf::Answers,
    };
    let waits = reach.traps.as_ref().ok().copied();
    let here = Here {
        traps: reach.traps.map(|_| ()).map_err(no_traps),
        takes: reach.takes.map_err(|cause| Lack {
            reason: format!("pidfd_getfd is not allowed here ({})", plain(&cause)),
            remedy: "give the container CAP_SYS_PTRACE, or allow pidfd_getfd in its seccomp profile",
        }),
        adds: reach.adds.map_err(|cause| Lack {
            reason: format!("sockets cannot be put into a trapped program here ({})", plain(&cause)),
            remedy: "use Linux 5.9 or later",
        }),
        library: library(),
    };
    Ok(Explored { here, waits, bpf })
}

/// The same for whoever wants to attach something: an error where nothing can be.
pub(crate) fn look() -> Result<Explored, Failure> {
    let explored = explore()?;
    match (explored.bpf, &explored.here.traps) {
        // Every other way needs BPF as well, to choose among the copies.
        (Bpf::Hangs, Err(Lack { reason, remedy })) => {
            Err(Failure::new(format!("cannot attach programs: {reason}")).hint(remedy))
        }
        (Bpf::Hangs | Bpf::Answers, Ok(()) | Err(_)) => Ok(explored),
    }
}

fn no_traps(unavailable: Unavailable) -> Lack {
    let (reason, remedy) = match unavailable.reason() {
        Reason::Busy => (
            "a supervisor above this process traps calls already, and the kernel allows only one",
            "start oneport outside of that supervisor (another oneport, a container manager)",
        ),
        Reason::Missing => {
            ("this kernel has no seccomp user notification", "use Linux 5.0 or later, better 5.19")
        }
        Reason::Hangs => (
            "this kernel hangs when a seccomp filter is installed",
            "restart the machine; dmesg and the stacks of its kworkers may say why",
        ),
        Reason::Refused => (
            "seccomp filters are not allowed here",
            "allow the seccomp system call in the container's profile",
        ),
    };
    Lack { reason: reason.to_owned(), remedy }
}

fn library() -> Result<PathBuf, Lack> {
    let lack = |reason: String| Lack {
        reason,
        remedy: "put liboneport_preload.so beside oneport, or name it in ONEPORT_PRELOAD_LIBRARY",
    };
    let found = match std::env::var_os(LIBRARY_VARIABLE).filter(|path| !path.is_empty()) {
        Some(path) => {
            let path = PathBuf::from(path);
            let missing = format!("{LIBRARY_VARIABLE} names no file: `{}`", path.display());
            std::path::absolute(&path).ok().filter(|path| path.is_file()).ok_or(missing)
        }
        None => beside_us().ok_or_else(|| format!("{LIBRARY} is not installed")),
    };
    let path = found.map_err(lack)?;
    // The loader splits LD_PRELOAD at both (ld.so(8)).
    match path.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b' ' | b':')) {
        true => Err(lack(format!("`{}` has a blank or a colon in its path", path.display()))),
        false => Ok(path),
    }
}

fn beside_us() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let dir = own.parent()?;
    let candidates = [dir.join(LIBRARY), dir.parent()?.join("lib/oneport").join(LIBRARY)];
    candidates.into_iter().find(|path| path.is_file())
}

/// How a file is built. What cannot be looked into counts as ordinary, with the reason beside it.
pub(crate) fn inspect(file: &Path) -> (Image, Option<io::Error>) {
    match elf::facts(file) {
        Ok(facts) => (image(&facts), None),
        Err(cause) => (Image::ORDINARY, Some(cause)),
    }
}

fn image(facts: &Facts) -> Image {
    Image {
        bits: match facts.class {
            Class::Bits32 => Bits::ThirtyTwo,
            Class::Bits64 | Class::NotElf => Bits::SixtyFour,
        },
        linked: match (facts.class, facts.go, &facts.interpreter) {
            (Class::NotElf, _, _) => Linked::Dynamically,
            (Class::Bits32 | Class::Bits64, true, _) => Linked::Go,
            (Class::Bits32 | Class::Bits64, false, None) => Linked::Statically,
            (Class::Bits32 | Class::Bits64, false, Some(_)) => Linked::Dynamically,
        },
        rights: match (facts.setuid, facts.file_capabilities) {
            (true, _) => Rights::SetUid,
            (false, true) => Rights::FileCapabilities,
            (false, false) => Rights::None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(class: Class, interpreter: Option<&str>, go: bool) -> Facts {
        let interpreter = interpreter.map(PathBuf::from);
        Facts { class, interpreter, go, setuid: false, file_capabilities: false }
    }

    #[test]
    fn what_a_file_says_of_itself_decides_how_it_can_be_attached() {
        let linked = |class, interpreter, go| image(&facts(class, interpreter, go)).linked;
        let loader = Some("/lib64/ld-linux-x86-64.so.2");
        assert_eq!(linked(Class::Bits64, loader, false), Linked::Dynamically);
        assert_eq!(linked(Class::Bits64, None, false), Linked::Statically);
        assert_eq!(linked(Class::Bits64, None, true), Linked::Go);
        assert_eq!(linked(Class::Bits64, loader, true), Linked::Go, "also with cgo");
        assert_eq!(linked(Class::NotElf, None, false), Linked::Dynamically, "unknown counts as ordinary");
        assert_eq!(image(&facts(Class::Bits32, None, false)).bits, Bits::ThirtyTwo);
        let setuid = Facts { setuid: true, ..facts(Class::Bits64, loader, false) };
        assert_eq!(image(&setuid).rights, Rights::SetUid);
    }

    #[test]
    fn a_file_that_is_not_there_counts_as_ordinary_with_the_reason_beside_it() {
        let (image, unread) = inspect(Path::new("/no/such/file"));
        assert_eq!((image.linked, image.rights), (Linked::Dynamically, Rights::None));
        assert_eq!(unread.map(|cause| cause.kind()), Some(io::ErrorKind::NotFound));
    }
}
