//! Starting a worker in a clean state.
//!
//! What lives here: one builder, one `spawn`, one child. What does not: which variables and arguments a worker gets.
//! Invariant: the child has descriptors 0, 1, 2, if given the channel as 3, if asked for the pipes from 4 on or what it shall
//! inherit from 3 on, and no other (but for what it shall keep without knowing); its own process group; default signal dispositions, nothing blocked;
//! no ambient capabilities.
#![expect(unsafe_code, reason = "pre_exec and the raw calls allowed between fork and exec")]

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process;

use rustix::process::{PidfdFlags, pidfd_open};

use crate::activation::Activation;
use crate::fdpass::channel_pair;
use crate::listen::set_nonblocking;
use crate::placement::Placement;
use crate::process::{Pid, Signal};
use crate::seccomp::{self, Receipt};
use crate::signals;

/// The number under which a worker finds its channel.
pub const CHANNEL_FD: RawFd = 3;

/// The number under which a worker finds the first of its extra pipes; the others follow.
pub const FIRST_EXTRA_FD: RawFd = CHANNEL_FD + 1;

/// The number under which a program finds the first of the descriptors it [inherits](Command::inherit)
/// (`SD_LISTEN_FDS_START`); the others follow.
pub const FIRST_INHERITED_FD: RawFd = 3;

/// Numbers from here on are used by nobody by chance, and are below every usual limit.
const FIRST_KEPT_FD: RawFd = 200;

/// Where a standard stream of the child leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdio {
    /// `/dev/null`.
    Null,
    /// The same as ours.
    Inherit,
    /// A pipe whose other end is in [`Child`].
    Pipe,
}

impl From<Stdio> for process::Stdio {
    fn from(stdio: Stdio) -> Self {
        match stdio {
            Stdio::Null => Self::null(),
            Stdio::Inherit => Self::inherit(),
            Stdio::Pipe => Self::piped(),
        }
    }
}

/// A program to start. Fill the fields, then [`spawn`](Self::spawn).
#[derive(Debug)]
pub struct Command {
    /// The program; without a slash it is searched in the `PATH` of [`env`](Self::env). A relative path is resolved
    /// after the change of directory.
    pub program: OsString,
    /// Its arguments, without the program's own name.
    pub args: Vec<OsString>,
    /// Its complete environment: nothing of ours is added. A later entry of the same name wins.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts; `None`: where we are.
    pub cwd: Option<PathBuf>,
    /// Standard input.
    pub stdin: Stdio,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
    /// The child's end of its channel; it becomes descriptor 3. Our copy is closed by `spawn`.
    pub channel: Option<OwnedFd>,
    /// How many Unix stream socket pairs the child gets besides, as descriptors 4, 5, ... (Node's
    /// `stdio: [..., 'ipc', 'pipe']`), blocking there. Without a channel 3 stays closed. Our ends are in [`Child`].
    pub extra_pipes: u8,
    /// Descriptors for a program that knows socket activation, each with a name: it finds them as 3, 4, ..., and
    /// `LISTEN_FDS`, `LISTEN_FDNAMES` and its own number as `LISTEN_PID` in its environment. Not together with a channel or
    /// extra pipes, which have the same numbers. What the program starts inherits both and is to go by `LISTEN_PID`: a shell
    /// that does not exec keeps them for itself.
    pub inherit: Vec<(OwnedFd, String)>,
    /// A descriptor that says nothing to the program, which it and whatever it starts keep open by not knowing of it, under a
    /// number from 200 on; where its limit does not allow such numbers, not.
    pub keep: Option<OwnedFd>,
    /// User to become. When we are root, supplementary groups are dropped as well.
    pub uid: Option<u32>,
    /// Group to become.
    pub gid: Option<u32>,
    /// Soft limit of open descriptors for the child, capped at the hard one; `None`: ours.
    pub nofile_soft: Option<u64>,
    /// Which calls of it and its descendants to be asked about; the answers go through [`Child::notify`]. It also gets
    /// `no_new_privs`. Where that is impossible `spawn` fails, and [`Unavailable::of`](seccomp::Unavailable::of) says why.
    pub trap: Option<seccomp::Traps>,
}

/// A started process. Dropping it neither ends nor reaps it.
#[derive(Debug)]
pub struct Child {
    /// Its pid, which is also its process group. Valid until it is reaped.
    pub pid: Pid,
    /// Readable when it has ended; names this process for ever. Close-on-exec.
    pub pidfd: OwnedFd,
    /// Write end of its standard input, when piped; blocking, close-on-exec.
    pub stdin: Option<OwnedFd>,
    /// Read end of its standard output, when piped; non-blocking, close-on-exec.
    pub stdout: Option<OwnedFd>,
    /// Read end of its standard error, when piped; non-blocking, close-on-exec.
    pub stderr: Option<OwnedFd>,
    /// Our ends of its extra pipes, in the order of their numbers there; non-blocking, close-on-exec.
    pub extra: Vec<OwnedFd>,
    /// Where its trapped calls arrive, if [`Command::trap`] asked for any. They wait for an answer from now on: whoever
    /// drops this lets them fail with `ENOSYS`.
    pub notify: Option<seccomp::Listener>,
}

