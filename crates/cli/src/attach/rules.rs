//! What was typed about a program, as the library's settings. Nothing is decided here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use oneport::{Claims, ListenFd, LowPorts, Ports, ProgramSettings, ProgramWay, Readiness, ReadyOn};

use super::choose::Way;
use crate::args::program::{AttachArg, ProgramArgs, ReadyOnArg};
use crate::error::Failure;

/// How long one answer to a question about health may take.
const HTTP_PATIENCE: Duration = Duration::from_secs(5);

/// All of them, but for the way, which is chosen later where it is not `listen-fds`.
pub(super) fn settings(args: &ProgramArgs, cwd: Option<&Path>) -> Result<ProgramSettings, Failure> {
    let paths = args.unix.iter().map(|path| absolute(path, cwd)).collect::<Result<_, _>>()?;
    let socket =
        |arg: &crate::args::program::ListenArg| ListenFd { address: arg.address(), name: arg.name.clone() };
    Ok(ProgramSettings {
        way: match args.attach {
            AttachArg::ListenFds => {
                ProgramWay::ListenFds { sockets: args.listen.iter().map(socket).collect() }
            }
            AttachArg::Auto
            | AttachArg::Channel
            | AttachArg::Own
            | AttachArg::Slot
            | AttachArg::Preload
            | AttachArg::None => ProgramWay::Own,
        },
        claims: Claims {
            ports: (!args.port.is_empty()).then(|| args.port.clone()),
            excluded: args.exclude_port.clone(),
            published: args.publish.clone(),
            paths,
            low_ports: if args.low_ports { LowPorts::Granted } else { LowPorts::OnlyIfTheWorkerMay },
        },
        ready_on: match &args.ready_on {
            ReadyOnArg::Listen => ReadyOn::Listening,
            ReadyOnArg::Notify => ReadyOn::Notify,
            ReadyOnArg::Http(path) => ReadyOn::Http { path: path.clone(), patience: HTTP_PATIENCE },
            ReadyOnArg::Line(_) => ReadyOn::Owner,
        },
        ports: Ports::Wished,
    })
}

pub(super) fn way(way: Way, library: PathBuf) -> ProgramWay {
    match way {
        Way::Own => ProgramWay::Own,
        Way::Slot => ProgramWay::Slot,
        Way::Preload => ProgramWay::Preload { library },
    }
}

/// What the conduct's readiness has to be.
pub(crate) fn conduct_readiness(args: &ProgramArgs) -> Readiness {
    match &args.ready_on {
        ReadyOnArg::Listen => Readiness::Listening,
        ReadyOnArg::Notify | ReadyOnArg::Http(_) | ReadyOnArg::Line(_) => Readiness::Message,
    }
}

/// As a program in that directory means it.
fn absolute(path: &str, cwd: Option<&Path>) -> Result<Box<str>, Failure> {
    let path = cwd.map_or_else(|| PathBuf::from(path), |cwd| cwd.join(path));
    let absolute = std::path::absolute(&path)
        .map_err(|cause| Failure::new(format!("cannot use `{}` for --unix: {cause}", path.display())))?;
    match absolute.to_str() {
        Some(text) => Ok(text.into()),
        None => Err(Failure::usage(format!("cannot use `{}` for --unix: not UTF-8", absolute.display()))
            .hint("rename the directory, or choose another --cwd")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_meant_in_the_directory_of_the_workers() {
        assert_eq!(&*absolute("a/b.sock", Some(Path::new("/srv/app"))).unwrap(), "/srv/app/a/b.sock");
        assert_eq!(&*absolute("./b.sock", Some(Path::new("/srv"))).unwrap(), "/srv/b.sock");
        assert_eq!(&*absolute("/run/b.sock", Some(Path::new("/srv"))).unwrap(), "/run/b.sock");
        assert!(absolute("b.sock", None).unwrap().starts_with('/'));
    }
}
