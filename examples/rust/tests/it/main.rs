//! Every example started, used and stopped, as a reader would do it: alone, and under `oneport run`.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod actix_web;
mod fork_echo;
mod graceful_shutdown;
mod hello_cluster;
mod messages;
mod primary_events;
mod servers;
mod started;
mod tonic;
mod udp_echo;
