//! What was seen, judged: what keeps copies of the program from working, and what is unusual about it and works all the
//! same. Each thing is one sentence.

use oneport::{Attach, Exit, Oddity};

use super::seen::Seen;
use crate::attach::Survey;

/// What keeps copies from working.
pub(super) fn problems(attach: Attach, way: &str, seen: &Seen) -> Vec<String> {
    let mut problems = Vec::new();
    if let Some(cause) = &seen.failed {
        problems.push(format!("it cannot be started: {cause}"));
    }
    // Its first process left, and not all of it.
    let left = |oddity: &Oddity| matches!(oddity, Oddity::WentToBackground { .. });
    let explained = seen.failed.is_some() || seen.oddities.iter().any(left);
    match seen.ended {
        Some(Exit::Code(code)) if !explained => {
            problems.push(format!("it ended by itself with code {code}"));
        }
        Some(Exit::Signal(signal)) if !explained => {
            problems.push(format!("it was ended by signal {signal}"));
        }
        Some(Exit::Code(_) | Exit::Signal(_) | Exit::NotSpawned) | None => {}
    }
    for (address, error) in &seen.refused {
        problems.push(format!("it cannot listen on `{address}`: {error}"));
    }
    for (address, pid) in &seen.unseen {
        problems.push(format!(
            "pid {pid} listens on `{address}`, and its bind was not seen (io_uring, a 32-bit program, or a process that \
             cannot be looked into): a second copy gets EADDRINUSE"
        ));
    }
    for address in &seen.not_accepted {
        problems.push(format!("a connection to `{address}` was not accepted"));
    }
    for oddity in &seen.oddities {
        match oddity {
            Oddity::Unseen { error } => problems.push(format!("a call of it cannot be looked into: {error}")),
            Oddity::ForeignNetwork { address } => problems.push(format!(
                "it listens on `{address}` in a network namespace of its own: start that around oneport, not below it"
            )),
            Oddity::PolledEarly { address } if way != "own" => problems.push(format!(
                "it has its socket on `{address}` in an epoll set before it binds it, so that no other can take its place"
            )),
            Oddity::NotAccepting { address, .. } => {
                problems.push(format!("it does not accept on `{address}`"));
            }
            Oddity::WentToBackground { .. } => {
                problems.push("it goes into the background, where nobody sees it die: tell it to stay in the foreground".to_owned());
            }
            Oddity::LeftAlone { .. } | Oddity::PolledEarly { .. } | Oddity::Closed { .. } => {}
        }
    }
    // Why it has no port is told above, where it is known.
    if problems.is_empty() && attach != Attach::Nothing {
        match (seen.listens.is_empty(), seen.proven) {
            (true, _) => problems.push(
                "it did not listen in time: there is nothing to share (--timeout, if it starts slowly)"
                    .to_owned(),
            ),
            (false, false) => problems.push("it listens and was not ready in time".to_owned()),
            (false, true) => {}
        }
    }
    problems
}

/// What is unusual, and works all the same.
pub(super) fn notes(survey: &Survey, way: &str, seen: &Seen) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(cause) = &survey.unread {
        notes.push(format!("its file cannot be read ({cause}): only root may look into a process of it"));
    }
    for pid in &seen.rings {
        notes.push(format!(
            "pid {pid} uses io_uring: what it binds through that passes by (Linux 6.11 and later)"
        ));
    }
    for path in &seen.unix {
        notes.push(format!("it listens on the Unix socket `{path}`, which --unix would share"));
    }
    for oddity in &seen.oddities {
        match oddity {
            Oddity::Closed { address } => notes.push(format!("it closed its listener on `{address}` again")),
            Oddity::PolledEarly { address } if way == "own" => notes.push(format!(
                "it has its socket on `{address}` in an epoll set before it binds it: only own serves \
                 it"
            )),
            Oddity::LeftAlone { .. }
            | Oddity::Unseen { .. }
            | Oddity::ForeignNetwork { .. }
            | Oddity::PolledEarly { .. }
            | Oddity::WentToBackground { .. }
            | Oddity::NotAccepting { .. } => {}
        }
    }
    if seen.processes > 1 {
        notes.push(format!("one copy is {} processes", seen.processes));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Seen {
        Seen { listens: vec![("0.0.0.0:8000".into(), "tcp")], proven: true, processes: 1, ..Seen::default() }
    }

    #[test]
    fn what_listened_and_stayed_up_works() {
        assert_eq!(problems(Attach::Program, "own", &good()), [""; 0]);
    }

    #[test]
    fn a_socket_that_is_registered_early_is_in_the_way_of_replacing_it_alone() {
        let address =
            oneport::Address { kind: oneport::AddressKind::Tcp, text: "0.0.0.0:8000".into(), socket: None };
        let seen = Seen { oddities: vec![Oddity::PolledEarly { address }], ..good() };
        assert_eq!(problems(Attach::Program, "own", &seen), [""; 0]);
        assert_eq!(problems(Attach::Program, "slot", &seen).len(), 1);
    }

    #[test]
    fn each_thing_that_goes_wrong_is_one_problem() {
        let address = || "0.0.0.0:8000".to_owned();
        let table = [
            (Seen::default(), "did not listen in time"),
            (Seen { proven: false, ..good() }, "not ready in time"),
            (Seen { ended: Some(Exit::Code(1)), ..Seen::default() }, "code 1"),
            (Seen { ended: Some(Exit::Code(0)), ..Seen::default() }, "code 0"),
            (
                Seen {
                    ended: Some(Exit::Code(0)),
                    oddities: vec![Oddity::WentToBackground { processes: 1 }],
                    ..Seen::default()
                },
                "foreground",
            ),
            (Seen { ended: Some(Exit::Signal(11)), ..good() }, "signal 11"),
            (Seen { refused: vec![(address(), "in use".into())], ..Seen::default() }, "in use"),
            (Seen { unseen: vec![(address(), 7)], ..Seen::default() }, "pid 7"),
            (Seen { not_accepted: vec![address()], ..good() }, "was not accepted"),
            (
                Seen { failed: Some("no".into()), ended: Some(Exit::NotSpawned), ..Seen::default() },
                "cannot be started",
            ),
        ];
        for (seen, words) in table {
            let problems = problems(Attach::Program, "own", &seen);
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(problem.contains(words), "{problem}");
        }
    }
}
