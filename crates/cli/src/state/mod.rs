//! What a daemon has on disk: its home directory, the list of saved apps with its generations, and what is read of PM2's.
//! Who may see it: nobody but its user. What is written is whole or not there.

pub(crate) mod atomic;
pub(crate) mod environment;
mod home;
pub(crate) mod import;
mod saves;
#[cfg(test)]
pub(crate) mod scratch;
mod socket;

pub(crate) use home::{Home, VARIABLE, locate};
pub(crate) use saves::{Change, Force, Saves};
pub(crate) use socket::socket_address;
