//! The columns of the report: what is compared with what. The command that starts each is in `command`.
//!
//! The Node peers run the same `server.js` with the same Node binary, the Rust peers the same `respond`, the others
//! whichever program a measurement names (`program`).

use crate::policy::Policy;
use std::fmt;
use std::str::FromStr;

/// One way to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    /// `oneport run -i N --policy rr server.js`.
    Oneport,
    /// The same under another policy; of a program that a measurement names, too.
    By(Policy),
    /// Node's own `cluster` module, round robin: what the ratios are taken against.
    NodeRr,
    /// The same with `SCHED_NONE`: one socket for all workers.
    NodeNone,
    /// The same with `reusePort: true`, which Node has from 23.1 on: each worker has its own socket.
    NodeReusePort,
    /// `pm2 start server.js -i N`, whose daemon is the primary.
    Pm2,
    /// `node server.js`: one process, no distribution at all.
    Single,
    /// `oneport run -i N respond`: workers that use the crate `oneport`.
    Library,
    /// `respond reuseport`: N processes, each with its own SO_REUSEPORT socket, nobody between them.
    Reuseport,
    /// `respond tokio`: one process, tokio's listener.
    Tokio,
    /// `respond oneport`: one process, oneport's listener without a primary.
    Alone,
    /// `oneport run -i N --attach own PROGRAM`: a program that knows nothing of it.
    Own,
    /// The same program alone.
    Bare,
    /// Copies of the same program that share the port by SO_REUSEPORT, started by a shell.
    Copies,
    /// `pm2 start PROGRAM`: one process, restarted by PM2's daemon.
    Pm2Fork,
    /// nginx with its own workers, each with a socket of its own: a static answer.
    Nginx,
    /// `oneport start server.js -i N`: the daemon, and a primary per app.
    Manager,
}

impl Peer {
    /// All of them, in the order of the report.
    pub(crate) const ALL: [Self; 22] = [
        Self::By(Policy::LeastA),
        Self::By(Policy::LeastB),
        Self::By(Policy::LeastC),
        Self::By(Policy::Hash),
        Self::By(Policy::Sticky),
        Self::By(Policy::Shared),
        Self::Oneport,
        Self::NodeRr,
        Self::NodeNone,
        Self::NodeReusePort,
        Self::Pm2,
        Self::Single,
        Self::Library,
        Self::Reuseport,
        Self::Tokio,
        Self::Alone,
        Self::Own,
        Self::Bare,
        Self::Copies,
        Self::Pm2Fork,
        Self::Nginx,
        Self::Manager,
    ];
    /// Those that serve `server.js`.
    pub(crate) const NODE: [Self; 4] = [Self::Oneport, Self::NodeRr, Self::Pm2, Self::Single];
    /// The two whose policies can be compared connection by connection.
    pub(crate) const PAIR: [Self; 2] = [Self::Oneport, Self::NodeRr];
    /// Managers of processes.
    pub(crate) const MANAGERS: [Self; 2] = [Self::Manager, Self::Pm2];
    /// The three that have a primary.
    pub(crate) const CLUSTERS: [Self; 3] = [Self::Oneport, Self::NodeRr, Self::Pm2];
    /// Library workers, what they are measured against, and Node's primary.
    pub(crate) const NATIVE: [Self; 4] = [Self::Library, Self::Reuseport, Self::Tokio, Self::NodeRr];

