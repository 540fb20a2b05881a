//! What does not go together on the command line: each such pair is refused by name, with what would do instead.

use oneport::{MOST_TRAPPED, PortRange, Published, Transport};

use super::{Class, Way};
use crate::args::program::{ProgramArgs, ReadyOnArg};
use crate::args::{PolicyArg, RunArgs, StopWithArg};
use crate::error::Failure;

/// Options about programs, for one that is attached so.
pub(super) fn program(args: &ProgramArgs, class: Class, title: &str) -> Result<(), Failure> {
    match (class, args.listen.is_empty()) {
        (Class::ListenFds, true) => {
            return Err(Failure::usage(format!(
                "cannot attach `{title}` by listen-fds: no socket to pass on"
            ))
            .hint("--listen 8000, once for each socket"));
        }
        (Class::Channel | Class::Program | Class::Nothing, false) => {
            return Err(Failure::usage(format!(
                "cannot use --listen for `{title}`: no sockets are passed on"
            ))
            .hint("--attach listen-fds, for a program that knows LISTEN_FDS"));
        }
        (Class::ListenFds, false) | (Class::Channel | Class::Program | Class::Nothing, true) => {}
    }
    let twice = args.listen.iter().enumerate().find(|(at, arg)| {
        arg.port != 0 && args.listen[..*at].iter().any(|one| (one.host, one.port) == (arg.host, arg.port))
    });
    if let Some((_, arg)) = twice {
        let message = format!("cannot use --listen for `{}`: it is there twice", arg.address());
        return Err(Failure::usage(message).hint("name each socket once"));
    }
    of_traps(args, class, title)?;
    ports(args)?;
    readiness(args, class, title)
}

fn of_traps(args: &ProgramArgs, class: Class, title: &str) -> Result<(), Failure> {
    let given = [
        ("--port", !args.port.is_empty()),
        ("--exclude-port", !args.exclude_port.is_empty()),
        ("--publish", !args.publish.is_empty()),
        ("--unix", !args.unix.is_empty()),
        ("--low-ports", args.low_ports),
    ];
    let Some((option, _)) = given.into_iter().find(|(_, given)| *given) else { return Ok(()) };
    let (cause, hint) = match class {
        Class::Program => return Ok(()),
        Class::Channel => ("it asks for its ports itself", "--attach own treats it like any program"),
        Class::ListenFds => ("its sockets are those of --listen", "leave it out"),
        Class::Nothing => ("it binds for itself", "leave --attach none out"),
    };
    Err(Failure::usage(format!("cannot use {option} for `{title}`: {cause}")).hint(hint))
}

fn ports(args: &ProgramArgs) -> Result<(), Failure> {
    for (at, published) in args.publish.iter().enumerate() {
        let Published { outside, inside } = *published;
        let refuse = |cause: String, hint: &str| {
            Err(Failure::usage(format!("cannot use --publish {outside}:{inside}: {cause}")).hint(hint))
        };
        if args.publish[..at].iter().any(|other| other.inside == inside) {
            return refuse(format!("port {inside} is published twice"), "publish it on one port");
        }
        if args.publish[..at].iter().any(|other| other.outside == outside) {
            return refuse(
                format!("port {outside} has another port of the program already"),
                "choose another",
            );
        }
        let whole = PortRange { first: inside, last: inside, transport: Some(Transport::Tcp) };
        if args.exclude_port.iter().any(|excluded| covers(excluded, &whole)) {
            return refuse(format!("--exclude-port has port {inside}"), "leave it out of one of them");
        }
    }
    let lost = args.port.iter().find(|port| args.exclude_port.iter().any(|excluded| covers(excluded, port)));
    match lost {
        Some(PortRange { first, .. }) => {
            let message = format!("cannot use --exclude-port: nothing is left of `{first}` in --port");
            Err(Failure::usage(message).hint("leave it out of one of them"))
        }
        None => Ok(()),
    }
}

fn covers(excluded: &PortRange, ports: &PortRange) -> bool {
    let transport = excluded.transport.is_none() || excluded.transport == ports.transport;
    transport && excluded.first <= ports.first && ports.last <= excluded.last
}

