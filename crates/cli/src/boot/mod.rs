//! Start at boot.
