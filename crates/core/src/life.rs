//! One worker's life as a table: phase and input give the next phase and what has to be done. Every pair is
//! written out and no arm is a wildcard, so a new phase or input makes the compiler list the missing rows.
//! `docs/worker-lifecycle.md` is printed from this table by a test.

/// Where a worker is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The process exists (or is about to); nothing was heard of it.
    Starting,
    /// Its runtime is up; it serves nothing.
    Online,
    /// It listens and is in the rotation.
    Listening,
    /// It gets nothing new; hand-offs under way settle, and it takes what waits in sockets of its own.
    Draining,
    /// It was told to leave, or leaves of its own accord, and finishes what it has.
    Leaving,
    /// The stop signal was sent.
    Stopping,
    /// The process is dead or dying; its tree is being ended.
    Ending,
    /// Nothing of it is left.
    Gone,
}

/// What can happen to a worker, as far as its life is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// Its runtime is up.
    Online,
    /// A server of it listens.
    Listening,
    /// It should leave in order.
    Asked,
    /// It must end now.
    Condemned,
    /// No hand-off to it is under way (any more), and nothing waits in sockets of its own.
    Settled,
    /// It announced that it leaves.
    LeavesByItself,
    /// Its open connections are gone or idle.
    Idle,
    /// Its channel is closed.
    ChannelClosed,
    /// The phase's deadline passed.
    Deadline,
    /// The process ended.
    Exited,
    /// Process, tree and channel are gone.
    Gone,
}

/// What a transition asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Take it out of every rotation and choice.
    Unschedule,
    /// Give it `drain_timeout`.
    AllowDrain,
    /// Ask it to leave the way the app wants (`disconnect`, or the signal once idle).
    AskToLeave,
    /// Send the stop signal and give it `kill_timeout`.
    SignalStop,
    /// Its channel is closed: let it leave by itself for a moment.
    AllowExit,
    /// End the whole tree now.
    KillTree,
    /// The process left in order: let the rest of its tree follow within `kill_timeout`.
    EndTree,
    /// Take back what it did not acknowledge, close its part of every port, report.
    Bury,
}

