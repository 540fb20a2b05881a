//! What is said about programs alone: what is unusual about their sockets, how they say they are, what was lost.

use std::net::SocketAddr;

use oneport::{Address, Oddity, WorkerRef};
use serde_json::{Value, json};

use super::life::{Loudness, Teller, facts, hint_line};
use super::span;

/// One oddity in words.
struct Words {
    event: &'static str,
    loudness: Loudness,
    text: String,
    hint: Option<&'static str>,
    facts: Vec<(&'static str, Value)>,
}

impl Teller {
    pub(crate) fn oddity(&self, worker: WorkerRef, oddity: &Oddity) {
        let Words { event, loudness, text, hint, facts: more } = words(worker.pid, oddity);
        let mut fields = facts(worker);
        for (name, value) in more {
            fields[name] = value;
        }
        fields["message"] = text.as_str().into();
        fields["hint"] = hint.into();
        let kind = match loudness {
            Loudness::Quiet => "error: ",
            Loudness::Normal => "note: ",
            Loudness::Verbose => "",
        };
        self.tell(loudness, event, fields, &format!("{kind}{text}{}", hint_line(hint)));
    }

    /// In the program's own words.
    pub(crate) fn status(&self, worker: WorkerRef, text: &str) {
        let mut fields = facts(worker);
        fields["status"] = text.into();
        // It may be anything, and this is a line of a terminal.
        let shown: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let text = format!("worker {} says: {shown}", worker.pid);
        self.tell(Loudness::Verbose, "status", fields, &text);
    }

    pub(crate) fn temporary(&self, worker: WorkerRef) {
        let text = format!(
            "note: worker {} is started only to serve connections that wait where nobody else takes them",
            worker.pid
        );
        self.tell(Loudness::Normal, "temporary", facts(worker), &text);
    }

    pub(crate) fn stranger(&self, address: &Address, at: SocketAddr, process: Option<&(i32, String)>) {
        let who = match process {
            Some((pid, command)) => format!("pid {pid} (`{command}`)"),
            None => "a process that cannot be looked at".to_owned(),
        };
        let fields = json!({
            "address": address.text,
            "at": at.to_string(),
            "pid": process.map(|(pid, _)| pid),
            "command": process.map(|(_, command)| command),
        });
        let own = address.socket == Some(at);
        let (share, hint) = if own {
            ("it is sent nothing", "end it, or give it another port")
        } else {
            ("it gets what comes to that address", "end it, or let one of both listen elsewhere")
        };
        let text = format!("error: cannot have `{address}` alone: {who} listens on `{at}`, too; {share}");
        self.tell(Loudness::Quiet, "stranger", fields, &format!("{text}{}", hint_line(Some(hint))));
    }

    pub(crate) fn weighed(&self, address: &Address, cause: &str) {
        let text = format!(
            "error: cannot let the kernel choose on `{address}`: {cause}; connections are placed by what is seen from outside"
        );
        self.tell(Loudness::Quiet, "weighed", json!({ "address": address.text, "why": cause }), &text);
    }

    pub(crate) fn rescued(&self, address: &Address, connections: u32) {
        let text = format!(
            "given to others on {address}: {connections} connections that waited for workers without progress"
        );
        let fields = json!({ "address": address.text, "connections": connections });
        self.tell(Loudness::Verbose, "rescued", fields, &text);
    }

