//! Failures as people read them: `error: cannot <verb> <object>: <cause>` and, when a remedy is known, ` hint:`.

use std::fmt::Display;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::render::voice;

/// Exit code for a command line that cannot be understood.
const USAGE: u8 = 2;
/// Exit code where there is no daemon to be reached.
const NO_DAEMON: u8 = 3;
/// Exit code for a bug of ours (EX_SOFTWARE of sysexits(3)).
pub(crate) const BUG: u8 = 70;

/// A command that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: Option<String>,
    code: u8,
}

impl Failure {
    /// The operation failed.
    pub(crate) fn new(message: impl Display) -> Failure {
        Failure { message: message.to_string(), hint: None, code: 1 }
    }

    /// There is no daemon, and none can be had.
    pub(crate) fn no_daemon(message: impl Display) -> Failure {
        Failure { message: message.to_string(), hint: None, code: NO_DAEMON }
    }

    /// What was asked for cannot be done as it was put.
    pub(crate) fn usage(message: impl Display) -> Failure {
        Failure { message: message.to_string(), hint: None, code: USAGE }
    }

    /// Without its hint and colours.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What might help.
    pub(crate) fn advice(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(crate) fn hint(mut self, hint: impl Display) -> Failure {
        self.hint = Some(hint.to_string());
        self
    }

    /// Prints it and gives its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        voice::err(format_args!("{}", self.words()));
        self.code()
    }

    /// The command line is right, and what it names is not there: a failure (1), where `run` says usage (2).
    pub(crate) fn in_the_world(self) -> Failure {
        Failure { code: 1, ..self }
    }

    /// Whether the command line is at fault.
    pub(crate) fn is_usage(&self) -> bool {
        self.code == USAGE
    }

    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }

    /// Its lines, with colours.
    pub(crate) fn words(&self) -> String {
        let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
        let cyan = Style::new().bold().fg_color(Some(AnsiColor::Cyan.into()));
        let hint = self.hint.as_ref().map(|hint| format!("\n {cyan}hint{cyan:#}: {hint}"));
        format!("{red}error{red:#}: {}{}", self.message, hint.unwrap_or_default())
    }
}

/// What the system says of a call that failed, without its number.
pub(crate) fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or_default();
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// Prints what clap found, and gives the exit code.
pub(crate) fn explain_usage(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // A closed terminal is not worth a word.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::from(USAGE);
    }
    of_clap(error).report()
}

/// What clap found, in our words.
pub(crate) fn of_clap(error: &clap::Error) -> Failure {
    let context = |kind| error.get(kind).map(text);
    let option = context(ContextKind::InvalidArg).unwrap_or_default();
    let option = option.split_whitespace().next().unwrap_or_default().trim_end_matches('.');
    let against = context(ContextKind::PriorArg).unwrap_or_default();
    let against = against.split_whitespace().next().unwrap_or_default().trim_end_matches('.');
    let value = context(ContextKind::InvalidValue).unwrap_or_default();
    #[allow(clippy::wildcard_enum_match_arm, reason = "clap's list grows")]
    let message = match error.kind() {
        ErrorKind::UnknownArgument => format!("cannot use option `{option}`: there is no such option"),
        ErrorKind::InvalidSubcommand => {
            let verb = context(ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("cannot use command `{verb}`: there is no such command")
        }
        ErrorKind::InvalidValue if value.is_empty() => {
            format!("cannot use option `{option}`: it needs a value")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            let cause =
                cause.or_else(|| context(ContextKind::ValidValue).map(|valid| format!("not one of {valid}")));
            format!(
                "cannot use `{value}` for `{option}`: {}",
                cause.unwrap_or_else(|| "not valid".to_owned())
            )
        }
        ErrorKind::ArgumentConflict => {
            format!("cannot use option `{option}`: it is against `{against}`")
        }
        ErrorKind::MissingRequiredArgument => {
            format!(
                "cannot understand the command line: it needs {}",
                context(ContextKind::InvalidArg).unwrap_or_default()
            )
        }
        _ => {
            let first = error.to_string();
            let first = first.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("cannot understand the command line: {first}")
        }
    };
    let verb = context(ContextKind::InvalidSubcommand).unwrap_or_default();
    if ONLY_PM2.contains(&verb.as_str()) {
        let hint =
            "this command of PM2's is not in oneport; docs/migrate-from-pm2.md says what is in its place";
        return Failure::usage(message).hint(hint);
    }
    let near = context(ContextKind::SuggestedArg).or_else(|| context(ContextKind::SuggestedSubcommand));
    let hint = match near.filter(|near| !near.is_empty()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("`oneport {}--help` lists what there is", verb_of_this_command()),
    };
    Failure::usage(message).hint(hint)
}

/// Commands of PM2 that there are none of here, on purpose.
const ONLY_PM2: [&str; 41] = [
    "attach",
    "autoinstall",
    "backward",
    "conf",
    "config",
    "create",
    "deepUpdate",
    "deploy",
    "expose",
    "forward",
    "get",
    "inspect",
    "install",
    "install-otel",
    "link",
    "login",
    "logrotate",
    "logout",
    "module:generate",
    "module:update",
    "monitor",
    "multiset",
    "open",
    "package",
    "plus",
    "profile:cpu",
    "profile:mem",
    "publish",
    "pull",
    "register",
    "report",
    "serve",
    "set",
    "slist",
    "sysinfos",
    "trigger",
    "uninstall",
    "uninstall-otel",
    "unlink",
    "unmonitor",
    "unset",
];

/// What was typed first, if that is a command at all.
fn verb_of_this_command() -> String {
    use clap::CommandFactory;
    let verb = std::env::args().nth(1).unwrap_or_default();
    let known = crate::args::Args::command().find_subcommand(&verb).is_some();
    if known { format!("{verb} ") } else { String::new() }
}

fn text(value: &ContextValue) -> String {
    #[allow(clippy::wildcard_enum_match_arm, reason = "clap's list grows")]
    match value {
        ContextValue::String(text) => text.clone(),
        ContextValue::Strings(texts) => texts.join(", "),
        other => other.to_string(),
    }
}
