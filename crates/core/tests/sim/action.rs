//! What may happen in a world left to chance.

use oneport_core::Attach;

/// Something that may happen; a number picks among those to whom it can.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Scale(u32),
    Fork(Attach),
    Reload,
    /// A reload of one slot, with the first so many on trial.
    ReloadSome(u32, usize),
    Reserve(u32),
    StopSlot(u32),
    StartSlot(u32),
    Leave(usize),
    Kill(usize),
    /// The whole way from the process to a listening server.
    Boot(usize, u16),
    Spawn(usize, bool),
    Online(usize),
    Ready(usize),
    Query(usize, u16),
    /// A program has several sockets on one port.
    QueryMore(usize, u16),
    LaneListens(usize),
    LaneFails(usize),
    LaneCloses(usize),
    /// The sockets of a draining worker are empty.
    Empty(usize),
    /// A lane is retired, or stuck.
    Retire(usize, bool),
    Stopping(usize),
    Alive(usize),
    Extend(usize, u64),
    Listening(usize),
    Limit(usize, u32),
    Close(usize, usize),
    LeaveByItself(usize),
    CloseChannel(usize),
    Exit(usize, i32),
    Bury(usize),
    Idle(usize),
    Misbehave(usize),
    Connect(usize, usize),
    Answer(usize, bool),
    Lose(usize),
    Open(usize, bool),
    Shut(usize, u32),
    Exhaust(usize),
    Pass(u64),
    /// The primary is replaced by one that reads its state.
    Restore,
    Disconnect,
    /// Everybody leaves, and then so many come.
    StartAfresh(u32),
    Stop,
    StopNow,
}