    /// Its heading in tables and charts.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Oneport => "oneport rr",
            Self::By(policy) => policy.title(),
            Self::NodeRr => "node cluster",
            Self::NodeNone => "node SCHED_NONE",
            Self::NodeReusePort => "node reusePort",
            Self::Pm2 => "pm2",
            Self::Single => "node single",
            Self::Library => "oneport library",
            Self::Reuseport => "reuseport",
            Self::Tokio => "tokio single",
            Self::Alone => "oneport alone",
            Self::Own => "oneport own",
            Self::Bare => "bare",
            Self::Copies => "bare reuseport",
            Self::Pm2Fork => "pm2 fork",
            Self::Nginx => "nginx",
            Self::Manager => "oneport manager",
        }
    }

    /// Its name on the command line and in `raw.json`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Oneport => "oneport",
            Self::By(policy) => policy.key(),
            Self::NodeRr => "node",
            Self::NodeNone => "node-none",
            Self::NodeReusePort => "node-reuseport",
            Self::Pm2 => "pm2",
            Self::Single => "single",
            Self::Library => "library",
            Self::Reuseport => "reuseport",
            Self::Tokio => "tokio",
            Self::Alone => "alone",
            Self::Own => "own",
            Self::Bare => "bare",
            Self::Copies => "copies",
            Self::Pm2Fork => "pm2-fork",
            Self::Nginx => "nginx",
            Self::Manager => "manager",
        }
    }

    /// Whether it has processes below the one that was started.
    pub(crate) fn has_workers(self) -> bool {
        match self {
            Self::Oneport | Self::By(_) | Self::Library | Self::Own => true,
            Self::NodeRr | Self::NodeNone | Self::NodeReusePort | Self::Pm2 => true,
            Self::Reuseport | Self::Copies | Self::Pm2Fork | Self::Nginx | Self::Manager => true,
            Self::Single | Self::Tokio | Self::Alone | Self::Bare => false,
        }
    }

    /// Whether its workers are compiled while they serve, where no program is named.
    pub(crate) fn runs_node(self) -> bool {
        match self {
            Self::Oneport | Self::By(_) | Self::Pm2 | Self::Single | Self::Manager => true,
            Self::NodeRr | Self::NodeNone | Self::NodeReusePort => true,
            Self::Library | Self::Reuseport | Self::Tokio | Self::Alone => false,
            Self::Own | Self::Bare | Self::Copies | Self::Pm2Fork | Self::Nginx => false,
        }
    }

    /// Whether it may serve one of the programs that have to be found or built.
    pub(crate) fn serves_a_program(self) -> bool {
        match self {
            Self::By(_) | Self::Own | Self::Bare | Self::Copies | Self::Pm2Fork | Self::Nginx => true,
            Self::Oneport | Self::Library | Self::Pm2 | Self::Single | Self::Manager => false,
            Self::NodeRr | Self::NodeNone | Self::NodeReusePort => false,
            Self::Reuseport | Self::Tokio | Self::Alone => false,
        }
    }

    /// Whether its workers accept from one socket, where whoever is awake takes all.
    pub(crate) fn shares_a_socket(self) -> bool {
        matches!(self, Self::By(Policy::Shared) | Self::NodeNone)
    }

    /// Whether the oneport binary runs it.
    pub(crate) fn is_oneport(self) -> bool {
        match self {
            Self::Oneport | Self::By(_) | Self::Library | Self::Own | Self::Manager => true,
            Self::NodeRr | Self::NodeNone | Self::NodeReusePort | Self::Single => false,
            Self::Pm2 | Self::Pm2Fork | Self::Nginx | Self::Bare | Self::Copies => false,
            Self::Reuseport | Self::Tokio | Self::Alone => false,
        }
    }

    /// Whether PM2's daemon is its primary.
    pub(crate) fn is_pm2(self) -> bool {
        match self {
            Self::Pm2 | Self::Pm2Fork => true,
            Self::Oneport | Self::By(_) | Self::Library | Self::Own | Self::Alone => false,
            Self::Manager => false,
            Self::NodeRr | Self::NodeNone | Self::NodeReusePort | Self::Single => false,
            Self::Reuseport | Self::Tokio | Self::Bare | Self::Copies | Self::Nginx => false,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|peer| peer.key() == text)
            .ok_or_else(|| format!("no peer `{text}`: one of {}", Self::ALL.map(Self::key).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_name_of_its_own_by_which_it_is_found() {
        for peer in Peer::ALL {
            assert_eq!(peer.key().parse(), Ok(peer));
        }
    }
}
