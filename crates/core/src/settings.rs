//! What one app wants, as values the core decides by. Defaults are those of `oneport run`.

use std::time::Duration;

/// Who gets the next connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// The primary accepts and hands off in strict rotation (Node's `SCHED_RR`). Programs, which no connection can be
    /// handed to, have a socket of their own each ([`crate::Mode::Lanes`]).
    RoundRobin,
    /// One socket bound by the primary; every worker listens and accepts on it (Node's `SCHED_NONE`).
    Shared,
    /// Every worker has a TCP socket of its own ([`crate::Mode::Lanes`]), and the kernel chooses one at random. The same for
    /// UDP, by the client's address and port.
    Hash,
    /// The same for TCP, and the kernel chooses the one with the fewest open connections. UDP sockets are shared.
    Least,
    /// The same for TCP, and the kernel chooses by the client's address: as long as there are as many slots, a client stays
    /// with its slot. UDP sockets are shared.
    Sticky,
}

impl Policy {
    /// Whether workers with a channel have sockets of their own.
    pub fn has_lanes(self) -> bool {
        match self {
            Policy::RoundRobin | Policy::Shared => false,
            Policy::Hash | Policy::Least | Policy::Sticky => true,
        }
    }
}

/// How a worker reaches the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// Node's IPC channel.
    Channel,
    /// Not at all: the program binds for itself.
    Nothing,
    /// A program whose `bind` and `listen` are trapped: it has no channel, and a socket of its own on each port.
    Program,
}

/// What makes a new worker count as ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It listens; an app that never does is ready from the start.
    Listening,
    /// It said `ready` (PM2's `wait_ready`); before that it gets no connection at all.
    Message,
}

/// How a worker is asked to leave once nothing is on its way to it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopWith {
    /// Node's `disconnect` message: servers close, open connections finish, then the stop signal.
    Disconnect,
    /// The stop signal as soon as its open connections are gone or idle (PM2's habit).
    Signal,
}

/// What becomes of a slot whose worker ended unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restarts {
    /// It gets another one, after a pause.
    Always,
    /// It stays empty (PM2's `autorestart: false`).
    Never,
}

/// How an app's workers are treated: who gets connections and how many may wait, and when a worker is trusted, given up
/// or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Who gets the next connection.
    pub policy: Policy,
    /// How supervised workers reach the primary.
    pub attach: Attach,
    /// Un-acknowledged hand-offs one worker may hold, over all its ports; a Rust worker holds no more than 4, also where
    /// this says more. Node's own primary: 1 per port. 2 already hides the wake-up between two hand-offs; each more is
    /// one more connection that a blocked worker delays.
    pub credits: u32,
    /// Accepted connections that may wait in the primary; above it accepting stops and the kernel's
    /// backlog pushes back.
    pub queue: usize,
    /// Endpoints an app may open; further ones are answered with EMFILE.
    pub ports: usize,
    /// What makes a worker ready.
    pub readiness: Readiness,
    /// How long a ready worker must stay up to be proven; a shorter life counts as unstable.
    pub min_uptime: Duration,
    /// How long a replacement may take until it is ready.
    pub listen_timeout: Duration,
    /// How long a leaving worker may finish what it has; at a stop, how long all may together.
    pub drain_timeout: Duration,
    /// How long after the stop signal SIGKILL follows.
    pub kill_timeout: Duration,
    /// A worker that holds a hand-off longer than this is ended. `None`: never.
    /// A Rust worker answers in `accept()`: one that does not accept for so long counts as hung.
    pub hang_timeout: Option<Duration>,
    /// A worker that does not say for this long that it is alive is ended; it counts from the moment it serves,
    /// or for one that never listens from its first word.
    /// `None`: it need not say so.
    pub watchdog: Option<Duration>,
    /// How a worker is asked to leave.
    pub stop_with: StopWith,
    /// What becomes of a slot whose worker ended unasked.
    pub restarts: Restarts,
    /// Exit codes after which a worker gets no successor (PM2's `stop_exit_codes`).
    pub stop_exit_codes: Vec<i32>,
    /// Unstable ends in a row after which a slot is given up.
    pub max_restarts: u32,
    /// Fixed pause before a restart. `None`: exponential, `first_pause` to 15 s.
    pub restart_delay: Option<Duration>,
    /// The first of the pauses that grow.
    pub first_pause: Duration,
    /// Workers a reload replaces at a time.
    pub parallel: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            policy: Policy::RoundRobin,
            attach: Attach::Channel,
            credits: 2,
            queue: 1024,
            ports: 256,
            readiness: Readiness::Listening,
            min_uptime: Duration::from_secs(1),
            listen_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
            kill_timeout: Duration::from_secs(5),
            hang_timeout: None,
            watchdog: None,
            stop_with: StopWith::Disconnect,
            restarts: Restarts::Always,
            stop_exit_codes: Vec::new(),
            max_restarts: 16,
            restart_delay: None,
            first_pause: Duration::from_millis(100),
            parallel: 1,
        }
    }
}
