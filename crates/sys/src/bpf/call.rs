//! The calls of bpf(2) that are used, each as one function.
//!
//! Each passes the whole of `union bpf_attr` as Linux 5.14 knows it, the rest of it zero; a kernel that knows less takes that
//! as long as what it does not know is zero.
#![expect(unsafe_code, reason = "bpf(2): rustix has none")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use super::asm::Instruction;

const MAP_CREATE: i64 = 0;
const MAP_LOOKUP_ELEM: i64 = 1;
const MAP_UPDATE_ELEM: i64 = 2;
const MAP_DELETE_ELEM: i64 = 3;
const PROG_LOAD: i64 = 5;
const RAW_TRACEPOINT_OPEN: i64 = 17;
const BTF_LOAD: i64 = 18;
const LINK_CREATE: i64 = 28;

/// Both parts of the dual licence are named: the functions called are for GPL programs.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";

/// Type information with one 32-bit integer, number 1: what a storage map has to have for key and value. Header (24 bytes:
/// magic, version, lengths), one type (16 bytes), the strings (1 byte).
const ONE_INTEGER: [u8; 41] = [
    0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, // header
    0, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 32, 0, 0, 0, // INT, 4 bytes, 32 bits
    0,
];

/// `union bpf_attr`, by 32-bit words.
#[repr(C, align(8))]
struct Attributes([u32; 36]);

impl Attributes {
    fn new() -> Self {
        Attributes([0; 36])
    }

    /// A word at a byte offset.
    fn word(mut self, offset: usize, value: u32) -> Self {
        if let Some(word) = self.0.get_mut(offset / 4) {
            *word = value;
        }
        self
    }

    fn descriptor(self, offset: usize, fd: RawFd) -> Self {
        self.word(offset, fd.cast_unsigned())
    }

    /// An address; what lies there has to live until the call.
    fn address<T>(self, offset: usize, at: *const T) -> Self {
        let (low, high) = halves(at as u64);
        self.word(offset, low).word(offset + 4, high)
    }

    /// A name of at most 15 characters, for who lists maps and programs.
    fn name(mut self, offset: usize, name: &str) -> Self {
        for (at, chunk) in name.as_bytes()[..name.len().min(15)].chunks(4).enumerate() {
            let mut bytes = [0; 4];
            bytes[..chunk.len()].copy_from_slice(chunk);
            self = self.word(offset + 4 * at, u32::from_ne_bytes(bytes));
        }
        self
    }

    fn call(&mut self, command: i64) -> io::Result<i32> {
        let (attributes, size) = (self.0.as_mut_ptr(), size_of::<Attributes>());
        // SAFETY: `attributes` is readable and writable for `size` bytes; the addresses in it are those of values that
        // outlive this call, as each caller holds them.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
        if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
    }

