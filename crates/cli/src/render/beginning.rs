//! The first line: who runs what, and how connections reach the workers.

use serde_json::json;

use super::life::{Loudness, Teller, count};
use crate::attach::{Attachment, Class};
use crate::commands::run::policy::Placing;

pub(crate) struct Beginning<'a> {
    pub(crate) pid: i32,
    pub(crate) title: &'a str,
    pub(crate) instances: u32,
    /// Told of workers with a channel; of others it is part of how they are attached.
    pub(crate) placing: &'a Placing,
    pub(crate) attachment: &'a Attachment,
}

impl Teller {
    pub(crate) fn primary(&self, beginning: &Beginning<'_>) {
        let Beginning { pid, title, instances, placing, attachment } = *beginning;
        let policy = placing.name(attachment.class);
        let (what, why) = match attachment.class {
            Class::Channel => (format!("policy {policy}"), placing.why.as_str()),
            Class::Program | Class::ListenFds | Class::Nothing => {
                (format!("attach {}", attachment.name), attachment.why.as_str())
            }
        };
        let fields = json!({
            "pid": pid,
            "command": title,
            "instances": instances,
            "attach": attachment.name,
            "policy": policy,
            "tier": placing.tier.map(|tier| format!("{tier:?}")),
            "why": why,
        });
        let workers = count(instances as usize);
        let text = format!("Primary {pid} is running `{title}`: {workers}, {what} ({why})");
        self.tell(Loudness::Normal, "primary", fields, &text);
    }
}

#[cfg(test)]
mod tests {
    use oneport::{Attach, Policy, ProgramSettings, TierChoice};
    use serde_json::Value;

    use super::super::life::tests::told;
    use super::*;
    use crate::args::LogFormat;

    fn beginning(class: Class, name: &'static str, format: LogFormat) -> String {
        let attachment = Attachment {
            class,
            attach: Attach::Program,
            name,
            why: "each on its own".into(),
            settings: ProgramSettings::default(),
            notes: Vec::new(),
        };
        let beginning = Beginning {
            pid: 7,
            title: "app.py",
            instances: 4,
            placing: &Placing {
                policy: Policy::RoundRobin,
                choice: TierChoice::Best,
                tier: None,
                why: "as asked for".into(),
            },
            attachment: &attachment,
        };
        told(format, |teller| teller.primary(&beginning)).remove(0)
    }

    #[test]
    fn the_first_line_says_the_way_of_a_program_and_the_policy_of_a_channel() {
        assert_eq!(
            beginning(Class::Program, "own", LogFormat::Text),
            "Primary 7 is running `app.py`: 4 workers, attach own (each on its own)"
        );
        assert_eq!(
            beginning(Class::Channel, "channel", LogFormat::Text),
            "Primary 7 is running `app.py`: 4 workers, policy rr (as asked for)"
        );
        let object: Value = serde_json::from_str(&beginning(Class::Program, "own", LogFormat::Json)).unwrap();
        assert_eq!((&object["attach"], &object["why"]), (&"own".into(), &"each on its own".into()));
    }
}
