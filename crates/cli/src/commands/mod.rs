//! One file per verb.

pub(crate) mod check;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod grant;
pub(crate) mod hello;
pub(crate) mod manager;
pub(crate) mod run;
