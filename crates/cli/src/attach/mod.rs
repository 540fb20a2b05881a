//! How a program becomes a worker, decided before it is started: by its channel, by its binds, by sockets it is given,
//! or not at all. `choose` has the table, `here` asks the system, `fit` refuses what does not go together.

mod choose;
mod fit;
mod here;
mod rules;

use std::io;
use std::path::{Path, PathBuf};

use oneport::{Attach, Policy, ProgramSettings};
use oneport_sys::seccomp::Waits;

use crate::args::RunArgs;
use crate::args::program::{AttachArg, ProgramArgs, ReadyOnArg};
use crate::commands::run::policy::Placing;
use crate::error::Failure;
use crate::program::Program;
use choose::forced;
pub(crate) use choose::{Bits, Blocked, Here, Image, Lack, Linked, Obstacle, Rights, Way, best};
pub(crate) use here::{Bpf, Explored, explore, inspect};
pub(crate) use rules::conduct_readiness;

/// What kind of worker it will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Channel,
    /// Its binds are had, in one of the [`Way`]s.
    Program,
    ListenFds,
    Nothing,
}

impl Class {
    pub(crate) fn of(program: &Program, args: &ProgramArgs) -> Class {
        match args.attach {
            AttachArg::Auto if program.kind.speaks_channel() => Class::Channel,
            AttachArg::Channel => Class::Channel,
            AttachArg::Auto | AttachArg::Own | AttachArg::Slot | AttachArg::Preload => Class::Program,
            AttachArg::ListenFds => Class::ListenFds,
            AttachArg::None => Class::Nothing,
        }
    }

    fn attach(self) -> Attach {
        match self {
            Class::Channel => Attach::Channel,
            Class::Program | Class::ListenFds => Attach::Program,
            Class::Nothing => Attach::Nothing,
        }
    }
}

/// How the workers of an app are attached.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) class: Class,
    pub(crate) attach: Attach,
    /// As `--attach` spells it.
    pub(crate) name: &'static str,
    /// What that means for connections, and why it is not a better one.
    pub(crate) why: String,
    pub(crate) settings: ProgramSettings,
    pub(crate) notes: Vec<Note>,
}

/// Worth knowing before the start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) message: String,
    pub(crate) hint: &'static str,
}

/// What was found out about a program and this system.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) file: PathBuf,
    pub(crate) image: Image,
    /// Why the file could not be looked into.
    pub(crate) unread: Option<io::Error>,
    waits: Option<Waits>,
    here: Here,
}

impl Survey {
    pub(crate) fn of(program: &Program) -> Result<Survey, Failure> {
        let file = program.image();
        let file = std::path::absolute(&file).unwrap_or(file);
        let (image, unread) = inspect(&file);
        let Explored { here, waits, bpf: _ } = here::look()?;
        Ok(Survey { file, image, unread, waits, here })
    }

    /// The way that is gone, with what is in the way of better ones; or what is in the way.
    pub(crate) fn way(&self, wanted: AttachArg) -> Result<(Way, Vec<Obstacle>), Blocked> {
        let way = match wanted {
            AttachArg::Own => Way::Own,
            AttachArg::Slot => Way::Slot,
            AttachArg::Preload => Way::Preload,
            AttachArg::Auto | AttachArg::Channel | AttachArg::ListenFds | AttachArg::None => {
                return best(&self.here, self.image);
            }
        };
        forced(way, &self.here, self.image).map(|way| (way, Vec::new()))
    }

    pub(crate) fn library(&self) -> PathBuf {
        self.here.library.as_ref().cloned().unwrap_or_default()
    }

    fn notes(&self, way: Way, title: &str) -> Vec<Note> {
        let trapped = match way {
            Way::Own | Way::Slot => true,
            Way::Preload => false,
        };
        let rights = match self.image.rights {
            Rights::None => None,
            Rights::SetUid => Some("is setuid"),
            Rights::FileCapabilities => Some("has file capabilities"),
        };
        let rights = rights.filter(|_| trapped).map(|rights| Note {
            message: format!("`{title}` {rights}, which has no effect while its calls are trapped"),
            hint: "start oneport with the rights it needs; for a port below 1024 --low-ports",
        });
        let old = self.waits.filter(|waits| trapped && *waits == Waits::Interruptible).map(|_| Note {
            message: "signals interrupt trapped calls on this kernel: a bind may fail with EINTR".to_owned(),
            hint: "Linux 5.19 or later",
        });
        rights.into_iter().chain(old).collect()
    }
}