    pub(crate) fn connections_lost(&self, address: &Address, connections: u32) {
        let many = match connections {
            1 => "1 connection that waited was".to_owned(),
            n => format!("{n} connections that waited were"),
        };
        let text = format!("error: cannot keep `{address}` whole: {many} lost");
        let fields = json!({"address": address.text, "connections": connections});
        self.tell(Loudness::Quiet, "connections_lost", fields, &text);
    }
}

fn words(pid: i32, oddity: &Oddity) -> Words {
    match oddity {
        Oddity::LeftAlone { address } => Words {
            event: "left_alone",
            loudness: Loudness::Verbose,
            text: format!("worker {pid} has `{address}` for itself"),
            hint: None,
            facts: vec![("address", address.as_str().into())],
        },
        Oddity::Unseen { error } => Words {
            event: "unseen",
            loudness: Loudness::Quiet,
            text: format!("cannot look into a call of worker {pid}: {error}; it was let through"),
            hint: Some("a second copy gets EADDRINUSE there: run oneport as root, or one copy"),
            facts: vec![("reason", error.to_string().into())],
        },
        Oddity::ForeignNetwork { address } => Words {
            event: "foreign_network",
            loudness: Loudness::Quiet,
            text: format!("cannot share `{address}` of worker {pid}: it is in another network namespace"),
            hint: Some("start the namespace around oneport (ip netns exec, docker run), not below it"),
            facts: vec![("address", address.as_str().into())],
        },
        Oddity::PolledEarly { address } => Words {
            event: "polled_early",
            loudness: Loudness::Quiet,
            text: format!(
                "cannot put a socket in place of that on `{address}`: worker {pid} has it in an epoll set already"
            ),
            hint: Some(
                "--attach own serves such a program whole; where it is own, this concerns what waited for a dead copy",
            ),
            facts: vec![("address", address.text.as_str().into())],
        },
        Oddity::Closed { address } => Words {
            event: "closed",
            loudness: Loudness::Normal,
            text: format!(
                "worker {pid} lives and closed its listener on `{address}`; the other copies serve on"
            ),
            hint: None,
            facts: vec![("address", address.text.as_str().into())],
        },
        Oddity::WentToBackground { processes } => Words {
            event: "went_to_background",
            loudness: Loudness::Quiet,
            text: format!("cannot keep worker {pid}: it went into the background"),
            hint: Some("run it in the foreground, as for systemd or Docker (nginx -g 'daemon off;')"),
            facts: vec![("processes", (*processes).into())],
        },
        Oddity::NotAccepting { address, after } => Words {
            event: "not_accepting",
            loudness: Loudness::Quiet,
            text: format!(
                "cannot see worker {pid} accept on `{address}`: connections wait for {} now",
                span(*after)
            ),
            hint: Some("it hangs, or has an epoll set that knows another socket: --attach own replaces none"),
            facts: vec![
                ("address", address.text.as_str().into()),
                ("after_ms", (after.as_millis() as u64).into()),
            ],
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use oneport::{AddressKind, Slot, WorkerId};

    use super::super::life::tests::told;
    use super::*;
    use crate::args::LogFormat;

    const WORKER: WorkerRef = WorkerRef { id: WorkerId(3), slot: Some(Slot(1)), pid: 4711 };

    fn address() -> Address {
        Address { kind: AddressKind::Tcp, text: "0.0.0.0:8000".into(), socket: None }
    }

    fn oddities() -> [Oddity; 7] {
        [
            Oddity::LeftAlone { address: "127.0.0.1:9000".into() },
            Oddity::Unseen { error: io::Error::from_raw_os_error(13) },
            Oddity::ForeignNetwork { address: "0.0.0.0:8000".into() },
            Oddity::PolledEarly { address: address() },
            Oddity::Closed { address: address() },
            Oddity::WentToBackground { processes: 2 },
            Oddity::NotAccepting { address: address(), after: Duration::from_secs(5) },
        ]
    }

    #[test]
    fn every_oddity_is_one_line_and_one_hint_at_most() {
        for oddity in &oddities() {
            let lines = told(LogFormat::Text, |teller| teller.oddity(WORKER, oddity));
            let [line] = lines.as_slice() else { panic!("{lines:?}") };
            let (first, hint) = line.split_once('\n').unwrap_or((line, ""));
            assert!(first.contains("worker 4711"), "{first}");
            assert!(hint.is_empty() || hint.starts_with(" hint: "), "{hint}");
            assert!(first.strip_prefix("error: ").is_none_or(|said| said.starts_with("cannot ")), "{first}");
        }
    }

    #[test]
    fn every_oddity_has_its_facts_in_json() {
        for oddity in &oddities() {
            let lines = told(LogFormat::Json, |teller| teller.oddity(WORKER, oddity));
            let object: Value = serde_json::from_str(&lines[0]).unwrap();
            assert_eq!((&object["worker"], &object["pid"]), (&3.into(), &4711.into()));
            assert!(object["message"].is_string() && object["event"].is_string(), "{object}");
            let facts = ["address", "reason", "processes"].map(|name| !object[name].is_null());
            assert!(facts.contains(&true), "{object}");
        }
    }

    #[test]
    fn what_a_program_says_of_itself_cannot_draw_on_the_terminal() {
        let lines = told(LogFormat::Text, |teller| teller.status(WORKER, "up\x1b[2J\nerror: x"));
        assert_eq!(lines, ["worker 4711 says: up?[2J?error: x"]);
    }

    #[test]
    fn lost_connections_are_counted() {
        let lost = |n| told(LogFormat::Text, |teller| teller.connections_lost(&address(), n)).remove(0);
        assert!(
            lost(1).starts_with("error: cannot keep `0.0.0.0:8000` whole: 1 connection that waited was lost")
        );
        assert!(lost(40).ends_with("40 connections that waited were lost"));
    }
}