/// The table.
pub fn transition(phase: Phase, input: Input) -> (Phase, &'static [Act]) {
    use Act::*;
    match phase {
        Phase::Starting => match input {
            Input::Online => (Phase::Online, &[]),
            Input::Listening => (Phase::Listening, &[]),
            Input::Asked => (Phase::Stopping, &[Unschedule, SignalStop]),
            Input::Condemned => (Phase::Ending, &[Unschedule, KillTree]),
            Input::LeavesByItself => (Phase::Leaving, &[Unschedule, AllowDrain]),
            // A program without a Node runtime may close descriptors it does not know and live on.
            Input::ChannelClosed => (Phase::Starting, &[]),
            Input::Exited => (Phase::Ending, &[Unschedule, KillTree]),
            Input::Gone => (Phase::Gone, &[Unschedule, Bury]),
            Input::Settled | Input::Idle | Input::Deadline => (phase, &[]),
        },
        Phase::Online => match input {
            Input::Listening => (Phase::Listening, &[]),
            Input::Asked => (Phase::Draining, &[Unschedule, AllowDrain]),
            Input::Condemned => (Phase::Ending, &[Unschedule, KillTree]),
            Input::LeavesByItself => (Phase::Leaving, &[Unschedule, AllowDrain]),
            Input::ChannelClosed => (Phase::Leaving, &[Unschedule, AllowExit]),
            Input::Exited => (Phase::Ending, &[Unschedule, KillTree]),
            Input::Gone => (Phase::Gone, &[Unschedule, Bury]),
            // A shell that runs two Node programs in a row says `online` twice.
            Input::Online | Input::Settled | Input::Idle | Input::Deadline => (phase, &[]),
        },
        Phase::Listening => match input {
            Input::Asked => (Phase::Draining, &[Unschedule, AllowDrain]),
            Input::Condemned => (Phase::Ending, &[Unschedule, KillTree]),
            Input::LeavesByItself => (Phase::Leaving, &[Unschedule, AllowDrain]),
            // Node leaves with code 0 at once when its channel closes unasked (all majors 16 to 26).
            Input::ChannelClosed => (Phase::Leaving, &[Unschedule, AllowExit]),
            Input::Exited => (Phase::Ending, &[Unschedule, KillTree]),
            Input::Gone => (Phase::Gone, &[Unschedule, Bury]),
            Input::Online | Input::Listening | Input::Settled | Input::Idle | Input::Deadline => (phase, &[]),
        },
        Phase::Draining => match input {
            Input::Settled => (Phase::Leaving, &[AskToLeave]),
            Input::Condemned => (Phase::Ending, &[KillTree]),
            Input::LeavesByItself => (Phase::Leaving, &[]),
            Input::ChannelClosed => (Phase::Leaving, &[AllowExit]),
            Input::Deadline => (Phase::Stopping, &[SignalStop]),
            Input::Exited => (Phase::Ending, &[EndTree]),
            Input::Gone => (Phase::Gone, &[Bury]),
            Input::Online | Input::Listening | Input::Asked | Input::Idle => (phase, &[]),
        },
        Phase::Leaving => match input {
            Input::Condemned => (Phase::Ending, &[KillTree]),
            Input::Idle => (Phase::Stopping, &[SignalStop]),
            Input::ChannelClosed => (Phase::Leaving, &[AllowExit]),
            Input::Deadline => (Phase::Stopping, &[SignalStop]),
            Input::Exited => (Phase::Ending, &[EndTree]),
            Input::Gone => (Phase::Gone, &[Bury]),
            Input::Online | Input::Listening | Input::Asked | Input::Settled | Input::LeavesByItself => {
                (phase, &[])
            }
        },
        Phase::Stopping => match input {
            Input::Condemned => (Phase::Ending, &[KillTree]),
            Input::Deadline => (Phase::Ending, &[KillTree]),
            Input::Exited => (Phase::Ending, &[EndTree]),
            Input::Gone => (Phase::Gone, &[Bury]),
            Input::Online
            | Input::Listening
            | Input::Asked
            | Input::Settled
            | Input::LeavesByItself
            | Input::Idle
            | Input::ChannelClosed => (phase, &[]),
        },
        Phase::Ending => match input {
            // The process left in order, but the rest of its tree must not outlive an order to end now.
            Input::Condemned => (Phase::Ending, &[KillTree]),
            Input::Gone => (Phase::Gone, &[Bury]),
            Input::Online
            | Input::Listening
            | Input::Asked
            | Input::Settled
            | Input::LeavesByItself
            | Input::Idle
            | Input::ChannelClosed
            | Input::Deadline
            | Input::Exited => (phase, &[]),
        },
        Phase::Gone => match input {
            Input::Online
            | Input::Listening
            | Input::Asked
            | Input::Condemned
            | Input::Settled
            | Input::LeavesByItself
            | Input::Idle
            | Input::ChannelClosed
            | Input::Deadline
            | Input::Exited
            | Input::Gone => (phase, &[]),
        },
    }
}

impl Phase {
    /// Every phase, in the order of a life.
    pub const ALL: [Phase; 8] = [
        Phase::Starting,
        Phase::Online,
        Phase::Listening,
        Phase::Draining,
        Phase::Leaving,
        Phase::Stopping,
        Phase::Ending,
        Phase::Gone,
    ];

    /// Whether it may get connections.
    pub fn serves(self) -> bool {
        match self {
            Phase::Listening => true,
            Phase::Starting
            | Phase::Online
            | Phase::Draining
            | Phase::Leaving
            | Phase::Stopping
            | Phase::Ending
            | Phase::Gone => false,
        }
    }

    /// Whether it is on its way out.
    pub fn is_leaving(self) -> bool {
        match self {
            Phase::Starting | Phase::Online | Phase::Listening => false,
            Phase::Draining | Phase::Leaving | Phase::Stopping | Phase::Ending | Phase::Gone => true,
        }
    }

    /// The word for people and logs.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Online => "online",
            Phase::Listening => "listening",
            Phase::Draining => "draining",
            Phase::Leaving => "leaving",
            Phase::Stopping => "stopping",
            Phase::Ending => "ending",
            Phase::Gone => "gone",
        }
    }
}

impl Input {
    /// Every input.
    pub const ALL: [Input; 11] = [
        Input::Online,
        Input::Listening,
        Input::Asked,
        Input::Condemned,
        Input::Settled,
        Input::LeavesByItself,
        Input::Idle,
        Input::ChannelClosed,
        Input::Deadline,
        Input::Exited,
        Input::Gone,
    ];
}