/// Decides for `run`.
pub(crate) fn settle(
    args: &RunArgs,
    program: &Program,
    placing: &Placing,
    instances: u32,
) -> Result<Attachment, Failure> {
    let wanted = &args.program;
    let class = Class::of(program, wanted);
    fit::program(wanted, class, &program.title)?;
    fit::run(args, class, &program.title)?;
    let settings = rules::settings(wanted, args.what.cwd.as_deref())?;
    let bare = |class: Class, name, why: &str, notes| Attachment {
        class,
        attach: class.attach(),
        name,
        why: why.to_owned(),
        settings: settings.clone(),
        notes,
    };
    match class {
        Class::Channel => {
            Ok(bare(class, "channel", "it says on Node's channel where it listens", Vec::new()))
        }
        Class::ListenFds => {
            let why = format!("each copy is started with sockets of its own; {}", placed(placing));
            let note = Note {
                message: format!(
                    "`{}` counts as ready from its start on, for its sockets listen",
                    program.title
                ),
                hint: "--ready-on notify, http:/PATH or line:REGEX",
            };
            let notes = matches!(wanted.ready_on, ReadyOnArg::Listen).then_some(note);
            Ok(bare(class, "listen-fds", &why, notes.into_iter().collect()))
        }
        Class::Nothing => Ok(bare(class, "none", "each copy binds for itself", Vec::new())),
        Class::Program => {
            let survey = Survey::of(program)?;
            match survey.way(wanted.attach) {
                Ok((way, over)) => {
                    fit::copies(way, instances, &program.title)?;
                    attached(way, &over, &survey, settings, placing, &program.title)
                }
                Err(blocked) if runs_alone(&blocked, survey.image, wanted.attach) && instances <= 1 => {
                    let note = Note {
                        message: format!("`{}` {}", program.title, "is a 32-bit program: it is run as it is"),
                        hint: "more copies cannot share its port, and a reload cannot replace it",
                    };
                    Ok(bare(Class::Nothing, "none", "its calls cannot be trapped", vec![note]))
                }
                Err(blocked) => Err(refusal(&blocked, &program.title)),
            }
        }
    }
}

/// The settings of a way that can be gone. One socket for all copies cannot tell one copy from another.
pub(crate) fn attached(
    way: Way,
    over: &[Obstacle],
    survey: &Survey,
    settings: ProgramSettings,
    placing: &Placing,
    title: &str,
) -> Result<Attachment, Failure> {
    let shared = placing.policy == Policy::Shared;
    if shared && matches!(settings.ready_on, oneport::ReadyOn::Http { .. }) {
        let cause = "all copies have one socket, so that none can be asked alone";
        return Err(Failure::usage(format!("cannot use --ready-on http for `{title}`: {cause}"))
            .hint("--ready-on notify, or line:REGEX"));
    }
    let what = match way {
        Way::Own if shared => "every copy accepts from one socket, given to it for its own",
        Way::Slot if shared => "every copy accepts from one socket, given to it for its own",
        Way::Preload if shared => "a library in each copy has it accept from one socket",
        Way::Own => "each copy listens on its own socket",
        Way::Slot => "each copy is given a socket for its own",
        Way::Preload => "a library in each copy gets it a socket for its own",
    };
    let what = if shared { what.to_owned() } else { format!("{what}; {}", placed(placing)) };
    let why = if over.is_empty() { what } else { format!("{what}; not {}", grouped(over)) };
    Ok(Attachment {
        class: Class::Program,
        attach: Attach::Program,
        name: way.name(),
        why,
        settings: ProgramSettings { way: rules::way(way, survey.library()), ..settings },
        notes: survey.notes(way, title),
    })
}

/// What the kernel goes by among sockets of copies.
fn placed(placing: &Placing) -> String {
    match placing.policy {
        Policy::RoundRobin | Policy::Shared | Policy::Hash => {
            "the kernel spreads connections evenly".to_owned()
        }
        Policy::Least => placing.why.clone(),
        Policy::Sticky => "each client's address stays with one copy".to_owned(),
    }
}

fn runs_alone(blocked: &Blocked, image: Image, wanted: AttachArg) -> bool {
    wanted == AttachArg::Auto && image.bits == Bits::ThirtyTwo && blocked.lies_in_the_program()
}

/// `own, slot: <reason>; preload: <reason>`.
pub(crate) fn grouped(obstacles: &[Obstacle]) -> String {
    let mut groups: Vec<(Vec<&str>, &str)> = Vec::new();
    for obstacle in obstacles {
        match groups.last_mut().filter(|(_, reason)| *reason == obstacle.lack.reason) {
            Some((ways, _)) => ways.push(obstacle.way.name()),
            None => groups.push((vec![obstacle.way.name()], &obstacle.lack.reason)),
        }
    }
    let words = groups.iter().map(|(ways, reason)| format!("{}: {reason}", ways.join(", ")));
    words.collect::<Vec<_>>().join("; ")
}

/// No way can be gone.
fn refusal(blocked: &Blocked, title: &str) -> Failure {
    let message = format!("cannot attach `{title}`: {}", grouped(&blocked.obstacles));
    let remedies = blocked.remedies().join(", or ");
    match blocked.lies_in_the_program() {
        true => Failure::usage(message).hint(remedies),
        false => Failure::new(message).hint(format!("{remedies}; one copy can run with --attach none")),
    }
}

/// For `check`: what is said about the program goes together, and what follows of it.
pub(crate) fn settings_of(
    args: &ProgramArgs,
    class: Class,
    title: &str,
    cwd: Option<&Path>,
) -> Result<ProgramSettings, Failure> {
    fit::program(args, class, title)?;
    rules::settings(args, cwd)
}

/// Whether readiness is told by a line of its output.
pub(crate) fn ready_line(args: &ProgramArgs) -> Option<&regex_lite::Regex> {
    match &args.ready_on {
        ReadyOnArg::Line(pattern) => Some(pattern),
        ReadyOnArg::Listen | ReadyOnArg::Notify | ReadyOnArg::Http(_) => None,
    }
}
