//! eBPF instructions, and putting them into a listing.
//!
//! Only what the listings here need. Invariant: a jump leads to a label of the same listing, forward.

/// A register. R0 holds results, R1 to R5 arguments, which a call destroys; R6 to R9 stay; `Frame` is the end of a stack of
/// 512 bytes and cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    R0,
    R1,
    R2,
    R3,
    R4,
    R6,
    R7,
    R8,
    R9,
    Frame,
}

impl Register {
    fn number(self) -> u8 {
        match self {
            Register::R0 => 0,
            Register::R1 => 1,
            Register::R2 => 2,
            Register::R3 => 3,
            Register::R4 => 4,
            Register::R6 => 6,
            Register::R7 => 7,
            Register::R8 => 8,
            Register::R9 => 9,
            Register::Frame => 10,
        }
    }
}

/// 64-bit arithmetic.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    Add,
    Sub,
    Mul,
    Or,
    And,
    ShiftLeft,
    ShiftRight,
    Xor,
    Set,
    /// Keeps the sign.
    ShiftRightSigned,
}

impl Op {
    fn code(self) -> u32 {
        match self {
            Op::Add => libc::BPF_ADD,
            Op::Sub => libc::BPF_SUB,
            Op::Mul => libc::BPF_MUL,
            Op::Or => libc::BPF_OR,
            Op::And => libc::BPF_AND,
            Op::ShiftLeft => libc::BPF_LSH,
            Op::ShiftRight => libc::BPF_RSH,
            Op::Xor => libc::BPF_XOR,
            Op::Set => 0xb0,
            Op::ShiftRightSigned => 0xc0,
        }
    }
}

/// When a jump is taken.
#[derive(Clone, Copy, Debug)]
pub(super) enum If {
    Equal,
    NotEqual,
    AtLeast,
    /// The lower 32 bits, with their sign.
    NotPositive32,
}

impl If {
    fn code(self) -> u32 {
        match self {
            If::Equal => libc::BPF_JMP | libc::BPF_JEQ,
            If::NotEqual => libc::BPF_JMP | 0x50,
            If::AtLeast => libc::BPF_JMP | libc::BPF_JGE,
            If::NotPositive32 => JMP32 | 0xd0,
        }
    }
}

const ALU64: u32 = 0x07;
const ALU32: u32 = libc::BPF_ALU;
const JMP32: u32 = 0x06;
const STORE_REGISTER: u32 = 0x03;
const DOUBLE: u32 = 0x18;
const ATOMIC: u32 = 0xc0;
const CALL: u32 = 0x80;
const EXIT: u32 = 0x90;
const FROM_REGISTER: u32 = libc::BPF_X;
/// The second register of a 64-bit constant that is a map, or the address of the value of a map with one entry.
const MAP: u8 = 1;
const MAP_VALUE: u8 = 2;

/// One instruction as the kernel takes it (`struct bpf_insn`). The registers are packed as on little-endian machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    constant: i32,
}

/// A place in a listing that is not reached yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

#[derive(Debug, Default)]
pub(super) struct Listing {
    instructions: Vec<Instruction>,
    /// Where each label is.
    labels: Vec<Option<usize>>,
    jumps: Vec<(usize, Label)>,
}

impl Listing {
    /// A label to jump to, still without a place.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label is here.
    pub(super) fn place(&mut self, label: Label) {
        if let Some(place) = self.labels.get_mut(label.0) {
            *place = Some(self.instructions.len());
        }
    }

    /// `to op= from`.
    pub(super) fn with(&mut self, op: Op, to: Register, from: Register) {
        self.push(ALU64 | op.code() | FROM_REGISTER, to, from.number(), 0, 0);
    }

    /// `to op= constant`, which is extended with its sign.
    pub(super) fn by(&mut self, op: Op, to: Register, constant: i32) {
        self.push(ALU64 | op.code(), to, 0, 0, constant);
    }

    /// Keeps the lower 32 bits.
    pub(super) fn truncate(&mut self, register: Register) {
        self.push(ALU32 | Op::Set.code() | FROM_REGISTER, register, register.number(), 0, 0);
    }

    /// `to = *(u32 *)(from + offset)`.
    pub(super) fn load(&mut self, to: Register, from: Register, offset: i16) {
        self.push(libc::BPF_LDX | libc::BPF_MEM | libc::BPF_W, to, from.number(), offset, 0);
    }

