//! Speaking to the person. A disk that is full or a reader that has gone must never end a primary, so unlike the
//! standard macros this does not panic: what cannot be said is not said.

use std::fmt::Arguments;
use std::io::Write;

/// A line on standard error. Colours only where they are shown.
pub(crate) fn err(line: Arguments<'_>) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// A line on standard output.
pub(crate) fn out(line: Arguments<'_>) {
    let _ = writeln!(anstream::stdout(), "{line}");
}

/// Text on standard output without an end of line, shown at once.
pub(crate) fn show(text: Arguments<'_>) {
    let mut stdout = std::io::stdout();
    let _ = write!(stdout, "{text}");
    let _ = stdout.flush();
}
