//! The programs that count a lane's open connections: up when one is established, down when its worker gives it up.
//!
//! Which lane a connection belongs to lies in its socket's storage, which it inherits from the listener in the moment of its
//! handshake (`BPF_F_CLONE`, Linux 5.4). What was established before the counting began has no mark and is never counted
//! down. A count can be below none all the same: a connection may be reset in the moment in which it is given to another
//! worker.
//!
//! "Given up" is the first of FIN_WAIT1, LAST_ACK and CLOSE: a client that never acknowledges the end does not count.

use super::asm::{If, Instruction, Label, Listing, Op, Register};
use super::layout::{COUNTED, ESTABLISHED, OPEN, PENDING, UNIT, UNITS};
use crate::tcp::state;

const SK_STORAGE_GET: i32 = 107;
const SOCK_OPS_CB_FLAGS_SET: i32 = 59;

const GIVEN_UP: i32 = 1 << state::FIN_WAIT1 | 1 << state::CLOSE | 1 << state::LAST_ACK;
const ESTABLISHED_STATE: i32 = state::ESTABLISHED as i32;

/// `struct bpf_sock_ops`.
const CALLED_FOR: i16 = 0;
const NEW_STATE: i16 = 8;
const WISHES: i16 = 84;
const SOCKET: i16 = 184;
const PASSIVE_ESTABLISHED: i32 = 5;
const STATE_CHANGED: i32 = 10;
/// Be called at changes of state. The wishes of other programs stay: ours is added.
const STATE_WISH: i32 = 1 << 2;

/// The arguments of the tracepoint `inet_sock_set_state`: socket, old state, new state.
const TRACED_SOCKET: i16 = 0;
const TRACED_STATE: i16 = 16;

/// Whether what is in this state is counted down.
pub(super) fn is_given_up(state: u8) -> bool {
    GIVEN_UP & (1 << state) != 0
}

/// For the sockets of one cgroup (`BPF_PROG_TYPE_SOCK_OPS`): that which the maker of their listener was in. Needs CAP_BPF and
/// CAP_NET_ADMIN.
pub(super) fn in_cgroup(table: i32, storage: i32) -> Option<Vec<Instruction>> {
    use Register::{R1, R2, R6, R7, R9};
    let mut it = Listing::default();
    let (over, found, given_up) = (it.label(), it.label(), it.label());
    it.with(Op::Set, R6, R1);
    it.load(R7, R6, CALLED_FOR);
    it.jump(If::Equal, R7, PASSIVE_ESTABLISHED, found);
    it.jump(If::NotEqual, R7, STATE_CHANGED, over);
    it.load(R1, R6, NEW_STATE);
    leave_unless_given_up(&mut it, R1, over);
    it.place(found);
    it.load_double(R2, R6, SOCKET);
    it.jump(If::Equal, R2, 0, over);
    find_lane(&mut it, table, storage, over);
    it.jump(If::Equal, R7, STATE_CHANGED, given_up);
    count_up(&mut it);
    it.load(R2, R6, WISHES);
    it.by(Op::Or, R2, STATE_WISH);
    it.with(Op::Set, R1, R6);
    it.call(SOCK_OPS_CB_FLAGS_SET);
    it.go(over);
    it.place(given_up);
    count_down(&mut it, R9, over);
    it.place(over);
    it.exit(1);
    it.assemble()
}

/// For all sockets of the system (`BPF_PROG_TYPE_TRACING`): where there is no cgroup v2. Needs CAP_BPF and CAP_PERFMON.
pub(super) fn traced(table: i32, storage: i32) -> Option<Vec<Instruction>> {
    use Register::{R1, R2, R6, R7, R9};
    let mut it = Listing::default();
    let (over, found, given_up) = (it.label(), it.label(), it.label());
    it.with(Op::Set, R6, R1);
    it.load_double(R7, R6, TRACED_STATE);
    it.jump(If::Equal, R7, ESTABLISHED_STATE, found);
    leave_unless_given_up(&mut it, R7, over);
    it.place(found);
    it.load_double(R2, R6, TRACED_SOCKET);
    find_lane(&mut it, table, storage, over);
    it.jump(If::NotEqual, R7, ESTABLISHED_STATE, given_up);
    count_up(&mut it);
    it.go(over);
    it.place(given_up);
    count_down(&mut it, R9, over);
    it.place(over);
    it.exit(0);
    it.assemble()
}

/// Goes on where the state in `state` is one that ends a connection. Destroys R2.
fn leave_unless_given_up(it: &mut Listing, state: Register, over: Label) {
    use Register::R2;
    it.by(Op::Set, R2, 1);
    it.with(Op::ShiftLeft, R2, state);
    it.by(Op::And, R2, GIVEN_UP);
    it.jump(If::Equal, R2, 0, over);
}

/// From the socket in R2: its storage in R8, what lies there in R9, and its lane in the table in R0.
fn find_lane(it: &mut Listing, table: i32, storage: i32, over: Label) {
    use Register::{R0, R1, R3, R4, R8, R9};
    it.map(R1, storage);
    it.by(Op::Set, R3, 0);
    it.by(Op::Set, R4, 0);
    it.call(SK_STORAGE_GET);
    it.jump(If::Equal, R0, 0, over);
    it.with(Op::Set, R8, R0);
    it.load(R9, R8, 0);
    it.value_of(R0, table, 0);
    it.with(Op::Set, R1, R9);
    it.by(Op::And, R1, UNITS as i32 - 1);
    it.by(Op::ShiftLeft, R1, UNIT.trailing_zeros().cast_signed());
    it.with(Op::Add, R0, R1);
}

fn count_up(it: &mut Listing) {
    use Register::{R0, R1, R8, R9};
    it.by(Op::Set, R1, 1);
    it.add_atomically(R0, OPEN, R1);
    it.add_atomically(R0, ESTABLISHED, R1);
    let none = it.label();
    it.load(R1, R0, PENDING);
    it.jump(If::NotPositive32, R1, 0, none);
    it.by(Op::Set, R1, -1);
    it.add_atomically(R0, PENDING, R1);
    it.place(none);
    it.by(Op::Or, R9, COUNTED);
    it.store(R8, 0, R9);
}

fn count_down(it: &mut Listing, mark: Register, over: Label) {
    use Register::{R0, R1, R8};
    it.with(Op::Set, R1, mark);
    it.by(Op::And, R1, COUNTED);
    it.jump(If::Equal, R1, 0, over);
    it.by(Op::And, mark, UNITS as i32 - 1);
    it.store(R8, 0, mark);
    it.by(Op::Set, R1, -1);
    it.add_atomically(R0, OPEN, R1);
}
