//! The program that chooses the lane of a new connection (`BPF_PROG_TYPE_SK_REUSEPORT`).
//!
//! Whoever has the smallest (open + bias + pending + 1) * weight; among equals the next one after the last that was chosen.
//! Straight-line for as many lanes as the address has: a loop, or a branch for each lane, is refused to who has CAP_BPF alone
//! ("sequence of 8193 jumps is too complex", Linux 6.18), because then the verifier walks speculative paths as well.

use super::asm::{If, Instruction, Listing, Op, Register};
use super::layout::{
    BIAS, CURSOR, KEEPER, KEY, MOST_LANES, OFF, OPEN, PENDING, PERIOD, SELECTED, STAMP, UNIT, WEIGHT,
};

const KTIME_GET_NS: i32 = 5;
const SK_SELECT_REUSEPORT: i32 = 82;

/// `migrating_sk` of `struct sk_reuseport_md`: set where not a new connection is placed, but one of a listener that closes
/// (Linux 5.14).
const MIGRATING: i16 = 48;
/// `SK_PASS`: to the chosen socket, or where none was chosen to one by the kernel's hash. `SK_DROP`: to none.
const PASS: i32 = 1;
const DROP: i32 = 0;

/// On the stack: the key, the context.
const CHOSEN_KEY: i16 = -4;
const CONTEXT: i16 = -16;

/// The tie-breaker takes the lower bits of a rank: as many as number the units of a block.
const TIE_BITS: i32 = 7;
const TIE: i32 = (1 << TIE_BITS) - 1;

/// The listing for the first `lanes` lanes of an address. `table`, `sockets`: descriptors of the maps; `base`: where the
/// address's block begins.
pub(super) fn selector(table: i32, sockets: i32, base: i32, lanes: usize) -> Option<Vec<Instruction>> {
    use Register::{Frame, R0, R1, R2, R4, R6, R7, R8, R9};
    let mut it = Listing::default();
    let (nobody, drop) = (it.label(), it.label());

    it.store_double(Frame, CONTEXT, R1);
    it.call(KTIME_GET_NS);
    it.with(Op::Set, R8, R0);
    it.by(Op::ShiftRight, R8, PERIOD);
    it.truncate(R8); // the period
    it.value_of(R7, table, base);
    it.load(R9, R7, CURSOR);
    it.by(Op::Set, R4, -1);
    it.by(Op::ShiftRight, R4, 1); // the best rank yet: none is worse
    for lane in 1..=lanes.min(MOST_LANES) {
        rank(&mut it, i16::try_from(lane * UNIT).ok()?, i32::try_from(lane).ok()?);
        // The smaller of R4 and R6, without a branch.
        it.with(Op::Sub, R6, R4);
        it.with(Op::Set, R0, R6);
        it.by(Op::ShiftRightSigned, R0, 63);
        it.with(Op::And, R6, R0);
        it.with(Op::Add, R4, R6);
    }
    it.with(Op::Set, R1, R4);
    it.by(Op::ShiftRight, R1, TIE_BITS);
    it.jump(If::AtLeast, R1, OFF.cast_signed(), nobody);

    it.with(Op::Add, R9, R4);
    it.by(Op::And, R9, TIE); // its number in the block
    it.with(Op::Set, R1, R9);
    it.by(Op::Add, R1, 1);
    it.store(R7, CURSOR, R1);
    it.by(Op::ShiftLeft, R9, UNIT.trailing_zeros().cast_signed());
    it.with(Op::Add, R7, R9);
    it.load(R1, R7, KEY);
    it.store(Frame, CHOSEN_KEY, R1);

    let same_period = it.label();
    it.load(R2, R7, STAMP);
    it.jump_if_same(R2, R8, same_period);
    it.by(Op::Set, R2, 0);
    it.store(R7, PENDING, R2);
    it.store(R7, STAMP, R8);
    it.place(same_period);
    it.by(Op::Set, R1, 1);
    it.add_atomically(R7, PENDING, R1);
    it.add_atomically(R7, SELECTED, R1);
    select(&mut it, sockets);
    it.exit(PASS);

    it.place(nobody);
    it.load_double(R1, Frame, CONTEXT);
    it.load_double(R2, R1, MIGRATING);
    // The keeper serves nobody: what was let in must not end there.
    it.jump(If::NotEqual, R2, 0, drop);
    it.by(Op::Set, R1, KEEPER.cast_signed());
    it.store(Frame, CHOSEN_KEY, R1);
    select(&mut it, sockets);
    it.exit(PASS);

    it.place(drop);
    it.exit(DROP);
    it.assemble()
}

/// Leaves the rank of one lane in R6.
fn rank(it: &mut Listing, unit: i16, number: i32) {
    use Register::{R0, R1, R2, R6, R7, R8, R9};
    it.load(R6, R7, unit + OPEN);
    it.by(Op::ShiftLeft, R6, 32);
    it.by(Op::ShiftRightSigned, R6, 32);
    // Pending ones, if they are of this period: the mask is all ones where the difference is zero.
    it.load(R1, R7, unit + STAMP);
    it.with(Op::Xor, R1, R8);
    it.by(Op::Sub, R1, 1);
    it.by(Op::ShiftRightSigned, R1, 63);
    it.load(R0, R7, unit + PENDING);
    it.by(Op::ShiftLeft, R0, 32);
    it.by(Op::ShiftRightSigned, R0, 32);
    it.with(Op::And, R0, R1);
    it.with(Op::Add, R6, R0);
    // Either may be counted down, or fed, once too often for a moment: less than none is none.
    it.with(Op::Set, R1, R6);
    it.by(Op::ShiftRightSigned, R1, 63);
    it.by(Op::Xor, R1, -1);
    it.with(Op::And, R6, R1);
    it.load(R1, R7, unit + BIAS);
    it.with(Op::Add, R6, R1);
    it.by(Op::Add, R6, 1);
    it.load(R2, R7, unit + WEIGHT);
    it.with(Op::Mul, R6, R2);
    it.by(Op::ShiftLeft, R6, TIE_BITS);
    it.by(Op::Set, R1, number);
    it.with(Op::Sub, R1, R9);
    it.by(Op::And, R1, TIE);
    it.with(Op::Or, R6, R1);
}

/// Sends the connection to the socket with the key on the stack.
fn select(it: &mut Listing, sockets: i32) {
    use Register::{Frame, R1, R2, R3, R4};
    it.load_double(R1, Frame, CONTEXT);
    it.map(R2, sockets);
    it.with(Op::Set, R3, Frame);
    it.by(Op::Add, R3, i32::from(CHOSEN_KEY));
    it.by(Op::Set, R4, 0);
    it.call(SK_SELECT_REUSEPORT);
}

#[cfg(test)]
mod tests {
    use super::selector;

    #[test]
    fn its_length_grows_by_the_lane() {
        let length = |lanes| selector(3, 4, 0, lanes).map(|listing| listing.len());
        assert_eq!(length(32).unwrap() - length(31).unwrap(), 31);
        // Longest program for who has no capability at all (`BPF_MAXINSNS`).
        assert!(length(127).unwrap() < 4096);
    }
}
