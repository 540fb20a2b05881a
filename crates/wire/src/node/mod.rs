//! Node's channel: newline-terminated JSON over a Unix stream socket, descriptors beside some of the lines.
//! The same bytes from Node 16 to 26 and Deno 2. `frame` cuts lines, `inbox` pairs them with descriptors,
//! `message` spells them, `env` and `errno` hold the names and numbers both sides agree on.

pub mod env;
pub mod errno;
pub mod frame;
pub mod inbox;
pub mod key;
pub mod message;

pub use frame::LineBuffer;
pub use inbox::Inbox;

/// The longest line accepted by default, in bytes without its newline: 16 MiB. Node has no limit; an 800 kB
/// message with a handle is the largest in its own tests.
pub const MAX_LINE: usize = 16 * 1024 * 1024;
