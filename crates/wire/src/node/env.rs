//! Names of the environment variables through which a primary and its worker find each other. Node deletes the
//! first three from `process.env` before user code runs, so grandchildren do not inherit them.

/// Number of the worker's end of the channel. Any number works, 3 is the custom.
pub const CHANNEL_FD: &str = "NODE_CHANNEL_FD";

/// The worker's id, decimal. Its presence alone makes the process a cluster worker, channel or not.
pub const UNIQUE_ID: &str = "NODE_UNIQUE_ID";

/// How the channel is spelt: `json` (also when absent) or `advanced` (V8 serialization, not spoken here).
pub const SERIALIZATION_MODE: &str = "NODE_CHANNEL_SERIALIZATION_MODE";

/// The one value of [`SERIALIZATION_MODE`] spoken here.
pub const SERIALIZATION_JSON: &str = "json";

/// Scheduling policy a primary was asked for: [`SCHED_RR`] or [`SCHED_NONE`]; Node takes anything else as `rr`.
pub const SCHED_POLICY: &str = "NODE_CLUSTER_SCHED_POLICY";

/// Value of [`SCHED_POLICY`]: the primary accepts and hands off in rotation.
pub const SCHED_RR: &str = "rr";

/// Value of [`SCHED_POLICY`]: one shared socket, the workers accept.
pub const SCHED_NONE: &str = "none";

/// The worker's slot, decimal from 0 (PM2's convention; Node itself does not know it).
pub const APP_INSTANCE: &str = "NODE_APP_INSTANCE";