    /// `to = *(u64 *)(from + offset)`.
    pub(super) fn load_double(&mut self, to: Register, from: Register, offset: i16) {
        self.push(libc::BPF_LDX | libc::BPF_MEM | DOUBLE, to, from.number(), offset, 0);
    }

    /// `*(u32 *)(to + offset) = from`.
    pub(super) fn store(&mut self, to: Register, offset: i16, from: Register) {
        self.push(STORE_REGISTER | libc::BPF_MEM | libc::BPF_W, to, from.number(), offset, 0);
    }

    /// `*(u64 *)(to + offset) = from`.
    pub(super) fn store_double(&mut self, to: Register, offset: i16, from: Register) {
        self.push(STORE_REGISTER | libc::BPF_MEM | DOUBLE, to, from.number(), offset, 0);
    }

    /// `*(u32 *)(to + offset) += from`, at once for everybody.
    pub(super) fn add_atomically(&mut self, to: Register, offset: i16, from: Register) {
        self.push(STORE_REGISTER | ATOMIC | libc::BPF_W, to, from.number(), offset, 0);
    }

    /// Jumps if `register` compares so with a constant.
    pub(super) fn jump(&mut self, when: If, register: Register, constant: i32, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(when.code(), register, 0, 0, constant);
    }

    /// Jumps if both registers hold the same.
    pub(super) fn jump_if_same(&mut self, one: Register, other: Register, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(If::Equal.code() | FROM_REGISTER, one, other.number(), 0, 0);
    }

    /// Jumps.
    pub(super) fn go(&mut self, to: Label) {
        self.jumps.push((self.instructions.len(), to));
        self.push(libc::BPF_JMP | libc::BPF_JA, Register::R0, 0, 0, 0);
    }

    /// Calls one of the kernel's functions (`BPF_FUNC_*`), which answers in R0.
    pub(super) fn call(&mut self, function: i32) {
        self.push(libc::BPF_JMP | CALL, Register::R0, 0, 0, function);
    }

    /// The map behind a descriptor.
    pub(super) fn map(&mut self, to: Register, map: i32) {
        self.constant(to, MAP, map, 0);
    }

    /// The address of a place in the only value of the map behind a descriptor.
    pub(super) fn value_of(&mut self, to: Register, map: i32, offset: i32) {
        self.constant(to, MAP_VALUE, map, offset);
    }

    pub(super) fn exit(&mut self, answer: i32) {
        self.by(Op::Set, Register::R0, answer);
        self.push(libc::BPF_JMP | EXIT, Register::R0, 0, 0, 0);
    }

    /// The instructions, with every jump led to its label. `None`: a label has no place, or one that is too far.
    pub(super) fn assemble(mut self) -> Option<Vec<Instruction>> {
        for (at, label) in self.jumps {
            let place = (*self.labels.get(label.0)?)?;
            let distance = place.checked_sub(at + 1)?;
            self.instructions.get_mut(at)?.offset = i16::try_from(distance).ok()?;
        }
        Some(self.instructions)
    }

    fn constant(&mut self, to: Register, kind: u8, low: i32, high: i32) {
        self.push(libc::BPF_LD | libc::BPF_IMM | DOUBLE, to, kind, 0, low);
        self.instructions.push(Instruction { code: 0, registers: 0, offset: 0, constant: high });
    }

    /// Every code fits: eBPF has 8 bits for it.
    fn push(&mut self, code: u32, to: Register, from: u8, offset: i16, constant: i32) {
        let registers =
            if cfg!(target_endian = "little") { to.number() | from << 4 } else { to.number() << 4 | from };
        self.instructions.push(Instruction { code: code as u8, registers, offset, constant });
    }
}

#[cfg(test)]
mod tests {
    use super::{If, Listing, Register};

    #[test]
    fn a_jump_leads_behind_what_it_passes_over() {
        let mut listing = Listing::default();
        let end = listing.label();
        listing.jump(If::Equal, Register::R1, 0, end);
        listing.exit(1);
        listing.place(end);
        listing.exit(0);
        let instructions = listing.assemble().expect("a listing");
        assert_eq!(instructions.len(), 5);
        assert_eq!(instructions[0].offset, 2);
    }

    #[test]
    fn a_label_without_a_place_is_no_listing() {
        let mut listing = Listing::default();
        let nowhere = listing.label();
        listing.go(nowhere);
        assert!(listing.assemble().is_none());
    }
}
