//! The table of a worker's life, printed for people. `UPDATE_DOCS=1 cargo test -p oneport-core --test table`
//! writes it.

use std::fmt::Write as _;
use std::path::Path;

use oneport_core::{Act, Input, Phase, transition};

const INTRODUCTION: &str = "\
# A worker's life

<!-- Generated from `crates/core/src/life.rs` by `crates/core/tests/table.rs`. To write it anew:
     UPDATE_DOCS=1 cargo test -p oneport-core --test table -->

Every worker is in one of eight phases. Whatever happens to it moves it to another phase, asks for something to be
done, or means nothing. The tables below are printed from the code that decides it, so they are complete.

";

const OUTLINE: &str = "
The usual ways: a worker that serves and is asked to leave goes from listening over draining, leaving, stopping and
ending to gone. One that crashes goes from wherever it is to ending, and is gone once its process, everything it
started and its channel have come to their end; only then is what it did not acknowledge given to others. Nothing
leads back: a new worker in the same slot is a new life.

## What happens in which phase

Each cell names the next phase and, in brackets, what is done. A dot means that nothing changes.

";

fn phase_means(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "The process exists or is about to; nothing was heard of it yet.",
        Phase::Online => "Its runtime is up. It serves nothing.",
        Phase::Listening => "A server of it listens. It gets connections, once it is ready.",
        Phase::Draining => {
            "It gets nothing new; hand-offs under way settle, and what waits in its own sockets is taken."
        }
        Phase::Leaving => "It was told to leave, or leaves of its own accord, and finishes what it has.",
        Phase::Stopping => "The stop signal was sent.",
        Phase::Ending => "The process is dead or killed; what is left of its tree is being ended.",
        Phase::Gone => "Nothing of it is left. Its name is never used again.",
    }
}

fn input_means(input: Input) -> &'static str {
    match input {
        Input::Online => "its runtime is up",
        Input::Listening => "a server of it listens",
        Input::Asked => "it should leave in order",
        Input::Condemned => "it must end now",
        Input::Settled => "nothing is on its way to it, and nothing waits in its own sockets",
        Input::LeavesByItself => "it announces that it leaves",
        Input::Idle => "its open connections are gone or idle",
        Input::ChannelClosed => "its channel is closed",
        Input::Deadline => "the time of the phase is over",
        Input::Exited => "its process ended",
        Input::Gone => "process, tree and channel are gone",
    }
}

fn act_means(act: Act) -> (&'static str, &'static str) {
    match act {
        Act::Unschedule => ("unschedule", "it gets nothing new from now on"),
        Act::AllowDrain => ("drain time", "its drain timeout begins"),
        Act::AskToLeave => ("ask", "the `disconnect` message, or a watch for its connections to be idle"),
        Act::SignalStop => ("signal", "the stop signal; its kill timeout begins"),
        Act::AllowExit => ("exit time", "half a second to end by itself, unless it announced that it leaves"),
        Act::KillTree => ("kill", "it and everything it started is killed"),
        Act::EndTree => ("end tree", "what it started may follow within the kill timeout, then it is killed"),
        Act::Bury => {
            ("bury", "what it did not acknowledge is given to others; its slot is filled again or given up")
        }
    }
}

const ACTS: [Act; 8] = [
    Act::Unschedule,
    Act::AllowDrain,
    Act::AskToLeave,
    Act::SignalStop,
    Act::AllowExit,
    Act::KillTree,
    Act::EndTree,
    Act::Bury,
];

fn cell(phase: Phase, input: Input) -> String {
    let (to, acts) = transition(phase, input);
    let done: Vec<&str> = acts.iter().map(|act| act_means(*act).0).collect();
    match (to == phase, done.is_empty()) {
        (true, true) => "·".to_owned(),
        (false, true) => to.name().to_owned(),
        (_, false) => format!("{} ({})", to.name(), done.join(", ")),
    }
}

fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    let mut line = |text: String| writeln!(page, "{text}").expect("a string takes everything");
    line("| phase | what it means |\n|---|---|".to_owned());
    for phase in Phase::ALL {
        line(format!("| {} | {} |", phase.name(), phase_means(phase)));
    }
    line(OUTLINE.trim_end_matches('\n').to_owned() + "\n");
    let names: Vec<&str> = Phase::ALL.iter().map(|phase| phase.name()).collect();
    line(format!("| what happens | {} |", names.join(" | ")));
    line(format!("|---|{}", "---|".repeat(names.len())));
    for input in Input::ALL {
        let cells: Vec<String> = Phase::ALL.iter().map(|phase| cell(*phase, input)).collect();
        line(format!("| {} | {} |", input_means(input), cells.join(" | ")));
    }
    line("\n| what is done | meaning |\n|---|---|".to_owned());
    for act in ACTS {
        let (name, meaning) = act_means(act);
        line(format!("| {name} | {meaning} |"));
    }
    page
}

#[test]
fn the_page_about_a_workers_life_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/worker-lifecycle.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some_and(|value| value == "1") {
        std::fs::write(&path, page).expect("the page can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == page, "docs/worker-lifecycle.md is not what the code does: run with UPDATE_DOCS=1");
}

#[test]
fn no_transition_leads_back() {
    for phase in Phase::ALL {
        for input in Input::ALL {
            let (to, _) = transition(phase, input);
            assert!(to >= phase, "{phase:?} goes back to {to:?} on {input:?}");
        }
    }
}

#[test]
fn who_begins_to_leave_is_unscheduled_first() {
    for phase in Phase::ALL {
        for input in Input::ALL {
            let (to, acts) = transition(phase, input);
            if !phase.is_leaving() && to.is_leaving() {
                assert_eq!(acts.first(), Some(&Act::Unschedule), "{phase:?} on {input:?}");
            }
        }
    }
}

#[test]
fn only_the_gone_are_buried_and_every_one_of_them_is() {
    for phase in Phase::ALL {
        for input in Input::ALL {
            let (to, acts) = transition(phase, input);
            let dies = phase != Phase::Gone && to == Phase::Gone;
            assert_eq!(acts.contains(&Act::Bury), dies, "{phase:?} on {input:?}");
        }
    }
}

#[test]
fn gone_and_condemned_are_obeyed_in_every_phase() {
    for phase in Phase::ALL.into_iter().filter(|phase| *phase != Phase::Gone) {
        assert_eq!(transition(phase, Input::Gone).0, Phase::Gone);
        assert!(transition(phase, Input::Condemned).1.contains(&Act::KillTree), "{phase:?}");
    }
}