    fn open(&mut self, command: i64) -> io::Result<OwnedFd> {
        let fd = self.call(command)?;
        // SAFETY: the kernel just gave us this descriptor, close-on-exec, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

fn halves(value: u64) -> (u32, u32) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    if cfg!(target_endian = "little") { (low, high) } else { (high, low) }
}

/// What a map is.
#[derive(Clone, Copy, Debug)]
pub(super) enum MapKind<'a> {
    /// One value of so many bytes, which can be mapped into memory (Linux 5.5).
    Table(u32),
    /// So many listening sockets by number (Linux 4.19).
    Sockets(u32),
    /// 32 bits for each socket, which connections inherit from their listener (Linux 5.4), with the type information.
    Storage(BorrowedFd<'a>),
}

pub(super) fn make_map(kind: MapKind<'_>, name: &str) -> io::Result<OwnedFd> {
    const ARRAY: u32 = 2;
    const REUSEPORT_SOCKARRAY: u32 = 20;
    const SK_STORAGE: u32 = 24;
    const NO_PREALLOC: u32 = 1;
    const CLONE: u32 = 1 << 9;
    const MMAPABLE: u32 = 1 << 10;
    let base = |kind, value, entries, flags| {
        Attributes::new()
            .word(0, kind)
            .word(4, 4)
            .word(8, value)
            .word(12, entries)
            .word(16, flags)
            .name(28, name)
    };
    let mut attributes = match kind {
        MapKind::Table(bytes) => base(ARRAY, bytes, 1, MMAPABLE),
        MapKind::Sockets(count) => base(REUSEPORT_SOCKARRAY, 8, count, 0),
        MapKind::Storage(types) => base(SK_STORAGE, 4, 0, NO_PREALLOC | CLONE)
            .descriptor(48, types.as_raw_fd())
            .word(52, 1)
            .word(56, 1),
    };
    attributes.open(MAP_CREATE)
}

/// The type information that [`MapKind::Storage`] needs.
pub(super) fn load_types() -> io::Result<OwnedFd> {
    Attributes::new().address(0, ONE_INTEGER.as_ptr()).word(16, ONE_INTEGER.len() as u32).open(BTF_LOAD)
}

fn element(map: BorrowedFd<'_>, key: &u32) -> Attributes {
    Attributes::new().descriptor(0, map.as_raw_fd()).address(8, std::ptr::from_ref(key))
}

/// Puts a listening socket into an array of sockets, in place of whatever is there. `EINVAL`: it does not listen, or is of
/// another protocol; `EBUSY`: it is in another array (one socket may be in one); `E2BIG`: no such number.
pub(super) fn put_socket(map: BorrowedFd<'_>, key: u32, socket: BorrowedFd<'_>) -> io::Result<()> {
    let value = u64::from(socket.as_raw_fd().cast_unsigned());
    element(map, &key).address(16, &raw const value).call(MAP_UPDATE_ELEM).map(drop)
}

/// Takes out what is there. `ENOENT`: nothing.
pub(super) fn take_socket(map: BorrowedFd<'_>, key: u32) -> io::Result<()> {
    element(map, &key).call(MAP_DELETE_ELEM).map(drop)
}

/// Writes a socket's storage.
pub(super) fn store(map: BorrowedFd<'_>, socket: BorrowedFd<'_>, value: u32) -> io::Result<()> {
    let key = socket.as_raw_fd().cast_unsigned();
    element(map, &key).address(16, &raw const value).call(MAP_UPDATE_ELEM).map(drop)
}

/// Reads a socket's storage. `ENOENT`: it has none.
pub(super) fn stored(map: BorrowedFd<'_>, socket: BorrowedFd<'_>) -> io::Result<u32> {
    let key = socket.as_raw_fd().cast_unsigned();
    let mut value = 0u32;
    element(map, &key).address(16, &raw mut value).call(MAP_LOOKUP_ELEM)?;
    Ok(value)
}

/// What a program is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum ProgramKind {
    /// Chooses a socket, also for connections of one that closes (Linux 5.14).
    Selector,
    /// Is called about the sockets of a cgroup.
    SocketOps,
    /// Is called at a tracepoint, by the number of its type in the kernel's own type information.
    Traced(u32),
}

/// Has the kernel verify a program. `EPERM`: not allowed; `EINVAL`, `EACCES`, `E2BIG`: the kernel knows something in it not.
pub(super) fn load_program(kind: ProgramKind, listing: &[Instruction], name: &str) -> io::Result<OwnedFd> {
    const SOCK_OPS: u32 = 13;
    const SK_REUSEPORT: u32 = 21;
    const TRACING: u32 = 26;
    const CGROUP_SOCK_OPS: u32 = 3;
    const TRACE_RAW_TP: u32 = 23;
    const SELECT_OR_MIGRATE: u32 = 40;
    let (program, attach, traced) = match kind {
        ProgramKind::Selector => (SK_REUSEPORT, SELECT_OR_MIGRATE, 0),
        ProgramKind::SocketOps => (SOCK_OPS, CGROUP_SOCK_OPS, 0),
        ProgramKind::Traced(type_id) => (TRACING, TRACE_RAW_TP, type_id),
    };
    let count = u32::try_from(listing.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?;
    Attributes::new()
        .word(0, program)
        .word(4, count)
        .address(8, listing.as_ptr())
        .address(16, LICENSE.as_ptr())
        .name(48, name)
        .word(68, attach)
        .word(108, traced)
        .open(PROG_LOAD)
}

/// Lets a program be called about the sockets of a cgroup until the last copy of the link's descriptor is closed (Linux 5.7).
pub(super) fn link_to_cgroup(program: BorrowedFd<'_>, cgroup: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    const CGROUP_SOCK_OPS: u32 = 3;
    Attributes::new()
        .descriptor(0, program.as_raw_fd())
        .descriptor(4, cgroup.as_raw_fd())
        .word(8, CGROUP_SOCK_OPS)
        .open(LINK_CREATE)
}

/// Lets a program be called at its tracepoint, likewise.
pub(super) fn link_to_tracepoint(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Attributes::new().descriptor(8, program.as_raw_fd()).open(RAW_TRACEPOINT_OPEN)
}