fn readiness(args: &ProgramArgs, class: Class, title: &str) -> Result<(), Failure> {
    let (what, cause, hint) = match (&args.ready_on, class) {
        (ReadyOnArg::Listen | ReadyOnArg::Line(_), _)
        | (ReadyOnArg::Notify, Class::Program | Class::ListenFds)
        | (ReadyOnArg::Http(_), Class::Program | Class::ListenFds) => return Ok(()),
        (ReadyOnArg::Notify, Class::Channel) => {
            ("notify", "it has a channel to say it on", "--wait-ready: it says process.send('ready')")
        }
        (ReadyOnArg::Http(_), Class::Channel) => {
            ("http", "it has a channel to say it on", "--wait-ready: it says process.send('ready')")
        }
        (ReadyOnArg::Notify, Class::Nothing) => {
            ("notify", "it is not attached", "--ready-on line:REGEX, or leave --attach none out")
        }
        (ReadyOnArg::Http(_), Class::Nothing) => {
            ("http", "it is not attached", "--ready-on line:REGEX, or leave --attach none out")
        }
    };
    Err(Failure::usage(format!("cannot use --ready-on {what} for `{title}`: {cause}")).hint(hint))
}

/// Copies, for a program that is attached in this way.
pub(super) fn copies(way: Way, instances: u32, title: &str) -> Result<(), Failure> {
    match way {
        Way::Own | Way::Slot if instances > MOST_TRAPPED => {
            let cause = format!(
                "at most {MOST_TRAPPED} whose calls are trapped, for Linux can hang when a thousand of them end at once"
            );
            let hint =
                format!("-i {MOST_TRAPPED}; there may be more with --attach preload, where that works");
            Err(Failure::usage(format!("cannot run {instances} copies of `{title}`: {cause}")).hint(hint))
        }
        Way::Own | Way::Slot | Way::Preload => Ok(()),
    }
}

