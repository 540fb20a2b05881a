//! The words of `sd_notify(3)`: one `NAME=value` a line.
//!
//! Invariant: any bytes are a message; what is not understood is skipped, and nothing is kept that is not bounded by the
//! message's own length.

use std::time::Duration;

use crate::process::Pid;

/// What a program says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// `READY=1`: it has started, or is done with a reload of its own.
    Ready,
    /// `STATUS=`: one line for people, as it came; bytes that are no UTF-8 are replaced, control characters are not.
    Status(String),
    /// `STOPPING=1`: it begins to end.
    Stopping,
    /// `WATCHDOG=1`: it is alive.
    Watchdog,
    /// `WATCHDOG=trigger`: it wants to be treated as if it were not.
    WatchdogTrigger,
    /// `EXTEND_TIMEOUT_USEC=`: what it is doing takes so much longer, from now on.
    ExtendTimeout(Duration),
    /// `RELOADING=1`: it reads its configuration again; `READY=1` follows.
    Reloading,
    /// `MAINPID=`: which process is to be watched.
    MainPid(Pid),
}

/// Everything understood in a message, in its order.
pub(super) fn parse(message: &[u8]) -> Vec<Word> {
    message.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Word> {
    let equals = line.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (line.get(..equals)?, line.get(equals + 1..)?);
    match (name, value) {
        (b"READY", b"1") => Some(Word::Ready),
        (b"STOPPING", b"1") => Some(Word::Stopping),
        (b"RELOADING", b"1") => Some(Word::Reloading),
        (b"WATCHDOG", b"1") => Some(Word::Watchdog),
        (b"WATCHDOG", b"trigger") => Some(Word::WatchdogTrigger),
        (b"STATUS", text) => Some(Word::Status(String::from_utf8_lossy(text).into_owned())),
        (b"EXTEND_TIMEOUT_USEC", number) => {
            parse_number(number).map(|micros| Word::ExtendTimeout(Duration::from_micros(micros)))
        }
        (b"MAINPID", number) => {
            let number = i32::try_from(parse_number(number)?).ok()?;
            Pid::new(number).map(Word::MainPid)
        }
        _ => None,
    }
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    if !digits.first()?.is_ascii_digit() {
        return None; // `parse` would take a sign
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Word, parse};
    use crate::process::Pid;

    #[test]
    fn every_word_is_understood_and_the_order_kept() {
        let message = b"READY=1\nSTATUS=Serving = well\nMAINPID=42\nRELOADING=1\nSTOPPING=1\nWATCHDOG=1\n\
                        WATCHDOG=trigger\nEXTEND_TIMEOUT_USEC=1500000\n";
        let expected = [
            Word::Ready,
            Word::Status("Serving = well".into()),
            Word::MainPid(Pid::new(42).unwrap()),
            Word::Reloading,
            Word::Stopping,
            Word::Watchdog,
            Word::WatchdogTrigger,
            Word::ExtendTimeout(Duration::from_millis(1500)),
        ];
        assert_eq!(parse(message), expected);
    }

    #[test]
    fn what_is_not_understood_is_skipped() {
        for line in [
            "",
            "=",
            "READY",
            "READY=0",
            "READY=11",
            "ready=1",
            " READY=1",
            "FDSTORE=1",
            "ERRNO=2",
            "MAINPID=0",
            "MAINPID=-3",
            "MAINPID=+3",
            "MAINPID=99999999999",
            "MAINPID=",
            "EXTEND_TIMEOUT_USEC=",
            "EXTEND_TIMEOUT_USEC=1.5",
            "EXTEND_TIMEOUT_USEC=99999999999999999999",
        ] {
            assert_eq!(parse(line.as_bytes()), [], "{line}");
        }
        assert_eq!(parse(b"nonsense\nREADY=1\n\xff\xfe=\xff"), [Word::Ready]);
    }

    #[test]
    fn a_status_may_be_empty_or_no_text_at_all() {
        assert_eq!(parse(b"STATUS="), [Word::Status(String::new())]);
        assert_eq!(parse(b"STATUS=a\xffb\0"), [Word::Status("a\u{fffd}b\0".into())]);
        let longest = u64::MAX.to_string();
        let line = format!("EXTEND_TIMEOUT_USEC={longest}");
        assert_eq!(parse(line.as_bytes()), [Word::ExtendTimeout(Duration::from_micros(u64::MAX))]);
    }
}
