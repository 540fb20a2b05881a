//! Placeholder head, replaced by the first real line.