/// Options of `run`, for a program that is attached so.
pub(super) fn run(args: &RunArgs, class: Class, title: &str) -> Result<(), Failure> {
    let refuse = |option: &str, cause: &str, hint: &str| {
        Err(Failure::usage(format!("cannot use {option} for `{title}`: {cause}")).hint(hint))
    };
    let says_ready = match &args.program.ready_on {
        ReadyOnArg::Listen => false,
        ReadyOnArg::Notify | ReadyOnArg::Http(_) | ReadyOnArg::Line(_) => true,
    };
    if args.wait_ready && says_ready {
        return refuse("--wait-ready", "--ready-on says otherwise", "leave one of them out");
    }
    match args.watchdog {
        Some(span) if span.is_zero() => {
            return refuse("--watchdog", "0 is no time", "--watchdog 30s");
        }
        Some(_) if !matches!(args.program.ready_on, ReadyOnArg::Notify) => {
            return refuse(
                "--watchdog",
                "it has no NOTIFY_SOCKET to say that it is alive",
                "--ready-on notify",
            );
        }
        Some(_) | None => {}
    }
    if class == Class::Channel {
        return Ok(());
    }
    const NO_CHANNEL: &str = "it has no channel";
    if args.wait_ready {
        return refuse("--wait-ready", NO_CHANNEL, "--ready-on notify, http:/PATH or line:REGEX");
    }
    if args.stop_with == Some(StopWithArg::Disconnect) {
        return refuse("--stop-with disconnect", NO_CHANNEL, "it is asked to leave by --stop-signal");
    }
    let unused = "leave it out: nothing is handed to it, it accepts for itself";
    if args.credits.is_some() {
        return refuse("--credits", NO_CHANNEL, unused);
    }
    if args.hang_timeout.is_some() {
        return refuse("--hang-timeout", NO_CHANNEL, unused);
    }
    match (args.policy, class) {
        (PolicyArg::Rr, _) => refuse(
            "--policy rr",
            "programs without a channel accept for themselves",
            "leave it out: each copy gets a socket of its own, and the kernel chooses among them",
        ),
        (PolicyArg::Shared, Class::Nothing) => {
            refuse("--policy shared", "it binds for itself", "leave --attach none out")
        }
        (PolicyArg::Shared, Class::ListenFds) => {
            refuse("--policy shared", "each copy is started with sockets of its own", "leave it out")
        }
        (PolicyArg::Hash | PolicyArg::Least | PolicyArg::Sticky, Class::Nothing) => {
            refuse("--policy", "it binds for itself", "leave --attach none out")
        }
        (PolicyArg::Auto, _)
        | (PolicyArg::Shared, Class::Channel | Class::Program)
        | (
            PolicyArg::Hash | PolicyArg::Least | PolicyArg::Sticky,
            Class::Channel | Class::Program | Class::ListenFds,
        ) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::{Args, Verb};

    /// What is said to a command line; nothing, if it goes together.
    fn said(class: Class, words: &str) -> String {
        let words = ["oneport", "run"].into_iter().chain(words.split_whitespace()).chain(["app"]);
        let Verb::Run(args) = Args::try_parse_from(words).unwrap().verb else { panic!("not `run`") };
        let fits = program(&args.program, class, "app").and_then(|()| run(&args, class, "app"));
        fits.err()
            .map(|failure| anstream::adapter::strip_str(&failure.words()).to_string())
            .unwrap_or_default()
    }

    #[test]
    fn what_does_not_go_together_is_refused_by_name_and_with_a_hint() {
        use Class::{Channel, ListenFds, Nothing, Program};
        let table = [
            (ListenFds, "--attach listen-fds", "no socket to pass on"),
            (Program, "--listen 8000", "cannot use --listen"),
            (ListenFds, "--listen 8000 --listen 8000=b", "it is there twice"),
            (ListenFds, "--listen 8000 --port 8000", "cannot use --port"),
            (Channel, "--port 8000", "cannot use --port"),
            (Channel, "--publish 80:3000", "cannot use --publish"),
            (Channel, "--low-ports", "cannot use --low-ports"),
            (Nothing, "--unix a.sock", "cannot use --unix"),
            (Program, "--publish 80:3000 --publish 81:3000", "published twice"),
            (Program, "--publish 80:3000 --publish 80:3001", "another port"),
            (Program, "--publish 80:3000 --exclude-port 3000", "--exclude-port has port 3000"),
            (Program, "--port 8000 --exclude-port 7000-9000", "nothing is left of `8000`"),
            (Channel, "--ready-on notify", "cannot use --ready-on notify"),
            (Channel, "--ready-on http:/", "cannot use --ready-on http"),
            (Nothing, "--ready-on notify", "it is not attached"),
            (ListenFds, "--listen 8000 --policy shared", "sockets of its own"),
            (Program, "--wait-ready", "it has no channel"),
            (Channel, "--wait-ready --ready-on line:up", "says otherwise"),
            (Program, "--watchdog 5s", "NOTIFY_SOCKET"),
            (Program, "--watchdog 0 --ready-on notify", "0 is no time"),
            (Program, "--policy rr", "accept for themselves"),
            (Nothing, "--policy shared", "it binds for itself"),
            (Program, "--stop-with disconnect", "it has no channel"),
            (Program, "--credits 4", "cannot use --credits"),
            (Program, "--hang-timeout 5s", "cannot use --hang-timeout"),
        ];
        for (class, words, expected) in table {
            let said = said(class, words);
            assert!(said.starts_with("error: cannot ") && said.contains(expected), "{words}: {said}");
            assert!(said.contains("\n hint: "), "{words}: {said}");
        }
    }

    #[test]
    fn what_goes_together_is_not_refused() {
        use Class::{Channel, ListenFds, Nothing, Program};
        for (class, words) in [
            (Program, "--port 8000,8443 --exclude-port 9000 --publish 80:8000 --unix a.sock --low-ports"),
            (Program, "--port 53/udp --exclude-port 53/tcp"),
            (Program, "--policy shared --stop-with signal"),
            (Program, "--ready-on notify --watchdog 5s"),
            (Program, "--ready-on http:/health"),
            (ListenFds, "--listen 8000=web --listen 8443=tls --ready-on notify"),
            (ListenFds, "--listen 0 --listen 0 --ready-on http:/"),
            (Channel, "--policy rr --credits 4 --hang-timeout 5s --wait-ready --stop-with disconnect"),
            (Channel, "--ready-on line:up"),
            (Nothing, "--ready-on line:up"),
        ] {
            assert_eq!(said(class, words), "", "{words}");
        }
    }

    #[test]
    fn a_crowd_of_trapped_copies_is_refused_with_the_reason() {
        for way in [Way::Own, Way::Slot] {
            assert!(copies(way, 512, "app").is_ok());
            let failure = copies(way, 513, "app").unwrap_err();
            assert_eq!(failure.code(), std::process::ExitCode::from(2));
            let said = anstream::adapter::strip_str(&failure.words()).to_string();
            assert!(said.starts_with("error: cannot run 513 copies of `app`: at most 512"), "{said}");
            assert!(said.lines().count() == 2 && said.contains("\n hint: -i 512"), "{said}");
        }
        assert!(copies(Way::Preload, 4096, "app").is_ok());
    }
}
