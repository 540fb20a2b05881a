//! What is read of PM2's state.
