//! Debugger ports: each Node worker that is started with an inspector gets a port of its own, as Node's cluster
//! does. Only the arguments are looked at; nothing is bound here.

use std::ffi::{OsStr, OsString};

/// Node's default debugger port.
const DEFAULT: u16 = 9229;
/// Where counting goes on above the last port, as in Node.
const FIRST: u16 = 1024;

/// Which debugger ports workers get when [`crate::Settings::exec_args`] asks for an inspector (Node's `inspectPort`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InspectPort {
    /// The port that the arguments name (9229 if none), the next worker the next one, and after 65535 from 1024 on.
    /// Node begins with one more, because its primary has the first; ours has no debugger.
    #[default]
    Increment,
    /// This one for every worker; 0 lets each choose a free one.
    Fixed(u16),
}

/// The argument to add for the worker that is the `nth` with an inspector, from 0; `None` without an inspector.
pub(crate) fn argument(exec_args: &[OsString], wanted: InspectPort, nth: u32) -> Option<OsString> {
    let mut base = None;
    for port in exec_args.iter().filter_map(|arg| named(arg)) {
        base = Some(port.or(base.flatten()));
    }
    let base = base?.unwrap_or(DEFAULT);
    let port = match wanted {
        InspectPort::Fixed(port) => port,
        InspectPort::Increment if base == 0 => 0,
        InspectPort::Increment => nth_from(base, nth),
    };
    Some(format!("--inspect-port={port}").into())
}

/// `Some` for an argument about the inspector, with the port it names.
fn named(arg: &OsStr) -> Option<Option<u16>> {
    let text = arg.to_str()?;
    let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
    let about = ["--inspect", "--inspect-brk", "--inspect-wait", "--inspect-port", "--debug-port"];
    if !about.contains(&name) {
        return None;
    }
    Some(value.and_then(|value| value.rsplit(':').next()).and_then(|port| port.parse().ok()))
}

fn nth_from(base: u16, nth: u32) -> u16 {
    let above = u32::from(u16::MAX - base);
    if nth <= above {
        return base + nth as u16;
    }
    let span = u32::from(u16::MAX - FIRST) + 1;
    FIRST + ((nth - above - 1) % span) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(args: &[&str], wanted: InspectPort, nth: u32) -> Option<String> {
        let args: Vec<OsString> = args.iter().map(Into::into).collect();
        argument(&args, wanted, nth).map(|arg| arg.into_string().expect("text"))
    }

    #[test]
    fn without_an_inspector_nothing_is_added() {
        assert_eq!(port(&["--max-old-space-size=100", "--inspector"], InspectPort::Increment, 0), None);
    }

    #[test]
    fn each_worker_gets_the_next_port() {
        let of = |args: &[&str], nth| port(args, InspectPort::Increment, nth).expect("a port");
        assert_eq!(of(&["--inspect"], 0), "--inspect-port=9229");
        assert_eq!(of(&["--inspect"], 3), "--inspect-port=9232");
        assert_eq!(of(&["--inspect=127.0.0.1:7000"], 1), "--inspect-port=7001");
        assert_eq!(of(&["--inspect-port=7000", "--inspect-brk"], 1), "--inspect-port=7001");
        assert_eq!(of(&["--inspect=65535"], 0), "--inspect-port=65535");
        assert_eq!(of(&["--inspect=65535"], 1), "--inspect-port=1024");
        assert_eq!(of(&["--inspect=0"], 5), "--inspect-port=0");
    }

    #[test]
    fn a_fixed_port_is_the_same_for_all() {
        assert_eq!(port(&["--inspect"], InspectPort::Fixed(0), 4).expect("a port"), "--inspect-port=0");
        assert_eq!(port(&["--inspect"], InspectPort::Fixed(7), 4).expect("a port"), "--inspect-port=7");
    }
}
