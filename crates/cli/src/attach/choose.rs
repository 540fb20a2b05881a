//! Which way a program is attached: a table of what each way needs, against what this system allows and what the
//! program is. Nothing here asks the system anything; `here` did.

use std::fmt;
use std::path::PathBuf;

/// How the binds of a program are had, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Own,
    Slot,
    Preload,
}

impl Way {
    pub(crate) const ALL: [Way; 3] = [Way::Own, Way::Slot, Way::Preload];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Way::Own => "own",
            Way::Slot => "slot",
            Way::Preload => "preload",
        }
    }
}

/// Why something cannot be had, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    pub(crate) reason: String,
    pub(crate) remedy: &'static str,
}

/// What this system allows.
#[derive(Clone, Debug)]
pub(crate) struct Here {
    /// To be asked before a child binds.
    pub(crate) traps: Result<(), Lack>,
    /// To have a duplicate of a child's socket.
    pub(crate) takes: Result<(), Lack>,
    /// To put a socket into a child.
    pub(crate) adds: Result<(), Lack>,
    /// The library for `preload`.
    pub(crate) library: Result<PathBuf, Lack>,
}

/// What is executed, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) bits: Bits,
    pub(crate) linked: Linked,
    pub(crate) rights: Rights,
}

impl Image {
    /// As most are. What cannot be looked into counts as that.
    pub(crate) const ORDINARY: Image =
        Image { bits: Bits::SixtyFour, linked: Linked::Dynamically, rights: Rights::None };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bits {
    ThirtyTwo,
    SixtyFour,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Linked {
    /// It calls the C library, where another may stand before it.
    Dynamically,
    Statically,
    /// Go makes its system calls itself, also with cgo.
    Go,
}

/// What it gets beyond the rights of who starts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    None,
    SetUid,
    FileCapabilities,
}

/// A way that cannot be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Obstacle {
    pub(crate) way: Way,
    pub(crate) lack: Lack,
    pub(crate) lies: Lies,
}

/// Where an obstacle lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lies {
    InTheProgram,
    InTheSystem,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.way.name(), self.lack.reason)
    }
}

/// The best way that can be gone, with what is in the way of the better ones; or what is in the way of all.
pub(crate) fn best(here: &Here, image: Image) -> Result<(Way, Vec<Obstacle>), Blocked> {
    let mut passed_over = Vec::new();
    for way in Way::ALL {
        match obstacle(way, here, image) {
            None => return Ok((way, passed_over)),
            Some(obstacle) => passed_over.push(obstacle),
        }
    }
    Err(Blocked { obstacles: passed_over, instead: None })
}

/// No way that was asked for can be gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocked {
    pub(crate) obstacles: Vec<Obstacle>,
    /// One that was not asked for and can be gone.
    pub(crate) instead: Option<Way>,
}

impl Blocked {
    /// No other system would change it.
    pub(crate) fn lies_in_the_program(&self) -> bool {
        self.obstacles.iter().all(|obstacle| obstacle.lies == Lies::InTheProgram)
    }

    /// Whatever would help, each once.
    pub(crate) fn remedies(&self) -> Vec<&'static str> {
        let instead = self.instead.map(|way| match way {
            Way::Own => "let its binds be trapped (--attach own)",
            Way::Slot => "let its binds be trapped (--attach slot)",
            Way::Preload => "load the library into it (--attach preload)",
        });
        let mut remedies = Vec::new();
        for remedy in instead.into_iter().chain(self.obstacles.iter().map(|obstacle| obstacle.lack.remedy)) {
            if !remedies.contains(&remedy) {
                remedies.push(remedy);
            }
        }
        remedies
    }
}

/// The one that was asked for, if it can be gone.
pub(crate) fn forced(way: Way, here: &Here, image: Image) -> Result<Way, Blocked> {
    match obstacle(way, here, image) {
        None => Ok(way),
        Some(obstacle) => {
            let instead = best(here, image).ok().map(|(way, _)| way);
            Err(Blocked { obstacles: vec![obstacle], instead })
        }
    }
}

/// What is in the way of one.
fn obstacle(way: Way, here: &Here, image: Image) -> Option<Obstacle> {
    let in_system = |lack: &Lack| Obstacle { way, lack: lack.clone(), lies: Lies::InTheSystem };
    let in_program = |(reason, remedy): (&str, &'static str)| Obstacle {
        way,
        lack: Lack { reason: reason.to_owned(), remedy },
        lies: Lies::InTheProgram,
    };
    let of_program = match way {
        Way::Own | Way::Slot => of_traps(image),
        Way::Preload => of_library(image),
    };
    let of_system = match way {
        Way::Own => here.traps.as_ref().err().or(here.takes.as_ref().err()),
        Way::Slot => here.traps.as_ref().err().or(here.adds.as_ref().err()),
        Way::Preload => here.library.as_ref().err(),
    };
    of_program.map(in_program).or_else(|| of_system.map(in_system))
}

const NARROW: &str = "build it for 64 bits, or run one copy of it";

fn of_traps(image: Image) -> Option<(&'static str, &'static str)> {
    match image.bits {
        Bits::ThirtyTwo => Some(("it is a 32-bit program, whose calls are not trapped", NARROW)),
        Bits::SixtyFour => None,
    }
}

