use insta::assert_snapshot;
use oneport_wire::control::JobKind;

use super::super::letters::columns;
use super::super::sample;
use super::*;

use StepState::{Done, Draining, Failed, Proving, Starting, Stopping, Waiting};

fn terminal(width: usize, height: usize) -> Progress {
    Progress::new("api", Place::Terminal { width, height }, Colours::No)
}

fn readable(text: &str) -> String {
    text.replace('\x1b', "␛").replace('\r', "␍")
}

/// The screen after what was printed, for the few movements there are.
fn screen(printed: &[String]) -> Vec<String> {
    let (mut lines, mut row): (Vec<String>, usize) = (vec![String::new()], 0);
    let all = printed.concat();
    let mut rest = all.as_str();
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        match letter {
            '\r' => lines[row].clear(),
            '\n' => {
                row += 1;
                lines.resize(lines.len().max(row + 1), String::new());
                lines[row].clear();
            }
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match &rest[end..=end] {
                    "A" => {
                        row -= rest[1..end].parse::<usize>().unwrap();
                        lines[row].clear();
                    }
                    "K" => {}
                    "J" => lines.truncate(row + 1),
                    other => panic!("{other}"),
                }
                rest = &rest[end + 1..];
            }
            letter => lines[row].push(letter),
        }
    }
    lines
}

fn roll() -> Vec<Job> {
    let mut jobs: Vec<Job> = [
        [Waiting, Waiting],
        [Starting, Waiting],
        [Proving, Waiting],
        [Draining, Starting],
        [Stopping, Proving],
        [Done, Stopping],
        [Done, Done],
    ]
    .iter()
    .map(|steps| sample::job(JobKind::Reload, steps))
    .collect();
    jobs.last_mut().unwrap().state = JobState::Done;
    jobs
}

#[test]
fn a_terminal_is_redrawn_in_place_and_the_ticks_stay() {
    let mut progress = terminal(60, 20);
    let printed: Vec<String> = roll().iter().map(|job| progress.update(job)).collect();
    assert_snapshot!("progress_terminal", readable(&printed.join("--\n")));
    assert_eq!(screen(&printed[..1]), ["  [api](0) ▱▱▱▱▱ waiting", "  [api](1) ▱▱▱▱▱ waiting", ""]);
    assert_eq!(
        screen(&printed[..5]),
        ["  [api](0) ▰▰▰▰▱ stopping (pid 4000)", "  [api](1) ▰▰▱▱▱ proving (pid 4001)", ""]
    );
    assert_eq!(screen(&printed), ["[oneport] [api](0) ✓", "[oneport] [api](1) ✓", ""]);
}

#[test]
fn a_pipe_gets_a_line_for_each_change() {
    let mut progress = Progress::new("api", Place::Pipe, Colours::No);
    let mut printed = String::new();
    for job in roll() {
        printed += &progress.update(&job);
        // Told again, nothing is new.
        printed += &progress.update(&job);
    }
    assert_snapshot!("progress_pipe", printed);
}

#[test]
fn what_did_not_change_is_not_drawn_again() {
    let mut progress = terminal(60, 20);
    let job = sample::job(JobKind::Start, &[Starting, Waiting]);
    assert!(!progress.update(&job).is_empty());
    assert_eq!(progress.update(&job), "");
}

#[test]
fn a_small_terminal_shows_what_moves_and_how_much_is_done() {
    let mut steps = vec![Done; 12];
    steps.extend([Failed, Draining, Starting]);
    steps.extend([Waiting; 49]);
    let job = sample::job(JobKind::Reload, &steps);
    let mut progress = terminal(60, 6);
    assert_eq!(
        screen(&[progress.update(&job)]),
        [
            "✗ [api](12) ▱▱▱▱▱ failed (pid 4012)",
            "  [api](13) ▰▰▰▱▱ draining (pid 4013)",
            "  [api](14) ▰▱▱▱▱ starting (pid 4014)",
            "  [api](15) ▱▱▱▱▱ waiting",
            "12 of 64 done, 1.2 s",
            ""
        ]
    );
    progress.resized(60, 2);
    assert_eq!(progress.update(&job), "\r\x1b[5A12 of 64 done, 1.2 s\x1b[K\n\x1b[J");
    assert_eq!(terminal(60, 0).lines(&job, 0).len(), 1);
}

#[test]
fn no_line_is_wider_or_higher_than_the_terminal_whatever_a_worker_says() {
    let mut job = sample::job(JobKind::Reload, &[Proving; 100]);
    job.steps[0].note = Some("世\x1b[2J\n".repeat(10_000));
    for (width, height) in [(1, 1), (20, 5), (80, 24), (200, 200)] {
        let mut progress = terminal(width, height);
        let lines = screen(&[progress.update(&job)]);
        assert!(lines.len() <= height.max(2), "{} lines in {height}", lines.len());
        assert!(lines.iter().all(|line| columns(line) < width.max(2)), "{width}: {lines:?}");
    }
}

#[test]
fn a_failure_stays_visible_and_ends_it() {
    let mut progress = terminal(60, 20);
    let mut job = sample::failed_job();
    job.state = JobState::Running;
    let before = progress.update(&job);
    job.state = JobState::Failed;
    let printed = [before, progress.update(&job)];
    assert_eq!(
        screen(&printed),
        [
            "[oneport] [api](0) ✓",
            "[oneport][ERROR] [api](1) ✗ the new worker ended before it was proven (code 1)",
            ""
        ]
    );
    assert_eq!(progress.update(&job), "");
}

#[test]
fn colours_are_the_callers_choice() {
    let job = sample::job(JobKind::Start, &[Starting, Done]);
    let place = Place::Terminal { width: 60, height: 20 };
    let with = |colours| Progress::new("api", place, colours).update(&job);
    assert!(with(Colours::Yes).contains("\x1b[36m  [api](0)") && with(Colours::Yes).contains("\x1b[32m✓"));
    assert!(!with(Colours::No).contains("\x1b[3"));
}
