//! What lies where in the table that selector, counter and primary share.
//!
//! The table is the one value of an array map, cut into units of 64 bytes, so that two lanes never share a cache line. Each
//! listening address has a block of 128 units: the first is its own, the others are lanes.

/// Bytes of a unit.
pub(super) const UNIT: usize = 64;
/// Units of a block: the address's own, and its lanes.
pub(super) const BLOCK: usize = 128;
/// Blocks, one for each address.
pub const BLOCKS: usize = 16;
/// Lanes that one address may have at one time.
pub const MOST_LANES: usize = BLOCK - 1;
pub(super) const UNITS: usize = BLOCK * BLOCKS;
pub(super) const BYTES: usize = UNITS * UNIT;

/// In an address's own unit: where the next search for the least begins, so that equals take turns.
pub(super) const CURSOR: i16 = 0;

/// In a lane: connections that are open.
pub(super) const OPEN: i16 = 0;
/// Connections that were ever established.
pub(super) const ESTABLISHED: i16 = 4;
/// Chosen since the period in `STAMP` began and not established yet.
pub(super) const PENDING: i16 = 8;
/// The period that `PENDING` is about.
pub(super) const STAMP: i16 = 12;
/// Times that it was chosen.
pub(super) const SELECTED: i16 = 16;
/// Counts as so many more open connections.
pub(super) const BIAS: i16 = 20;
/// What each open connection weighs; [`OFF`]: it is not to be chosen.
pub(super) const WEIGHT: i16 = 24;
/// Its socket's key in the array of sockets.
pub(super) const KEY: i16 = 28;

/// The weight of a connection where all lanes are alike.
pub(super) const EVEN: u32 = 1024;
/// And of one that is to get a connection only where the others have many: 32 times as much. Whoever has more than 65,000 then counts
/// as [`OFF`].
pub(super) const LAST: u32 = 32 * EVEN;
/// No sum of weights that can occur is as large: two million connections of a lane.
pub(super) const OFF: u32 = 0x7fff_ffff;

/// The key of the socket that gets connections while no lane is to be chosen. Lanes have the keys below.
pub(super) const KEEPER: u32 = MOST_LANES as u32;
/// Sockets of one address.
pub(super) const KEYS: u32 = KEEPER + 1;

/// The mark of a connection that is counted, beside the number of the unit that it counts in.
pub(super) const COUNTED: i32 = 1 << 30;

/// Periods of `PENDING` are so many nanoseconds long, as a power of two: about a second. A flood of SYNs that are never
/// followed by an ACK is forgotten then.
pub(super) const PERIOD: i32 = 30;