impl Command {
    /// The program with no arguments, an empty environment, no input, our output and error.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            cwd: None,
            stdin: Stdio::Null,
            stdout: Stdio::Inherit,
            stderr: Stdio::Inherit,
            channel: None,
            extra_pipes: 0,
            inherit: Vec::new(),
            keep: None,
            uid: None,
            gid: None,
            nofile_soft: None,
            trap: None,
        }
    }

    /// Starts it. Every failure up to and including exec is the error: `ENOENT` (program or `cwd`), `EACCES`,
    /// `ENOEXEC`, `EAGAIN` (process limit), `EPERM` (user), `EMFILE` (our own limit of descriptors), `EINVAL` (what cannot be
    /// had together), of kind `InvalidInput` a NUL byte or a [name](Self::inherit) that would be read as two, and what stands
    /// in the way of [`trap`](Self::trap).
    pub fn spawn(self) -> io::Result<Child> {
        make_children_waitable();
        let mut command = process::Command::new(&self.program);
        command.args(&self.args).process_group(0);
        command.stdin(self.stdin).stdout(self.stdout).stderr(self.stderr);
        if let Some(cwd) = &self.cwd {
            command.current_dir(cwd);
        }
        if let Some(gid) = self.gid {
            command.gid(gid);
        }
        if let Some(uid) = self.uid {
            command.uid(uid);
        }
        if !self.inherit.is_empty() && (self.channel.is_some() || self.extra_pipes > 0) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        let (inherited, names): (Vec<_>, Vec<_>) = self.inherit.into_iter().unzip();
        let activation = if inherited.is_empty() {
            command.env_clear().envs(self.env);
            None
        } else {
            Some(Activation::new(self.env, &names)?)
        };
        let (extra, given) = pair_extras(self.extra_pipes)?;
        let channel = self.channel.into_iter().zip(CHANNEL_FD..);
        let given = given.into_iter().zip(FIRST_EXTRA_FD..);
        let inherited = inherited.into_iter().zip(FIRST_INHERITED_FD..);
        let placement = Placement::new(channel.chain(given).chain(inherited))?;
        // The standard library reports a failed exec through a pipe of its own. Were that pipe's number one of those
        // the child shall have, moving a descriptor there would silence it; so they are occupied while it is made.
        let _occupied = placement.occupy()?;
        let (install, receipt) =
            self.trap.map(|traps| seccomp::prepare(traps, placement.end())).transpose()?.unzip();
        let (nofile_soft, keep) = (self.nofile_soft, self.keep);
        // SAFETY: the closure makes only async-signal-safe system calls on the stack: no allocation, no lock, no
        // panic. Another thread may have held the allocator's lock at fork, and here it would never be released.
        unsafe {
            command.pre_exec(move || {
                placement.arrange()?;
                if let Some(keep) = &keep {
                    // One that cannot be kept is missed by nobody here.
                    let _ = seccomp::duplicate_inheritable(keep, FIRST_KEPT_FD);
                }
                clear_ambient_capabilities();
                if let Some(soft) = nofile_soft {
                    lower_nofile(soft)?;
                }
                // Dispositions before mask: a signal that waited must find no handler of ours.
                for number in 1..=64 {
                    signals::restore_default(number);
                }
                signals::clear_mask();
                if let Some(activation) = &activation {
                    activation.enter();
                }
                match &install {
                    Some(install) => install.install(),
                    None => Ok(()),
                }
            });
        }
        let mut child = command.spawn().map_err(|error| match &receipt {
            Some(receipt) => receipt.explain(error),
            None => error,
        })?;
        let notify = receipt.as_ref().map(Receipt::collect).transpose();
        match notify.and_then(|notify| Ok(Child { extra, notify, ..adopt(&mut child)? })) {
            Ok(adopted) => Ok(adopted),
            Err(error) => {
                // Without a pidfd nobody could end or reap it; without a listener its first `bind` would wait or fail.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }
}

/// The child is ours and not reaped, so its number still names it when the pidfd is opened.
fn adopt(child: &mut process::Child) -> io::Result<Child> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::new);
    let pid = pid.ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))?;
    let pidfd = pidfd_open(pid.as_rustix(), PidfdFlags::empty())?;
    let stdin = child.stdin.take().map(OwnedFd::from);
    let stdout = child.stdout.take().map(OwnedFd::from);
    let stderr = child.stderr.take().map(OwnedFd::from);
    // Its own end of each is another matter: the mode belongs to an end, pipes have two.
    for end in [&stdin, &stdout, &stderr].into_iter().flatten() {
        set_nonblocking(end.as_fd())?;
    }
    Ok(Child { pid, pidfd, stdin, stdout, stderr, extra: Vec::new(), notify: None })
}

/// An ignored SIGCHLD (some supervisors leave it so) makes the kernel reap children by itself, and their exit is lost.
fn make_children_waitable() {
    if signals::is_ignored(Signal::CHILD) {
        signals::restore_default(libc::SIGCHLD);
    }
}

/// Our ends and the child's.
fn pair_extras(count: u8) -> io::Result<(Vec<OwnedFd>, Vec<OwnedFd>)> {
    let pairs = (0..count).map(|_| channel_pair()).collect::<io::Result<Vec<_>>>()?;
    Ok(pairs.into_iter().unzip())
}

fn clear_ambient_capabilities() {
    let (operation, unused): (libc::c_ulong, libc::c_ulong) =
        (libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, 0);
    // SAFETY: plain numbers. Before Linux 4.3 there is no ambient set to clear, so a refusal is no failure.
    unsafe { libc::prctl(libc::PR_CAP_AMBIENT, operation, unused, unused, unused) };
}

fn lower_nofile(soft: u64) -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the answer goes to memory of the right type.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: `limit` is initialised.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
