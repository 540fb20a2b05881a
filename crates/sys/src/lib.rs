//! The system calls of oneport, each as one function that does one thing.
//!
//! What lives here: descriptors, sockets, processes, `/proc`, socket diagnostics. What does not: decisions,
//! message formats, an event loop with opinions. Invariant: every descriptor that leaves this crate is an
//! [`OwnedFd`](std::os::fd::OwnedFd), close-on-exec, and belongs to exactly one owner; errors are
//! [`std::io::Error`] with the kernel's number kept.

#[cfg(not(target_os = "linux"))]
compile_error!("oneport runs on Linux only: it is built on epoll, pidfd, signalfd, /proc and sock_diag");

pub mod accept;
mod activation;
pub mod bpf;
pub mod caps;
pub mod cgroup;
pub mod clock;
pub mod diag;
pub mod elf;
pub mod fdpass;
mod fdscan;
pub mod foreign;
pub mod hangup;
pub mod heap;
pub mod host;
pub mod lane;
pub mod listen;
pub mod notify;
mod placement;
pub mod poll;
pub mod preload;
pub mod proc;
pub mod process;
pub mod seccomp;
pub mod signal;
pub mod signals;
pub mod spawn;
pub mod startup;
mod tcp;
pub mod tree;
pub mod untouched;
pub mod waker;