fn of_library(image: Image) -> Option<(&'static str, &'static str)> {
    match (image.bits, image.linked, image.rights) {
        (Bits::ThirtyTwo, _, _) => {
            Some(("it is a 32-bit program, into which the 64-bit library cannot be loaded", NARROW))
        }
        (_, Linked::Go, _) => Some((
            "it is a Go program, which makes its system calls itself",
            "pass sockets on, if it knows LISTEN_FDS (--attach listen-fds)",
        )),
        (_, Linked::Statically, _) => Some((
            "it is linked statically, so that no library can be loaded into it",
            "link it dynamically, or pass sockets on, if it knows LISTEN_FDS (--attach listen-fds)",
        )),
        (_, _, Rights::SetUid | Rights::FileCapabilities) => Some((
            "it is setuid or has file capabilities, and the loader takes no library for it",
            "take these rights off it, and let --low-ports give it its port",
        )),
        (Bits::SixtyFour, Linked::Dynamically, Rights::None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Image = Image::ORDINARY;

    fn lack(reason: &str) -> Lack {
        Lack { reason: reason.to_owned(), remedy: "none" }
    }

    fn everything() -> Here {
        Here { traps: Ok(()), takes: Ok(()), adds: Ok(()), library: Ok("/lib/x.so".into()) }
    }

    /// A system by what it lacks.
    fn without(lacks: &[&str]) -> Here {
        let mut here = everything();
        for what in lacks {
            match *what {
                "traps" => here.traps = Err(lack("busy")),
                "takes" => here.takes = Err(lack("no pidfd_getfd")),
                "adds" => here.adds = Err(lack("no ADDFD")),
                "library" => here.library = Err(lack("no library")),
                other => panic!("what is `{other}`?"),
            }
        }
        here
    }

    #[test]
    fn the_best_way_that_can_be_gone_is_gone() {
        let statically = Image { linked: Linked::Statically, ..PLAIN };
        let go = Image { linked: Linked::Go, ..PLAIN };
        let narrow = Image { bits: Bits::ThirtyTwo, ..PLAIN };
        let setuid = Image { rights: Rights::SetUid, ..PLAIN };
        let capable = Image { rights: Rights::FileCapabilities, ..PLAIN };
        let table: [(&[&str], Image, Option<Way>); 15] = [
            (&[], PLAIN, Some(Way::Own)),
            (&[], statically, Some(Way::Own)),
            (&[], go, Some(Way::Own)),
            (&[], setuid, Some(Way::Own)),
            (&[], narrow, None),
            (&["takes"], PLAIN, Some(Way::Slot)),
            (&["takes"], go, Some(Way::Slot)),
            (&["takes", "adds"], PLAIN, Some(Way::Preload)),
            (&["takes", "adds"], go, None),
            (&["traps"], PLAIN, Some(Way::Preload)),
            (&["traps"], statically, None),
            (&["traps"], go, None),
            (&["traps"], setuid, None),
            (&["traps"], capable, None),
            (&["traps", "library"], PLAIN, None),
        ];
        for (lacks, image, expected) in table {
            let here = without(lacks);
            let chosen = best(&here, image);
            assert_eq!(chosen.as_ref().ok().map(|(way, _)| *way), expected, "{lacks:?} {image:?}");
            // Every better way is named with its reason, and no worse one.
            let (Ok((_, over)) | Err(Blocked { obstacles: over, .. })) = chosen;
            let better = Way::ALL.into_iter().filter(|way| expected.is_none_or(|chosen| *way < chosen));
            assert_eq!(over.iter().map(|o| o.way).collect::<Vec<_>>(), better.collect::<Vec<_>>());
            assert!(over.iter().all(|o| !o.lack.reason.is_empty()));
        }
    }

    #[test]
    fn every_remedy_is_named_and_what_works_already_comes_first() {
        let go = Image { linked: Linked::Go, ..PLAIN };
        let sockets = "pass sockets on, if it knows LISTEN_FDS (--attach listen-fds)";
        // Under another supervisor: nothing else has to be changed for that.
        let blocked = best(&without(&["traps"]), go).unwrap_err();
        assert_eq!(blocked.remedies(), ["none", sockets]);
        let blocked = forced(Way::Preload, &everything(), go).unwrap_err();
        assert_eq!(blocked.remedies(), ["let its binds be trapped (--attach own)", sockets]);
        let blocked = forced(Way::Own, &without(&["takes"]), PLAIN).unwrap_err();
        assert_eq!(blocked.remedies(), ["let its binds be trapped (--attach slot)", "none"]);
        let narrow = Image { bits: Bits::ThirtyTwo, ..PLAIN };
        assert_eq!(best(&everything(), narrow).unwrap_err().remedies(), [NARROW]);
    }

    #[test]
    fn what_the_program_is_comes_before_what_the_system_lacks() {
        let go = Image { linked: Linked::Go, ..PLAIN };
        let found = obstacle(Way::Preload, &without(&["library"]), go).unwrap();
        assert_eq!(found.lies, Lies::InTheProgram);
        assert_eq!(found.to_string(), "preload: it is a Go program, which makes its system calls itself");
        let found = obstacle(Way::Own, &without(&["takes"]), PLAIN).unwrap();
        assert_eq!((found.lies, found.to_string().as_str()), (Lies::InTheSystem, "own: no pidfd_getfd"));
    }
}
