//! Three of the functions that stand before the C library's: `bind`, `listen`, `shutdown`; the fourth is in `connect`.
//!
//! The socket is replaced at `bind`, so that what a program does with the descriptor before `listen` (registering it with epoll)
//! is done to the right one. Only a port that the kernel chose is agreed upon at `listen`: until then it may belong to a client.
//! What every copy shares, no copy may break: shutting it down would end the port for all, so the primary is told, and does it or not.
//!
//! Invariant: a call that concerns none of the primary's sockets costs a look (an option or two) and no question: `shutdown` of an
//! ordinary connection, `bind` to port 0.
#![expect(unsafe_code, reason = "functions of the C library's names")]

use core::ffi::c_int;

use libc::{sockaddr, socklen_t};

use crate::ask::{Reply, ask};
use crate::kernel::{quietly, set_errno};
use crate::message::{Address, Call, Is, Request, Transport};
use crate::real;
use crate::replace::replace;
use crate::setup::{Primary, primary};
use crate::socket::{self, Socket};
use crate::table::{PASSED, SHARED};

/// How a call goes on.
enum Way {
    /// As without us.
    Native,
    /// As without us; and if it succeeds the primary does not want this socket.
    Passed,
    /// It returns 0.
    Done,
    /// It fails with this number.
    Failed(c_int),
}

/// As the C library's; see the module.
///
/// # Safety
///
/// Unless null, `length` bytes can be read at `address`.
// SAFETY: of the C library's type, as everybody who calls this name expects.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn bind(fd: c_int, address: *const sockaddr, length: socklen_t) -> c_int {
    // SAFETY: promised by the caller.
    let wanted = unsafe { socket::passed(address, length) };
    let way = quietly(|| wanted.map_or(Way::Native, |wanted| way_of_bind(fd, wanted)));
    match way {
        // SAFETY: the program's own arguments.
        Way::Native => unsafe { real::bind(fd, address, length) },
        Way::Passed => {
            // SAFETY: the same.
            let outcome = unsafe { real::bind(fd, address, length) };
            pass(fd, outcome)
        }
        Way::Done => 0,
        Way::Failed(errno) => fail(errno),
    }
}

/// As the C library's; see the module.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn listen(fd: c_int, backlog: c_int) -> c_int {
    match quietly(|| way_of_listen(fd, backlog)) {
        Way::Native => real::listen(fd, backlog),
        Way::Passed => pass(fd, real::listen(fd, backlog)),
        Way::Done => 0,
        Way::Failed(errno) => fail(errno),
    }
}

/// As the C library's; see the module.
// SAFETY: as above.
#[unsafe(no_mangle)]
pub extern "C" fn shutdown(fd: c_int, how: c_int) -> c_int {
    match quietly(|| way_of_shutdown(fd, how)) {
        Way::Native => real::shutdown(fd, how),
        Way::Passed => pass(fd, real::shutdown(fd, how)),
        Way::Done => 0,
        Way::Failed(errno) => fail(errno),
    }
}

fn way_of_bind(fd: c_int, wanted: Address) -> Way {
    let Some(primary) = primary() else { return Way::Native };
    if socket::is_open(&wanted) {
        return Way::Native;
    }
    let Some(socket) = socket::look(fd) else { return Way::Native };
    // A second bind, and one of another family, are the kernel's to refuse.
    let is_bound = socket::bound(fd).is_none_or(|present| !socket::is_open(&present));
    if is_bound || !socket::is_of(&wanted, socket.family) {
        return Way::Native;
    }
    match put(primary, fd, Call::Bind, &socket, wanted) {
        Reply::Pass => Way::Passed,
        Reply::Silence | Reply::Done => Way::Native,
        Reply::Fail(errno) => Way::Failed(errno),
        Reply::Take(shared) => replace(fd, &shared).map_or_else(Way::Failed, |()| Way::Done),
    }
}

fn way_of_listen(fd: c_int, backlog: c_int) -> Way {
    let Some(primary) = primary() else { return Way::Native };
    let Some(socket) = socket::look(fd) else { return Way::Native };
    let shared = Is::of(SHARED.has(socket.cookie));
    match (shared, socket.family, socket.transport) {
        (Is::NotSo, libc::AF_UNIX, _) | (_, _, Transport::Datagram) => return Way::Native,
        (Is::NotSo, ..) if PASSED.has(socket.cookie) => return Way::Native,
        (Is::So | Is::NotSo, ..) => {}
    }
    let Some(bound) = socket::bound(fd) else { return Way::Native };
    match put(primary, fd, Call::Listen { backlog }, &socket, bound) {
        // On the primary's socket too: listening is what it is for, and it is the same for all.
        Reply::Silence => Way::Native,
        Reply::Pass => match shared {
            Is::So => Way::Native,
            Is::NotSo => Way::Passed,
        },
        Reply::Done => {
            // Perhaps inherited through exec, which forgets what stood in our table.
            SHARED.put(socket.cookie);
            Way::Done
        }
        Reply::Fail(errno) => Way::Failed(errno),
        Reply::Take(shared) => replace(fd, &shared).map_or_else(Way::Failed, |()| Way::Done),
    }
}

fn way_of_shutdown(fd: c_int, how: c_int) -> Way {
    // The usual farewell on a connection. A TCP listener does not mind it.
    if how == libc::SHUT_WR {
        return Way::Native;
    }
    let Some(primary) = primary() else { return Way::Native };
    let shared = Is::of(!SHARED.is_empty() && is_shared(fd));
    match (shared, socket::listens(fd)) {
        (Is::NotSo, Is::NotSo) => return Way::Native,
        // Nothing of it is on the primary's books.
        (Is::So, Is::NotSo) => return Way::Done,
        // One that is not in our table: its own, inherited through exec, or one too many.
        (Is::So | Is::NotSo, Is::So) => {}
    }
    let otherwise = match shared {
        Is::So => Way::Done,
        Is::NotSo => Way::Native,
    };
    let (Some(socket), Some(bound)) = (socket::look(fd), socket::bound(fd)) else { return otherwise };
    if PASSED.has(socket.cookie) || socket::is_open(&bound) {
        return otherwise;
    }
    match (put(primary, fd, Call::Shutdown { how }, &socket, bound), shared) {
        (Reply::Done, _) => {
            SHARED.put(socket.cookie);
            Way::Done
        }
        // Nobody else has it, and the program waits for what shutting it wakes.
        (Reply::Pass, Is::So) => Way::Native,
        (Reply::Pass, Is::NotSo) => Way::Passed,
        (Reply::Fail(errno), _) => Way::Failed(errno),
        (Reply::Silence | Reply::Take(_), _) => otherwise,
    }
}

fn put(primary: &Primary, fd: c_int, call: Call, socket: &Socket, address: Address) -> Reply {
    let request = Request {
        token: primary.token,
        call,
        fd,
        transport: socket.transport,
        only_v6: socket::only_v6(fd),
        reuses_port: socket::reuses_port(fd),
        listens: socket::listens(fd),
        address,
    };
    ask(primary, &request)
}

/// Whether one of the primary's sockets stands there.
pub(crate) fn is_shared(fd: c_int) -> bool {
    socket::cookie(fd).is_some_and(|cookie| SHARED.has(cookie))
}

/// The primary did not want this call; remembers so if the call succeeded.
fn pass(fd: c_int, outcome: c_int) -> c_int {
    if outcome == 0 {
        quietly(|| {
            if let Some(cookie) = socket::cookie(fd) {
                PASSED.put(cookie);
            }
        });
    }
    outcome
}

fn fail(errno: c_int) -> c_int {
    set_errno(errno);
    -1
}
