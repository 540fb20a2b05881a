//! The report for people: rows below headings, what follows from them last.

use std::io;

use oneport_sys::host::{Privileges, Setting, Standing, UserNamespace};

use super::advise::{Advice, CAPABILITIES, How};
use super::features::Feature;
use super::picks::{Pick, letter, meaning};
use super::report::{Report, sets, short};
use crate::error::plain;

/// What stands in front, and the rest.
type Row = (String, String);

impl Report {
    pub(super) fn text(&self) -> String {
        let kernel = &self.facts.kernel;
        let path = self.path().map_or_else(String::new, |path| format!(", `{path}`"));
        let user = self.facts.user;
        let mut lines = vec![format!("Linux {} ({}), user {user}{path}", kernel.release, kernel.machine)];
        let mut part = |name: &str, rows: Vec<Row>| {
            lines.push(name.to_owned());
            lines.extend(rows.into_iter().map(|(name, text)| format!("  {name:<27} {text}")));
        };
        part("features", self.features.iter().map(feature).collect());
        part("capabilities", self.capabilities());
        part("limits and settings", self.limits());
        let tier = self.facts.tiers.as_ref().map(|probe| probe.tier);
        let tier = tier.map(|tier| (format!("tier {}", letter(tier)), meaning(tier).to_owned()));
        part("what `auto` picks", self.picks.iter().flat_map(pick).chain(tier).collect());
        part("what would be better", self.advice());
        lines.join("\n")
    }

    fn capabilities(&self) -> Vec<Row> {
        let rows = CAPABILITIES.into_iter().map(|(capability, name)| {
            let text = match &self.facts.held {
                Ok(held) => {
                    let having = sets(held, capability).into_iter().filter(|(_, has)| *has);
                    let names: Vec<&str> = having.map(|(name, _)| name).collect();
                    if names.is_empty() { "in no set".to_owned() } else { names.join(", ") }
                }
                Err(error) => format!("unknown: {}", plain(error)),
            };
            (name.to_owned(), text)
        });
        rows.chain(self.facts.standing.iter().flat_map(confined)).collect()
    }

    fn limits(&self) -> Vec<Row> {
        let number = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
        let limit = self.facts.nofile;
        let nofile = format!("soft {}, hard {}", number(limit.soft), number(limit.hard));
        let setting = |(setting, value): &(Setting, io::Result<u64>)| {
            let text = match value {
                Ok(value) => value.to_string(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "not here".to_owned(),
                Err(error) => format!("unknown: {}", plain(error)),
            };
            (short(*setting).to_owned(), text)
        };
        let nofile = ("nofile".to_owned(), nofile);
        [nofile].into_iter().chain(self.facts.settings.iter().map(setting)).collect()
    }

    fn advice(&self) -> Vec<Row> {
        if self.advice.is_empty() {
            return vec![("nothing".to_owned(), "the best of everything can be had here".to_owned())];
        }
        self.advice.iter().flat_map(advised).collect()
    }
}

/// What keeps rights away that the sets seem to allow.
fn confined(standing: &Standing) -> Vec<Row> {
    let privileges = match standing.privileges {
        Privileges::Gained => None,
        Privileges::Kept => Some(("no_new_privs", "set: file capabilities and setuid bits have no effect")),
    };
    let namespace = match standing.user_namespace {
        UserNamespace::First => None,
        UserNamespace::Below => {
            Some(("user namespace", "not the first: for BPF these capabilities do not count"))
        }
    };
    let rows = privileges.into_iter().chain(namespace);
    rows.map(|(name, text)| (name.to_owned(), text.to_owned())).collect()
}

fn feature(feature: &Feature) -> Row {
    (feature.name.to_owned(), with_detail(feature.found.words()))
}

fn with_detail((word, detail): (&str, &str)) -> String {
    if detail.is_empty() { word.to_owned() } else { format!("{word}: {detail}") }
}

/// `own, least in tier C: <why>`, and a row for each better way that is not gone.
fn pick(pick: &Pick) -> Vec<Row> {
    let policy = pick.policy.map(|policy| match pick.tier {
        Some(tier) => format!("{policy} in tier {}", letter(tier)),
        None => policy.to_owned(),
    });
    let words: Vec<String> = pick.attach.map(str::to_owned).into_iter().chain(policy).collect();
    let text = if words.is_empty() { pick.why.clone() } else { with_detail((&words.join(", "), &pick.why)) };
    let first = (pick.name.to_owned(), text);
    [first].into_iter().chain(pick.not.iter().map(|not| (String::new(), format!("not {not}")))).collect()
}

fn advised(advice: &Advice) -> Vec<Row> {
    let (How::Command(how) | How::Change(how)) = &advice.how;
    let unit = advice.unit.as_ref().map(|unit| (String::new(), format!("in a systemd unit: {unit}")));
    [(advice.gain.to_owned(), how.clone())].into_iter().chain(unit).collect()
}

#[cfg(test)]
mod tests {
    use oneport_sys::host::{Privileges, Standing, UserNamespace};

    use super::super::facts::Facts;
    use super::super::report::Report;
    use super::super::tests::{best, lack, unprivileged};

    #[test]
    fn what_follows_stands_at_the_end() {
        let text = Report::of(unprivileged()).text();
        let (_, end) = text.split_once("what `auto` picks\n").unwrap();
        assert_eq!(
            end,
            "\
\x20 Node                        channel, least in tier C
  Rust with the library       channel, least in tier C
  any program                 own, least in tier C
  Deno                        channel, rr: it cannot serve sockets that it was given
  Unix sockets                rr: the kernel does not choose among them; copies of any program share one
  tier C                      classic BPF chooses at random, weighted by what the primary counts; no right is needed
what would be better
  tier A                      sudo setcap cap_bpf,cap_net_admin+p /usr/local/bin/oneport
                              in a systemd unit: AmbientCapabilities=CAP_BPF CAP_NET_ADMIN"
        );
    }

    #[test]
    fn a_program_that_cannot_be_attached_has_the_reason_in_the_place_of_a_way() {
        let mut facts = unprivileged();
        facts.explored.here.traps = Err(lack("busy", "stop it"));
        facts.explored.here.library = Err(lack("not installed", "install it"));
        let text = Report::of(facts).text();
        let row =
            "  any program                 cannot be attached: own, slot: busy; preload: not installed\n";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("  programs without a channel  stop it, or install it\n"), "{text}");
    }

    #[test]
    fn nothing_is_said_of_what_does_not_hold() {
        let text = Report::of(best()).text();
        assert!(
            text.ends_with("nothing                     the best of everything can be had here"),
            "{text}"
        );
        assert!(!text.contains("no_new_privs") && !text.contains("user namespace"), "{text}");
        let standing =
            Standing { privileges: Privileges::Kept, user_namespace: UserNamespace::Below, filtered: true };
        let text = Report::of(Facts { standing: Ok(standing), ..best() }).text();
        assert!(text.contains("no_new_privs") && text.contains("user namespace"), "{text}");
    }
}
