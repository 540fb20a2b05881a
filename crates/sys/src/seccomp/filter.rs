//! The filter: which calls are trapped, as a listing for the kernel's classic BPF.
//!
//! Invariant: everything that is not one of ours by architecture and number is allowed.

use libc::sock_filter;

use super::Shutdown;

/// `AUDIT_ARCH_*` of the calls this program makes itself (linux/audit.h): ELF machine, 64 bit, little endian.
#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
pub(super) const NATIVE: Option<u32> = Some(0xC000_003E);
/// As above.
#[cfg(all(target_arch = "aarch64", target_pointer_width = "64", target_endian = "little"))]
pub(super) const NATIVE: Option<u32> = Some(0xC000_00B7);
/// Not known here: nothing can be trapped.
#[cfg(not(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    all(target_arch = "aarch64", target_pointer_width = "64", target_endian = "little"),
)))]
pub(super) const NATIVE: Option<u32> = None;

/// Offsets in `struct seccomp_data`. Arguments are 64 bits wide; `how` of `shutdown` is an int, of which the kernel looks at
/// the low half, and that comes first in memory.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARG_1_LOW: u32 = 24;

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const JUMP_IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

/// The listing for one native architecture. x32 calls bear the native architecture, but their numbers have bit 30 set and
/// match nothing; 32-bit calls bear another architecture.
pub(super) fn listing(native: u32, shutdown: Shutdown) -> [sock_filter; 10] {
    let shutdown = match shutdown {
        Shutdown::Trapped => number(libc::SYS_shutdown),
        // Went off at 4 already, so nothing matches at 5. A number that no call has would be no safer: a program may
        // call any number, -1 included.
        Shutdown::Untouched => number(libc::SYS_listen),
    };
    [
        /* 0 */ instruction(LOAD, ARCH, 0, 0), // which architecture's call is it?
        /* 1 */ instruction(JUMP_IF_EQUAL, native, 0, 7), // another's: 9, allow
        /* 2 */ instruction(LOAD, NR, 0, 0), // which call is it?
        /* 3 */ instruction(JUMP_IF_EQUAL, number(libc::SYS_bind), 4, 0), // bind: 8, notify
        /* 4 */ instruction(JUMP_IF_EQUAL, number(libc::SYS_listen), 3, 0), // listen: 8, notify
        /* 5 */ instruction(JUMP_IF_EQUAL, shutdown, 0, 3), // not shutdown: 9, allow
        /* 6 */ instruction(LOAD, ARG_1_LOW, 0, 0), // which side shall be shut down?
        /* 7 */
        instruction(JUMP_IF_EQUAL, libc::SHUT_WR.cast_unsigned(), 1, 0), // only writing: 9, allow
        /* 8 */ instruction(RETURN, libc::SECCOMP_RET_USER_NOTIF, 0, 0),
        /* 9 */ instruction(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ]
}

/// One instruction. Every code fits: classic BPF has 16 bits for it.
fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: code as u16, jt, jf, k }
}

/// A call's number; small and positive on every architecture.
fn number(call: libc::c_long) -> u32 {
    call as u32
}

#[cfg(test)]
mod tests {
    use libc::{SECCOMP_RET_ALLOW as ALLOW, SECCOMP_RET_USER_NOTIF as NOTIFY};

    use super::{ARCH, ARG_1_LOW, JUMP_IF_EQUAL, LOAD, NATIVE, NR, RETURN, Shutdown, listing, number};

    const X32_BIT: u32 = 0x4000_0000;
    const ARCH_I386: u32 = 0x4000_0003;

    /// What the kernel would do with the listing, step by step.
    fn verdict(shutdown: Shutdown, arch: u32, nr: u32, how: u64) -> u32 {
        let listing = listing(NATIVE.expect("tests run where the filter works"), shutdown);
        let (mut at, mut loaded) = (0, 0);
        for _ in 0..listing.len() {
            let step = listing[at];
            at += 1;
            match u32::from(step.code) {
                LOAD => {
                    loaded = match step.k {
                        NR => nr,
                        ARCH => arch,
                        ARG_1_LOW => how as u32,
                        other => panic!("no such field: {other}"),
                    }
                }
                JUMP_IF_EQUAL => at += usize::from(if loaded == step.k { step.jt } else { step.jf }),
                RETURN => return step.k,
                other => panic!("no such instruction: {other}"),
            }
        }
        panic!("no verdict");
    }

    fn native(shutdown: Shutdown, call: libc::c_long, how: u64) -> u32 {
        verdict(shutdown, NATIVE.expect("native"), number(call), how)
    }

    #[test]
    fn bind_and_listen_are_trapped_and_neighbours_are_not() {
        for shutdown in [Shutdown::Untouched, Shutdown::Trapped] {
            assert_eq!(native(shutdown, libc::SYS_bind, 0), NOTIFY);
            assert_eq!(native(shutdown, libc::SYS_listen, 0), NOTIFY);
            for call in
                [libc::SYS_connect, libc::SYS_accept, libc::SYS_accept4, libc::SYS_read, libc::SYS_close]
            {
                assert_eq!(native(shutdown, call, 0), ALLOW);
            }
        }
    }

    #[test]
    fn shutdown_is_trapped_when_asked_for_and_never_for_writing_alone() {
        for (how, trapped) in [(libc::SHUT_RD, NOTIFY), (libc::SHUT_WR, ALLOW), (libc::SHUT_RDWR, NOTIFY)] {
            let how = u64::from(how.cast_unsigned());
            assert_eq!(native(Shutdown::Trapped, libc::SYS_shutdown, how), trapped);
            // The kernel ignores the upper half of an int.
            assert_eq!(native(Shutdown::Trapped, libc::SYS_shutdown, how | 7 << 32), trapped);
            assert_eq!(native(Shutdown::Untouched, libc::SYS_shutdown, how), ALLOW);
        }
    }

    #[test]
    fn calls_of_other_architectures_pass() {
        for call in [libc::SYS_bind, libc::SYS_listen, libc::SYS_shutdown].map(number) {
            assert_eq!(verdict(Shutdown::Trapped, ARCH_I386, call, 0), ALLOW);
            assert_eq!(verdict(Shutdown::Trapped, NATIVE.expect("native"), call | X32_BIT, 0), ALLOW);
        }
        for shutdown in [Shutdown::Untouched, Shutdown::Trapped] {
            assert_eq!(verdict(shutdown, NATIVE.expect("native"), u32::MAX, 0), ALLOW);
        }
    }
}
