//! PM2's verbs: what they say to the daemon, by the control API and nothing else, and what they show.

mod act;
mod alias;
mod apply;
mod change;
mod gather;
mod keep;
mod link;
mod logs;
mod marks;
mod script;
mod select;
mod show;
mod start;
mod stay;
mod unsaved;
mod watch;

use std::io::IsTerminal;
use std::process::ExitCode;

use crate::Done;
use crate::args::Verb;
use crate::args::manager::CommonArgs;
use crate::error::Failure;
use crate::render::manager::{Tone, says};
use crate::render::voice;

use change::Way;
use link::Link;

pub(crate) fn run(verb: Verb) -> Done {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|cause| Failure::new(format!("cannot begin: {cause}")))?;
    runtime.block_on(obey(verb))
}

async fn obey(verb: Verb) -> Done {
    match verb {
        Verb::Start(args) => start::start(&args).await,
        Verb::Stop(args) => act::stop(&args).await,
        Verb::Restart(args) => change::carry_out(&args, Way::Restart).await,
        Verb::Reload(args) => change::reload(&args).await,
        Verb::Delete(args) => act::delete(&args).await,
        Verb::Scale(args) => act::scale(&args).await,
        Verb::SendSignal(args) => act::signal(&args).await,
        Verb::Reset(args) => act::reset(&args).await,
        Verb::StartOrRestart(args) => change::carry_out(&args, Way::Restart).await,
        Verb::StartOrReload(args) => change::carry_out(&args, Way::reload(&args)).await,
        Verb::List(args) => show::list(&args).await,
        Verb::Jlist(args) => show::jlist(&args, show::Layout::Dense).await,
        Verb::Prettylist(args) => show::jlist(&args, show::Layout::Indented).await,
        Verb::Describe(args) => show::describe(&args).await,
        Verb::Env(args) => show::env(&args).await,
        Verb::Id(args) => show::id(&args).await,
        Verb::Pid(args) => show::pid(&args).await,
        Verb::Logs(args) => logs::logs(&args).await,
        Verb::Flush(args) => logs::flush(&args).await,
        Verb::ReloadLogs(args) => logs::reload_logs(&args).await,
        Verb::Monit(args) => show::monit(&args).await,
        Verb::Send(args) => act::send(&args).await,
        Verb::Save(args) => keep::save(&args).await,
        Verb::Resurrect(args) => keep::resurrect(&args).await,
        Verb::Cleardump(args) => keep::cleardump(&args),
        Verb::Import(args) => keep::import(&args).await,
        Verb::Startup(args) => keep::startup(&args),
        Verb::Unstartup(args) => keep::unstartup(&args),
        Verb::Init(args) => keep::init(&args),
        Verb::Completion(args) => keep::completion(&args),
        Verb::Examples(_) => {
            voice::out(format_args!("{}", EXAMPLES.trim_end()));
            Ok(ExitCode::SUCCESS)
        }
        Verb::Ping(_) => link::ping().await,
        Verb::Kill(args) => link::kill(&args.common).await,
        Verb::Update(args) => link::update(&args.common).await,
        Verb::Run(_)
        | Verb::Check(_)
        | Verb::Doctor(_)
        | Verb::Grant(_)
        | Verb::Demo(_)
        | Verb::Hello
        | Verb::Daemon(_)
        | Verb::Primary => Ok(ExitCode::SUCCESS),
    }
}

const EXAMPLES: &str = "\
Start
  oneport start server.js -i max          one worker per CPU, behind one port
  oneport start app.py -i 4 -- --port 80  any language; what follows -- is the program's
  oneport start -x queue.js               one process that binds for itself, or for nobody
  oneport start                           the configuration in this directory (oneport init writes one)

Look
  oneport list                            oneport describe web
  oneport logs web --lines 100            oneport monit

Change
  oneport reload web                      no connection is lost, and a bad build is given up
  oneport reload web --update-env         with the environment of this shell
  oneport reload web --plan               what that would change
  oneport scale web +2                    oneport stop web | restart web | delete web

Keep
  oneport save                            oneport startup
";

/// How much is shown.
#[derive(Clone, Copy, Debug)]
struct Manner {
    silent: bool,
    mini: bool,
    sort: crate::render::manager::Sort,
}

impl Manner {
    fn of(common: &CommonArgs) -> Result<Manner, Failure> {
        if common.no_color {
            anstream::ColorChoice::Never.write_global();
        }
        let sort = common.sort.as_deref().map(str::parse).transpose();
        let sort = sort.map_err(|cause| Failure::usage(format!("cannot sort by that: {cause}")))?;
        Ok(Manner { silent: common.silent, mini: common.mini_list, sort: sort.unwrap_or_default() })
    }
}

/// Names that one sentence holds.
const NAMES: usize = 8;

/// Columns and rows of the terminal on standard output; none where there is no terminal.
fn terminal() -> Option<(usize, usize)> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(&stdout).ok()?;
    Some((usize::from(size.ws_col), usize::from(size.ws_row)))
}

/// How wide a table may be.
fn width() -> Option<usize> {
    terminal().map(|(columns, _)| columns).filter(|columns| *columns > 0)
}

/// Width and height of what is drawn in place. A terminal that does not know its size is small.
fn screen() -> Option<(usize, usize)> {
    terminal().map(|(columns, rows)| (columns.max(20), rows.max(4)))
}

/// Shows the table, as after every deed.
async fn show_list(link: &Link, manner: Manner) -> Result<(), Failure> {
    if manner.silent {
        return Ok(());
    }
    let apps = link.apps().await?;
    show::print_list(&apps, manner);
    Ok(())
}

/// A line for the person: what is good on standard output, what is not on standard error.
fn say(tone: Tone, text: &str) {
    let line = says(tone, text);
    match tone {
        Tone::Normal | Tone::Info => voice::out(format_args!("{}", line.trim_end())),
        Tone::Warning | Tone::Error => voice::err(format_args!("{}", line.trim_end())),
    }
}
